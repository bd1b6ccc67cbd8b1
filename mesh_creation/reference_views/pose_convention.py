"""Which way round the poses of views are, in which unit and camera axes: told by where the views' points meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from mesh_creation.reference_views.pose_evidence import PairFits, ViewSurface, fit_pairs

AGREE = 0.6  # the share of points against two poses from which on they contradict each other
_OVERLAP = 0.05  # the share of points that two views of one object have to have in common
_CERTAIN = 0.8  # share of the pairs of views that fit, with which another convention is taken to be what was meant
_MARGIN = 0.3  # by which any other must fit fewer pairs,
_CLEARER = (
    0.2  # or, of views that hardly differ, so that pairs fit either way, by which more of the points contradict it
)
_ACCEPTED = 0.5  # with which poses are taken as they are given, where no other convention is certain
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_FARTHEST = 50.0  # times the distance of the object, from which on its frame's origin cannot be so far away


@dataclass(frozen=True)
class PoseConvention:
    """How poses are written.

    Attributes:
        inverted: they are the object in the camera, not the camera in the object.
        millimetres: their translation is in millimetres.
        opengl: the camera looks along -z, with y up, as in OpenGL and in tools for radiance fields.
    """

    inverted: bool = False
    millimetres: bool = False
    opengl: bool = False

    def camera_in_object(self, poses: np.ndarray) -> np.ndarray:
        """(N, 4, 4) camera in object, metres, OpenCV axes, of poses (N, 4, 4) that are written so."""
        poses = poses.copy()
        if self.millimetres:
            poses[:, :3, 3] *= 1e-3
        if self.inverted:
            poses = np.linalg.inv(poses)
        return poses @ _OPENGL if self.opengl else poses

    def __str__(self) -> str:
        parts = ["the object in the camera" if self.inverted else "the camera in the object"]
        parts += ["in millimetres"] if self.millimetres else []
        parts += ["with OpenGL's camera axes (y up, looking along -z)"] if self.opengl else []
        return ", ".join(parts)


GIVEN = PoseConvention()
_ALL = [PoseConvention(*chosen) for chosen in product((False, True), repeat=3)]


def find_convention(evidence: Sequence[ViewSurface], poses: np.ndarray) -> tuple[PoseConvention | None, str]:
    """How the poses of views are written.

    Of one view, only the unit can be told; which way round its pose is then does not matter, as any frame of the object
    is as good as another. Poses that fit as they are given are left alone, also where others would fit as well.

    Args:
        evidence: of N views that differ in direction.
        poses: (N, 4, 4) as they are given.

    Returns:
        The convention, None where no convention makes the views' points meet, or several do; and what was found.
    """
    if len(evidence) == 1:
        far = np.linalg.norm(poses[0, :3, 3]) > _FARTHEST * np.median(evidence[0].points[:, 2])
        found = f"the object's frame is {np.linalg.norm(poses[0, :3, 3]):.0f} units from the camera" if far else ""
        return PoseConvention(millimetres=bool(far)), found
    fits = {convention: _meeting(fit_pairs(evidence, convention.camera_in_object(poses))) for convention in _ALL}
    best, given = min(fits, key=lambda c: (fits[c].share < _CERTAIN, fits[c].against)), fits[GIVEN].share
    share, against = fits[best]
    rivals = [fit for convention, fit in fits.items() if convention != best]
    stands_out = all(share - rival.share >= _MARGIN or rival.against - against >= _CLEARER for rival in rivals)
    if best != GIVEN and share >= _CERTAIN and stands_out:
        return best, f"so {share:.0%} of the pairs of views show one object in one place, as they are given {given:.0%}"
    return (GIVEN if given >= _ACCEPTED else None), f"{given:.0%} of the pairs of views show one object in one place"


class _Meeting(NamedTuple):
    """How well views meet: the share of their pairs that show one object in one place, and of the points of a pair that
    contradict it, the mean of all pairs."""

    share: float
    against: float


def _meeting(fits: PairFits) -> _Meeting:
    pairs = np.triu_indices(len(fits.against), 1)
    against, met = fits.against[pairs], fits.met[pairs]
    return _Meeting(float(((against < AGREE) & (met > _OVERLAP)).mean()), float(against.mean()))
