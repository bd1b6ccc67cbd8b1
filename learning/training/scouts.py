"""The released smaller networks that look at the many starts of a search for larger ones."""

from __future__ import annotations

from pathlib import Path

import torch

from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from pose6d.device import resolve_device
from pose6d.weights import find_scouts


def load_scouts(
    weights: str | Path, device: str | torch.device = "auto", amp: bool | None = None
) -> tuple[PoseRefinePredictor, ScorePredictor] | None:
    """Those for some weights, None where there are none (`pose6d.weights.find_scouts`).

    Args:
        weights: of the larger networks.
        device, amp: as of `Predictor`.

    Raises:
        WeightsError: missing or corrupt.
    """
    resolved = resolve_device(device)
    name = find_scouts(weights, resolved.type)
    if name is None:
        return None
    return PoseRefinePredictor(name, resolved, amp), ScorePredictor(name, resolved, amp)
