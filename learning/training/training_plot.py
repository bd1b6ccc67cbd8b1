"""How the losses of training runs fell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pose6d.whole_file import whole_file

_COLUMNS = 3
_SMOOTHING = 15  # records; single ones are noisy
_ASIDE = ("step", "seconds", "skipped")  # what a record holds besides losses


def write_training_plot(path: Path, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Path:
    """One panel per quantity of the log, over minutes, one line per run.

    Args:
        path: PNG to write.
        runs: name -> records of its log.jsonl, oldest first.

    Returns:
        The path.
    """
    names = list(dict.fromkeys(key for records in runs.values() for key in records[0] if key not in _ASIDE))
    rows = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 2.6 * rows + 0.4), layout="constrained")
    for panel, name in enumerate(names):
        axis = figure.add_subplot(rows, _COLUMNS, panel + 1)
        for label, records in runs.items():
            points = np.array([(r["seconds"] / 60, r[name]) for r in records if name in r], dtype=float).reshape(-1, 2)
            line = axis.plot(points[:, 0], points[:, 1], linewidth=0.5, alpha=0.35)[0]
            width = min(_SMOOTHING, max(len(points), 1))
            smooth = np.convolve(points[:, 1], np.full(width, 1 / width), mode="valid")
            axis.plot(points[width - 1 :, 0], smooth, color=line.get_color(), linewidth=1.4, label=label)
        axis.set_title(name.replace("_", " "), fontsize=9)
        if all(r.get(name, 0) > 0 for records in runs.values() for r in records):
            axis.set_yscale("log")
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if panel // _COLUMNS == rows - 1:
            axis.set_xlabel("minutes", fontsize=8)
        if panel == 0 and len(runs) > 1:
            axis.legend(fontsize=8)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)
    return path
