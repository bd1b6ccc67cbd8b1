"""Poses that stand still where nothing moves."""

from __future__ import annotations

import numpy as np

from pose6d.geometry.motion import is_far, part_of_turn, place_at

_LEAST_GAIN = 0.04  # of what a frame has new after many at rest: a pose that was wrong at first is put right in time
_ANOTHER = 15.0, 0.08  # degrees and diameters from which on a pose is another one, and is taken as it is


class PoseMean:
    """The mean of the poses that were measured since an object and its camera came to rest.

    It knows of rest from elsewhere (`live.still_picture`) and takes a pose as it is wherever something moves, so that
    it lags behind nothing.

    Args:
        center: (3,) metres, the middle of the object in the mesh frame.
        diameter: metres.
    """

    def __init__(self, center: np.ndarray, diameter: float):
        self._center, self._diameter = np.asarray(center, dtype=np.float64), diameter
        self._mean: np.ndarray | None = None  # (4, 4)
        self._count = 0

    def __call__(self, pose: np.ndarray, rests: bool) -> np.ndarray:
        """The mean (4, 4) float32 with a measured pose, original mesh in camera.

        Args:
            pose: (4, 4).
            rests: nothing has moved since the pose before; where something has, the mean begins anew.
        """
        within = _ANOTHER[0], _ANOTHER[1] * self._diameter
        if self._mean is None or not rests or is_far(self._mean, pose, self._center, *within):
            self._mean, self._count = np.asarray(pose, dtype=np.float32), 1
            return self._mean
        self._count += 1
        gain = max(1.0 / self._count, _LEAST_GAIN)
        before, now = self._mean.astype(np.float64), np.asarray(pose, dtype=np.float64)
        rotation = part_of_turn(now[:3, :3] @ before[:3, :3].T, gain) @ before[:3, :3]
        middle, place = (p[:3, :3] @ self._center + p[:3, 3] for p in (before, now))
        self._mean = place_at(rotation, middle + gain * (place - middle), self._center)
        return self._mean
