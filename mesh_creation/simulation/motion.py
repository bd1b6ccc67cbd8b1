"""How the camera and the board move in a simulated recording, and which frames get lost."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pose6d.geometry.transforms import look_at, rigid_transform

_ROUNDS = 2.2  # of a handheld recording


@dataclass(frozen=True)
class Tremor:
    """A hand's unrest as a sum of sines between 0.4 and 9 Hz, smooth in time.

    Attributes:
        frequency, phase: (S,) hertz and radians.
        weight: (S, 6) metres of the position (3) and radians of the rotation (3).
    """

    frequency: np.ndarray
    phase: np.ndarray
    weight: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator, metres: float, radians: float) -> Tremor:
        """Standard deviations of position and rotation; slow swings are larger than fast ones."""
        frequency = np.geomspace(0.4, 9.0, 14) * rng.uniform(0.9, 1.1, 14)
        weight = rng.standard_normal((14, 6)) / frequency[:, None] ** 0.8
        weight *= np.sqrt(2) / np.linalg.norm(weight, axis=0)
        return cls(frequency, rng.uniform(0, 2 * np.pi, 14), weight * ([metres] * 3 + [radians] * 3))

    def __call__(self, seconds: float) -> np.ndarray:
        """(4, 4) small motion of the camera in its own axes."""
        moved = np.sin(2 * np.pi * self.frequency * seconds + self.phase) @ self.weight
        return rigid_transform(cv2.Rodrigues(moved[3:])[0], moved[:3])


@dataclass(frozen=True)
class CameraMotion:
    """Where camera and board are at any time.

    Attributes:
        turntable: the board turns and the camera stands, else the camera is carried around the board.
        seconds: how long the recording takes.
        target: (3,) metres, world: what the camera looks at.
        distance: metres from the target, about which a carried camera moves nearer and farther.
        start: radians, where it begins.
        tremor: of the hand or of the tripod.
    """

    turntable: bool
    seconds: float
    target: np.ndarray
    distance: float
    start: float
    tremor: Tremor

    def camera_in_world(self, seconds: float) -> np.ndarray:
        """(4, 4), OpenCV axes."""
        share = seconds / self.seconds
        if self.turntable:  # two rounds, the second from higher up
            azimuth = self.start
            elevation = np.deg2rad(27 + 27 * _step((share - 0.46) / 0.08))
            distance = self.distance
        else:  # one round low, one higher, and the rest from above, into whatever is hollow
            azimuth = self.start + 2 * np.pi * _ROUNDS * share
            climb = 22 * _step((share - 0.36) / 0.18) + 32 * _step((share - 0.74) / 0.16)
            elevation = np.deg2rad(23 + climb + 3 * np.sin(9 * share))
            distance = self.distance * (1 + 0.12 * np.sin(2 * np.pi * 1.1 * share + 1))
        eye = self.target + distance * np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        return look_at(eye, self.target) @ self.tremor(seconds)

    def board_in_world(self, seconds: float) -> np.ndarray:
        """(4, 4)."""
        return rotation_z(4 * np.pi * seconds / self.seconds if self.turntable else 0.0)


def rotation_z(angle: float) -> np.ndarray:
    """(4, 4) turn by radians about z."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return pose


def sample_frame_numbers(frames: int, lost: float, rng: np.random.Generator) -> np.ndarray:
    """(frames,) numbers of the frames that a recorder kept while losing a share of them, singly and in gaps."""
    total = round(frames / (1 - lost)) if lost else frames
    gone: set[int] = set()
    while total - len(gone) > frames:
        gap = int(rng.choice([1, 1, 1, 2, 3, 8]))
        start = int(rng.integers(1, max(2, total - gap)))
        gone |= set(range(start, min(start + gap, start + total - len(gone) - frames)))
    return np.array([number for number in range(total) if number not in gone])[:frames]


def _step(share: float) -> float:
    share = float(np.clip(share, 0, 1))
    return share * share * (3 - 2 * share)
