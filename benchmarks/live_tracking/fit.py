"""Weights of the cues that tell right poses from wrong ones, fitted to sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.live_tracking.scores import PoseScorer
from live.judgement import cues
from live.pose_batch import JudgedPoses
from pose6d.evaluation.record import RIGHT
from pose6d.scenes.frame import Frame

_RIDGE = 1e-3


class JudgedRows:
    """Collects what was judged, and whether it was right; `StateTracker` calls it.

    Args:
        scorer: of the object.

    Attributes:
        rows: (F,) cues of each pose.
        right: whether each is within 0.1 diameter.
    """

    def __init__(self, scorer: PoseScorer):
        self._scorer = scorer
        self.rows: list[np.ndarray] = []
        self.right: list[bool] = []

    def __call__(self, frame: Frame, objects: Sequence[int], judged: JudgedPoses) -> None:
        """Poses that were refined and judged."""
        values = np.stack([*cues(judged).values()], axis=1)
        for row, pose in zip(values, judged.poses, strict=True):
            error = self._scorer.error(pose, frame)
            if error is not None:
                self.rows.append(row)
                self.right.append(error < RIGHT)


def fit_weights(rows: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Logistic regression in which right and wrong poses count the same.

    Args:
        rows: (N, F) cues.
        right: (N,) bool.

    Returns:
        (F,) weights, and the offset.
    """
    x = torch.tensor(rows, dtype=torch.float64)
    y = torch.tensor(right, dtype=torch.float64)
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    x = torch.cat([(x - mean) / scale, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    weight = torch.where(y > 0, 0.5 / y.sum().clamp(min=1), 0.5 / (1 - y).sum().clamp(min=1))
    beta = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(50):  # Newton's method
        p = torch.sigmoid(x @ beta)
        slope = x.T @ (weight * (p - y)) + _RIDGE * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + _RIDGE * torch.eye(len(beta), dtype=torch.float64)
        beta = beta - torch.linalg.solve(hessian, slope)
    weights = beta[:-1] / scale
    return weights.numpy(), float(beta[-1] - (weights * mean).sum())
