"""From how far refiners find back to the pose, and how many hypotheses they need for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pose6d.whole_file import whole_file

Curve = tuple[Sequence[float], Sequence[float]]
"""x and y of its points"""


def write_reach_plot(
    path: Path, by_error: Mapping[str, Curve], by_count: Mapping[str, Mapping[int, Curve]], title: str
) -> None:
    """Write a PNG of two panels.

    Args:
        path: the .png to write.
        by_error: name of the refiner -> initial error in degrees, and percent of such hypotheses that end right.
        by_count: name of the refiner -> refinement steps -> number of hypotheses, and percent of the scenes in which
            one of them ends right; the more steps, the wider the line.
        title: above both.

    Raises:
        OutputError: the file cannot be written.
    """
    figure = Figure(figsize=(12.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(by_error):
        color = colormaps["tab10"](number % 10)
        left.plot(*by_error[name], "o-", color=color, markersize=4, label=name)
        steps = sorted(by_count[name])
        for width, count in enumerate(steps):
            look = "-" if count == steps[-1] else ":" if count == steps[0] else "--"
            right.plot(
                *by_count[name][count], "o", linestyle=look, color=color, markersize=3.5, linewidth=0.9 + 0.5 * width,
                label=f"{name}, {count} step{'s' * (count > 1)}",
            )  # fmt: skip
    left.set(xlabel="initial rotation error, degrees", ylabel="hypotheses that end within 0.1 d, %")
    left.set_xticks(range(0, 181, 30))
    right.set(xlabel="hypotheses", ylabel="scenes with one within 0.1 d, %", xscale="log")
    counts = sorted({x for curves in by_count.values() for curve in curves.values() for x in curve[0]})
    right.set_xticks(counts, [f"{count:g}" for count in counts])
    right.minorticks_off()
    for axis in (left, right):
        _finish(axis)
    figure.suptitle(title, fontsize=10)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=110)


def _finish(axis: Axes) -> None:
    axis.set_ylim(-3, 103)
    axis.grid(color="0.9")
    axis.set_axisbelow(True)
    axis.legend(fontsize=7, frameon=False)
