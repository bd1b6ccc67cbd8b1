"""The meshes that training scenes are made of, held by one renderer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.backend import MeshRenderer

_POINTS = 256  # of each surface
_PLANE_CELLS = 24
_PLANE_REPEATS = 3.0


class MeshPool:
    """Objects of unit diameter, centred on their bounding box, background planes and occluders, on one device.

    Mesh indices 0 .. objects - 1 are objects, the following `planes` ones are squares of side 2 in their xy plane, the
    last `occluders` ones are of unit diameter and only ever hide objects (hands).

    Attributes:
        renderer: holds all objects, planes and occluders.
        objects, planes, occluders: how many there are of each.
        points: (objects, 256, 3) float32, points on each object's surface.
        diameters: (objects,) float32 metres, each mesh's diameter before it was scaled to 1.
    """

    def __init__(
        self,
        objects: Sequence[Mesh],
        backgrounds: Sequence[np.ndarray] | np.ndarray,
        device: torch.device,
        occluders: Sequence[Mesh] = (),
    ):
        if len(objects) == 0 or len(backgrounds) == 0:
            raise ValueError("a mesh pool needs at least one object and one background texture")
        normalised = [_unit_mesh(mesh) for mesh in objects]
        self.objects = len(objects)
        self.planes = len(backgrounds)
        self.occluders = len(occluders)
        self.device = device
        planes = [textured_plane(texture) for texture in backgrounds]
        self.renderer = make_renderer([*normalised, *planes, *(_unit_mesh(mesh) for mesh in occluders)], device)
        samples = [mesh.sample_surface(_POINTS, seed=i) for i, mesh in enumerate(normalised)]
        self.points = torch.from_numpy(np.stack(samples).astype(np.float32)).to(device)
        self.diameters = torch.tensor([mesh.diameter for mesh in objects], dtype=torch.float32, device=device)

    def replace_objects(self, first: int, meshes: Sequence[Mesh]) -> None:
        """`meshes`, centred and of unit diameter, in place of the objects from index `first` on."""
        if first + len(meshes) > self.objects:
            raise ValueError(f"{len(meshes)} objects from {first} on do not fit into a pool of {self.objects}")
        assert isinstance(self.renderer, MeshRenderer)
        self.renderer.replace_meshes(first, meshes)
        samples = [mesh.sample_surface(_POINTS, seed=first + i) for i, mesh in enumerate(meshes)]
        points = torch.from_numpy(np.stack(samples).astype(np.float32)).to(self.device)
        self.points = torch.cat([self.points[:first], points, self.points[first + len(meshes) :]])
        self.diameters = self.diameters.clone()
        self.diameters[first : first + len(meshes)] = 1.0


def _unit_mesh(mesh: Mesh) -> Mesh:
    return mesh.centered().scaled(1.0 / mesh.diameter)


def textured_plane(texture: np.ndarray) -> Mesh:
    """A square of side 2 in the xy plane, cut into cells so that no face covers an entire image.

    `texture` is (H, W, 3) uint8, repeated over the square.
    """
    ticks = np.linspace(0.0, 1.0, _PLANE_CELLS + 1, dtype=np.float32)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="xy"), axis=-1).reshape(-1, 2)
    row = np.arange(_PLANE_CELLS)[:, None] * (_PLANE_CELLS + 1) + np.arange(_PLANE_CELLS)[None]
    corner = row.reshape(-1)
    below = corner + _PLANE_CELLS + 1
    faces = np.concatenate(
        [np.stack([corner, corner + 1, below + 1], axis=1), np.stack([corner, below + 1, below], axis=1)]
    ).astype(np.int32)
    vertices = np.concatenate([2.0 * grid - 1.0, np.zeros((len(grid), 1), np.float32)], axis=1)
    normals = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (len(grid), 1))
    return Mesh(
        vertices=vertices.astype(np.float32),
        faces=faces,
        normals=normals,
        uv=(grid * _PLANE_REPEATS).astype(np.float32),
        texture=texture,
        colors=None,
        name="plane",
    )
