"""The reliability diagram: what a confidence promised against what came true."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.evaluation.calibration import expected_calibration_error, reliability_bins, roc_auc
from pose6d.whole_file import whole_file

_BINS = 15


def write_reliability_diagram(path: Path, confidence: np.ndarray, right: np.ndarray, title: str) -> None:
    """Write a PNG: accuracy over confidence by interval above, how many results each interval holds below.

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
    figure = Figure(figsize=(5.2, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
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
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)
