"""Rendering meshes to colour, camera-space points and normals: `make_renderer` picks the backend."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from pose6d.device import resolve_device
from pose6d.errors import DeviceError, OptionError
from pose6d.rendering.interface import ALBEDO, Renderer, Rendering, Shading

if TYPE_CHECKING:
    from pose6d.mesh.mesh import Mesh

__all__ = ["ALBEDO", "Backend", "Renderer", "Rendering", "Shading", "make_renderer"]

Backend = Literal["auto", "cpu", "cuda", "nvdiffrast"]


def make_renderer(
    meshes: Mesh | Sequence[Mesh], device: str | torch.device = "auto", backend: Backend = "auto"
) -> Renderer:
    """Upload the meshes to a device and return what draws them there.

    Args:
        meshes: one or more; the renderer's `mesh_index` counts them from 0.
        device: auto, cpu, cuda or cuda:N.
        backend: auto is `cpu` on a CPU and `cuda` on a GPU, or `nvdiffrast` where only that is installed.

    Raises:
        OptionError: no such backend.
        DeviceError: the device does not exist, or the backend does not run on it.
        MeshError: a mesh has nothing to draw.
        MissingDependencyError: the backend's package is not installed; the message names the extra.
    """
    device = resolve_device(device)
    meshes = list(meshes) if isinstance(meshes, Sequence) else [meshes]
    if backend == "auto":
        backend = "cpu" if device.type == "cpu" else _gpu_backend()
    if backend not in ("cpu", "cuda", "nvdiffrast"):
        raise OptionError(f"backend {backend!r} is unknown: use auto, cpu, cuda or nvdiffrast")
    if (backend == "cpu") != (device.type == "cpu"):
        raise DeviceError(f"backend {backend!r} does not run on device {str(device)!r}: use backend auto")
    # Imported here, so that a GPU machine needs no numba and a CPU machine no CuPy.
    if backend == "cpu":
        from pose6d.rendering.cpu import CpuRenderer

        return CpuRenderer(meshes, device)
    if backend == "cuda":
        from pose6d.rendering.cuda import CudaRenderer

        return CudaRenderer(meshes, device)
    from pose6d.rendering.nvdiffrast import NvdiffrastRenderer

    return NvdiffrastRenderer(meshes, device)


def _gpu_backend() -> Literal["cuda", "nvdiffrast"]:
    without_cupy = importlib.util.find_spec("cupy") is None
    return "nvdiffrast" if without_cupy and importlib.util.find_spec("nvdiffrast") else "cuda"
