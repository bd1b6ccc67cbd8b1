"""The largest distance between two points of a set, for a million points as for three."""

from __future__ import annotations

import math

import numpy as np

_ROWS = 1024  # of the distance table that are held in memory at once
_FEW = 4096  # of which all pairs are compared sooner than their hull is found
_MAX_CORNERS = 20_000  # up to here every pair is compared: 200 M distances, less than a second on one core
_ROUNDING = 1e-7  # bounds this near (relative) agree to float32


def point_set_diameter(points: np.ndarray) -> float:
    """Largest Euclidean distance between two of `points` (N, 3).

    Points that cannot belong to the widest pair are dropped by a bounding ball, the rest is reduced to the vertices of
    its convex hull, and all pairs of those are compared. Only where more than 20,000 hull vertices remain (a dense,
    nearly perfect ball) are some of them skipped; the result is then a lower bound that is short by far less than the
    spacing of the points.
    """
    points = np.asarray(points, dtype=np.float64)
    points = points - points.mean(axis=0)
    scale = float(np.abs(points).max())
    if scale == 0:
        return 0.0
    points = points / scale  # squares of huge and tiny coordinates stay in range
    best, middle = _climb(points, points[0])
    radius = np.linalg.norm(points - middle, axis=1)
    if 2 * radius.max() <= best * (1 + _ROUNDING):  # no pair can be wider than the ball around all points
        return best * scale
    corners = _hull_vertices(points[radius + radius.max() >= best * (1 - _ROUNDING)])
    corners = corners[:: math.ceil(len(corners) / _MAX_CORNERS)]
    return max(best, _widest(corners)) * scale


def _widest(points: np.ndarray) -> float:
    """The largest of all distances between points (N, 3)."""
    squares = np.einsum("ij,ij->i", points, points)
    largest = 0.0
    for i in range(0, len(points), _ROWS):
        rows = points[i : i + _ROWS] @ (-2 * points[i:].T)
        rows += squares[i:]
        largest = max(largest, float((rows.max(axis=1) + squares[i : i + _ROWS]).max()))
    return math.sqrt(largest)


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
    if len(points) <= _FEW:
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
