"""The space over the board that moves with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mesh_creation.board.layout import Board

_SHEET = 0.02  # metres around the printed pattern that still count as the board


@dataclass(frozen=True)
class WorkArea:
    """A box in the board's frame.

    Attributes:
        half_width, half_height: metres from the board's centre along x and y.
        low, high: metres along z; nothing higher than 0.5 m is scanned on a sheet of paper.
    """

    half_width: float
    half_height: float
    low: float
    high: float = 0.5

    @classmethod
    def over(cls, board: Board, low: float) -> WorkArea:
        """The space over a board, from `low` metres above the paper on."""
        width, height = board.size
        return cls(width / 2 + _SHEET, height / 2 + _SHEET, low)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """True for the points (..., 3) inside; false for NaN."""
        x, y, z = np.moveaxis(points, -1, 0)
        return (np.abs(x) < self.half_width) & (np.abs(y) < self.half_height) & (z > self.low) & (z < self.high)
