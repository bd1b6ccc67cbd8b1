"""The reliability diagram: what a confidence promised against what came true, and what it is worth to select by it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pose6d.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_bins,
    risk_at,
    risk_coverage,
    risk_coverage_area,
    roc_auc,
)
from pose6d.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 15


def write_reliability_diagram(path: Path, confidence: np.ndarray, right: np.ndarray, title: str) -> None:
    """Write a PNG: accuracy over confidence, how many results each interval holds, and risk over coverage.

    Args:
        path: the .png to write.
        confidence: (N,) in 0..1.
        right: (N,) bool.
        title: above the diagram.

    Raises:
        OutputError: the file cannot be written.
    """
    # Here and not above: it takes half a second, which those who import this module and draw nothing should not pay.
    from matplotlib.figure import Figure

    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    table = reliability_bins(confidence, right, _BINS)
    figure = Figure(figsize=(10.4, 6.2), layout="constrained")
    places = [["reliability", "risk"], ["count", "risk"]]
    panels = figure.subplot_mosaic(places, height_ratios=[3, 1])  # type: ignore[arg-type]
    above, below = panels["reliability"], panels["count"]
    below.sharex(above)
    filled = table.count > 0
    middle, width = (table.edges[1:] + table.edges[:-1]) / 2, 1 / _BINS
    above.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="perfectly calibrated")
    above.bar(middle[filled], table.accuracy[filled], 0.92 * width, color="#4c78a8", label="share that was right")
    above.plot(
        table.confidence[filled], table.accuracy[filled], "o", color="#e45756", markersize=4, label="mean confidence"
    )
    numbers = (
        f"ECE {expected_calibration_error(confidence, right, _BINS):.3f}, ROC-AUC {roc_auc(confidence, right):.3f}, "
        f"{len(confidence)} results, {100 * right.mean():.0f} % right"
    )
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right poses")
    above.set_title(f"{title}\n{numbers}", fontsize=10)
    above.legend(loc="upper left", frameon=False, fontsize=9)
    wrong = np.histogram(confidence[~right], table.edges)[0]
    below.bar(middle, table.count, 0.92 * width, color="#4c78a8", label="right")
    below.bar(middle, np.minimum(wrong, table.count), 0.92 * width, color="#e45756", label="wrong")
    below.set(xlabel="confidence", ylabel="results")
    below.legend(frameon=False, fontsize=9)
    _draw_risk(panels["risk"], confidence, right)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)


def _draw_risk(panel: Axes, confidence: np.ndarray, right: np.ndarray) -> None:
    coverage, risk = risk_coverage(confidence, right)
    wrong = float((~right).mean())
    kept = np.arange(1, len(right) + 1)
    best = np.maximum(0.0, kept - right.sum()) / kept
    panel.plot([0, 1], [wrong, wrong], color="0.5", linestyle="--", linewidth=1, label="confidence that says nothing")
    panel.plot(coverage, best, color="#54a24b", linewidth=1, label="confidence that knows")
    panel.plot(coverage, risk, color="#e45756", label="this confidence")
    panel.axvline(0.7, color="0.8", linewidth=1)
    panel.set(xlim=(0, 1), ylim=(0, 1.2 * wrong or 1), xlabel="coverage: share that is kept, the surest first")
    panel.set_ylabel("risk: share of them that is wrong")
    numbers = (
        f"area {risk_coverage_area(confidence, right):.4f}, at 70 % {risk_at(confidence, right):.4f}, "
        f"Brier {brier_score(confidence, right):.4f}"
    )
    panel.set_title(f"risk against coverage\n{numbers}", fontsize=10)
    panel.legend(loc="upper left", frameon=False, fontsize=9)
