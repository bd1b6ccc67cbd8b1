"""Building blocks beyond a lathe: lofts through cross-sections, sheets with holes that may be bent, rods and rings.

Both are closed surfaces with real thickness (shapes.Shape).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from scipy.interpolate import CubicSpline

from learning.datasets.objects.shapes import DISC_CHARTS, SIDE_CHART, Chart, Piece, Shape, assemble, disc, lathe, tube

_TOP_CHART, _BOTTOM_CHART, _WALL_CHART = (0.0, 0.55, 1.0, 1.0), (0.0, 0.11, 1.0, 0.53), (0.01, 0.015, 0.99, 0.08)


def loft(
    sections: np.ndarray,
    corners: np.ndarray | None = None,
    breaks: Sequence[int] = (),
    capped: bool = True,
) -> Shape:
    """A skin over closed cross-sections.

    Args:
        sections: (rows, n, 3), counter-clockwise seen from the last towards the first, not closed.
        corners: (n,) bool, where every section has a sharp corner; smooth if None.
        breaks: rows at which the skin has a sharp edge.
        capped: close both ends with fans about their middle; otherwise the last section joins the first.
    """
    if not capped:
        sections = np.concatenate([sections, sections[:1]])
    rows, n = sections.shape[:2]
    closed = np.concatenate([sections, sections[:, :1]], axis=1)
    around = np.linalg.norm(np.diff(closed, axis=1), axis=2)
    widest = np.argmax(around.sum(1))
    u = np.concatenate([[0.0], np.cumsum(around[widest])]) / around[widest].sum()
    along = np.linalg.norm(np.diff(closed, axis=0), axis=2).mean(1)
    v = np.concatenate([[0.0], np.cumsum(along)]) / along.sum()
    side = SIDE_CHART if capped else (0.0, 0.0, 1.0, 1.0)
    charts = [Chart(side, around[widest].sum() / along.sum())]
    columns = np.flatnonzero(corners) if corners is not None else np.zeros(0, int)
    column_breaks = np.unique(np.concatenate([[0], columns, [n]]))
    seamless = corners is None or not corners[0]
    row_breaks = np.unique([0, *breaks, rows - 1])
    pieces: list[Piece] = []
    for band, (low, high) in enumerate(pairwise(row_breaks)):
        for i, (first, last) in enumerate(pairwise(column_breaks)):
            group = 1000 * (band + 1) + (0 if seamless and last == n else i)
            if not capped and band + 2 == len(row_breaks) and 0 not in breaks and len(row_breaks) > 2:
                group = 1000 + group % 1000  # the skin closes smoothly over its first row
            uv = np.stack(np.broadcast_arrays(u[None, first : last + 1], v[low : high + 1, None]), -1)
            pieces.append((closed[low : high + 1, first : last + 1], _within(uv, side), 1, group))
    if capped:
        for end in (0, -1):
            middle = closed[end, :-1].mean(0)
            spokes = np.linspace(0, 1, 2)[:, None, None]
            angle = 2 * np.pi * u
            mirror = 1.0 if end else -1.0  # both ends read from left to right when seen from outside
            planar = 0.5 + 0.5 * spokes * np.stack([mirror * np.cos(angle), np.sin(angle)], -1)
            charts.append(Chart(DISC_CHARTS[end], 1.0, "end"))
            cap = middle + spokes * (closed[end] - middle)
            pieces.append((cap, _within(planar, DISC_CHARTS[end]), -1 if end else 1, 1 - end))
    return assemble(pieces, charts)


def prism(outline: np.ndarray, levels: Sequence[tuple[float, float]]) -> Shape:
    """Sections of one outline stacked along z; sharp everywhere.

    Args:
        outline: (n, 2), counter-clockwise, star-shaped about its mean.
        levels: (inset, z) of each section; a positive inset shrinks it along its corners' bisectors.
    """
    mitre = _mitres(outline, closed=True)
    sections = [np.column_stack([outline + inset * mitre, np.full(len(outline), z)]) for inset, z in levels]
    return loft(np.stack(sections), np.ones(len(outline), bool), range(len(levels)))


def ring_prism(outer: np.ndarray, inner: np.ndarray, height: float, corners: np.ndarray, chamfer: float = 0.0) -> Shape:
    """A prism over `outer` with a hole `inner`, both (n, 2), counter-clockwise, point by point opposite each other."""
    mitre = _mitres(outer, closed=True)
    h = height / 2
    rows = [(outer, -h + chamfer), (outer, h - chamfer), (inner, h), (inner, -h)]
    if chamfer > 0:
        rows.insert(2, (outer + chamfer * mitre, h))
        rows.append((outer + chamfer * mitre, -h))
    sections = np.stack([np.column_stack([outline, np.full(len(outline), z)]) for outline, z in rows])
    return loft(sections, corners, range(len(rows) + 1), capped=False)


def hollow_tube(path: np.ndarray, radius: float, wall: float, cols: int = 24) -> Shape:
    """A pipe of outer radius `radius` along a path (n, 3)."""
    frame = parallel_transport_frames(path)
    angle = np.linspace(0, 2 * np.pi, cols, endpoint=False)
    ring = np.cos(angle)[:, None] * frame[:, None, 0] + np.sin(angle)[:, None] * frame[:, None, 1]
    outer, inner = path[:, None] + radius * ring, path[:, None] + (radius - wall) * ring
    rows = len(path)
    return loft(np.concatenate([outer, inner[::-1]]), None, [0, rows - 1, rows, 2 * rows - 1, 2 * rows], capped=False)


def parallel_transport_frames(path: np.ndarray) -> np.ndarray:
    """(n, 2, 3) two unit vectors across the path (n, 3) at each point, carried along it without twist."""
    ahead = np.gradient(path, axis=0)
    tangent = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    frame = np.empty((len(path), 2, 3))
    first = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    for i, t in enumerate(tangent):
        first = first - t * (first @ t)
        first = first / np.linalg.norm(first)
        frame[i] = first, np.cross(t, first)
    return frame


def turn(axis: str, angle: float) -> np.ndarray:
    """(3, 3) rotation about x, y or z by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def circle(radius: float, count: int, phase: float = 0.0) -> np.ndarray:
    """(count, 2), counter-clockwise, not closed."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + phase
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def cylinder(radius: float, low: float, high: float, cols: int = 28, top: float | None = None) -> Shape:
    """About z, from height `low` to `high`."""
    top = radius if top is None else top
    side = np.array([[radius, low], [(radius + top) / 2, (low + high) / 2], [top, high]])
    return lathe(
        [disc(radius, low, outwards=True, rows=3), ("side", side), disc(top, high, outwards=False, rows=3)], cols
    )


def rod(start: np.ndarray, end: np.ndarray, radius: float, cols: int = 14, thinner: float = 1.0) -> Shape:
    """A straight bar between two points (3,)."""
    path = np.linspace(start, end, 5)
    return tube(path, np.linspace(radius, radius * thinner, 5), cols)


def spline(knots: np.ndarray, count: int) -> np.ndarray:
    """(count, 3) a smooth curve through the knots (n, 3)."""
    return CubicSpline(np.arange(len(knots)), knots)(np.linspace(0, len(knots) - 1, count))


def torus(radius: float, thickness: float, cols: int = 12) -> Shape:
    """About z."""
    ring = np.column_stack([circle(radius, 32), np.zeros(32)])
    return tube(ring, np.full(32, thickness), cols, closed=True)


Placement = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""(along, across, side) -> points (..., 3) of a sheet; side is -1 on one face and 1 on the other."""


