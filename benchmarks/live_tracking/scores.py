"""What a tracker made of a sequence, and the sums over sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from live.tracked_pose import TrackedPose
from pose6d.evaluation.equivalent_poses import EquivalentPoses
from pose6d.evaluation.pose_errors import add, add_s, rotation_error
from pose6d.evaluation.record import RIGHT
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.frame import Frame

HIDDEN = 0.05  # visible share of the silhouette below which the object counts as wholly hidden
SEEN = 0.5  # the same from which on it must be found again
_POINTS = 1000  # of the surface


@dataclass(frozen=True)
class FrameScore:
    """One frame.

    Attributes:
        state: of the object.
        visible: share of its silhouette.
        error: ADD in diameters, of the nearest pose that looks like the truth in this frame; None without a pose, or
            where the truth is unknown.
        degrees, lateral, along: error of the rotation, and of the object's middle across and along the line of sight,
            metres; None as before.
        probability: that the tracker gives the pose.
        pose: (4, 4) of the object about its middle, as rows; None where it is lost.
        seconds: that the frame took.
    """

    state: str
    visible: float
    error: float | None
    degrees: float | None
    lateral: float | None
    along: float | None
    probability: float | None
    seconds: float
    pose: list[list[float]] | None = None

    @property
    def right(self) -> bool:
        """Whether the pose is within 0.1 diameter."""
        return self.error is not None and self.error < RIGHT


class PoseScorer:
    """Compares poses of one object with the truth. Poses that no picture tells from it are right, too.

    Args:
        mesh: of the object, metres.
        device: draws it.
        symmetric: it looks the same from several sides, so that ADD-S counts.
    """

    def __init__(self, mesh: Mesh, device: torch.device, symmetric: bool = False):
        self._mesh, self._device, self._symmetric = mesh, device, symmetric
        self._points = mesh.sample_surface(_POINTS, seed=0)
        self._equivalent: EquivalentPoses | None = None  # made when it is needed: that takes seconds
        self._alike: tuple[str, np.ndarray] | None = None  # of the last frame that needed them

    def error(self, pose: np.ndarray, frame: Frame) -> float | None:
        """ADD, or ADD-S, in diameters of a pose (4, 4).

        Infinite where the object is not in the picture, None without a truth.
        """
        truth = frame.object_in_camera
        if truth is None:
            return None if frame.mask is None else float("inf")
        diameter = float(self._mesh.diameter)
        if self._symmetric:
            return float(add_s(pose, truth, self._points)) / diameter
        error = float(add(pose, truth, self._points)) / diameter
        if error < RIGHT or frame.mask is None or float(add_s(pose, truth, self._points)) / diameter >= RIGHT:
            return error
        if self._equivalent is None:
            self._equivalent = EquivalentPoses(self._mesh, device=self._device)
        if self._alike is None or self._alike[0] != frame.name:
            self._alike = frame.name, self._equivalent.find(truth, frame.K, frame.depth, frame.mask).poses
        return min(error, float(add(pose, self._alike[1], self._points).min()) / diameter)

    def score(self, tracked: TrackedPose, frame: Frame, visible: float, seconds: float) -> FrameScore:
        """One result."""
        pose, truth, mesh = tracked.pose, frame.object_in_camera, self._mesh
        error, rows = None, None
        if pose is not None:
            centred = np.array(pose, dtype=np.float64)
            centred[:3, 3] += centred[:3, :3] @ mesh.center
            error, rows = self.error(pose, frame), centred.tolist()
        if pose is None or truth is None:
            nothing = None, None, None
            return FrameScore(tracked.state, visible, error, *nothing, tracked.confidence, seconds, rows)
        middle, wanted = (p[:3, :3] @ mesh.center + p[:3, 3] for p in (pose, truth))
        ray = wanted / np.linalg.norm(wanted)
        along = float((middle - wanted) @ ray)
        lateral = float(np.linalg.norm(middle - wanted - along * ray))
        degrees = float(np.degrees(rotation_error(pose, truth)))
        return FrameScore(tracked.state, visible, error, degrees, lateral, along, tracked.confidence, seconds, rows)


@dataclass(frozen=True)
class SequenceScore:
    """One sequence; counts of frames.

    Attributes:
        frames: in all, but the first.
        seen: frames in which enough of the object is visible that it should be right.
        right: of these, with a right pose and not lost.
        tracking: frames with that state.
        wrong_tracking: of these, with a wrong pose, or wholly hidden.
        hidden: frames in which the object is wholly hidden or outside.
        hidden_tracking: of these, called `tracking`.
        known: whether the truth is.
        found_after: frames from when enough of it is visible again until the first right `tracking`; None where it
            never is, and -1 where it was never out of sight.
    """

    name: str
    frames: int
    seen: int
    right: int
    tracking: int
    wrong_tracking: int
    hidden: int
    hidden_tracking: int
    known: bool
    found_after: int | None


def score_sequence(name: str, scores: Sequence[FrameScore]) -> SequenceScore:
    """The counts of one sequence, without its first frame."""
    scores = scores[1:]
    hidden = [score for score in scores if score.visible < HIDDEN]
    seen = [score for score in scores if score.visible >= SEEN]
    tracking = [score for score in scores if score.state == "tracking"]
    found_after: int | None = -1
    if hidden:
        last = max(i for i, score in enumerate(scores) if score.visible < HIDDEN)
        after = [i for i in range(last + 1, len(scores)) if scores[i].visible >= SEEN]
        found = [i for i in after if scores[i].state == "tracking" and scores[i].right]
        found_after = found[0] - after[0] + 1 if found else None
    return SequenceScore(
        name,
        len(scores),
        len(seen),
        sum(score.right and score.state != "lost" for score in seen),
        len(tracking),
        sum(score.visible < HIDDEN or not (score.right or score.error is None) for score in tracking),
        len(hidden),
        sum(score.state == "tracking" for score in hidden),
        any(score.error is not None for score in scores),
        found_after,
    )
