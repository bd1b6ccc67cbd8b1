"""Loose debris of a mesh: the specks that scans leave far from the object, which would falsify its size and centre."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from pose6d.geometry.diameter import point_set_diameter
from pose6d.geometry.mesh import Mesh

_CELLS = 100  # along the diagonal; what is nearer than one cell is one piece
_SMALL_PIECE, _ALL_PIECES = 0.02, 0.05  # shares of the surface: more is part of the object
_FAR = 0.1  # of the body's diagonal; a rigid object leaves no such gaps


@dataclass
class Debris:
    """What is debris in a mesh.

    Attributes:
        kept: (V,) false for the vertices of loose pieces.
        pieces: how many pieces are loose.
        share: their part of the surface, 0..1.
        gap: from the box of the rest to the farthest of them, in the unit of the vertices.
    """

    kept: np.ndarray
    pieces: int
    share: float
    gap: float

    def warn(self, name: str, vertices: np.ndarray) -> None:
        """Say what is left out of the mesh with these vertices (V, 3), and how to keep it."""
        without, whole = point_set_diameter(vertices[self.kept]), point_set_diameter(vertices)
        warnings.warn(
            f"mesh {name}: {self.pieces} loose piece(s) with {100 * self.share:.2g} % of its surface, up to "
            f"{self.gap:.3g} away from the rest, are taken for debris and left out: the diameter is {without:.4g} "
            f"instead of {whole:.4g}. If they belong to the object, pass keep_debris=True to load_mesh or Mesh, or "
            "--keep_debris to run_demo.py",
            stacklevel=3,
        )


def find_debris(vertices: np.ndarray, faces: np.ndarray) -> Debris | None:
    """Find pieces that are small, loose and far outside of the rest.

    A piece is what faces connect, or what lies nearer than a hundredth of the diagonal. It is debris if it has less
    than 2 % of the surface and a gap of more than a tenth of the body's diagonal separates it from the body's box; the
    body is all larger pieces. If all such pieces together have more than 5 %, the object consists of small parts and
    none is debris. Parts that touch, fill holes or lie within the box of the others therefore always stay.

    Args:
        vertices: (V, 3), finite.
        faces: (F, 3) indices of vertices.

    Returns:
        None if there is no debris.
    """
    kept = np.ones(len(vertices), bool)
    label, count = _pieces(vertices, faces, kept)
    if count == 1:
        return None
    a, b, c = np.moveaxis(vertices.astype(np.float64)[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    total = float(area.sum())
    pieces, lost, gap = 0, 0.0, 0.0
    while total > 0:
        counted = kept[faces[:, 0]]
        surface = np.bincount(label[faces[counted, 0]], weights=area[counted], minlength=count)
        low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
        np.minimum.at(low, label[kept], vertices[kept])
        np.maximum.at(high, label[kept], vertices[kept])
        body = surface >= min(_SMALL_PIECE * total, surface.max())
        inner, outer = low[body].min(axis=0), high[body].max(axis=0)
        gaps = np.linalg.norm(np.maximum(np.maximum(inner - high, low - outer), 0), axis=1)
        loose = ~body & (gaps > _FAR * np.linalg.norm(outer - inner))
        if not loose.any() or lost + float(surface[loose].sum()) > _ALL_PIECES * total:
            break
        lost += float(surface[loose].sum())
        pieces, gap = pieces + int(loose.sum()), max(gap, float(gaps[loose].max()))
        kept &= ~loose[label]
        label, count = _pieces(vertices, faces, kept)  # with far debris gone, what is nearer comes apart
    return Debris(kept, pieces, lost / total, gap) if pieces else None


def without_debris(mesh: Mesh) -> Mesh:
    """The mesh itself, or one without its debris in the same frame, with a warning; see `Mesh.keep_debris`."""
    found = None if mesh.keep_debris else find_debris(mesh.vertices, mesh.faces)
    if found is None:
        return mesh
    found.warn(mesh.name, mesh.vertices)
    kept = found.kept
    return replace(
        mesh,
        vertices=mesh.vertices[kept],
        faces=(np.cumsum(kept) - 1)[mesh.faces[kept[mesh.faces[:, 0]]]],
        normals=mesh.normals[kept],
        uv=None if mesh.uv is None else mesh.uv[kept],
        colors=None if mesh.colors is None else mesh.colors[kept],
    )


def _pieces(vertices: np.ndarray, faces: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, int]:
    """(V,) the piece of each vertex that is kept, and how many there are."""
    from scipy.sparse import coo_matrix  # slow to import
    from scipy.sparse.csgraph import connected_components

    inside = vertices if kept.all() else vertices[kept]
    low = inside.min(axis=0)
    size = float(np.linalg.norm(np.asarray(inside.max(axis=0) - low, np.float64))) / _CELLS or 1.0
    shape = (_CELLS + 3,) * 3  # of a grid with an empty rim
    cell = ((inside - low) / size).astype(np.int64) + 1
    flat = np.zeros(len(vertices), np.int64)  # (V,) the cell of each vertex
    flat[kept] = np.ravel_multi_index((*cell.T,), shape)
    grid = np.zeros(shape, bool)
    grid.ravel()[flat[kept]] = True
    occupied = np.flatnonzero(grid)
    number = np.cumsum(grid) - 1  # of each cell among those
    corners = flat[faces if kept.all() else faces[kept[faces[:, 0]]]]
    links = [corners[:, [0, 1]], corners[:, [1, 2]]]
    centre = np.ravel_multi_index((1, 1, 1), shape)
    for step in range(14, 27):  # half of the 26 neighbours; the others see it from their side
        there = occupied + np.ravel_multi_index(np.unravel_index(step, (3, 3, 3)), shape) - centre
        links.append(np.stack([occupied, there], axis=1)[grid.ravel()[there]])
    pairs = np.concatenate(links)
    first, second = number[pairs[pairs[:, 0] != pairs[:, 1]]].T
    graph = coo_matrix((np.ones(len(first), bool), (first, second)), (len(occupied), len(occupied)))
    count, label = connected_components(graph, directed=False)
    return label[number[flat]], count
