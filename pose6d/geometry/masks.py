"""Masks: the smallest box around what one shows, and what two have in common."""

from __future__ import annotations

import numpy as np

Box = tuple[int, int, int, int]
"""x, y, width and height in pixels: it covers the pixels x to x + width - 1."""


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) bool; 0 where both are empty."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def mask_box(mask: np.ndarray) -> Box | None:
    """The smallest box around the true pixels of (H, W) bool; None where there are none."""
    if not mask.any():
        return None
    rows, columns = mask_window(mask)
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start


def mask_window(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The same box as rows and columns of an image, with a margin in pixels that the image's border cuts.

    Args:
        mask: (H, W) bool, not empty.
        margin: on each side.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return (
        slice(max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, height)),
        slice(max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, width)),
    )
