"""How far a confidence can be believed, and how well it tells right from wrong: pure functions of arrays.

`confidence` (N,) are probabilities in 0..1 that a result is right, `right` (N,) bool whether it was. Every function
raises ValueError where their shapes differ, or a confidence is no probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

_CERTAIN = 1e-7  # nearest to 0 and 1 that a single-precision probability can be told apart


@dataclass(frozen=True)
class ReliabilityBins:
    """Results sorted into equal intervals of confidence.

    Attributes:
        edges: (B + 1,) from 0 to 1.
        count: (B,) results in each interval.
        confidence: (B,) their mean confidence, NaN where there are none.
        accuracy: (B,) the share of them that is right, NaN where there are none.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability_bins(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> ReliabilityBins:
    """Sort results into intervals of confidence, each open below and closed above; the first holds 0 too.

    Niculescu-Mizil and Caruana, Predicting Good Probabilities With Supervised Learning, ICML 2005, section 4.
    """
    confidence, right = _check_inputs(confidence, right)
    edges = np.linspace(0, 1, bins + 1)
    # searchsorted and not ceil(confidence * bins), which puts values at an edge on either side of it by rounding.
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(place, confidence, bins) / count
        accuracy = np.bincount(place, right, bins) / count
    return ReliabilityBins(edges, count, mean_confidence, accuracy)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """ECE: the gap between mean confidence and accuracy, averaged over the intervals by how many results they hold.

    Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015; with 15 intervals as in
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    Returns:
        0 (perfect) to 1; NaN without results.
    """
    table = reliability_bins(confidence, right, bins)
    total = table.count.sum()
    if total == 0:
        return float("nan")
    filled = table.count > 0
    gap = np.abs(table.confidence - table.accuracy)[filled]
    return float((gap * table.count[filled]).sum() / total)


def roc_auc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Area under the ROC curve: how often a right result has a higher confidence than a wrong one, ties half.

    By ranks: Hanley and McNeil, The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve,
    Radiology 1982. Any increasing function of the confidence gives the same area.

    Returns:
        0.5 (chance) to 1 (perfect); below 0.5, the confidence is worse than chance. NaN unless there are both kinds.
    """
    confidence, right = _check_inputs(confidence, right)
    positive, negative = int(right.sum()), int((~right).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    ranks = rankdata(confidence)
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def brier_score(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean squared difference of the confidence from 1 where a result was right, and from 0 where it was not.

    Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review 1950.

    Returns:
        0 (perfect) to 1; NaN without results.
    """
    confidence, right = _check_inputs(confidence, right)
    return float(np.square(confidence - right).mean()) if len(confidence) else float("nan")


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What share is wrong among the results that are kept, if only the surest ones are.

    El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, JMLR 2010. Results of one confidence
    come in any order, so that they count with their mean.

    Returns:
        (N,) coverages 1/N to 1, and the risk (N,) at each of them.
    """
    confidence, right = _check_inputs(confidence, right)
    _, place, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = (np.bincount(place, ~right) / count)[np.sort(place)] if len(place) else np.zeros(0)
    kept = np.arange(1, len(confidence) + 1)
    return kept / max(len(confidence), 1), np.cumsum(wrong) / kept


def risk_at(confidence: np.ndarray, right: np.ndarray, coverage: float = 0.7) -> float:
    """The risk if this share of the results is kept, the surest; NaN without results."""
    covered, risk = risk_coverage(confidence, right)
    return float(risk[np.searchsorted(covered, coverage - 1e-9)]) if len(risk) else float("nan")


def risk_coverage_area(confidence: np.ndarray, right: np.ndarray) -> float:
    """AURC: the risk in the mean over all coverages. Geifman et al., Bias-Reduced Uncertainty Estimation for Deep
    Neural Classifiers, ICLR 2019.

    Returns:
        0 (all are right) to 1; with w of N wrong and all of these last, about (w / N)^2 / 2. NaN without results.
    """
    _, risk = risk_coverage(confidence, right)
    return float(risk.mean()) if len(risk) else float("nan")


def _check_inputs(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    if confidence.ndim != 1 or confidence.shape != right.shape:
        raise ValueError(f"confidence {confidence.shape} and right {right.shape}: two (N,) arrays are needed")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence holds values outside 0..1, or NaN: probabilities are needed")
    return confidence, right
