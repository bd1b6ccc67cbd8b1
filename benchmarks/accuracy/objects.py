"""The objects of the suites: scanned or held-out procedural ones, and what the suites make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from learning.datasets.objects.random_objects import make_objects
from learning.datasets.objects.shapes import Shape, box, disc, extrusion, lathe, superquadric, tube
from learning.datasets.objects.training_pool import HELD_OUT_SEED, MESH_SUFFIXES
from pose6d.errors import MeshError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.part import GREY
from pose6d.mesh.shape_symmetries import shape_symmetries
from pose6d.mesh.symmetry import parse_symmetry

_PROCEDURAL_DIAMETER = 0.2  # metres


@dataclass(frozen=True, eq=False)
class TargetObject:
    """An object to be found.

    Attributes:
        mesh: metres, as it is in the scene.
        symmetric: it looks the same from several sides, so that ADD-S, or ADD of the closest symmetric pose, counts.
        symmetries: (S, 4, 4) transforms of the mesh frame where they are known exactly, else None.
        given: the mesh that the estimator gets; `mesh` itself where None.
    """

    mesh: Mesh
    symmetric: bool = False
    symmetries: np.ndarray | None = None
    given: Mesh | None = None

    @property
    def for_estimator(self) -> Mesh:
        return self.mesh if self.given is None else self.given


def load_objects(folder: Path | None, count: int = 16) -> list[Mesh]:
    """The meshes below a folder, in order of their path; held-out procedural ones without a folder.

    Raises:
            MeshError: the folder holds no mesh, or one that cannot be read.
    """
    if folder is None:
        seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)
        return [mesh.scaled(_PROCEDURAL_DIAMETER) for mesh in make_objects(seeds, progress=False)]
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    if not files:
        raise MeshError(f"{folder} holds no mesh ({', '.join(MESH_SUFFIXES)})")
    with ThreadPoolExecutor() as threads:  # most of the time goes into decoding textures, which frees the interpreter
        meshes = list(threads.map(load_mesh, files))
    return [replace(mesh, name=str(path.relative_to(folder))) for mesh, path in zip(meshes, files, strict=True)]


def grey(mesh: Mesh) -> Mesh:
    """The shape alone."""
    return replace(mesh, uv=None, texture=None, colors=np.full((len(mesh.vertices), 3), GREY, np.uint8))


def recolored(mesh: Mesh, seed: int) -> Mesh:
    """The mesh as another camera would have scanned it: other saturation, contrast, brightness and white balance."""
    rng = np.random.default_rng(seed)
    look = mesh.colors if mesh.texture is None else mesh.texture
    assert look is not None
    color = look.astype(np.float32) / 255
    mean = color.mean(axis=-1, keepdims=True)
    color = (mean + (color - mean) * rng.uniform(0.6, 1.5)).clip(0, 1) ** rng.uniform(0.7, 1.5)
    color = color * (rng.uniform(0.55, 1.2) * rng.uniform(0.9, 1.1, 3))
    look = (color.clip(0, 1) * 255).astype(np.uint8)
    return replace(mesh, colors=look) if mesh.texture is None else replace(mesh, texture=look)


def grey_objects(meshes: Sequence[Mesh]) -> list[TargetObject]:
    """The shapes alone; turns under which a shape looks the same are equally right without its colours."""
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(shape_symmetries, meshes))
    return [
        TargetObject(grey(mesh), symmetric=len(turns) > 1, symmetries=turns)
        for mesh, turns in zip(meshes, found, strict=True)
    ]


def symmetric_objects() -> list[TargetObject]:
    """Objects whose symmetries are known because they were built so, in plain colours that share them."""
    return [_symmetric_object(i, name) for i, name in enumerate(_SYMMETRIC)]


def _symmetric_object(index: int, name: str) -> TargetObject:
    text, build = _SYMMETRIC[name]
    rng = np.random.default_rng([HELD_OUT_SEED, index])
    part = build(rng)
    used, faces = np.unique(part.faces, return_inverse=True)
    vertices = part.vertices[used]
    height = vertices[:, 2] / np.abs(vertices[:, 2]).max()
    # A band around the middle is as symmetric as the shape about z and under half turns about axes across it; a cube
    # has more symmetries than that and stays plain.
    band = np.abs(height) < (rng.uniform(0.3, 0.7) if name != "cube" else 0.0)
    ground, other = rng.integers(30, 226, (2, 3))
    mesh = Mesh(
        vertices,
        faces.reshape(-1, 3),
        part.normals()[used],
        colors=np.where(band[:, None], other, ground).astype(np.uint8),
        name=name,
    )
    mesh = mesh.scaled(_PROCEDURAL_DIAMETER / mesh.diameter)
    return TargetObject(mesh, symmetric=True, symmetries=parse_symmetry(text).numpy())


def _cylinder(rng: np.random.Generator) -> Shape:
    height = rng.uniform(1.5, 3.0)
    side = np.array([[1.0, z] for z in np.linspace(-height / 2, height / 2, 9)])
    return lathe(
        [disc(1.0, -height / 2, outwards=True), ("side", side), disc(1.0, height / 2, outwards=False)], cols=73
    )


def _cone(rng: np.random.Generator) -> Shape:
    height, top = rng.uniform(1.5, 2.5), rng.uniform(0.3, 0.6)
    side = np.stack([np.linspace(1.0, top, 9), np.linspace(0.0, height, 9)], axis=1)
    return lathe([disc(1.0, 0.0, outwards=True), ("side", side), disc(top, height, outwards=False)], cols=73)


def _bowl(rng: np.random.Generator) -> Shape:
    angle = np.linspace(0.2, np.pi / 2, 14)
    depth, wall = rng.uniform(0.7, 1.0), 0.08
    outer = np.stack([np.sin(angle), depth * (1 - np.cos(angle))], axis=1)
    inner = outer[::-1] * [1 - wall, 1 - wall] + [0.0, wall * depth]
    rim = np.stack([outer[-1], inner[0]])
    return lathe(
        [
            disc(outer[0, 0], outer[0, 1], outwards=True),
            ("side", outer),
            ("side", rim),
            ("inside", inner),
            disc(inner[-1, 0], inner[-1, 1], outwards=False),
        ],
        cols=73,
    )


def _prism(sides: int) -> Callable[[np.random.Generator], Shape]:
    def build(rng: np.random.Generator) -> Shape:
        angle = 2 * np.pi * np.arange(sides) / sides
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return extrusion(outline, np.ones(sides, bool), rng.uniform(0.5, 1.2), rows=9)

    return build


def _ring(rng: np.random.Generator) -> Shape:
    angle = np.linspace(0, 2 * np.pi, 73)
    path = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)[:-1]
    return tube(path, np.full(len(path), rng.uniform(0.2, 0.35)), closed=True)


_SYMMETRIC: dict[str, tuple[str, Callable[[np.random.Generator], Shape]]] = {
    "cylinder": ("continuous z; 180 x", _cylinder),
    "cone": ("continuous z", _cone),
    "bowl": ("continuous z", _bowl),
    "ring": ("continuous z; 180 x", _ring),
    "carton": ("180 x; 180 y", lambda rng: box(np.array([1.0, rng.uniform(1.3, 1.6), rng.uniform(1.9, 2.3)]))),
    "square_bar": ("90 z; 180 x", lambda rng: box(np.array([1.0, 1.0, rng.uniform(1.6, 2.2)]))),
    "cube": ("90 z; 90 x", lambda rng: box(np.ones(3))),
    "triangle_prism": ("120 z; 180 x", _prism(3)),
    "hexagon_prism": ("60 z; 180 x", _prism(6)),
    "egg": ("180 x; 180 y", lambda rng: superquadric(np.array([0.6, 0.8, 1.1]), 1.0, 1.0)),
}
