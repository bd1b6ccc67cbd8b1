"""Less jitter where nothing moves, without lag where something does."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np
import torch

from pose6d.geometry.motion import place_at
from pose6d.geometry.transforms import so3_exp, so3_log

_LEAST_GAIN = 0.15  # of what a frame has new while the object stands still
_WINDOW = 5  # frames that are looked at for motion
_STILL, _MOVING = (
    1.3,
    2.2,
)  # the way over that window, in steps of root mean square length: noise comes back, motion not


class PoseFilter:
    """A one-sided filter on SE(3) whose gain follows the motion: it hardly lags while the object goes on one way.

    Over a few frames, noise comes back to where it was, and motion does not: the way from the first to the last
    measured pose, over the size of the steps between, decides how much of a new pose is taken, so that noise need not
    be known. Rotation and translation are judged apart. A gain by motion is the idea of Casiez, Roussel and Vogel, "1
    Euro Filter" (CHI 2012).

    Args:
        center: (3,) metres, the middle of the object in the mesh frame.
    """

    def __init__(self, center: np.ndarray):
        self._center = np.asarray(center, dtype=np.float64)
        self._measured: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=_WINDOW + 1)  # rotations, middles
        self._filtered: tuple[np.ndarray, np.ndarray] | None = None

    def reset(self) -> None:
        """Forget the past: the next pose is taken as it is."""
        self._measured.clear()
        self._filtered = None

    def __call__(self, pose: np.ndarray) -> np.ndarray:
        """The filtered pose (4, 4) float32 of a measured one, original mesh in camera."""
        rotation = pose[:3, :3].astype(np.float64)
        middle = rotation @ self._center + pose[:3, 3]
        self._measured.append((rotation, middle))
        if self._filtered is not None:
            before, place = self._filtered
            turns, moves = [], []  # from each pose of the window to the next, and from the first to the last
            ends = [*pairwise(self._measured), (self._measured[0], self._measured[-1])]
            for (R, m), (R_next, m_next) in ends:
                turns.append(_rotation_vector(R_next @ R.T))
                moves.append(m_next - m)
            turn = _gain(turns) * _rotation_vector(rotation @ before.T)
            rotation = so3_exp(torch.from_numpy(turn)).numpy() @ before
            middle = place + _gain(moves) * (middle - place)
        self._filtered = rotation, middle
        return place_at(rotation, middle, self._center)


def _gain(steps: list[np.ndarray]) -> float:
    """How much of a new pose is taken, 0..1; of the steps (3,) in the window, and the way over it as the last."""
    *each, way = (float(np.linalg.norm(step)) for step in steps)
    ratio = way / max(float(np.sqrt(np.mean(np.square(each)))), 1e-12)
    share = min(max((ratio - _STILL) / (_MOVING - _STILL), 0.0), 1.0)
    least = max(_LEAST_GAIN, 1.0 / (len(each) + 1))  # the plain mean at first
    return least + (1.0 - least) * share


def _rotation_vector(rotation: np.ndarray) -> np.ndarray:
    return so3_log(torch.from_numpy(rotation)).numpy()
