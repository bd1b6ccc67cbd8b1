"""How a tracker behaves over time: how often it is lost, how long it lasts, how much it trembles.

The literature has no agreed definitions of these three; the formulas are in docs/evaluation.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pose6d.evaluation.pose_errors import nearest_symmetric_truth, rotation_error


@dataclass(frozen=True)
class LossStatistics:
    """When a tracker was lost.

    Attributes:
        lost_rate: share of the frames in which it was lost.
        losses: how often it went from tracking, or from the start, to lost.
        mean_time_to_loss: seconds of tracking per loss; inf where it was never lost. A last stretch that ends with the
            recording adds its time but no loss, so that it does not bias the mean.
        first_loss: seconds from the first frame to the first lost one; inf where there is none.
    """

    lost_rate: float
    losses: int
    mean_time_to_loss: float
    first_loss: float


@dataclass(frozen=True)
class Jitter:
    """Root mean square change of the pose error from one frame to the next; the motion of the object cancels."""

    rotation: float
    translation: float


def loss_statistics(errors: np.ndarray, limit: float, frame_seconds: float) -> LossStatistics:
    """Find where the tracker was lost.

    Args:
        errors: (N,) one per frame in time order, NaN or inf where there is no pose.
        limit: a frame is lost from this error on, for example ADD of 0.1 diameters.
        frame_seconds: between two frames.

    Raises:
        ValueError: there are no frames.
    """
    errors = np.asarray(errors, dtype=np.float64)
    if not errors.size:
        raise ValueError("errors holds no frames: at least one is needed")
    lost = ~(errors < limit)
    losses = int(lost[0]) + int((lost[1:] & ~lost[:-1]).sum())
    return LossStatistics(
        lost_rate=float(lost.mean()),
        losses=losses,
        mean_time_to_loss=float((~lost).sum()) * frame_seconds / losses if losses else float("inf"),
        first_loss=int(lost.argmax()) * frame_seconds if lost.any() else float("inf"),
    )


def jitter(estimates: np.ndarray, truths: np.ndarray, symmetries: np.ndarray | None = None) -> Jitter:
    """How much the error changes from frame to frame.

    The error of a frame is the rotation R_estimate @ R_truth^T and the difference of the translations, both in camera
    axes, to the nearest symmetric truth. For an object at rest without ground truth pass any constant pose.

    Args:
        estimates: (N, 4, 4) of consecutive frames.
        truths: (N, 4, 4), or (4, 4) of an object at rest.
        symmetries: (S, 4, 4) or None.

    Returns:
        Radians, and the unit of the translations; nan for fewer than two frames.
    """
    if len(estimates) < 2:
        return Jitter(float("nan"), float("nan"))
    estimates = np.asarray(estimates, dtype=np.float64)
    nearest = nearest_symmetric_truth(estimates, truths, symmetries)
    error = np.zeros_like(estimates)
    error[:, :3, :3] = estimates[:, :3, :3] @ np.swapaxes(nearest[:, :3, :3], 1, 2)
    error[:, :3, 3] = estimates[:, :3, 3] - nearest[:, :3, 3]
    angles = rotation_error(error[1:], error[:-1])
    steps = np.linalg.norm(error[1:, :3, 3] - error[:-1, :3, 3], axis=-1)
    return Jitter(float(np.sqrt((angles**2).mean())), float(np.sqrt((steps**2).mean())))
