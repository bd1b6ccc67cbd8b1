"""Rendering on CPU tensors; the drawing itself is in `cpu_kernels`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from pose6d.rendering import cpu_kernels
from pose6d.rendering.arguments import prepare
from pose6d.rendering.interface import Rendering, Shading
from pose6d.rendering.mesh_buffers import MeshBuffers

if TYPE_CHECKING:
    from pose6d.mesh.mesh import Mesh

_draw: Any = cpu_kernels.draw  # numba's own annotations know neither its arguments nor its settings
_numba: Any = numba
_lock = threading.Lock()  # not every numba threading layer may be entered from two Python threads at once


class CpuRenderer:
    """The `Renderer` for CPU tensors; uses as many threads as PyTorch."""

    recordable = False  # in a CUDA graph

    def __init__(self, meshes: Sequence[Mesh], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.buffers = MeshBuffers.from_meshes(meshes, self.device)

    def render(
        self,
        poses: torch.Tensor,
        K: torch.Tensor,
        size: tuple[int, int],
        *,
        mesh_index: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        shading: Shading = Shading(),  # noqa: B008 - frozen
        normals: bool = False,
        near: float = 0.001,
    ) -> Rendering:
        """See `Renderer.render`.

        Raises:
            ValueError: a shape is wrong, or an index names a mesh or an image that does not exist.
        """
        call = prepare(poses, K, size, mesh_index, image_index, self.device)
        count, images = len(call.poses), call.images
        mesh_of = np.zeros(count, np.int64) if call.mesh_index is None else call.mesh_index.numpy()
        image_of = np.arange(count) if call.image_index is None else call.image_index.numpy()
        _check_index("mesh_index", mesh_of, self.buffers.count)
        _check_index("image_index", image_of, images)
        order = np.argsort(image_of, kind="stable")
        first = np.searchsorted(image_of[order], np.arange(images + 1))

        shape = (images, call.height, call.width)
        color = torch.empty((*shape, 3))
        xyz = torch.empty((*shape, 3))
        normal = torch.empty((*shape, 3)) if normals else torch.empty((0, 0, 0, 3))
        instance = torch.empty(shape, dtype=torch.int32)
        b = self.buffers
        with _lock:
            _numba.set_num_threads(min(torch.get_num_threads(), _numba.config.NUMBA_NUM_THREADS))
            _draw(
                *(t.numpy() for t in (b.vertices, b.normals, b.uv, b.colors, b.faces, b.vertex_start, b.face_start)),
                *(t.numpy() for t in (b.texels, b.texture_start, b.texture_size)),
                *(call.poses.numpy(), call.K.numpy(), mesh_of, order, first),
                *(np.float32(shading.ambient), np.float32(shading.headlight), np.float32(near)),
                *(color.numpy(), xyz.numpy(), normal.numpy(), instance.numpy()),
            )
        return Rendering(color=color, xyz=xyz, normal=normal if normals else None, instance=instance)


def _check_index(name: str, index: np.ndarray, count: int) -> None:
    if len(index) and (index.min() < 0 or index.max() >= count):
        raise ValueError(f"{name} runs from {index.min()} to {index.max()}, expected 0 to {count - 1}")