def sheet_with_holes(
    along: np.ndarray, across: np.ndarray, holes: np.ndarray, place: Placement, *, wrapped: bool = False,
    smooth: bool = True, cells: int = 4,
) -> Shape:  # fmt: skip
    """A sheet of tiles, each with or without a round hole in its middle.

    Args:
        along: (C + 1,) ticks between tiles.
        across: (R + 1,) ticks.
        holes: (C, R) radii, 0 for none.
        place: puts the sheet into space.
        wrapped: the last column joins the first.
        smooth: shaded as one surface over columns; otherwise the sheet is folded between them.
        cells: edges on each side of a tile.
    """
    pieces: list[Piece] = []
    low, span = np.array([along[0], across[0]]), np.array([along[-1] - along[0], across[-1] - across[0]])

    def add(flat: np.ndarray, side: float, group: int) -> None:
        uv = (flat - low) / span
        if side < 0:
            uv = np.stack([1 - uv[..., 0], uv[..., 1]], -1)
        chart = _TOP_CHART if side > 0 else _BOTTOM_CHART
        pieces.append((place(flat[..., 0], flat[..., 1], side), _within(uv, chart), 1 if side > 0 else -1, group))

    def wall(line: np.ndarray, orientation: int, group: int) -> None:
        points = np.stack([place(line[:, 0], line[:, 1], side) for side in (-1.0, 1.0)])
        u, v = np.broadcast_arrays(np.linspace(0, 1, len(line))[None], np.array([[0.0], [1.0]]))
        pieces.append((points, _within(np.stack([u, v], -1), _WALL_CHART), orientation, group))

    columns, rows = holes.shape
    for i in range(columns):
        x = np.linspace(along[i], along[i + 1], cells + 1)
        group = 0 if smooth else i
        for j in range(rows):
            y = np.linspace(across[j], across[j + 1], cells + 1)
            if holes[i, j] > 0:
                flat = _tile_with_hole(x, y, holes[i, j])
                wall(flat[1], -1, 100_000 + i * rows + j)
            else:
                flat = np.stack(np.meshgrid(x, y), -1)
            for side in (-1.0, 1.0):
                add(flat, side, 10 + 2 * group + int(side > 0))
            if not wrapped and i == 0:
                wall(np.column_stack([np.full_like(y, x[0]), y]), -1, 3)
            if not wrapped and i == columns - 1:
                wall(np.column_stack([np.full_like(y, x[-1]), y]), 1, 4)
        wall(np.column_stack([x, np.full_like(x, across[0])]), 1, 200_000 + 2 * group)
        wall(np.column_stack([x, np.full_like(x, across[-1])]), -1, 200_001 + 2 * group)
    aspect = span[0] / span[1]
    return assemble(pieces, [Chart(_TOP_CHART, aspect), Chart(_BOTTOM_CHART, aspect), Chart(_WALL_CHART, 8.0, "end")])


