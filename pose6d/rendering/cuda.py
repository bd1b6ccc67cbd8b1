"""Rendering on an NVIDIA GPU: the kernels of `rasterize.cu`, compiled at first use by CuPy.

A call launches on PyTorch's current stream, allocates from PyTorch's allocator and does not wait for the device, so
that after one warm-up call it can be captured in a CUDA graph.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pose6d.errors import MissingDependencyError
from pose6d.rendering.arguments import DrawCall, prepare
from pose6d.rendering.interface import Rendering, Shading
from pose6d.rendering.mesh_buffers import MeshBuffers

if TYPE_CHECKING:
    from pose6d.geometry.mesh import Mesh

_BLOCK = 256  # as in rasterize.cu
_ENOUGH_THREADS = 1 << 19  # a few times what a large GPU runs at once


class CudaRenderer:
    """The `Renderer` for CUDA tensors.

    Raises:
        MissingDependencyError: CuPy is not installed, or cannot compile for this GPU.
    """

    recordable = True  # in a CUDA graph

    def __init__(self, meshes: Sequence[Mesh], device: torch.device | str = "cuda") -> None:
        device = torch.device(device)
        if device.index is None:
            device = torch.device(device.type, torch.cuda.current_device())
        self.device = device
        self._rasterize, self._shade = _kernels(device.index)
        self.buffers = MeshBuffers.from_meshes(meshes, device)

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

        Poses whose mesh_index or image_index names nothing are not drawn. To render without waiting for the device (as
        a CUDA graph must), keep the arguments on it, and give K as (N, 3, 3) where there is an image_index.

        Raises:
            ValueError: a shape is wrong, or the call has 2^32 or more faces of the largest mesh.
        """
        call = prepare(poses, K, size, mesh_index, image_index, self.device)
        if len(call.poses) * self.buffers.max_faces >= 1 << 32:
            raise ValueError(
                f"{len(call.poses)} poses of meshes with up to {self.buffers.max_faces} faces are 2^32 faces or more: "
                "render fewer poses in a call"
            )
        shape = (call.images, call.height, call.width)
        color = torch.empty((*shape, 3), device=self.device)
        xyz = torch.empty((*shape, 3), device=self.device)
        normal = torch.empty((*shape, 3), device=self.device) if normals else None
        instance = torch.empty(shape, dtype=torch.int32, device=self.device)
        if call.images:
            self._launch(call, shading, near, color, xyz, normal, instance)
        return Rendering(color=color, xyz=xyz, normal=normal, instance=instance)

    def _launch(
        self,
        call: DrawCall,
        shading: Shading,
        near: float,
        color: torch.Tensor,
        xyz: torch.Tensor,
        normal: torch.Tensor | None,
        instance: torch.Tensor,
    ) -> None:
        cupy, b, count = _cupy(), self.buffers, len(call.poses)
        zbuffer = torch.full(instance.shape, -1, dtype=torch.int64, device=self.device)  # the largest unsigned key
        K_stride = 9 if len(call.K) > 1 else 0
        with cupy.cuda.Device(self.device.index), _current_stream(self.device):
            if count:
                split = rows_split(count * b.max_faces, call.height)
                self._rasterize(
                    (count * -(-b.max_faces * split // _BLOCK),),
                    (_BLOCK,),
                    _arguments(
                        *(b.vertices, b.faces, b.face_start, b.count, b.max_faces, call.poses, call.K, K_stride),
                        *(call.mesh_index, call.image_index, call.images, split, call.height, call.width),
                        *(float(near), zbuffer),
                    ),
                )
            self._shade(
                (-(-zbuffer.numel() // _BLOCK),),
                (_BLOCK,),
                _arguments(
                    *(b.vertices, b.normals, b.uv, b.colors, b.faces, b.face_start),
                    *(b.texels, b.texture_start, b.texture_size, b.max_faces),
                    *(call.poses, call.K, K_stride, call.mesh_index, call.images, call.height, call.width),
                    *(float(shading.ambient), float(shading.headlight), zbuffer, color, xyz, normal, instance),
                ),
            )


def rows_split(faces: int, height: int) -> int:
    """How many threads share a face's rows: a power of two, more where few faces would leave the GPU idle."""
    split = 1
    while faces * split < _ENOUGH_THREADS and split < height:
        split *= 2
    return split


def _arguments(*values: torch.Tensor | int | float | None) -> tuple[np.generic, ...]:
    """Kernel arguments of exact C types: pointers, int and float."""
    return tuple(
        np.uint64(0) if value is None
        else np.uint64(value.data_ptr()) if isinstance(value, torch.Tensor)
        else np.float32(value) if isinstance(value, float)
        else np.int32(value)
        for value in values
    )  # fmt: skip


class _TorchStream:
    """PyTorch's current stream in the CUDA stream protocol, which older versions of torch.cuda.Stream do not speak."""

    def __init__(self, device: torch.device) -> None:
        self.pointer = torch.cuda.current_stream(device).cuda_stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


def _current_stream(device: torch.device) -> Any:
    """PyTorch's current stream as CuPy's; ExternalStream is deprecated from CuPy 14, its successor new there."""
    stream, cuda = _TorchStream(device), _cupy().cuda
    if hasattr(cuda.Stream, "from_external"):
        return cuda.Stream.from_external(stream)
    return cuda.ExternalStream(stream.pointer, device.index)


@functools.cache
def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise MissingDependencyError(
            f"rendering on CUDA needs CuPy, which cannot be imported ({error}): pip install 'pose6d[gpu]' "
            "(with a CUDA 12 build of PyTorch: pip install cupy-cuda12x), or render with --device cpu"
        ) from error
    return cupy


@functools.cache
def _kernels(device_index: int) -> tuple[Any, Any]:
    """The two kernels, compiled for one GPU. CuPy keeps the binary on disk, so only the first run compiles."""
    cupy = _cupy()
    source = importlib.resources.files(__package__).joinpath("rasterize.cu").read_text(encoding="utf-8")
    try:
        with cupy.cuda.Device(device_index):
            module = cupy.RawModule(code=source, options=("--std=c++17",))
            return module.get_function("rasterize"), module.get_function("shade")
    except (cupy.cuda.compiler.CompileException, RuntimeError, OSError) as error:
        raise MissingDependencyError(
            f"CuPy {cupy.__version__} could not compile the renderer for GPU {device_index}: {error}\n"
            "Its CUDA version must fit PyTorch's and the driver's: pip install 'pose6d[gpu]' for CUDA 13, "
            "cupy-cuda12x for CUDA 12"
        ) from error
