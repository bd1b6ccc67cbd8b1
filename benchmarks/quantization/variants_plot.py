"""The quantised variants side by side: small files, fast frames, small drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pose6d.whole_file import whole_file

_COLORS = {"torch": "#4c72b0", "onnx": "#dd8452"}


def write_quantization_plot(
    path: Path, names: Sequence[str], panels: Mapping[str, Sequence[float]], title: str
) -> Path:
    """One panel of bars per quantity.

    Args:
        path: PNG to write.
        names: of the variants; the first is the baseline, whose value is drawn as a line through the others.
        panels: heading -> one value per variant, NaN where it was not measured.
        title: above all.

    Returns:
        The path.
    """
    # Here and not above: it takes half a second, which those who import this module and draw nothing should not pay.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(panels), 0.42 * len(names) + 1.6), layout="constrained")
    rows = np.arange(len(names))[::-1]
    for column, (heading, values) in enumerate(panels.items()):
        axis = figure.add_subplot(1, len(panels), column + 1)
        numbers = np.array(values, dtype=float)
        shown = np.nan_to_num(numbers)
        axis.barh(rows, shown, color=[_COLORS.get(name.split("-")[0], "#888888") for name in names], height=0.7)
        if numbers[0] > 0:
            axis.axvline(numbers[0], color="#555555", linewidth=0.8, linestyle="--")
        for row, number in zip(rows, numbers, strict=True):
            text = "not measured" if np.isnan(number) else f"{number:.3g}"
            label = axis.annotate(text, (np.nan_to_num(number), row), (3, 0), textcoords="offset points", va="center")
            label.set(fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        axis.set_title(heading, fontsize=9)
        axis.set_yticks(rows, names if column == 0 else [""] * len(names), fontsize=9)
        axis.set_xlim(0, 1.3 * shown.max() if shown.max() > 0 else 1.0)
        axis.tick_params(axis="x", labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.suptitle(title, fontsize=10)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130)
    return path
