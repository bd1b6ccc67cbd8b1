"""Choosing the best hypotheses without choosing the same one twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SAME_DISTANCE = 0.05  # diameters


def distinct_best(poses: Tensor, ranking: Tensor, keep: int, diameter: float, degrees: float = 10.0) -> Tensor:
    """Indices of the highest-ranked poses, those first that differ from every better one.

    Hypotheses that have converged to one pose would otherwise fill all places. A pose within some degrees and 0.05
    diameters of a better one waits until all others have a place, also where that better one waits itself (as in Bolya
    et al., YOLACT, ICCV 2019, section 3.3: all comparisons at once, so a GPU is never waited for).

    Args:
        poses: (N, 4, 4).
        ranking: (N,) higher is better.
        keep: at most so many.
        diameter: of the object, in the poses' unit.
        degrees: poses nearer than that are the same.

    Returns:
        (min(keep, N),) int64, by rank among the distinct ones, then among the others.
    """
    order = torch.argsort(ranking, descending=True, stable=True)
    repeated = torch.tril(_same(poses[order], diameter, degrees), diagonal=-1).any(dim=1)
    return order[torch.argsort(repeated.to(torch.int8), stable=True)[:keep]]


def _same(poses: Tensor, diameter: float, degrees: float) -> Tensor:
    """(N, N) bool, which of poses (N, 4, 4) are the same within some degrees and 0.05 diameters."""
    R, t = poses[:, :3, :3].reshape(-1, 9), poses[:, :3, 3]
    trace = 1 + 2 * math.cos(math.radians(degrees))
    return (trace < R @ R.T) & (torch.cdist(t, t) < SAME_DISTANCE * diameter)
