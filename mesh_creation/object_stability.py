"""Does the object keep its place on the board through the whole recording?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial import cKDTree

from pose6d.errors import SceneError

_SEARCHED = 0.03  # metres; what has no partner within is seen by one of the frames only
_FEWEST = 3  # pairs across a moment that must agree that something moved there
_MOVED = 0.0025  # metres by which pairs across the moment may lie farther apart than the others
_TIMES = 2.0  # and by how many times


def cloud_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Median distance in metres from points `a` (P, 3) to the nearest of `b` (Q, 3), larger of both directions."""
    if min(len(a), len(b)) < 50:
        return float("nan")
    values = []
    for source, target in ((a, b), (b, a)):
        distance = cKDTree(target).query(source, distance_upper_bound=_SEARCHED)[0]
        near = np.isfinite(distance)
        if near.mean() < 0.3:
            return float("nan")
        # Points seen by one frame only have no partner: the 60 % nearest tell whether the rest coincides.
        values.append(float(np.percentile(distance[near], 60)))
    return max(values)


def check_object_stays(
    clouds: Mapping[int, np.ndarray], pairs: Sequence[tuple[int, int]], names: Sequence[str], source: str
) -> float:
    """Refuse a recording in which the object moved on the board.

    Pairs of overlapping views that lie on two sides of a moment are compared with those on one side: if the first fit
    much worse for some moment, the object (or the board under it) was moved then.

    Args:
        clouds: points of the object (P, 3) in the board's frame, by frame.
        pairs: frames that see it from about the same side.
        names: of all frames.
        source: the scan, for messages.

    Returns:
        Median distance between overlapping views, metres; NaN where there is nothing to compare.

    Raises:
        SceneError: it moved; the message says when, and how to go on.
    """
    measured = [(i, j, cloud_distance(clouds[i], clouds[j])) for i, j in pairs]
    measured = [(i, j, distance) for i, j, distance in measured if np.isfinite(distance)]
    if not measured:
        return float("nan")
    first, second, distance = (np.array(column) for column in zip(*measured, strict=True))
    worst: tuple[float, int, float, float] | None = None
    for moment in np.unique(second):
        across = (first < moment) & (second >= moment)
        if across.sum() < _FEWEST or (~across).sum() < _FEWEST:
            continue
        apart, together = float(np.median(distance[across])), float(np.median(distance[~across]))
        if apart > together + _MOVED and apart > _TIMES * together:
            # The true moment has the most pairs across that disagree.
            score = (apart - together) * float(np.sqrt(across.sum()))
            if worst is None or score > worst[0]:
                worst = score, int(moment), apart, together
    if worst is not None:
        _, moment, apart, together = worst
        before = max(i for i in clouds if i < moment)
        raise SceneError(
            f"{source}: the object moved on the board between frames {names[before]} and {names[moment]}: views from "
            f"before and after lie {1000 * apart:.1f} mm apart, those of one side {1000 * together:.1f} mm. Register "
            f"only one part (--frames 0:{before} or --frames {moment}:), or film again without touching object or board"
        )
    return float(np.median(distance))
