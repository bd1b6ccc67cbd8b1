"""The largest distance between two points of a set, for a million points as for three."""

from __future__ import annotations

import numpy as np

_PAIRS_AT_ONCE = 1024  # rows of the distance table held in memory
_TABLE_LIMIT = 20_000  # up to here every pair is looked at: 200 M distances, about two seconds on one core
_CLOSED = 1e-7  # bounds this near (relative) agree to float32


def point_set_diameter(points: np.ndarray) -> float:
    """Largest Euclidean distance between two of `points` (N, 3).

    Points that cannot belong to the widest pair are dropped by a bounding ball, the rest is reduced to the vertices of
    its convex hull, and all pairs of those are compared. Only where more than 20,000 hull vertices remain (a dense,
    nearly perfect ball) are they thinned first and the best pairs refined on all points; the result is then a lower
    bound that is short by far less than the spacing of the points.
    """
    points = np.asarray(points, dtype=np.float64)
    points = points - points.mean(axis=0)
    scale = float(np.abs(points).max())
    if scale == 0:
        return 0.0
    points = points / scale  # squares of huge and tiny coordinates stay in range
    best, middle = _climb(points, points[0])
    radius = np.linalg.norm(points - middle, axis=1)
    if 2 * radius.max() <= best * (1 + _CLOSED):  # no pair can be wider than the ball around all points
        return best * scale
    points = points[radius + radius.max() >= best * (1 - _CLOSED)]
    points = _hull_vertices(points)
    if len(points) > _TABLE_LIMIT:
        seeds = _widest_pairs(_thinned(points))[0]
        return max(best, *(_climb(points, seed)[0] for seed in seeds)) * scale
    return max(best, _widest_pairs(points)[1]) * scale


def _climb(points: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """From `start` to the farthest point, from there to its farthest, until it grows no more: distance and middle."""
    best, middle = 0.0, start
    while True:
        distance = np.linalg.norm(points - start, axis=1)
        far = int(distance.argmax())
        if distance[far] <= best:
            return best, middle
        best, middle = float(distance[far]), (start + points[far]) / 2
        start = points[far]


def _hull_vertices(points: np.ndarray) -> np.ndarray:
    """The points that are corners of the convex hull; of a flat or straight set, those of its own plane or line."""
    if len(points) <= 64:
        return points
    from scipy.spatial import ConvexHull, QhullError  # slow to import

    _, extent, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    for dimensions in (3, 2):
        if extent[dimensions - 1] <= 1e-9 * extent[0]:
            continue
        try:
            return points[ConvexHull(points @ axes[:dimensions].T).vertices]
        except QhullError:  # too flat for qhull in this many dimensions: leaving out the thin one changes nothing
            continue
    along = points @ axes[0]
    return points[[int(along.argmin()), int(along.argmax())]]


def _widest_pairs(points: np.ndarray) -> tuple[np.ndarray, float]:
    """(up to 32, 3) points with the widest partners, and the widest distance of all pairs."""
    square = (points**2).sum(axis=1)
    reach = np.empty(len(points))
    for first in range(0, len(points), _PAIRS_AT_ONCE):
        rows = slice(first, first + _PAIRS_AT_ONCE)
        reach[rows] = (square[rows, None] + square[None] - 2 * points[rows] @ points.T).max(axis=1)
    order = np.argsort(-reach)[:32]
    return points[order], float(np.sqrt(max(reach[order[0]], 0.0)))


def _thinned(points: np.ndarray) -> np.ndarray:
    """One point per cell of a grid that leaves at most the table's limit: the outermost of each cell."""
    order = np.argsort(-np.linalg.norm(points, axis=1))
    cells = 128
    while True:
        key = np.floor((points[order] + 1.0) * (cells / 4.0)).astype(np.int64)
        _, first = np.unique(key @ np.array([1, 1 << 20, 1 << 40]), return_index=True)
        if len(first) <= _TABLE_LIMIT:
            return points[order[first]]
        cells //= 2
