"""The large planes of a point map: tables, floors, walls, the sides of a bin."""

from __future__ import annotations

import cv2
import numpy as np

EXTENT_POINTS = 400
"""of which the extent of more points is taken, about"""
_MOST_PLANES = 6
_SAMPLES = 3000  # points that a hypothesis is judged by
_HYPOTHESES = 150
_LEAST_SHARE = 0.02  # of all points, on a plane
_SPREAD = 3.0  # standard deviations of the noise that a plane is thick, to each side


def noise_limit(depth: np.ndarray) -> np.ndarray:
    """By how much depths (...) in metres of one smooth surface may be off, metres: grows as a stereo camera's error."""
    return 0.0025 + 0.006 * depth * depth


def extent(points: np.ndarray) -> float:
    """Length of points (N, 3) along their longest axis, without outliers; their unit."""
    points = points[:: max(1, len(points) // EXTENT_POINTS)].astype(np.float64)
    points = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    along = np.sort(points @ axes[:, 2])  # np.percentile takes longer than all the rest
    low, high = np.interp(np.array([0.015, 0.985]) * (len(along) - 1), np.arange(len(along)), along)
    return float(high - low)


def point_normals(points: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unit normals (H, W, 3) of a point map (H, W, 3), smoothed over a window, 0 where there is none.

    Args:
        points: metres.
        known: (H, W) bool, where there is a point.
    """
    radius = 2  # pixels
    side = (2 * radius + 1,) * 2
    count = cv2.blur(known.astype(np.float32), side)
    smooth = cv2.blur(points, side) / np.maximum(count, 1e-6)[..., None]
    smooth[count < 0.3] = np.nan
    across, down = np.full_like(points, np.nan), np.full_like(points, np.nan)
    across[:, radius:-radius] = smooth[:, 2 * radius :] - smooth[:, : -2 * radius]
    down[radius:-radius] = smooth[2 * radius :] - smooth[: -2 * radius]
    normals = np.cross(down, across)  # towards the camera
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    return np.nan_to_num(normals)


def large_planes(
    points: np.ndarray, known: np.ndarray, normals: np.ndarray, size: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Planes that reach farther than an object does, largest first.

    A point and its normal are a hypothesis; the one with most points near it is fitted to them (RANSAC, Fischler and
    Bolles 1981). The search goes on with what is left.

    Args:
        points: (H, W, 3) metres, camera axes.
        known: (H, W) bool, where there is a point.
        normals: (H, W, 3) of `point_normals`.
        size: metres; what is less long is no support but may be a face of the object.

    Returns:
        For each (4,) its unit normal towards the camera and its offset, n . p + d = 0, and (H, W) bool, where it is.
    """
    random = np.random.default_rng(0)
    left = known.copy()
    total, planes = int(known.sum()), []
    for _ in range(_MOST_PLANES):
        rows, columns = np.nonzero(left)
        if len(rows) < max(_LEAST_SHARE * total, 50):
            break
        seen = random.integers(len(rows), size=min(_SAMPLES, len(rows)))
        sample, turned = points[rows[seen], columns[seen]], normals[rows[seen], columns[seen]]
        limit = noise_limit(sample[:, 2])
        tried = np.flatnonzero(turned.any(axis=1))[:_HYPOTHESES]
        if not len(tried):
            break
        offsets = -(turned[tried] * sample[tried]).sum(axis=1)
        near = np.abs(sample @ turned[tried].T + offsets) < limit[:, None]
        near &= turned @ turned[tried].T > 0.7
        plane = np.append(turned[tried[best := near.sum(axis=0).argmax()]], offsets[best])
        inliers = near[:, best]
        for _ in range(3):
            if inliers.sum() < 10:
                break
            plane = _fit(sample[inliers], plane)
            away = np.abs(sample @ plane[:3] + plane[3])
            inliers = (away < limit) & (turned @ plane[:3] > 0.7)
        away = points @ plane[:3].astype(np.float32) + np.float32(plane[3])
        relative = np.abs(away) / noise_limit(points[..., 2])
        close = left & (relative < 1)
        if close.sum() < _LEAST_SHARE * total:
            break
        spread = _SPREAD * 1.4826 * float(np.median(relative[close]))
        on_plane = _large_parts(left & (relative < np.clip(spread, 0.4, 1.2)), points, size)
        left &= ~close
        if on_plane.any():
            planes.append((plane, on_plane))
    return planes


def _fit(points: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The plane (4,) through points (N, 3), each weighted by its accuracy, with a normal on the side of another's."""
    weight = 1 / noise_limit(points[:, 2:]) ** 2
    middle = (weight * points).sum(axis=0) / weight.sum()
    moved = (points - middle) * np.sqrt(weight)
    normal = np.linalg.eigh(moved.T @ moved)[1][:, 0]
    normal = normal if normal @ like[:3] > 0 else -normal
    return np.append(normal, -normal @ middle)


def _large_parts(mask: np.ndarray, points: np.ndarray, size: float) -> np.ndarray:
    """The connected parts of a mask (H, W) that are longer than `size` metres."""
    joined = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=4)
    keep = np.zeros(count, bool)
    for label in np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:12] + 1:
        part = points[mask & (labels == label)]
        keep[label] = len(part) >= 30 and extent(part) > size
    return mask & keep[labels]
