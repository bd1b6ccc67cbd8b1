"""Figures of a run against its ground truth, saved as PNG to look at and as PDF to print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pose6d.report.comparison import PoseComparison, centers, euler_degrees, nearest_turn, unwrap_degrees
from pose6d.report.run_folder import RunFolder
from pose6d.whole_file import whole_file

if TYPE_CHECKING:  # matplotlib takes half a second to import, so each function that draws does it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Green and magenta differ for every kind of colour vision; the overlay and the page use the same pair.
PREDICTION, TRUTH = "#12803f", "#d11f8f"
_INK, _FAINT = "#22272e", "#d8dde3"
_STYLE: Any = {  # matplotlib types each key
    "font.size": 9.5,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "lines.linewidth": 1.5,
    "pdf.fonttype": 42,  # fonts that journals and editors can read
}


def pose_figure(comparison: PoseComparison) -> Figure:
    """Six degrees of freedom over time: the centre's place in cm and the angles in degrees, prediction and truth."""
    from matplotlib import rc_context

    estimate_deg = unwrap_degrees(euler_degrees(comparison.estimates))
    truth_deg = nearest_turn(euler_degrees(comparison.truths), estimate_deg)
    estimate_cm, truth_cm = (
        100 * centers(poses, comparison.center) for poses in (comparison.estimates, comparison.truths)
    )
    with rc_context(_STYLE):
        figure, axes = _grid("Pose of the object in the camera's frame", comparison.symmetry_note)
        for i, name in enumerate("XYZ"):
            for column, (what, unit, estimate, truth) in enumerate(
                (("Translation", "cm", estimate_cm, truth_cm), ("Rotation about", "degrees", estimate_deg, truth_deg))
            ):
                ax = axes[i][column]
                ax.set_title(f"{what} {name}")
                ax.set_ylabel(unit)
                _line(ax, comparison.seconds, truth[:, i], TRUTH, "ground truth", width=3.2, alpha=0.55)
                _line(ax, comparison.seconds, estimate[:, i], PREDICTION, "prediction")
                _widen(ax, 0.5 if column == 0 else 4.0)
        axes[0][0].legend(loc="best", framealpha=0.9, edgecolor=_FAINT)
    return figure


def error_figure(comparison: PoseComparison) -> Figure:
    """Absolute errors per axis over time in mm and degrees; below, ADD with ADD-S, and the geodesic angle."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        note = "; ".join(text for text in (comparison.symmetry_note, _steep_note(comparison)) if text)
        figure, axes = _grid("Error against ground truth", note, rows=4)
        for i, name in enumerate("XYZ"):
            for column, (what, unit, values) in enumerate(
                (
                    ("Translation error", "mm", comparison.translation_mm),
                    ("Rotation error about", "degrees", comparison.euler_deg),
                )
            ):
                _error_axes(axes[i][column], comparison.seconds, [(np.abs(values[:, i]), PREDICTION, "")])
                axes[i][column].set_title(f"{what} {name}")
                axes[i][column].set_ylabel(unit)
        both = [(comparison.add_mm, PREDICTION, "ADD "), (comparison.adds_mm, "#2f6fd0", "ADD-S ")]
        _error_axes(axes[3][0], comparison.seconds, both)
        axes[3][0].set_title("ADD and ADD-S")
        axes[3][0].set_ylabel("mm")
        _error_axes(axes[3][1], comparison.seconds, [(comparison.angle_deg, PREDICTION, "")])
        axes[3][1].set_title("Geodesic angle")
        axes[3][1].set_ylabel("degrees")
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write <name>.png and <name>.pdf into `folder`; returns both paths."""
    paths = [folder / f"{name}.png", folder / f"{name}.pdf"]
    for path in paths:
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=150)
    return paths


def write_comparison(folder: RunFolder, comparison: PoseComparison | None) -> list[str]:
    """Write comparison.csv, and poses_vs_ground_truth and errors_per_axis, each as .png and .pdf.

    Args:
        folder: where to.
        comparison: None where no frame has both a pose and a ground truth; nothing is written then.

    Returns:
        Lines for people.
    """
    if comparison is None:
        return ["nothing to compare: no frame has both a pose and a ground truth"]
    folder.write_table("comparison.csv", comparison.rows())
    figures = {"poses_vs_ground_truth": pose_figure(comparison), "errors_per_axis": error_figure(comparison)}
    paths = [path for name, figure in figures.items() for path in save_figure(figure, folder.path, name)]
    return [*comparison.summary(), f"figures: {', '.join(str(path) for path in paths if path.suffix == '.png')}"]


def _steep_note(comparison: PoseComparison) -> str:
    if not comparison.steep_frames:
        return ""
    return f"in {comparison.steep_frames} frame(s) y is near 90 degrees and x, z are ill-defined: read the angle"


def _grid(title: str, note: str, rows: int = 3) -> tuple[Figure, np.ndarray]:
    """A figure with rows x 2 axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.35 * rows + 0.9), layout="constrained")
    figure.suptitle(title + (f"\n{note}" if note else ""), fontsize=12, x=0.01, ha="left")
    axes = figure.subplots(rows, 2, sharex=True, squeeze=False)
    for ax in axes[-1]:
        ax.set_xlabel("time in seconds")
    return figure, axes


def _line(
    ax: Axes, seconds: np.ndarray, values: np.ndarray, color: str, label: str, width: float = 1.5, alpha: float = 1.0
) -> None:
    marker = "o" if len(values) == 1 else None  # a line through one point is invisible
    ax.plot(seconds, values, color=color, label=label, linewidth=width, alpha=alpha, marker=marker)


def _error_axes(ax: Axes, seconds: np.ndarray, curves: list[tuple[np.ndarray, str, str]]) -> None:
    """Curves from 0 upwards, each with its mean as a dashed line that the legend states."""
    for values, color, prefix in curves:
        _line(ax, seconds, values, color, f"{prefix}mean {values.mean():.2f}, largest {values.max():.2f}")
        ax.axhline(values.mean(), color=color, linestyle=(0, (4, 3)), linewidth=1.0, alpha=0.7)
    largest = max(float(values.max()) for values, _, _ in curves)
    ax.set_ylim(0, max(1.35 * largest, 0.1))  # the legend's place is above the curve
    ax.legend(loc="upper left", framealpha=0.9, edgecolor=_FAINT, handlelength=1.2)


def _widen(ax: Axes, least: float) -> None:
    """Show at least `least` units, so that the noise of a still object does not fill the axes."""
    low, high = ax.get_ylim()
    if high - low < least:
        middle = (low + high) / 2
        ax.set_ylim(middle - least / 2, middle + least / 2)
