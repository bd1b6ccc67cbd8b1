"""How well a sequence of poses fits its ground truth, in the measures people quote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pose6d.evaluation.pose_errors import add, add_s, rotation_error, translation_error
from pose6d.mesh.mesh import Mesh

_MOST_POINTS = 5000  # beyond, ADD of a sample of the surface differs from that of all vertices by far less than 1 %


def pose_error_table(
    estimates: Mapping[str, np.ndarray], truths: Mapping[str, np.ndarray], mesh: Mesh, symmetries: np.ndarray | None
) -> list[dict[str, Any]]:
    """Errors of each frame that has both an estimate and a ground truth.

    Args:
        estimates: (4, 4) poses by frame name.
        truths: (4, 4) poses by frame name.
        mesh: the object, metres.
        symmetries: (S, 4, 4) or None.

    Returns:
        Rows of frame, rotation_deg, translation_mm, add_diameters, adds_diameters (fractions of the diameter).
    """
    names = [name for name in estimates if name in truths]
    if not names:
        return []
    points = mesh.vertices if len(mesh.vertices) <= _MOST_POINTS else mesh.sample_surface(_MOST_POINTS)
    estimate, truth = (np.stack([poses[name] for name in names]) for poses in (estimates, truths))
    columns = {
        "rotation_deg": np.degrees(rotation_error(estimate, truth, symmetries)),
        "translation_mm": 1000 * translation_error(estimate, truth, symmetries),
        "add_diameters": add(estimate, truth, points) / mesh.diameter,
        "adds_diameters": add_s(estimate, truth, points) / mesh.diameter,
    }
    return [{"frame": name, **{k: round(float(v[i]), 6) for k, v in columns.items()}} for i, name in enumerate(names)]


def summarise_errors(rows: list[dict[str, Any]], symmetric: bool) -> list[str]:
    """Lines for people: mean and largest error, and how many frames are within 0.1 diameters.

    Args:
        rows: of `pose_error_table`, at least one.
        symmetric: whether the object has symmetries, so that ADD-S is the measure to quote.
    """
    lines = []
    for key, title in (("adds_diameters", "ADD-S"), ("add_diameters", "ADD")):
        values = np.array([row[key] for row in rows])
        within = int((values < 0.1).sum())
        note = " (the object is symmetric: ADD-S counts)" if symmetric and title == "ADD" else ""
        lines.append(
            f"{title:5s} mean {values.mean():.4f} d, max {values.max():.4f} d, "
            f"within 0.1 d: {within} of {len(values)}{note}"
        )
    if not symmetric:
        lines.reverse()
    for key, unit in (("rotation_deg", "deg"), ("translation_mm", "mm")):
        values = np.array([row[key] for row in rows])
        lines.append(f"{key.split('_')[0]} error mean {values.mean():.2f} {unit}, max {values.max():.2f} {unit}")
    return lines
