"""An object that hypotheses are of, with what draws it: what a frame is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Renderer, Rendering, Shading

_LIT = Shading()


@dataclass(frozen=True)
class RenderedObject:
    """One object, or one for each of N hypotheses. Its poses are those of the centred mesh.

    Attributes:
        renderer: holds the centred mesh, or several.
        diameter: metres; (N,) where it differs from hypothesis to hypothesis.
        index: (N,) int64, which of the renderer's meshes each hypothesis is of; the first where None.
        mesh: the object in its original frame, metres; None where only its pictures are asked for.
    """

    renderer: Renderer
    diameter: float | Tensor
    index: Tensor | None = None
    mesh: Mesh | None = None

    @classmethod
    def from_mesh(cls, mesh: Mesh, device: str | torch.device = "auto") -> RenderedObject:
        """One object with the device's renderer.

        Raises:
            MeshError, DeviceError: unusable mesh or device.
        """
        return cls(make_renderer(mesh.centered(), device), float(mesh.diameter), mesh=mesh)

    @classmethod
    def from_meshes(cls, meshes: Sequence[Mesh], device: torch.device) -> RenderedObject:
        """Several objects in one renderer; hypothesis i is of mesh i."""
        renderer = make_renderer([mesh.centered() for mesh in meshes], device)
        diameters = torch.tensor([float(mesh.diameter) for mesh in meshes], device=device)
        return cls(renderer, diameters, torch.arange(len(meshes), device=device))

    @property
    def center(self) -> np.ndarray:
        """(3,) metres, the origin of the centred mesh in the original frame."""
        return np.asarray(self._own_mesh.center)

    @property
    def textured(self) -> bool:
        """Whether colours tell sides apart that look alike by shape."""
        return self._own_mesh.colored

    @property
    def recordable(self) -> bool:
        """Whether `render` may become part of a CUDA graph."""
        return self.renderer.recordable

    def principal_axes(self) -> Tensor:
        """(3, 3) float32, the principal axes of the surface as rows, that of the least extent first.

        Those of the mesh frame where there is no surface, every triangle being a line or a point.
        """
        mesh = self._own_mesh
        corners = mesh.vertices[mesh.faces].astype(np.float64)
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        corners -= area @ corners.mean(axis=1) / max(float(area.sum()), 1e-30)
        # Second moment of a triangle with corners a, b, c: area / 12 (aa' + bb' + cc' + ss'), s = a + b + c.
        points = np.concatenate([corners, corners.sum(axis=1, keepdims=True)], axis=1)
        points *= np.sqrt(area)[:, None, None]
        points = points.reshape(-1, 3)
        _, vectors = np.linalg.eigh(points.T @ points)
        return torch.tensor(vectors.T, dtype=torch.float32)

    def render(
        self, poses: Tensor, K: Tensor, size: tuple[int, int], *, shading: Shading = _LIT, normals: bool = False
    ) -> Rendering:
        """Draw each of the hypotheses (N, 4, 4) into an image of its own; arguments as in `Renderer.render`."""
        return self.renderer.render(poses, K, size, mesh_index=self.index, shading=shading, normals=normals)

    def rows(self, rows: slice) -> RenderedObject:
        """The object of some of the hypotheses."""
        several = isinstance(self.diameter, Tensor) and self.diameter.ndim > 0
        if self.index is None and not several:
            return self
        return replace(
            self,
            diameter=self.diameter[rows] if isinstance(self.diameter, Tensor) and several else self.diameter,
            index=None if self.index is None else self.index[rows],
        )

    @property
    def _own_mesh(self) -> Mesh:
        assert self.mesh is not None, "this object was made of a renderer alone"
        return self.mesh
