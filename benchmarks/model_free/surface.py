"""How near a made mesh comes to the true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import open3d as o3d
from scipy.spatial import cKDTree

from mesh_creation.object_field.make_object import MadeObject
from pose6d.mesh.mesh import Mesh

_SAMPLES = 20_000
_NEAR = 0.002  # metres within which a surface counts as there


@dataclass(frozen=True)
class SurfaceScore:
    """Lengths in millimetres.

    Attributes:
        seen: mean distance from the part of the made surface that views show to the true one.
        all: the same of the whole made surface.
        farthest: 95 % of it lie nearer.
        complete: share of the true surface within 2 mm of the made one, %.
        diameter: by how much the made mesh's diameter is larger.
        unseen: share of the made surface that no view shows, %.
    """

    seen: float
    all: float
    farthest: float
    complete: float
    diameter: float
    unseen: float


def score_surface(made: MadeObject, true: Mesh) -> SurfaceScore:
    """Compare meshes in one frame, metres."""
    mesh = made.colored
    points = mesh.sample_surface(_SAMPLES, seed=0)
    off = distances(true, points)
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    unseen = made.unseen[cKDTree(middles).query(points)[1]]
    missing = distances(mesh, true.sample_surface(_SAMPLES, seed=0))
    return SurfaceScore(
        seen=1000 * float(off[~unseen].mean()) if (~unseen).any() else float("nan"),
        all=1000 * float(off.mean()),
        farthest=1000 * float(np.quantile(off, 0.95)),
        complete=100 * float((missing < _NEAR).mean()),
        diameter=1000 * float(mesh.diameter - true.diameter),
        unseen=100 * float(unseen.mean()),
    )


def distances(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """(P,) metres from points (P, 3) to the surface of a mesh."""
    tensor: Any = o3d.core.Tensor  # its type information does not know arrays
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        tensor(np.ascontiguousarray(mesh.vertices, np.float32)), tensor(np.ascontiguousarray(mesh.faces, np.uint32))
    )
    return scene.compute_distance(tensor(np.ascontiguousarray(points, np.float32))).numpy()
