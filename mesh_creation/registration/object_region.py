"""Where on the board the object stands: what is above the plane, in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mesh_creation.registration.depth_cleaning import backproject_pixels
from mesh_creation.registration.work_area import WorkArea
from pose6d.errors import SceneError

_CELL = 0.004  # metres; pieces of the scene that are this far apart are different things
_MIN_SIZE = 0.01  # metres; a smaller thing is noise


@dataclass(frozen=True)
class ObjectRegion:
    """What was found on the board.

    Attributes:
        points: (P, 3) metres, the thinned surface in the board's frame.
        low, high: (3,) corners of the box around it.
        dropped: share of the points over the board that belong to other, smaller things.
        cut: share of the points that lie at the border of the work area.
    """

    points: np.ndarray
    low: np.ndarray
    high: np.ndarray
    dropped: float
    cut: float


def points_above_board(
    depth: np.ndarray, K: np.ndarray, camera_in_board: np.ndarray, area: WorkArea, stride: int = 2
) -> np.ndarray:
    """(P, 3) float32 points of the object in the board's frame, every `stride`-th pixel of `depth` (H, W)."""
    points = backproject_pixels(depth, K)[::stride, ::stride][depth[::stride, ::stride] > 0]
    points = points @ camera_in_board[:3, :3].T.astype(np.float32) + camera_in_board[:3, 3].astype(np.float32)
    return points[area.contains(points)]


def find_object(clouds: Sequence[np.ndarray], area: WorkArea, source: str) -> ObjectRegion:
    """The largest connected thing that several views agree on.

    Args:
        clouds: points above the board (P, 3) of each view, board frame.
        area: where they were looked for.
        source: the scan, for messages.

    Raises:
        SceneError: nothing stands on the board.
    """
    low = np.array([-area.half_width, -area.half_height, 0.0])
    shape = np.ceil((np.array([area.half_width, area.half_height, area.high]) - low) / _CELL).astype(int) + 1
    views = np.zeros(shape, np.int32)
    for cloud in clouds:
        cells, hits = np.unique(((cloud - low) / _CELL).astype(int), axis=0, return_counts=True)
        views[tuple(cells[hits >= 2].T)] += 1
    # A cell on the surface is seen from about half of all sides; noise is in few.
    solid = views >= max(2, round(0.04 * len(clouds)))
    labels, count = ndimage.label(solid, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(solid, labels, np.arange(1, count + 1)) if count else np.zeros(0)
    largest = int(np.argmax(sizes)) + 1 if count else 0
    cells = np.argwhere(labels == largest) if count else np.zeros((0, 3), int)
    if len(cells) < 12 or (np.ptp(cells, axis=0) + 1).max() * _CELL < _MIN_SIZE:
        raise SceneError(
            f"{source}: nothing stands on the board (of {len(clouds)} views, {sum(map(len, clouds))} points lie more "
            f"than {1000 * area.low:.1f} mm above the paper, and no {1000 * _MIN_SIZE:.0f} mm of them hang "
            "together): put the object on the board and film it from all sides; glass, mirrors and black gloss give "
            "no depth"
        )
    keep = ndimage.binary_dilation(labels == largest, np.ones((3, 3, 3)))
    points = np.concatenate([cloud[keep[tuple(((cloud - low) / _CELL).astype(int).T)]] for cloud in clouds])
    thinned, seen = _thin(points, 0.003)
    thinned = thinned[seen >= 3] if (seen >= 3).sum() > 50 else thinned
    border = np.array([area.half_width, area.half_height]) - 0.004
    return ObjectRegion(
        points=thinned,
        low=thinned.min(axis=0),
        high=thinned.max(axis=0),
        dropped=1 - float(sizes[largest - 1] / sizes.sum()),
        cut=float((np.abs(thinned[:, :2]) > border).any(axis=1).mean()),
    )


def _thin(points: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean point of each occupied cell (C, 3), and how many points it had (C,)."""
    keys = np.floor((points - points.min(axis=0)) / cell).astype(np.int64)
    span = keys.max(axis=0) + 1
    flat = (keys[:, 0] * span[1] + keys[:, 1]) * span[2] + keys[:, 2]
    _, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(inverse, points[:, i], len(counts)) for i in range(3)], axis=1)
    return sums / counts[:, None], counts
