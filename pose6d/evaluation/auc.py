"""Recall of pose errors at a threshold, and the area under its curve."""

from __future__ import annotations

import numpy as np

AUC_LIMIT = 0.1  # metres

# Metres: what rounding to float32 or in a file adds to an error. The true pose, read from a file, is perfect.
_ROUNDING = 1e-7


def recall(errors: np.ndarray, threshold: float) -> float:
    """Share of the errors below a threshold; nan for no errors.

    Args:
        errors: (N,), inf or NaN where there is no estimate.
        threshold: in the unit of the errors, for example 0.1 of ADD in diameters (Hinterstoisser et al., ACCV 2012).
    """
    errors = np.asarray(errors, dtype=np.float64)
    return float((errors < threshold).mean()) if errors.size else float("nan")


def auc(errors: np.ndarray, limit: float = AUC_LIMIT, step: float = 0.001) -> float:
    """Area under the curve of recall over the threshold, from 0 to `limit`, as a share of the largest possible.

    The curve is sampled every `step` from 0 on and joined by straight lines; an error on a threshold counts as reached,
    so that perfect estimates give 1. Xiang et al., PoseCNN, RSS 2018, section IV-B, there with limit 0.1 m. Without
    sampling it is the area itself, the mean of 1 - error / limit; both differ by at most half a step.

    Args:
        errors: (N,) in one unit, inf or NaN where there is no estimate.
        limit: in the same unit; the default is for metres.
        step: in the same unit; 0 is the area itself.

    Returns:
        From 0 to 1; nan for no errors.
    """
    errors = np.asarray(errors, dtype=np.float64)
    if not errors.size:
        return float("nan")
    if step == 0:
        return float(np.clip(1 - np.where(np.isnan(errors), np.inf, errors) / limit, 0, 1).mean())
    thresholds = np.arange(round(limit / step) + 1) * step
    reached = np.sort(np.where(np.isnan(errors), np.inf, errors))
    recalls = np.searchsorted(reached, thresholds + _ROUNDING, side="right") / errors.size
    return float(((recalls[1:] + recalls[:-1]) / 2).mean())
