"""Choosing the best hypotheses without choosing the same one twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pose6d.cuda_kernels import available, check_inputs, load_kernels

SAME_DISTANCE = 0.05  # diameters


def select_distinct(
    poses: Tensor, ranking: Tensor, top_k: int, diameter: float | Tensor, nms_degrees: float = 10.0
) -> Tensor:
    """Indices of the highest-ranked poses, those first that differ from every better one: non-maximum suppression.

    Hypotheses that have converged to one pose would otherwise fill all places. A pose within some degrees and 0.05
    diameters of a better one waits until all others have a place, also where that better one waits itself (as in Bolya
    et al., YOLACT, ICCV 2019, section 3.3: all comparisons at once, so a GPU is never waited for).

    Args:
        poses: (N, 4, 4).
        ranking: (N,) higher is better.
        top_k: at most so many.
        diameter: of the object, in the poses' unit.
        nms_degrees: poses nearer than that are the same.

    Returns:
        (min(top_k, N),) int64, by rank among the distinct ones, then among the others.
    """
    least_trace = 1 + 2 * math.cos(math.radians(nms_degrees))
    distance = SAME_DISTANCE * float(diameter)
    if available(poses.device):
        return _distinct_kernel(poses, ranking, min(top_k, len(poses)), least_trace, distance)
    order = torch.argsort(ranking, descending=True, stable=True)
    repeated = torch.tril(_same(poses[order], least_trace, distance), diagonal=-1).any(dim=1)
    return order[torch.argsort(repeated.to(torch.int8), stable=True)[:top_k]]


def _same(poses: Tensor, least_trace: float, distance: float) -> Tensor:
    """(N, N) bool, which of poses (N, 4, 4) turn by less than the angle of that trace and are less than that apart."""
    R, t = poses[:, :3, :3].reshape(-1, 9), poses[:, :3, 3]
    return (least_trace < R @ R.T) & (torch.cdist(t, t) < distance)


def _distinct_kernel(poses: Tensor, ranking: Tensor, top_k: int, least_trace: float, distance: float) -> Tensor:
    """`select_distinct` on a GPU, where sorting takes thirty launches."""
    count = len(poses)
    check_inputs(poses.device, poses=(poses, (count, 4, 4)), ranking=(ranking, (count,)))
    chosen = torch.empty(top_k, dtype=torch.int64, device=poses.device)
    if top_k:
        (kernel,) = load_kernels("pose6d.search", "distinct_poses.cu", ("select_distinct",), poses.get_device())
        repeated = torch.empty(count, dtype=torch.int32, device=poses.device)
        poses, ranking = poses.float().contiguous(), ranking.float().contiguous()
        kernel(1, poses, ranking, count, top_k, float(least_trace), float(distance), repeated, chosen)
    return chosen
