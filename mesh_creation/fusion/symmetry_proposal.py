"""Which turns leave a scanned mesh looking the same: a proposal for people to confirm."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from pose6d.mesh.mesh import Mesh

_POINTS = 1200
_TARGET_POINTS = 40_000  # dense enough that their spacing is no distance
_FOLDS = (8, 6, 5, 4, 3, 2)
_ANY_ANGLE = (20.0, 47.0, 71.0, 103.0, 139.0, 167.0)  # degrees that no small fold explains
_DISTANCE = 0.012  # of the diameter, that nine tenths of the surface may be off
_COLOR = 0.10  # 0..1, mean difference of colour


def propose_symmetries(mesh: Mesh, colors: np.ndarray) -> dict[str, Any]:
    """Turns about the axes of the frame that map the mesh onto itself.

    Args:
        mesh: centred, z up.
        colors: (V, 3) uint8 of its vertices.

    Returns:
        "text" for `parse_symmetry` ("none" where there are none), "shape_only" alike for the shape without its
        colours, and how well each fits: "residuals" in metres and colour by item.
    """
    target, target_values = _sample(mesh, colors, _TARGET_POINTS)
    points, values = target[:_POINTS], target_values[:_POINTS]
    tree = cKDTree(target)
    found: dict[bool, list[str]] = {True: [], False: []}
    residuals = {}
    for name, axis in zip("zxy", np.eye(3)[[2, 0, 1]], strict=True):
        done = {True: False, False: False}
        for fold in (0, *_FOLDS):
            if all(done.values()):
                break
            angles = _ANY_ANGLE if fold == 0 else (360.0 / fold,)
            worst = np.max(
                [_residual(points, values, tree, target_values, axis, np.radians(a)) for a in angles], axis=0
            )
            item = f"continuous {name}" if fold == 0 else f"{360 / fold:g} {name}"
            fits = worst[0] < max(_DISTANCE * mesh.diameter, 0.0015)
            for colored in (True, False):
                if fits and not done[colored] and (not colored or worst[1] < _COLOR):
                    found[colored].append(item)
                    done[colored] = True
                    residuals[item] = [round(float(v), 5) for v in worst]
    return {
        "text": "; ".join(found[True]) or "none",
        "shape_only": "; ".join(found[False]) or "none",
        "residuals": residuals,
        "note": "a proposal: check it before use, for example with --symmetry",
    }


def _residual(
    points: np.ndarray, colors: np.ndarray, tree: cKDTree, tree_colors: np.ndarray, axis: np.ndarray, angle: float
) -> tuple[float, float]:
    """Distance in metres that nine tenths of the turned surface keep, and their mean difference of colour."""
    turned = points @ cv2.Rodrigues(axis * angle)[0].T
    for _ in range(4):  # the axis need not run through the box's centre
        distance, nearest = tree.query(turned)
        close = distance <= np.percentile(distance, 90)
        turned = turned + (tree.data[nearest[close]] - turned[close]).mean(axis=0)
    distance, nearest = tree.query(turned)
    close = distance <= np.percentile(distance, 90)
    return float(np.percentile(distance, 90)), float(np.abs(colors[close] - tree_colors[nearest[close]]).mean())


def _sample(mesh: Mesh, colors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points spread over the surface (P, 3), and their colours (P, 3) in 0..1."""
    points = mesh.sample_surface(count).astype(np.float64)
    nearest = cKDTree(mesh.vertices).query(points)[1]
    return points, colors[nearest].astype(np.float64) / 255
