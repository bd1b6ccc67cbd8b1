"""A pose of an unknown object in a frame: found from a nearby one on, and how much speaks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.markerless.direct_alignment import Equations, move, relate
from mesh_creation.markerless.key_view import KeyView
from mesh_creation.markerless.picture import Picture, SurfacePoints

Stage = tuple[int, float, int]
"""level of the pyramid, metres of the gate, most steps"""
STAGES: tuple[Stage, ...] = ((2, 0.03, 8), (1, 0.015, 7), (0, 0.008, 6))
SURELY, FOLLOWED = 0.55, 0.3
"""correlation of grey values that leaves no doubt, and where nothing better is found"""
_DAMPING = 30.0  # inverse radians and, times ten, inverse metres, of a step
_SETTLED = 2e-4  # radians and metres, of a step at the finest level
# Shares of the points of two key views that must fit: to go on, to tell the pose whatever covers the rest, once found.
_LEAST_FITTING, _TELLING, _FOUND_FITTING = 0.08, 0.3, 0.5
# After a search: correlation, share of the points not hidden that fit, and of those compared that are not hidden.
_FOUND, _FOUND_SHARE, _FOUND_VISIBLE = 0.7, 0.97, 0.5
_SAME = 0.15, 0.15  # radians and radii of the object


@dataclass
class Fit:
    """A pose of the object in the camera (4, 4), and how well so many points of key views fit."""

    pose: np.ndarray
    own: Equations
    points: int

    @property
    def share(self) -> float:
        """Share of the points that are not hidden that fit."""
        return self.own.fitting / max(self.own.fitting + self.own.contradicting, 1.0)

    @property
    def visible(self) -> float:
        """Share of the points compared that fit; the others are hidden or contradict."""
        return self.own.fitting / max(self.own.fitting + self.own.contradicting + self.own.hidden, 1.0)

    @property
    def value(self) -> float:
        """By which fits are compared."""
        return (self.own.fitting - 2 * self.own.contradicting) * max(self.own.correlation, 0.1)

    @property
    def is_telling(self) -> bool:
        """Whether enough of the object is seen to tell where it is, whatever covers the rest."""
        return self.own.fitting > _TELLING * self.points

    def is_good(self, correlation: float) -> bool:
        """Whether the object is there, with at least this correlation of grey values."""
        enough = self.own.fitting > max(100, _LEAST_FITTING * self.points) and self.visible > 0.2
        return enough and self.share > 0.75 and self.own.correlation > correlation

    def is_found(self) -> bool:
        """Whether the object is there though nobody knew where: much is seen, and nothing speaks against it."""
        much = self.own.fitting > _FOUND_FITTING * self.points and self.visible > _FOUND_VISIBLE
        return much and self.share > _FOUND_SHARE and self.own.correlation > _FOUND


def descend(
    picture: Picture,
    pose: np.ndarray,
    sets: Sequence[tuple[SurfacePoints, np.ndarray]],
    stages: Sequence[Stage],
) -> np.ndarray:
    """The pose (4, 4) in which points of cameras in the object fit best, from a nearby one on."""
    for level, gate, steps in stages:
        gains: list[tuple[float, float] | None] = [None] * len(sets)
        for _ in range(steps):
            total = Equations.empty()
            for k, (points, camera) in enumerate(sets):
                equations = relate(points, pose @ camera, picture, level, gate, gains[k])
                gains[k] = equations.gain
                total += equations
            x = _solve(total, pose)
            pose = move(pose, x)
            if np.abs(x).max() < _SETTLED * 2**level:
                break
    return pose


def judge(picture: Picture, pose: np.ndarray, views: Sequence[KeyView], level: int, gate: float) -> Fit:
    """How well the points of key views fit, at a level of the pyramid and a gate in metres."""
    own = Equations.empty()
    for view in views:
        own += relate(view.own, pose @ view.camera_in_object, picture, level, gate)
    return Fit(pose, own, sum(len(view.own.points) for view in views))


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Radians between the rotations of two poses (4, 4)."""
    return float(np.linalg.norm(cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0]))


def is_same(a: np.ndarray, b: np.ndarray, radius: float) -> bool:
    """Whether two poses (4, 4) of an object of this radius, in metres, are one but for what refinement does."""
    return angle_between(a, b) < _SAME[0] and bool(np.linalg.norm(a[:3, 3] - b[:3, 3]) < _SAME[1] * radius)


def _solve(equations: Equations, pose: np.ndarray) -> np.ndarray:
    """(6,) motion of the object; damped about its middle."""
    x, y, z = pose[:3, 3]
    J = np.eye(6)
    J[3:, :3] = -np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    damping = J.T @ np.diag([_DAMPING**2] * 3 + [(10 * _DAMPING) ** 2] * 3) @ J
    return np.linalg.solve(equations.H + damping, -equations.g)
