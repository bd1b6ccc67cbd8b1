"""Reading OFF files with their prefixes: COFF, NOFF, STOFF and mixtures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.faces import color_bytes, join_corners, numbers, table, triangulate
from pose6d.mesh.part import MeshPart
from pose6d.mesh.side_files import SideFiles, text_lines


def read_off(path: Path, files: SideFiles) -> list[MeshPart]:
    """One part with the colours of its vertices or faces; without triangles if the file has no faces.

    Raises:
        MeshError: it is damaged, binary, or of another dimension than three.
    """
    what = f"mesh {path}"
    data = path.read_bytes()
    if re.match(rb"\s*\w*OFF\s+BINARY", data):
        raise MeshError(f"{what} is binary OFF, which is not supported: export it as text, or as .ply")
    lines = [line.partition(b"#")[0].strip() for line in text_lines(data, path)]
    text = b"\n".join(line for line in lines if line)
    head = re.match(rb"(?P<st>ST)?(?P<c>C)?(?P<n>N)?(?P<more>4?n?)OFF(?![A-Za-z])", text)
    if head is not None and head["more"]:
        raise MeshError(f"{what} has vertices of another dimension ({head[0].decode()}): export plain OFF or .ply")
    lines = (text[head.end() :] if head is not None else text).strip().split(b"\n")
    sizes = numbers(lines[:1], f"{what}: its first line")[0].astype(int)
    if len(sizes) < 2 or sizes.min() < 0 or len(lines) < 1 + sizes[0] + sizes[1]:
        raise MeshError(
            f"{what} is damaged: wanted the numbers of vertices and faces, then one line for each; found "
            f"{lines[0][:40].decode('latin-1')!r} and {len(lines) - 1} lines; export it again"
        )
    vertices, faces = int(sizes[0]), int(sizes[1])
    values, counts = numbers(lines[1 : 1 + vertices], f"{what}: its vertices")
    rows = table(values, counts)
    if vertices and (counts < 3).any():
        raise MeshError(f"{what} has vertices of fewer than three numbers: it is damaged; export it again")
    positions = rows[:, :3] if vertices else np.empty((0, 3))
    extra = rows[:, 3:]
    normals = None
    if head is not None and head["n"] and extra.shape[1] >= 3:
        normals, extra = extra[:, :3], extra[:, 3:]
    if head is not None and head["st"] and extra.shape[1] >= 2:
        extra = extra[:, :-2]
        files.warn("its texture coordinates are left out, as OFF names no texture: export .obj with its texture")
    if extra.shape[1] >= 3:
        colors = color_bytes(extra, what)
    else:
        colors = None
        if extra.shape[1]:
            files.warn(f"{extra.shape[1]} number(s) after x y z of its vertices are no colours and left out")

    values, lengths = numbers(lines[1 + vertices : 1 + vertices + faces], f"{what}: its faces")
    rows = table(values, lengths)
    polygons = rows[:, 0].astype(np.int64) if faces else np.empty(0, np.int64)
    if (polygons < 0).any() or (polygons >= lengths).any():
        raise MeshError(f"{what} has faces with fewer indices than they say: it is damaged; export it again")
    column = np.arange(rows.shape[1])
    corners = rows[(column >= 1) & (column <= polygons[:, None])].astype(np.int64)
    if len(corners) and (corners.min() < 0 or corners.max() >= vertices):
        raise MeshError(
            f"{what} has faces that index vertices {corners.min()}..{corners.max()}, but there are {vertices} "
            "vertices: the file is truncated or corrupt; export it again"
        )
    triangles, polygon = triangulate(positions, corners, polygons)
    face_colors = _face_colors(rows, polygons, lengths, files) if colors is None else None
    keys = [corners[triangles.ravel()]]
    if face_colors is not None:
        keys.append(np.repeat(polygon, 3))
        first, index = join_corners(*keys)
        v = keys[0][first]
        normals = None if normals is None else normals[v]
        return [MeshPart(positions[v], index.reshape(-1, 3), normals, colors=face_colors[keys[1][first]])]
    return [MeshPart(positions, keys[0].reshape(-1, 3), normals, colors=colors)]


def _face_colors(rows: np.ndarray, polygons: np.ndarray, lengths: np.ndarray, files: SideFiles) -> np.ndarray | None:
    """(F, 3) uint8 of what follows the indices of each face; None if that is nothing, or an index of a colour map."""
    spare = lengths - 1 - polygons
    if (spare == 1).any():
        files.warn("its faces have indices of a colour map, which the file does not have: they are drawn in grey")
    colored = spare >= 3
    if not colored.any():
        return None
    at = np.minimum(1 + polygons[:, None] + np.arange(3), rows.shape[1] - 1)
    return color_bytes(np.where(colored[:, None], np.take_along_axis(rows, at, axis=1), np.nan), f"mesh {files.mesh}")
