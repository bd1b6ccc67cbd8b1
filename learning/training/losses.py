"""Losses of the two networks, and the pose errors they are built on."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pose6d.geometry.transforms import transform_points

_OFFSET_WEIGHT = 1e-3  # a common score of 10 costs as much as a tenth of a wrong decision


def add_error(estimate: torch.Tensor, truth: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """ADD (Hinterstoisser et al. 2012): mean distance of corresponding points.

    Args:
        estimate: (..., 4, 4) poses.
        truth: (..., 4, 4) poses.
        points: (..., P, 3) surface points.

    Returns:
        (...) in the points' unit.
    """
    return (transform_points(estimate, points) - transform_points(truth, points)).norm(dim=-1).mean(-1)


def add_s_error(estimate: torch.Tensor, truth: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """ADD-S (Hinterstoisser et al. 2012): mean distance of each true point to the nearest estimated one."""
    distances = torch.cdist(transform_points(truth, points), transform_points(estimate, points))
    return distances.amin(dim=-1).mean(-1)


def refiner_loss(
    trans: torch.Tensor,
    rotvec: torch.Tensor,
    trans_target: torch.Tensor,
    rotvec_target: torch.Tensor,
    refined: torch.Tensor,
    truth: torch.Tensor,
    points: torch.Tensor,
    weight: torch.Tensor,
    beta: float,
) -> dict[str, torch.Tensor]:
    """Smooth-L1 on both updates plus the mean distance of surface points after the update.

    Args:
        trans, trans_target: (N, 3) in radii.
        rotvec, rotvec_target: (N, 3) radians, after the limiting tanh.
        refined, truth: (N, 4, 4), unit diameter.
        points: (N, P, 3).
        weight: (N,) 0 for samples that show too little of the object.
        beta: where smooth-L1 turns from square to linear.

    Returns:
        `loss` and its parts, scalars.
    """
    total = weight.sum().clamp(min=1.0)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (values * weight).sum() / total

    parts = {
        "translation": mean(F.smooth_l1_loss(trans, trans_target, beta=beta, reduction="none").sum(1)),
        "rotation": mean(F.smooth_l1_loss(rotvec, rotvec_target, beta=beta, reduction="none").sum(1)),
        "add": mean(add_error(refined, truth, points)),
    }
    return {"loss": parts["translation"] + parts["rotation"] + 2.0 * parts["add"], **parts}


def scorer_loss(logits: torch.Tensor, error: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pairwise logistic ranking plus cross-entropy to a softmin of the errors.

    Both ignore what all scores of a scene have in common, so rounding noise, which Adam magnifies, would let that drift
    until the attention between hypotheses saturates and all scores become equal; a small weight on it holds it near 0.

    Args:
        logits: (N, L) scores, higher is better.
        error: (N, L) pose errors in diameters.
        weight: (N,) 0 for scenes that show too little of the object.

    Returns:
        `loss`, its parts and `regret`: how much worse the chosen hypothesis is than the best, in diameters.
    """
    total = weight.sum().clamp(min=1.0)
    worse = error[:, None, :] - error[:, :, None]  # (N, L, L): how much worse column j is than row i
    differs = worse > 0.01 + 0.1 * error[:, :, None]
    margin = logits[:, :, None] - logits[:, None, :]
    pairs = (F.softplus(-margin) * differs).sum((1, 2)) / differs.sum((1, 2)).clamp(min=1)
    entropy = -(F.log_softmax(logits, 1) * F.softmax(-error / 0.03, 1)).sum(1)
    chosen = error.gather(1, logits.argmax(1, keepdim=True))[:, 0]
    parts = {
        "pairs": (pairs * weight).sum() / total,
        "entropy": (entropy * weight).sum() / total,
        "offset": (logits.mean(1).square() * weight).sum() / total,
        "regret": ((chosen - error.amin(1)) * weight).sum() / total,
    }
    return {"loss": parts["pairs"] + 0.5 * parts["entropy"] + _OFFSET_WEIGHT * parts["offset"], **parts}


def confidence_loss(logits: torch.Tensor, right: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each hypothesis being right.

    Args:
        logits: (N, L).
        right: (N, L) bool.
        weight: (N,) 0 for scenes that show too little of the object to tell.
    """
    each = F.binary_cross_entropy_with_logits(logits, right.float(), reduction="none").mean(1)
    return (each * weight).sum() / weight.sum().clamp(min=1.0)
