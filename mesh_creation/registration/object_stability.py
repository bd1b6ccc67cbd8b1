"""Does the object keep its place on the board through the whole recording?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pose6d.errors import SceneError

_SHARED = 0.03  # metres in depth; what differs by more is hidden from one of the views
_MIN_PAIRS = 3  # pairs across a moment that must agree that something moved there
_MIN_SHIFT = 0.0015  # metres by which pairs across the moment may disagree more than the others
_MIN_RATIO = 2.0  # and by how many times


@dataclass(frozen=True)
class ObjectView:
    """What one frame sees of the object.

    Attributes:
        points: (P, 3) metres, board frame.
        depth: (H, W) metres, 0 where unknown.
        K: (3, 3) intrinsics of `depth`.
        camera_in_board: (4, 4).
    """

    points: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    camera_in_board: np.ndarray


def disagreement(a: ObjectView, b: ObjectView) -> float:
    """By how many metres two views disagree about the object: the larger of both directions, NaN if they share little.

    The points of one view are compared with the depth of the other where it looks; what is far behind that is hidden.
    """
    values = []
    for source, target in ((a, b), (b, a)):
        board_in_camera = np.linalg.inv(target.camera_in_board)
        points = source.points @ board_in_camera[:3, :3].T + board_in_camera[:3, 3]
        pixels = points @ target.K.T
        column, row = np.round(pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6)).astype(int).T
        height, width = target.depth.shape
        inside = (points[:, 2] > 0.05) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        measured = target.depth[row[inside], column[inside]]
        apart = np.abs(points[inside, 2] - measured)[measured > 0]
        shared = apart < _SHARED
        if shared.sum() < 50 or shared.mean() < 0.2:
            return float("nan")
        values.append(float(np.median(apart[shared])))
    return max(values)


def check_object_stays(
    views: Mapping[int, ObjectView], pairs: Sequence[tuple[int, int]], names: Sequence[str], source: str
) -> float:
    """Refuse a recording in which the object moved on the board.

    Pairs of overlapping views that lie on two sides of a moment are compared with those on one side: if the first fit
    much worse for some moment, the object (or the board under it) was moved. When is known only as well as pairs that
    share a surface tell: the message names the whole stretch.

    Args:
        views: what the frames see of the object, by frame.
        pairs: frames that see it from about the same side.
        names: of all frames.
        source: the scan, for messages.

    Returns:
        Median disagreement of overlapping views, metres; NaN where there is nothing to compare.

    Raises:
        SceneError: it moved; the message says when, and how to go on.
    """
    measured = [(i, j, disagreement(views[i], views[j])) for i, j in pairs]
    measured = [(i, j, distance) for i, j, distance in measured if np.isfinite(distance)]
    if not measured:
        return float("nan")
    first, second, distance = (np.array(column) for column in zip(*measured, strict=True))
    found: list[tuple[float, int, float, float]] = []  # how badly it explains the pairs, moment, apart, together
    for moment in sorted(views):
        across = (first < moment) & (second >= moment)
        if across.sum() < _MIN_PAIRS or (~across).sum() < _MIN_PAIRS:
            continue
        apart, together = float(np.median(distance[across])), float(np.median(distance[~across]))
        if apart > together + _MIN_SHIFT and apart > _MIN_RATIO * together:
            misfit = float(np.abs(distance - np.where(across, apart, together)).sum())
            found.append((misfit, moment, apart, together))
    if found:
        misfit, _, apart, together = min(found)
        # Moments that one pair more or less speaks against are as likely as the best.
        likely = [moment for other, moment, *_ in found if other <= misfit + (apart - together)]
        before, after = max(i for i in views if i < min(likely)), max(likely)
        raise SceneError(
            f"{source}: the object moved on the board, or the board under it, most likely between frames "
            f"{names[before]} and {names[after]}: views before and after disagree by {1000 * apart:.1f} mm, others by "
            f"{1000 * together:.1f} mm. Film again without touching either, or register one part alone "
            f"(--frames 0:{before + 1} or --frames {after}:) if that shows all sides"
        )
    return float(np.median(distance))
