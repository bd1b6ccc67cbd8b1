"""The numbers of a suite, from the records of its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose6d.evaluation.auc import auc
from pose6d.evaluation.calibration import expected_calibration_error, roc_auc
from pose6d.evaluation.record import RIGHT, Record, column


@dataclass(frozen=True)
class SuiteScores:
    """The numbers of a suite; NaN where there is nothing to count. Shares are in percent.

    Attributes:
        results: poses that count: those with a truth.
        add, add_s, error: ADD-0.1d, ADD-S-0.1d and ADD(-S)-0.1d.
        auc_add, auc_add_s: area under the curve of accuracy over thresholds from 0 to 0.1 m (Xiang et al., PoseCNN,
            RSS 2018, section V.B), percent.
        auc_diameter: the same of ADD(-S) for thresholds from 0 to 0.1 diameters.
        median: ADD(-S) in diameters.
        degrees, millimetres: medians.
        any_add: how often any hypothesis is within 0.1 diameter.
        failures, losses: refused frames, and restarts of the tracker.
        milliseconds: median time of register or track_one.
        confidence: mean.
        ece, roc_auc: of the confidence.
    """

    results: int
    add: float
    add_s: float
    error: float
    auc_add: float
    auc_add_s: float
    auc_diameter: float
    median: float
    degrees: float
    millimetres: float
    any_add: float
    failures: int
    losses: int
    milliseconds: float
    confidence: float
    ece: float
    roc_auc: float


def score(records: Sequence[Record]) -> SuiteScores:
    """The numbers of some results; a refused frame counts as infinitely wrong."""
    counted = [r for r in records if r.present and r.right is not None]
    add, add_s, error, best, degrees, millimetres = (
        column(counted, name) for name in ("add", "add_s", "error", "best_add", "degrees", "millimetres")
    )
    metres = np.array([r.diameter for r in counted])
    confidence, right = select_judged(records)
    return SuiteScores(
        results=len(counted),
        add=_percent(add < RIGHT),
        add_s=_percent(add_s < RIGHT),
        error=_percent(error < RIGHT),
        auc_add=100 * auc(add * metres, step=0),
        auc_add_s=100 * auc(add_s * metres, step=0),
        auc_diameter=100 * auc(error, RIGHT, step=0),
        median=_median(error),
        degrees=_median(degrees),
        millimetres=_median(millimetres),
        any_add=_percent(best[~np.isnan(best)] < RIGHT) if np.isfinite(best).any() else float("nan"),
        failures=sum(bool(r.failure) for r in records),
        losses=sum(r.lost for r in records),
        milliseconds=1e3 * _median(np.array([r.seconds for r in records if not r.failure])),
        confidence=float(confidence.mean()) if len(confidence) else float("nan"),
        ece=expected_calibration_error(confidence, right),
        roc_auc=roc_auc(confidence, right),
    )


def select_judged(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (N,) and whether the pose was right (N,) of the results where both are known."""
    known = [(r.confidence, r.right) for r in records if r.confidence is not None and r.right is not None]
    return np.array([c for c, _ in known], dtype=np.float64), np.array([right for _, right in known], dtype=bool)


def _percent(hits: np.ndarray) -> float:
    return 100 * float(hits.mean()) if len(hits) else float("nan")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
