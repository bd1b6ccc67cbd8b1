"""Coordinates of vertices: their unit, the box around them, and what float32 does to them."""

from __future__ import annotations

from typing import Literal

import numpy as np

Unit = Literal["m", "cm", "mm"]
METRES_PER_UNIT: dict[Unit, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}

MAX_ROUNDING = 1e-3  # of a mesh's size: what float32 may move a vertex


def bounding_box(points: np.ndarray) -> np.ndarray:
    """(2, 3) the lowest and the highest corner of the axis-aligned box of points (V, 3), in their type."""
    columns = points.T  # NumPy is ten times slower along the first axis
    return np.array([[column.min() for column in columns], [column.max() for column in columns]])


def float32_rounding(vertices: np.ndarray) -> float:
    """How far float32 may move one of `vertices` (V, 3), relative to the longest side of their box; 0 for a point."""
    low, high = bounding_box(vertices).astype(np.float64)
    extent = float((high - low).max())
    return 2.0**-24 * float(np.maximum(np.abs(low), np.abs(high)).max()) / extent if extent > 0 else 0.0
