"""The numbers of a suite, from the records of its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose6d.evaluation.auc import auc
from pose6d.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    risk_at,
    risk_coverage_area,
    roc_auc,
)
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
        brier, risk_area, risk_70: of the confidence: Brier score, area under the curve of risk against coverage, and
            the risk among the surest 70 %.
        set_error: how often ADD to the nearest pose that looks like the truth is within 0.1 diameter.
        truth_likely: how often ADD(-S) of any likely pose is.
        precision, recall, coverage: of the likely poses against the set of those that look like the truth, percent.
        likely, set_size: mean numbers of likely poses, and of poses that look like the truth.
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
    brier: float
    risk_area: float
    risk_70: float
    set_error: float
    truth_likely: float
    precision: float
    recall: float
    coverage: float
    likely: float
    set_size: float


def score(records: Sequence[Record], *, by_set: bool = False) -> SuiteScores:
    """The numbers of some results; a refused frame counts as infinitely wrong.

    Args:
        records: of any suites.
        by_set: the confidence is compared with `Record.set_right` in place of `right`.
    """
    counted = [r for r in records if r.present and r.right is not None]
    add, add_s, error, best, degrees, millimetres = (
        column(counted, name) for name in ("add", "add_s", "error", "best_add", "degrees", "millimetres")
    )
    metres = np.array([r.diameter for r in counted])
    confidence, right = select_judged(records, by_set=by_set)
    with_set = [r for r in counted if r.set_right is not None]
    answered = [r for r in with_set if r.set_error is not None]
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
        brier=brier_score(confidence, right),
        risk_area=risk_coverage_area(confidence, right),
        risk_70=risk_at(confidence, right),
        set_error=_percent(np.array([bool(r.set_right) for r in with_set])),
        truth_likely=_percent(column(counted, "best_alternative") < RIGHT),
        precision=100 * _mean([r.precision or 0.0 for r in with_set]),
        recall=100 * _mean([r.recall or 0.0 for r in with_set]),
        coverage=100 * _mean([r.coverage or 0.0 for r in with_set]),
        likely=_mean([float(r.likely) for r in answered]),
        set_size=_mean([float(r.set_size or 1) for r in answered]),
    )


def select_judged(records: Sequence[Record], *, by_set: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (N,) and whether the pose was right (N,) of the results where both are known."""
    judged = [(r.confidence, r.set_right if by_set else r.right) for r in records]
    known = [(confidence, right) for confidence, right in judged if confidence is not None and right is not None]
    return np.array([c for c, _ in known], dtype=np.float64), np.array([right for _, right in known], dtype=bool)


def _percent(hits: np.ndarray) -> float:
    return 100 * float(hits.mean()) if len(hits) else float("nan")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
