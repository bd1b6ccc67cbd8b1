"""From the parts of a file to one in metres: debris left out, near the origin, one texture."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import get_args

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.coordinates import MAX_ROUNDING, METRES_PER_UNIT, Unit, bounding_box, float32_rounding
from pose6d.mesh.debris import find_rest
from pose6d.mesh.part import MeshPart
from pose6d.mesh.texture_atlas import join_parts

_MAX_STEP = 0.05  # of the size: coordinates in coarser steps have no shape left


def assemble(parts: list[MeshPart], unit: Unit, name: str, leave_out_debris: bool) -> MeshPart:
    """One part in metres of parts whose coordinates are in `unit`, without the vertices of no face.

    Raises:
        MeshError: no faces, or coordinates that cannot be used.

    Warns:
        UserWarning: debris is left out; the mesh is moved to the origin.
    """
    if unit not in get_args(Unit):
        raise MeshError(f"mesh unit {unit!r} is unknown: wanted one of {', '.join(get_args(Unit))}")
    solid = [part for part in parts if len(part.faces)]
    if not solid:
        points = sum(len(part.vertices) for part in parts)
        found = f"{points} vertices and no faces: it is a point cloud" if points else "no vertices and no faces"
        raise MeshError(
            f"mesh {name} has {found}; wanted a surface of triangles: reconstruct one (for example Poisson "
            "reconstruction), or export the mesh again"
        )
    usable = (np.isfinite(p.vertices).all() and p.faces.min() >= 0 and p.faces.max() < len(p.vertices) for p in solid)
    if all(usable):  # else Mesh says what is wrong
        solid = [part.select(np.ones(len(part.vertices), bool)) for part in solid]
        if leave_out_debris:
            solid = _without_debris(solid, name)
        solid = _near_origin(solid, name)
    scale = METRES_PER_UNIT[unit]
    return join_parts([replace(part, vertices=part.vertices * scale) for part in solid], name)


def _without_debris(parts: list[MeshPart], name: str) -> list[MeshPart]:
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    rest = find_rest(vertices, faces, name)
    if rest is None:
        return parts
    selected = [part.select(kept) for part, kept in zip(parts, np.split(rest, starts[1:-1]), strict=True)]
    return [part for part in selected if len(part.faces)]


def _near_origin(parts: list[MeshPart], name: str) -> list[MeshPart]:
    """The parts moved to the origin if they are so far away that float32 would bend them."""
    vertices = np.concatenate([part.vertices for part in parts])
    if float32_rounding(vertices) <= MAX_ROUNDING:
        return parts
    low, high = bounding_box(vertices)
    extent, step = float((high - low).max()), float(np.spacing(np.float32(np.abs(vertices).max())))
    offset = np.round((low + high) / 2, -math.floor(math.log10(extent)))
    where = ", ".join(f"{value:.12g}" for value in offset)
    if step > _MAX_STEP * extent and (vertices == vertices.astype(np.float32)).all():
        raise MeshError(
            f"mesh {name} is {extent:.3g} large and lies around ({where}) in 32-bit coordinates, whose steps are "
            f"{step:.3g} there, so its shape is lost: move it to the origin before export, or export 64-bit coordinates"
        )
    warnings.warn(
        f"mesh {name} is {extent:.3g} large and lies so far from the origin that 32 bits would bend its shape: "
        f"({where}) is subtracted from every vertex, in the file's unit. Poses refer to the mesh moved so: a point x "
        "of the file is the point x minus that of the mesh",
        stacklevel=4,
    )
    return [replace(part, vertices=part.vertices - offset) for part in parts]
