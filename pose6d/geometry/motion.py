"""Where an object will be in the next frame if it goes on as it moved between the last two."""

from __future__ import annotations

import math

import cv2
import numpy as np

_STEPS = 3  # between frames, over which it is told whether an object moves at all
_LONGEST_STEP = 3.0  # times the last interval that is extrapolated over; a clock that jumps must not throw the object


def place_at(rotation: np.ndarray, middle: np.ndarray, center: np.ndarray) -> np.ndarray:
    """(4, 4) float32, original mesh in camera: a rotation (3, 3) with the middle of the object at a point (3,), metres.

    Args:
        center: (3,) metres, that middle in the mesh frame.
    """
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3], pose[:3, 3] = rotation, middle - rotation @ center
    return pose


def part_of_turn(turn: np.ndarray, share: float) -> np.ndarray:
    """(3, 3) float64, a rotation (3, 3) about its axis by so many times its angle."""
    return cv2.Rodrigues(share * cv2.Rodrigues(np.asarray(turn, dtype=np.float64))[0])[0]


class Motion:
    """Constant velocity of one object: its middle on a line, its rotation about an axis of the camera.

    Args:
        center: (3,) metres, the middle of the object in the mesh frame.
    """

    def __init__(self, center: np.ndarray):
        self.center = np.asarray(center, dtype=np.float64)
        self._poses: list[tuple[np.ndarray, float | None]] = []

    def add(self, pose: np.ndarray, seconds: float | None) -> None:
        """The pose (4, 4) of the frame that was taken at that time."""
        self._poses = [*self._poses[-_STEPS:], (np.asarray(pose, dtype=np.float64), seconds)]

    def clear(self) -> None:
        """Forget the velocity: the object was out of sight."""
        self._poses = []

    @property
    def last(self) -> np.ndarray:
        """The last pose (4, 4), of one at least."""
        return self._poses[-1][0]

    def predict(self, seconds: float | None) -> np.ndarray | None:
        """The pose (4, 4) float32 in a frame of that time; None where fewer than two poses are known."""
        if len(self._poses) < 2:
            return None
        (earlier, then), (later, now) = self._poses[-2:]
        share = 1.0
        if None not in (then, now, seconds) and now > then and seconds > now:  # type: ignore[operator]
            share = min((seconds - now) / (now - then), _LONGEST_STEP)  # type: ignore[operator]
        turn = later[:3, :3] @ earlier[:3, :3].T
        if share != 1.0:
            turn = part_of_turn(turn, share)
        # The nearest rotation: what a matrix is off one would double with each prediction from predictions.
        left, _, right = np.linalg.svd(turn @ later[:3, :3])
        rotation = left @ right
        middle, before = (pose[:3, :3] @ self.center + pose[:3, 3] for pose in (later, earlier))
        return place_at(rotation, middle + share * (middle - before), self.center)

    def is_fast(self, degrees: float, distance: float) -> bool:
        """Whether the last step turned by more than so many degrees, or moved by more than the distance in metres."""
        if len(self._poses) < 2:
            return False
        (earlier, _), (later, _) = self._poses[-2:]
        return is_far(earlier, later, self.center, degrees, distance)

    def rests(self, degrees: float, distance: float) -> bool:
        """Whether the last step is known, and turned and moved by no more than that."""
        return len(self._poses) > 1 and not self.is_fast(degrees, distance)

    def moves(self, degrees: float, distance: float) -> bool:
        """Whether the last few steps led away by more than so many degrees, or the distance in metres, each: noise of
        poses leads nowhere."""
        steps = len(self._poses) - 1
        if steps < 1:
            return False
        return is_far(self._poses[0][0], self._poses[-1][0], self.center, steps * degrees, steps * distance)


def is_far(earlier: np.ndarray, later: np.ndarray, center: np.ndarray, degrees: float, distance: float) -> bool:
    """Whether two poses (4, 4) differ by more than so many degrees, or their middles by the distance in metres."""
    cosine = (float(np.vdot(later[:3, :3], earlier[:3, :3])) - 1.0) / 2.0
    turn = math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
    change = later - earlier
    return turn > degrees or math.dist(change[:3, :3] @ center + change[:3, 3], (0.0, 0.0, 0.0)) > distance
