"""What every backend shares: the meshes on its device, and checks and conversions of a render call's arguments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pose6d.rendering.interface import Rendering, Shading
from pose6d.rendering.mesh_buffers import MeshBuffers

if TYPE_CHECKING:
    from pose6d.mesh.mesh import Mesh


@dataclass(frozen=True)
class DrawCall:
    """A render call's arguments, checked, contiguous and on the renderer's device.

    Attributes:
        poses: (M, 4, 4) float32.
        K: (1, 3, 3) or (N, 3, 3) float32.
        mesh_index: (M,) int64, or None: all mesh 0.
        image_index: (M,) int64, or None: image i holds pose i.
        images: N.
        height, width: of every image.
        shading, normals, near: see `Renderer.render`.
    """

    poses: torch.Tensor
    K: torch.Tensor
    mesh_index: torch.Tensor | None
    image_index: torch.Tensor | None
    images: int
    height: int
    width: int
    shading: Shading
    normals: bool
    near: float


class MeshRenderer(ABC):
    """A `Renderer` whose meshes lie in `MeshBuffers` and that draws checked calls."""

    recordable = False  # in a CUDA graph

    def __init__(self, meshes: Sequence[Mesh], device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.buffers = MeshBuffers.from_meshes(meshes, self.device)

    def replace_meshes(self, first: int, meshes: Sequence[Mesh]) -> None:
        """Draw `meshes` in place of those from index `first` on; see `MeshBuffers.replaced`."""
        self.buffers = self.buffers.replaced(first, meshes)

    @abstractmethod
    def draw(self, call: DrawCall) -> Rendering:
        """Draw a call whose shapes are right."""

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

        To render on CUDA without waiting for the device (as a CUDA graph must), keep the arguments on it, and give K as
        (N, 3, 3) where there is an image_index: N is unknown otherwise.

        Raises:
            ValueError: a shape is not what the `Renderer` interface says, or the backend's `draw` refuses the call.
        """
        if poses.ndim != 3 or poses.shape[1:] != (4, 4):
            raise ValueError(f"poses are {tuple(poses.shape)}, expected (M, 4, 4)")
        if K.ndim not in (2, 3) or K.shape[-2:] != (3, 3):
            raise ValueError(f"K is {tuple(K.shape)}, expected (3, 3) or (N, 3, 3)")
        height, width = (int(length) for length in size)
        if height <= 0 or width <= 0:
            raise ValueError(f"size is {(height, width)}, expected positive (height, width)")
        count = len(poses)
        for name, index in (("mesh_index", mesh_index), ("image_index", image_index)):
            if index is not None and index.shape != (count,):
                raise ValueError(f"{name} is {tuple(index.shape)}, expected ({count},), one entry for each pose")

        if K.ndim == 3:
            images = len(K)
            if image_index is None and images != count:
                raise ValueError(
                    f"K holds {images} matrices for {count} poses: without image_index they must be as many"
                )
        elif image_index is None:
            images = count
        else:
            images = int(image_index.max()) + 1 if count else 0

        return self.draw(
            DrawCall(
                poses=poses.detach().to(self.device, torch.float32).contiguous(),
                K=K.detach().to(self.device, torch.float32).reshape(-1, 3, 3).contiguous(),
                mesh_index=None if mesh_index is None else mesh_index.to(self.device, torch.int64).contiguous(),
                image_index=None if image_index is None else image_index.to(self.device, torch.int64).contiguous(),
                images=images,
                height=height,
                width=width,
                shading=shading,
                normals=normals,
                near=float(near),
            )
        )
