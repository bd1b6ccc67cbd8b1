"""What the page's 3-D view shows, packed small: the mesh, the first frame's points, and every pose."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
import torch

from pose6d.geometry.camera import backproject
from pose6d.mesh.mesh import Mesh, texture_colors
from pose6d.mesh.part import vertex_normals
from pose6d.report.overlay import oriented_box
from pose6d.scenes.frame import Frame

_MOST_FACES = 16_000
_FEWEST_FACES = 6_000  # of a textured mesh, whose picture would be lost with one colour per corner
_MOST_POINTS = 80_000
_MOST_VERTICES = 65_535  # indices are 16 bits wide, which every WebGL reads


def view_data(
    mesh: Mesh, first: Frame, poses: np.ndarray, truths: np.ndarray | None, moving: Literal["camera", "object"]
) -> dict[str, Any]:
    """All that the 3-D view needs, ready for JSON; lengths in metres, axes of the first frame's camera.

    Args:
        mesh: the object, metres.
        first: the frame whose points are shown.
        poses: (N, 4, 4) object in camera.
        truths: (N, 4, 4) ground truth, NaN where a frame has none; or None.
        moving: what the view lets move at first.
    """
    vertices, faces, colors, normals = simplify_mesh(mesh)
    points, point_colors, spacing = first_points(first, poses[0], mesh.diameter)
    box = oriented_box(mesh)
    height, width = first.rgb.shape[:2]
    return {
        "moving": moving,
        "mesh": {
            "positions": pack_positions(vertices),
            "normals": pack(np.round(127 * normals).astype(np.int8)),
            "colors": pack(colors),
            "faces": pack(faces.astype(np.uint16)),
        },
        "cloud": {"positions": pack_positions(points), "colors": pack(point_colors), "spacing": spacing},
        "poses": pack(poses[:, :3].astype(np.float32)),
        "truths": None if truths is None else pack(truths[:, :3].astype(np.float32)),
        "center": [float(x) for x in mesh.center],
        "corners": box.corners.round(6).tolist(),
        "diameter": mesh.diameter,
        "camera": {"K": first.K.tolist(), "width": width, "height": height},
    }


def simplify_mesh(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3), faces (F, 3), colours (V, 3) uint8 and normals (V, 3), few enough to be drawn anywhere."""
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces
    if mesh.texture is not None and mesh.uv is not None and len(faces) < _FEWEST_FACES:
        return _refine(mesh)
    colors, normals = texture_colors(mesh), mesh.normals
    if len(faces) <= _MOST_FACES and len(vertices) <= _MOST_VERTICES:
        return vertices, faces, colors, normals
    cells = 256
    while True:
        merged = _cluster(vertices, faces, colors, cells)
        excess = max(len(merged[1]) / _MOST_FACES, len(merged[0]) / _MOST_VERTICES)
        if excess <= 1:
            return merged
        cells = max(1, int(0.95 * cells / excess**0.5))  # a surface's faces grow with the square


def _cluster(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, cells: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Merge the vertices in each cell of a grid. Rossignac and Borrel, Multi-resolution 3D Approximations, 1993."""
    low = vertices.min(axis=0)
    size = max(float((vertices.max(axis=0) - low).max()), 1e-9) / cells
    x, y, z = np.floor((vertices - low) / size).astype(np.int64).T
    _, index, count = np.unique((x * (cells + 1) + y) * (cells + 1) + z, return_inverse=True, return_counts=True)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(index, weights=column, minlength=len(count)) for column in values.T.astype(np.float64)]
        return np.stack(sums, axis=1) / count[:, None]

    merged = index[faces]
    a, b, c = merged.T
    merged = merged[(a != b) & (b != c) & (c != a)]
    a, b, c = np.sort(merged, axis=1).astype(np.int64).T
    _, kept = np.unique((a * len(count) + b) * len(count) + c, return_index=True)
    merged = merged[np.sort(kept)]
    middle = mean(vertices)
    return middle, merged, mean(colors).round().astype(np.uint8), vertex_normals(middle, merged)


def _refine(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut every triangle into four until there are corners enough to carry the texture's colours."""
    assert mesh.uv is not None
    corners = [array.astype(np.float64)[mesh.faces] for array in (mesh.vertices, mesh.normals, mesh.uv)]  # (F, 3, ...)
    while len(corners[0]) < _FEWEST_FACES:
        corners = [_quarter(triangles) for triangles in corners]
    vertices, normals, uv = (triangles.reshape(-1, triangles.shape[-1]) for triangles in corners)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    fine = Mesh(vertices=vertices, faces=faces, normals=normals, uv=uv, texture=mesh.texture, name=mesh.name)
    return vertices, faces, texture_colors(fine), fine.normals


def _quarter(triangles: np.ndarray) -> np.ndarray:
    """(4 F, 3, C) from (F, 3, C), split at the middles of the sides."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([np.stack(part, axis=1) for part in parts])


def first_points(frame: Frame, object_in_camera: np.ndarray, diameter: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The pixels with depth, thinned, without what lies far behind the object.

    Returns:
        (P, 3) metres, (P, 3) uint8, and the distance between neighbours at a depth of one metre.
    """
    farthest = 2.0 * float(object_in_camera[2, 3]) + 2.0 * diameter
    usable = (frame.depth > 0) & (frame.depth < farthest)
    step = 1
    while usable[::step, ::step].sum() > _MOST_POINTS:
        step += 1
    thinned = np.zeros_like(usable)
    thinned[::step, ::step] = usable[::step, ::step]
    xyz = backproject(torch.as_tensor(frame.depth), torch.as_tensor(frame.K)).numpy()
    return xyz[thinned], frame.rgb[thinned], step / float(frame.K[0, 0])


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array as its type, number of columns and little-endian bytes in base64."""
    data = np.ascontiguousarray(array)
    little = data.astype(data.dtype.newbyteorder("<"), copy=False)
    columns = int(np.prod(data.shape[1:], dtype=int))
    return {"type": data.dtype.name, "columns": columns, "base64": base64.b64encode(little.tobytes()).decode("ascii")}


def pack_positions(points: np.ndarray) -> dict[str, Any]:
    """Points (P, 3) in 16 bits per coordinate: metres = value * scale + offset."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    low = points.min(axis=0) if len(points) else np.zeros(3)
    size = max(float((points.max(axis=0) - low).max()), 1e-9) if len(points) else 1.0
    values = np.round((points - low) * (65535 / size)).astype(np.uint16)
    return {**pack(values), "scale": size / 65535, "offset": low.tolist()}
