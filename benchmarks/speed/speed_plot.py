"""Speed at a glance: bars where there are few things to compare, curves where something grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from pose6d.whole_file import whole_file

_COLORS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52")
_COLUMNS = 3


@dataclass(frozen=True)
class Bars:
    """One bar per name.

    Attributes:
        heading: above the panel.
        values: name -> length.
        spread: name -> lowest and highest, drawn as a line over the bar.
        unit: of the values.
    """

    heading: str
    values: Mapping[str, float]
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unit: str = "ms"


@dataclass(frozen=True)
class Curves:
    """One curve per name, on logarithmic axes, where a straight line of slope one is proportional growth.

    Attributes:
        heading: above the panel.
        x_label: what grows.
        x: its values.
        curves: name -> values at x.
        unit: of the values.
    """

    heading: str
    x_label: str
    x: Sequence[float]
    curves: Mapping[str, Sequence[float]]
    unit: str = "ms"


def write_speed_plot(path: Path, panels: Sequence[Bars | Curves], title: str) -> None:
    """Write a PNG of the panels, three in a row.

    Args:
        path: the .png to write.
        panels: one or more.
        title: above all.

    Raises:
        OutputError: the file cannot be written.
    """
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.5 * rows + 0.5), layout="constrained")
    for i, panel in enumerate(panels):
        axis = figure.add_subplot(rows, columns, i + 1)
        axis.set_title(panel.heading, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if isinstance(panel, Bars):
            _draw_bars(axis, panel)
        else:
            _draw_curves(axis, panel)
    figure.suptitle(title, fontsize=11)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130)


def _draw_bars(axis: Axes, panel: Bars) -> None:
    rows = np.arange(len(panel.values))[::-1]
    values = np.array(list(panel.values.values()), dtype=float)
    axis.barh(rows, values, color=_COLORS[0], height=0.65)
    ends = values.copy()
    for i, name in enumerate(panel.values):
        if name in panel.spread:
            axis.plot(panel.spread[name], [rows[i]] * 2, color="0.25", linewidth=1.5)
            ends[i] = max(values[i], panel.spread[name][1])
        axis.annotate(
            _label(values[i]), (ends[i], rows[i]), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(rows, list(panel.values))
    axis.set_xlim(0, 1.2 * ends.max() if ends.max() > 0 else 1.0)
    axis.set_xlabel(panel.unit, fontsize=8)


def _draw_curves(axis: Axes, panel: Curves) -> None:
    for i, (color, (name, values)) in enumerate(zip(_COLORS, panel.curves.items(), strict=False)):
        axis.plot(panel.x, values, "o-", color=color, markersize=4, linewidth=1.5, label=name)
        for end in {0, len(values) - 1}:
            axis.annotate(
                _label(values[end]),
                (panel.x[end], values[end]),
                (0, -12 if i % 2 else 5),  # neighbours may lie on one another
                textcoords="offset points",
                ha="center",
                color=color,
                fontsize=8,
            )
    axis.set(xscale="log", yscale="log")
    axis.set_xticks(panel.x, [_short(x) for x in panel.x])
    axis.set_xticks([], minor=True)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda y, _: _short(y))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.12, y=0.2)
    axis.set_xlabel(panel.x_label, fontsize=8)
    axis.set_ylabel(panel.unit, fontsize=8)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False)


def _label(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number >= 0.01 else "0.00"


def _short(number: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"
