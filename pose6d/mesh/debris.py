"""Loose debris of a mesh: the specks that scans leave far from the object, which would falsify its size and centre."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from pose6d.mesh.coordinates import bounding_box
from pose6d.mesh.diameter import point_set_diameter

_CELLS = 100  # along the diagonal; what is nearer than one cell is one piece
_SMALL_PIECE, _ALL_PIECES = 0.02, 0.05  # shares of the surface: more is part of the object
_LARGE_PIECE, _MOST_DOUBTFUL = 0.2, 0.25  # shares of the surface: more certainly is
_FAR = 0.1  # of the body's diagonal; a rigid object rarely leaves such gaps
_MATTERS = 1.05  # times the diameter
_SHARE_OF_GAP = 0.01  # share of the surface that is debris at a gap of one diagonal; nearer, less is


@dataclass
class LoosePieces:
    """Pieces of a mesh that lie far outside of the rest.

    Attributes:
        rest: (V,) false for their vertices.
        count: how many there are.
        share: their part of the surface, 0..1.
        gap: from the box of the body to the farthest of them, in the unit of the vertices.
    """

    rest: np.ndarray
    count: int
    share: float
    gap: float

    def warn(self, name: str, vertices: np.ndarray, left_out: bool) -> None:
        """Say what these pieces of a mesh with `vertices` (V, 3) do to it, and how to treat them otherwise.

        What is kept and hardly changes the diameter is not worth a word.
        """
        without, whole = point_set_diameter(vertices[self.rest]), point_set_diameter(vertices)
        if not left_out and whole < _MATTERS * without:
            return
        found = f"mesh {name}: {self.count} loose piece(s) with {100 * self.share:.2g} % of its surface, up to "
        found += f"{self.gap:.3g} away from the rest, "
        if left_out:
            found += (
                f"are taken for debris and left out: the diameter is {without:.4g} instead of {whole:.4g}. If they "
                "belong to the object, pass keep_debris=True to load_mesh or Mesh, or --keep_debris to run_demo.py"
            )
        else:
            found += (
                f"are kept as parts of it: the diameter is {whole:.4g}, without them {without:.4g}. If they are "
                "debris, remove them in a mesh editor; if not, keep_debris=True (--keep_debris) ends this warning"
            )
        warnings.warn(found, stacklevel=3)


def loose_pieces(vertices: np.ndarray, faces: np.ndarray) -> tuple[LoosePieces | None, LoosePieces | None]:
    """Find pieces that are small, loose and far outside of the rest.

    A piece is what faces connect, or what lies nearer than a hundredth of the diagonal. The body is all pieces of at
    least 2 % of the surface. A smaller one is loose if a gap of more than a tenth of the body's diagonal separates it
    from the body's box. It is debris if it is the smaller, the nearer it is: at most 1 % of the surface at a gap of one
    diagonal, 0.1 % at a tenth of it. If all of them together have more than 5 %, the object consists of small parts.
    What else lies that far from all pieces of at least 20 %, or a diagonal of theirs where it has more than 5 %, may be
    a piece of wall or floor, or a part of the object; where these have more than a quarter of the surface, they are
    parts.
    Parts that touch, fill holes or lie within the box of the others therefore always stay.

    Args:
        vertices: (V, 3), finite.
        faces: (F, 3) indices of vertices.

    Returns:
        The debris, and what is loose but may be a part; None each if there is none.
    """
    rest = np.ones(len(vertices), bool)
    label, count = _pieces(vertices, faces, rest)
    if count == 1:
        return None, None
    a, b, c = np.moveaxis(vertices.astype(np.float64)[faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    area /= area.sum() or 1.0
    debris: LoosePieces | None = None
    while True:
        counted = rest[faces[:, 0]]
        share = np.bincount(label[faces[counted, 0]], weights=area[counted], minlength=count)
        low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
        np.minimum.at(low, label[rest], vertices[rest])
        np.maximum.at(high, label[rest], vertices[rest])
        gaps, size = _gaps(low, high, share >= min(_SMALL_PIECE, share.max()))
        loose = gaps > _FAR * size
        small = loose & (share * size <= _SHARE_OF_GAP * gaps)
        lost = debris.share if debris else 0.0
        if not small.any() or lost + share[loose].sum() > _ALL_PIECES:
            break
        rest = rest & ~small[label]
        known = (debris.count, debris.gap) if debris else (0, 0.0)
        lost += float(share[small].sum())
        debris = LoosePieces(rest, known[0] + int(small.sum()), lost, max(known[1], float(gaps[small].max())))
        label, count = _pieces(vertices, faces, rest)  # with far debris gone, what is nearer comes apart
    gaps, size = _gaps(low, high, share >= min(_LARGE_PIECE, share.max()))
    loose = gaps > np.where(share <= _ALL_PIECES, _FAR, 1) * size
    if not loose.any() or share[loose].sum() > _MOST_DOUBTFUL:
        return debris, None
    doubtful = rest & loose[label]
    return debris, LoosePieces(~doubtful, int(loose.sum()), float(share[loose].sum()), float(gaps[loose].max()))


def _gaps(low: np.ndarray, high: np.ndarray, body: np.ndarray) -> tuple[np.ndarray, float]:
    """(P,) from the boxes of pieces, low and high (P, 3), to the box of those that are the body, and its diagonal."""
    inner, outer = low[body].min(axis=0), high[body].max(axis=0)
    gaps = np.linalg.norm(np.maximum(np.maximum(inner - high, low - outer), 0), axis=1)
    return gaps, float(np.linalg.norm(outer - inner))


def find_rest(vertices: np.ndarray, faces: np.ndarray, name: str) -> np.ndarray | None:
    """(V,) false for the vertices of debris, or None if there is none; warns of it, and of what may be debris."""
    debris, doubtful = loose_pieces(vertices, faces)
    if debris is not None:
        debris.warn(name, vertices, left_out=True)
    if doubtful is not None:
        doubtful.warn(name, vertices, left_out=False)
    return None if debris is None else debris.rest


def _pieces(vertices: np.ndarray, faces: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, int]:
    """(V,) the piece of each vertex that is kept, and how many there are."""
    inside = vertices if kept.all() else vertices[kept]
    low, high = bounding_box(inside)
    size = float(np.linalg.norm((high - low).astype(np.float64))) / _CELLS or 1.0
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
    label, count = _connected(number[pairs[pairs[:, 0] != pairs[:, 1]]], len(occupied))
    return label[number[flat]], count


def _connected(pairs: np.ndarray, nodes: int) -> tuple[np.ndarray, int]:
    """(nodes,) the component of each node of a graph with edges (E, 2), in order of their first nodes; how many."""
    root = np.arange(nodes)
    while True:
        ends = root[pairs]
        apart = ends[:, 0] != ends[:, 1]
        if not apart.any():
            break
        pairs, ends = pairs[apart], ends[apart]
        np.minimum.at(root, ends.max(axis=1), ends.min(axis=1))  # one tree joins another, whose root comes earlier
        while (root != root[root]).any():
            root = root[root]
    is_root = root == np.arange(nodes)
    return (np.cumsum(is_root) - 1)[root], int(is_root.sum())
