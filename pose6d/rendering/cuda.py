"""Rendering on an NVIDIA GPU: the kernels of `rasterize.cu`.

A call launches on PyTorch's current stream, allocates from PyTorch's allocator and does not wait for the device, so
that after one warm-up call it can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from pose6d.cuda_kernels import blocks_for, load_kernels
from pose6d.rendering.backend import DrawCall, MeshRenderer
from pose6d.rendering.interface import Rendering

if TYPE_CHECKING:
    from pose6d.mesh.mesh import Mesh

_ENOUGH_THREADS = 1 << 19  # a few times what a large GPU runs at once


class CudaRenderer(MeshRenderer):
    """The `Renderer` for CUDA tensors.

    Raises:
        MissingDependencyError: CuPy is not installed, or cannot compile for this GPU.
    """

    recordable = True  # in a CUDA graph

    def __init__(self, meshes: Sequence[Mesh], device: torch.device | str = "cuda") -> None:
        device = torch.device(device)
        if device.index is None:
            device = torch.device(device.type, torch.cuda.current_device())
        self._rasterize, self._shade = load_kernels(
            "pose6d.rendering", "rasterize.cu", ("rasterize", "shade"), device.index
        )
        super().__init__(meshes, device)

    def draw(self, call: DrawCall) -> Rendering:
        """See `MeshRenderer.draw`.

        Poses whose mesh_index or image_index names nothing are not drawn.

        Raises:
            ValueError: the call has 2^32 or more faces of the largest mesh.
        """
        if len(call.poses) * self.buffers.max_faces >= 1 << 32:
            raise ValueError(
                f"{len(call.poses)} poses of meshes with up to {self.buffers.max_faces} faces are 2^32 faces or more: "
                "render fewer poses in a call"
            )
        shape = (call.images, call.height, call.width)
        color = torch.empty((*shape, 3), device=self.device)
        xyz = torch.empty((*shape, 3), device=self.device)
        normal = torch.empty((*shape, 3), device=self.device) if call.normals else None
        instance = torch.empty(shape, dtype=torch.int32, device=self.device)
        if call.images:
            self._launch(call, color, xyz, normal, instance)
        return Rendering(color=color, xyz=xyz, normal=normal, instance=instance)

    def _launch(
        self,
        call: DrawCall,
        color: torch.Tensor,
        xyz: torch.Tensor,
        normal: torch.Tensor | None,
        instance: torch.Tensor,
    ) -> None:
        b, count = self.buffers, len(call.poses)
        zbuffer = torch.full(instance.shape, -1, dtype=torch.int64, device=self.device)  # the largest unsigned key
        K_stride = 9 if len(call.K) > 1 else 0
        if count:
            split = rows_split(count * b.max_faces, call.height)
            self._rasterize(
                count * blocks_for(b.max_faces * split),
                *(b.vertices, b.faces, b.face_start, b.count, b.max_faces, call.poses, call.K, K_stride),
                *(call.mesh_index, call.image_index, call.images, split, call.height, call.width),
                *(call.near, zbuffer),
            )
        self._shade(
            blocks_for(zbuffer.numel()),
            *(b.vertices, b.normals, b.uv, b.colors, b.faces, b.face_start),
            *(b.texels, b.texture_start, b.texture_size, b.max_faces),
            *(call.poses, call.K, K_stride, call.mesh_index, call.images, call.height, call.width),
            *(float(call.shading.ambient), float(call.shading.headlight), zbuffer, color, xyz, normal, instance),
        )


def rows_split(faces: int, height: int) -> int:
    """How many threads share a face's rows: a power of two, more where few faces would leave the GPU idle."""
    split = 1
    while faces * split < _ENOUGH_THREADS and split < height:
        split *= 2
    return split
