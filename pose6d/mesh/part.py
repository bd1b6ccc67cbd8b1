"""A piece of a mesh as files hold it: triangles with one texture, or one colour per vertex."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

GREY = 128  # the colour of a mesh that brings none


@dataclass
class MeshPart:
    """Triangles with a texture, or with a colour per vertex (grey where they have neither).

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64.
        normals: (V, 3) or None.
        uv: (V, 2) float64 or None, as in `Mesh`.
        image: (H, W, 3) uint8 or None; parts that share a texture share the array.
        colors: (V, 3) uint8 or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    uv: np.ndarray | None = None
    image: np.ndarray | None = None
    colors: np.ndarray | None = None

    def transform(self, transform: np.ndarray) -> MeshPart:
        """The part moved by an affine transform (4, 4) of any kind."""
        if np.array_equal(transform, np.eye(4)):
            return self
        linear = transform[:3, :3]
        normals = None if self.normals is None else self.normals @ np.linalg.pinv(linear)
        faces = self.faces[:, ::-1] if np.linalg.det(linear) < 0 else self.faces  # mirrored: keep the outside outside
        return replace(self, vertices=self.vertices @ linear.T + transform[:3, 3], faces=faces, normals=normals)

    def select(self, kept: np.ndarray) -> MeshPart:
        """The faces whose vertices (V,) are kept, and their vertices."""
        faces = self.faces[kept[self.faces[:, 0]]]
        used = np.zeros(len(self.vertices), bool)
        used[faces] = True
        if used.all():
            return self
        normals, uv, colors = (None if a is None else a[used] for a in (self.normals, self.uv, self.colors))
        return MeshPart(self.vertices[used], (np.cumsum(used) - 1)[faces], normals, uv, self.image, colors)

    def vertex_colors(self) -> np.ndarray:
        """(V, 3) uint8: its colours, or grey."""
        return self.colors if self.colors is not None else np.full((len(self.vertices), 3), GREY, np.uint8)

    def vertex_normals(self) -> np.ndarray:
        """(V, 3) its normals, or those of the faces around each vertex."""
        return vertex_normals(self.vertices, self.faces) if self.normals is None else self.normals


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit normals: the sum of the adjacent faces' cross products, which weighs them by area."""
    a, b, c = np.moveaxis(vertices.astype(np.float64)[faces], 1, 0)
    with np.errstate(invalid="ignore", over="ignore"):  # of vertices that are not finite, which `Mesh` names
        cross = np.cross(b - a, c - a)
        corner = faces.T.ravel()
        sums = [np.bincount(corner, weights=np.tile(cross[:, axis], 3), minlength=len(vertices)) for axis in range(3)]
        return unit_vectors(np.stack(sums, axis=1))


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """(V, 3) float32 of unit length; +z where there is no direction (a vertex of no face, or of flat ones)."""
    length = np.sqrt(np.einsum("vi,vi->v", vectors, vectors))[:, None]
    usable = np.isfinite(length) & (length > 0)
    up = np.array([0.0, 0.0, 1.0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(usable, vectors / np.where(usable, length, 1.0), up).astype(np.float32)