def bent_sheet(
    path: np.ndarray, across: np.ndarray, thickness: float, holes: np.ndarray | None = None, *, closed: bool = False,
    smooth: bool = False, cells: int = 2,
) -> Shape:  # fmt: skip
    """A sheet that follows a path in the xz plane: brackets, profiles, frames, gutters.

    Args:
        path: (n, 2), its middle line.
        across: (R + 1,) ticks along y.
        holes: (n - 1 or, if closed, n; R) radii of holes through the sheet.
        closed: the path returns to its start.
        smooth: a curve rather than a polygon.
    """
    mitre = _mitres(path, closed)
    line, mitre = (np.concatenate([a, a[:1]]) if closed else a for a in (path, mitre))
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    faces = {side: line + side * thickness / 2 * mitre for side in (-1.0, 1.0)}

    def place(s: np.ndarray, y: np.ndarray, side: float) -> np.ndarray:
        x, z = (np.interp(s, along, faces[side][:, axis]) for axis in (0, 1))
        return np.stack([x, y, z], -1)

    if holes is None:
        holes = np.zeros((len(along) - 1, len(across) - 1))
    return sheet_with_holes(along, across, holes, place, wrapped=closed, smooth=smooth, cells=cells)


def flat_sheet(along: np.ndarray, across: np.ndarray, thickness: float, holes: np.ndarray, cells: int = 4) -> Shape:
    """A plate in the xy plane with holes (C, R) through it."""

    def place(x: np.ndarray, y: np.ndarray, side: float) -> np.ndarray:
        return np.stack([x, y, np.full_like(x, side * thickness / 2)], -1)

    return sheet_with_holes(along, across, holes, place, cells=cells)


def flange(inner: float, outer: float, thickness: float, bolts: int, bolt_radius: float) -> Shape:
    """A disc in the xy plane with a bore and a circle of bolt holes."""
    middle = (inner + outer) / 2
    along = np.linspace(0, 2 * np.pi * middle, bolts + 1)

    def place(s: np.ndarray, r: np.ndarray, side: float) -> np.ndarray:
        angle = -(s / along[-1] % 1.0) * 2 * np.pi
        return np.stack([r * np.cos(angle), r * np.sin(angle), np.full_like(r, side * thickness / 2)], -1)

    cells = max(3, 24 // bolts)
    holes = np.full((bolts, 1), min(bolt_radius, 0.3 * (outer - inner), 0.3 * along[1]))
    return sheet_with_holes(along, np.array([inner, outer]), holes, place, wrapped=True, cells=cells)


def _tile_with_hole(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """(2, 4 * cells + 1, 2) the tile's border and the hole's rim, counter-clockwise, both closed."""
    bottom, top = (np.column_stack([x, np.full_like(x, y[k])]) for k in (0, -1))
    left, right = (np.column_stack([np.full_like(y, x[k]), y]) for k in (0, -1))
    border = np.concatenate([bottom[:-1], right[:-1], top[:0:-1], left[::-1]])
    centre = np.array([x[0] + x[-1], y[0] + y[-1]]) / 2
    radius = min(radius, 0.45 * (x[-1] - x[0]), 0.45 * (y[-1] - y[0]))
    half = np.array([x[-1] - x[0], y[-1] - y[0]]) / 2
    spoke = (border - centre) / half  # of a square, so that a long tile's rim keeps evenly spread points
    return np.stack([border, centre + radius * spoke / np.linalg.norm(spoke, axis=1, keepdims=True)])


def _mitres(path: np.ndarray, closed: bool) -> np.ndarray:
    """(n, 2) what moves a path (n, 2) to its left by 1, parallel to its segments."""
    step = np.diff(np.concatenate([path, path[:1]]) if closed else path, axis=0)
    left = np.stack([-step[:, 1], step[:, 0]], 1) / np.linalg.norm(step, axis=1, keepdims=True)
    before = np.roll(left, 1, 0) if closed else np.concatenate([left[:1], left])
    after = left if closed else np.concatenate([left, left[-1:]])
    total = before + after
    return 2 * total / np.maximum((total**2).sum(1, keepdims=True), 0.4)


def _within(uv: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    low, high = np.array(box[:2]), np.array(box[2:])
    return low + uv * (high - low)


Maker = Callable[[np.random.Generator], list[Shape]]
"""Makes the parts of one object."""
