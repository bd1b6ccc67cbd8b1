"""What is kept of each result, and the numbers of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pose6d.evaluation.calibration import expected_calibration_error, roc_auc

RIGHT = 0.1  # diameters
_AUC_LIMIT = 0.1  # metres


@dataclass
class Record:
    """One pose that the estimator gave, or failed to give.

    Attributes:
        suite, object, index: what was to be found where; `index` counts the suite's scenes.
        frame: of a sequence, 0 otherwise.
        recording: name of a real recording, else empty.
        quantized: variant of the networks, empty for the weights as they are.
        diameter: of the object, metres.
        symmetric: the object looks the same from several sides.
        present: the object is in the frame, under the mask.
        visible: the part of its silhouette that can be seen.
        seconds: that register or track_one took.
        confidence: as the estimator gave it, None where the weights have none.
        failure: the message, where the estimator refused the frame.
        lost: a tracked object that is so far off that tracking started again from the truth.
        add: of the closest symmetric pose where the symmetries are known, diameters; None, like the other errors, where
            there is no truth or no pose.
        add_s: diameters.
        error: ADD(-S), diameters: ADD-S where an object is symmetric and its symmetries are not known, else `add`.
        best_add: the least `add` among the hypotheses, diameters.
        degrees, millimetres: errors of rotation and translation.
        pose: row-major 4x4 object in camera, kept for real frames.
    """

    suite: str
    object: str
    index: int
    diameter: float
    frame: int = 0
    recording: str = ""
    quantized: str = ""
    symmetric: bool = False
    present: bool = True
    visible: float = 1.0
    seconds: float = 0.0
    confidence: float | None = None
    failure: str = ""
    lost: bool = False
    add: float | None = None
    add_s: float | None = None
    error: float | None = None
    best_add: float | None = None
    degrees: float | None = None
    millimetres: float | None = None
    pose: list[float] | None = None

    @property
    def right(self) -> bool | None:
        """Whether the pose is within 0.1 diameter; None where nobody knows the truth."""
        if not self.present or self.failure:
            return False
        return None if self.error is None else self.error < RIGHT


@dataclass(frozen=True)
class Scores:
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


def score(records: Sequence[Record]) -> Scores:
    """The numbers of some results; a refused frame counts as infinitely wrong."""
    counted = [r for r in records if r.present and r.right is not None]
    add, add_s, error, best, degrees, millimetres = (
        _column(counted, name) for name in ("add", "add_s", "error", "best_add", "degrees", "millimetres")
    )
    metres = np.array([r.diameter for r in counted])
    confidence, right = judged(records)
    return Scores(
        results=len(counted),
        add=_percent(add < RIGHT),
        add_s=_percent(add_s < RIGHT),
        error=_percent(error < RIGHT),
        auc_add=_area(add * metres, _AUC_LIMIT),
        auc_add_s=_area(add_s * metres, _AUC_LIMIT),
        auc_diameter=_area(error, RIGHT),
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


def judged(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (N,) and whether the pose was right (N,) of the results where both are known."""
    known = [(r.confidence, r.right) for r in records if r.confidence is not None and r.right is not None]
    return np.array([c for c, _ in known], dtype=np.float64), np.array([right for _, right in known], dtype=bool)


def _column(records: Sequence[Record], name: str) -> np.ndarray:
    """One number per record: infinite where the estimator refused the frame, NaN where it is not measured."""
    values = [np.inf if r.failure else getattr(r, name) for r in records]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _percent(hits: np.ndarray) -> float:
    return 100 * float(hits.mean()) if len(hits) else float("nan")


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _area(errors: np.ndarray, limit: float) -> float:
    return 100 * float(np.clip(1 - errors / limit, 0, 1).mean()) if len(errors) else float("nan")
