"""Choosing few frames that show the object from everywhere, each the sharpest of its neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_LENGTH = 0.4  # metres of distance that count as much as one radian of view angle


def sharpness(rgb: np.ndarray) -> float:
    """How sharp a picture (H, W, 3) is: the mean square of its Laplacian over the contrast."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.square(cv2.Laplacian(cv2.GaussianBlur(grey, (3, 3), 0), cv2.CV_32F))
    return float(edges.mean() / (grey.var() + 25.0))


def view_distances(a: np.ndarray, b: np.ndarray, center: np.ndarray) -> np.ndarray:
    """(A, B) radians by which views (A, 4, 4) and (B, 4, 4) of `center` (3,) differ, in direction and in distance."""
    rays_a, rays_b = a[:, :3, 3] - center, b[:, :3, 3] - center
    length_a, length_b = (np.linalg.norm(rays, axis=1) for rays in (rays_a, rays_b))
    cosine = (rays_a / length_a[:, None]) @ (rays_b / length_b[:, None]).T
    angle = np.arccos(np.clip(cosine, -1, 1))
    return np.hypot(angle, (length_a[:, None] - length_b[None, :]) / _LENGTH)


def choose_keyframes(
    poses: Sequence[np.ndarray | None], sharpness: Sequence[float], center: np.ndarray, step: float, most: int
) -> list[int]:
    """Frames in order, none nearer than `step` radians to another, the sharpest first served.

    Args:
        poses: camera poses (4, 4) by frame, None where a frame is not registered.
        sharpness: of each frame; compared with the median of its neighbours in time, since views differ in content.
        center: (3,) what the views look at, in the poses' frame.
        step: radians; it grows until no more than `most` frames are chosen.
        most: upper bound on the number of frames.
    """
    known = [i for i, pose in enumerate(poses) if pose is not None]
    if not known:
        return []
    values = np.asarray(sharpness, np.float64)
    relative = np.array([values[i] / max(np.median(values[max(0, i - 7) : i + 8]), 1e-9) for i in known])
    stack = np.stack([poses[i] for i in known])  # type: ignore[misc]
    distance = view_distances(stack, stack, center)
    while True:
        chosen: list[int] = []
        for candidate in np.argsort(-relative, kind="stable"):
            if all(distance[candidate, other] >= step for other in chosen):
                chosen.append(int(candidate))
        if len(chosen) <= most:
            return sorted(known[i] for i in chosen)
        step *= 1.15


def overlapping_pairs(poses: np.ndarray, center: np.ndarray, max_angle: float, most: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of poses (N, 4, 4): for each the `most` nearest views within `max_angle` radians."""
    distance = view_distances(poses, poses, center)
    np.fill_diagonal(distance, np.inf)
    pairs = set()
    for i, row in enumerate(distance):
        pairs |= {(min(i, int(j)), max(i, int(j))) for j in np.argsort(row)[:most] if row[j] < max_angle}
    return sorted(pairs)
