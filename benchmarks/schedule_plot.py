"""Schedules of register as a curve: what accuracy costs in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

from pose6d.whole_file import whole_file

Curves = Mapping[str, Sequence[tuple[float, float]]]


def pareto_front(milliseconds: Sequence[float], percent: Sequence[float]) -> list[int]:
    """Indices of the points than which none is both at most as slow and at least as accurate, fastest first.

    Of equal points the first counts; points that are not finite do not.
    """
    numbers = np.array([milliseconds, percent], dtype=float)
    usable = np.flatnonzero(np.isfinite(numbers).all(axis=0))
    front: list[int] = []
    for i in usable[np.lexsort((-numbers[1, usable], numbers[0, usable]))]:
        if not front or percent[i] > percent[front[-1]]:
            front.append(int(i))
    return front


def write_schedule_plot(
    path: Path, panels: Mapping[str, Curves], title: str, wanted: Mapping[str, tuple[float, float]] | None = None
) -> None:
    """Write a PNG: accuracy over time, one line per schedule, and the front that no schedule beats.

    Args:
        path: the .png to write.
        panels: name of the accuracy -> name of the schedule, the same in all -> (milliseconds, percent) from the lowest
            to the highest threshold of the fallback.
        title: above all.
        wanted: name of the accuracy -> milliseconds and percent that a schedule should reach; drawn as lines.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = Figure(figsize=(5.4 * len(panels) + 2.0, 5.2), layout="constrained")
    for number, (accuracy, curves) in enumerate(panels.items()):
        axis = figure.add_subplot(1, len(panels), number + 1)
        if wanted is not None:
            axis.axvline(wanted[accuracy][0], color="0.6", linestyle=":", linewidth=1)
            axis.axhline(wanted[accuracy][1], color="0.6", linestyle=":", linewidth=1, label="wanted: above, left")
        _draw(axis, curves)
        axis.set(xlabel="mean time of register, ms", ylabel=f"{accuracy}, %")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle(f"{title}\nlarge: without fallback; small: with it, from low to high thresholds", fontsize=10)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)


def _draw(axis: Axes, curves: Curves) -> None:
    points = [point for curve in curves.values() for point in curve]
    front = np.array([points[i] for i in pareto_front(*zip(*points, strict=True))]).reshape(-1, 2)
    axis.step(*front.T, where="post", color="0.2", linewidth=1.2, label="front: none is better")
    for number, (name, curve) in enumerate(curves.items()):
        color = colormaps["tab20"](number % 20)
        axis.plot(*zip(*curve, strict=True), "o-", color=color, markersize=3.5, linewidth=0.8)
        axis.plot(*curve[0], "os^Dv"[number % 5], color=color, markersize=8, markeredgecolor="white", label=name)
    axis.plot(*front.T, "o", markerfacecolor="none", color="0.2", markersize=12, markeredgewidth=0.8)
    axis.set_xscale("log")
    # Powers of ten alone would leave most time axes with one number.
    axis.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    for write_labels in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        write_labels(ScalarFormatter())
    axis.tick_params(axis="x", which="both", length=3.5, pad=3.5, labelsize=8)
    axis.grid(which="both", color="0.93")
    axis.set_axisbelow(True)
