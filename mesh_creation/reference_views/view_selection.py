"""Few of many views: those that look from the most different sides, and of neighbours the sharpest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NEIGHBOURS = 5
"""views that look from about the same side, of which the sharpest is taken, are at most so many"""


def farthest_views(directions: np.ndarray, most: int) -> list[int]:
    """Indices of at most `most` views, chosen greedily: the next is the one farthest from all that are chosen.

    The published method chooses its reference views so (arXiv 2312.08344, supplementary material). The first is the
    one nearest to the mean direction.

    Args:
        directions: (N, 3) unit vectors that views look along.
        most: how many to choose.
    """
    cosines = directions @ directions.T
    chosen = [int(np.argmax(directions @ directions.mean(axis=0)))]
    nearest = cosines[chosen[0]].copy()
    while len(chosen) < min(most, len(directions)):
        nearest[chosen] = np.inf
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, cosines[chosen[-1]])
    return chosen


def choose_views(directions: np.ndarray, most: int, sharpness: Callable[[int], float]) -> list[int]:
    """Indices, in order, of at most `most` views that look from different sides, each the sharpest of its neighbours.

    Args:
        directions: (N, 3) unit vectors that views look along.
        most: how many to choose.
        sharpness: of a view by its index; asked of few views only, as pictures have to be read for it.
    """
    if len(directions) <= most:
        return list(range(len(directions)))
    centres = farthest_views(directions, most)
    cosines = directions @ directions[centres].T
    owner = cosines.argmax(axis=1)
    owner[centres] = np.arange(len(centres))
    chosen = []
    for number in range(len(centres)):
        group = np.flatnonzero(owner == number)
        nearest = group[np.argsort(-cosines[group, number], kind="stable")[:NEIGHBOURS]]
        chosen.append(max(nearest.tolist(), key=sharpness))
    return sorted(chosen)
