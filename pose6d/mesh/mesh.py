"""A triangle mesh as the rest of the project wants it: plain arrays, one texture at most, metres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.assembly import assemble
from pose6d.mesh.coordinates import MAX_ROUNDING, Unit, bounding_box, float32_rounding
from pose6d.mesh.diameter import point_set_diameter
from pose6d.mesh.part import GREY, MeshPart, unit_vectors, vertex_normals

if TYPE_CHECKING:
    import trimesh


@dataclass(eq=False)
class Mesh:
    """Vertices and triangles with either a texture and uv, or one colour per vertex.

    Treat it as immutable: the methods return new meshes, and the diameter is computed once.

    Attributes:
        vertices: (V, 3) float32, metres, in the mesh's own frame.
        faces: (F, 3) int32, indices of vertices; faces index uv, normals and colors alike.
        normals: (V, 3) float32, unit length; area-weighted mean of the adjacent faces' normals where none is given.
        uv: (V, 2) float32 or None. v points up as in OBJ: the centre of the texel in row r and column c is at
            ((c + 0.5) / W, 1 - (r + 0.5) / H). Values outside 0..1 repeat the texture.
        texture: (H, W, 3) uint8 RGB, row 0 is the top row, or None.
        colors: (V, 3) uint8 RGB, or None where there is a texture. Grey (128) if neither is given.
        name: what messages call this mesh.
        keep_debris: every piece belongs to the object. If false, the estimator works without small pieces that lie far
            outside of the rest, and says so.

    Raises:
        MeshError: no vertices, no faces, values that are not finite or too far from the origin for float32, indices
            out of range, or shapes that disagree.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray = None  # type: ignore[assignment]  # never None once constructed
    uv: np.ndarray | None = None
    texture: np.ndarray | None = None
    colors: np.ndarray | None = None
    name: str = "mesh"
    keep_debris: bool = False

    def __post_init__(self) -> None:
        given = np.asarray(self.vertices)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes inf, which the check below names
            self.vertices = np.ascontiguousarray(self.vertices, dtype=np.float32)
        self._check_shape("vertices", self.vertices, (None, 3))
        if len(self.vertices) == 0:
            raise MeshError(f"mesh {self.name!r} has no vertices: the file is empty or not a mesh; export it again")
        bad = int((~np.isfinite(self.vertices).all(axis=1)).sum())
        if bad:
            raise MeshError(
                f"mesh {self.name!r} has {bad} of {len(self.vertices)} vertices that are NaN, infinite or beyond "
                "float32: remove them in a mesh editor and export it again"
            )
        rounding = float32_rounding(given)
        if rounding > MAX_ROUNDING:
            middle = ", ".join(f"{value:.9g}" for value in bounding_box(given).mean(axis=0))
            raise MeshError(
                f"mesh {self.name!r} lies so far from the origin, around ({middle}), that float32 moves vertices by "
                f"{100 * rounding:.2g} % of its size: subtract its middle in float64 first; poses then refer to the "
                "moved mesh"
            )
        self._check_faces()
        self._check_colors()
        if self.normals is None:
            self.normals = vertex_normals(self.vertices, self.faces)
        else:
            self._check_shape("normals", self.normals, (len(self.vertices), 3))
            self.normals = unit_vectors(np.asarray(self.normals, dtype=np.float64))

    def _check_faces(self) -> None:
        faces = np.asarray(self.faces)
        if faces.size == 0:
            raise MeshError(
                f"mesh {self.name!r} has {len(self.vertices)} vertices and no faces: it is a point cloud; "
                "reconstruct a surface (for example Poisson reconstruction) and export triangles"
            )
        self._check_shape("faces", faces, (None, 3))
        if int(faces.min()) < 0 or int(faces.max()) >= len(self.vertices):
            raise MeshError(
                f"mesh {self.name!r} has faces that index vertices {int(faces.min())}..{int(faces.max())}, but "
                f"there are {len(self.vertices)} vertices: the file is truncated or corrupt; export it again"
            )
        self.faces = np.ascontiguousarray(faces, dtype=np.int32)

    def _check_colors(self) -> None:
        count = len(self.vertices)
        if self.texture is not None:
            self.texture = np.ascontiguousarray(self.texture, dtype=np.uint8)
            self._check_shape("texture", self.texture, (None, None, 3))
            if self.uv is None or self.texture.size == 0:
                raise MeshError(f"mesh {self.name!r} has an empty texture, or one without uv: give both or neither")
        if self.uv is not None:
            self.uv = np.ascontiguousarray(self.uv, dtype=np.float32)
            self._check_shape("uv", self.uv, (count, 2))
            self.uv = np.nan_to_num(self.uv, nan=0.0, posinf=0.0, neginf=0.0)
        if self.colors is not None:
            self._check_shape("colors", self.colors, (count, 3))
            self.colors = np.ascontiguousarray(self.colors, dtype=np.uint8)
        elif self.texture is None:
            self.colors = np.full((count, 3), GREY, dtype=np.uint8)

    def _check_shape(self, what: str, array: np.ndarray, wanted: tuple[int | None, ...]) -> None:
        shape = np.shape(array)
        if len(shape) != len(wanted) or any(w is not None and s != w for s, w in zip(shape, wanted, strict=True)):
            text = ", ".join("any" if w is None else str(w) for w in wanted)
            raise MeshError(f"mesh {self.name!r}: {what} has shape {shape}, wanted ({text})")

    @classmethod
    def from_trimesh(cls, source: trimesh.Trimesh | trimesh.Scene, unit: Unit = "m", name: str = "mesh") -> Mesh:
        """Convert what trimesh loaded, or what the user built with it; coordinates are in `unit`.

        Scenes are joined with their node transforms, as `mesh_files.load_mesh` does.

        Raises:
            MeshError: no faces, or what else `Mesh` refuses.

        Warns:
            UserWarning: it lies far from the origin and is moved there.
        """
        from pose6d.mesh.trimesh_parts import read_parts  # slow to import

        return cls.from_part(assemble(read_parts(source), unit, name, leave_out_debris=False), name)

    @classmethod
    def from_part(cls, part: MeshPart, name: str) -> Mesh:
        """A mesh in metres of one part in metres; MeshError for what else `Mesh` refuses."""
        colors = None if part.image is not None else part.vertex_colors()
        return cls(part.vertices, part.faces, part.vertex_normals(), part.uv, part.image, colors, name)

    @property
    def bounds(self) -> np.ndarray:
        """(2, 3) float32: the lowest and the highest corner of the axis-aligned box, metres."""
        return bounding_box(self.vertices)

    @property
    def center(self) -> np.ndarray:
        """(3,) float32: the centre of the axis-aligned box, metres."""
        low, high = self.bounds.astype(np.float64)
        return ((low + high) / 2).astype(np.float32)

    @cached_property
    def diameter(self) -> float:
        """The largest distance between two vertices, metres."""
        return point_set_diameter(self.vertices)

    @cached_property
    def colored(self) -> bool:
        """Whether its surface has more than one colour."""
        shown = self.colors if self.texture is None else self.texture
        assert shown is not None
        return bool((shown != shown.reshape(-1, 3)[0]).any())

    def scaled(self, factor: float) -> Mesh:
        """The mesh with every coordinate multiplied by `factor` > 0."""
        if not (np.isfinite(factor) and factor > 0):
            raise MeshError(f"mesh {self.name!r} cannot be scaled by {factor}: wanted a positive number")
        return replace(self, vertices=self.vertices.astype(np.float64) * factor)

    def translated(self, offset: np.ndarray) -> Mesh:
        """The mesh moved by `offset` (3,) metres."""
        return replace(self, vertices=self.vertices.astype(np.float64) + np.asarray(offset, dtype=np.float64))

    def centered(self) -> Mesh:
        """The mesh moved so that the centre of its axis-aligned box is the origin."""
        return self.translated(-self.center.astype(np.float64))

    def sample_surface(self, count: int, seed: int = 0) -> np.ndarray:
        """(count, 3) float32 points spread uniformly over the surface; the same seed gives the same points."""
        generator = np.random.default_rng(seed)
        a, b, c = np.moveaxis(self.vertices.astype(np.float64)[self.faces], 1, 0)
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        total = float(area.sum())
        if total > 0:
            chosen = np.searchsorted(np.cumsum(area), generator.random(count) * total, side="right")
            chosen = np.minimum(chosen, len(area) - 1)
        else:  # every triangle is a line or a point
            chosen = generator.integers(0, len(area), count)
        # Osada et al., Shape Distributions (2002), section 4.2: the square root makes the density uniform.
        root, second = np.sqrt(generator.random((count, 1))), generator.random((count, 1))
        points = (1 - root) * a[chosen] + root * (1 - second) * b[chosen] + root * second * c[chosen]
        return points.astype(np.float32)


def texture_colors(mesh: Mesh) -> np.ndarray:
    """(V, 3) uint8: the colour of the texel under each vertex, or the vertex colours of a mesh without texture."""
    if mesh.texture is None or mesh.uv is None:
        return np.asarray(mesh.colors)
    height, width = mesh.texture.shape[:2]
    u, v = (mesh.uv.astype(np.float64) % 1.0).T
    rows = np.minimum(((1 - v) * height).astype(int), height - 1)
    return mesh.texture[rows, np.minimum((u * width).astype(int), width - 1)]
