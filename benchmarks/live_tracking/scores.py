"""What a tracker made of a sequence, and the sums over sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from live.tracked_pose import TrackedPose
from pose6d.evaluation.pose_errors import add, add_s
from pose6d.evaluation.record import RIGHT
from pose6d.mesh.mesh import Mesh

HIDDEN = 0.05  # visible share of the silhouette below which the object counts as wholly hidden
SEEN = 0.5  # the same from which on it must be found again
_POINTS = 1000  # of the surface


@dataclass(frozen=True)
class FrameScore:
    """One frame.

    Attributes:
        state: of the object.
        visible: share of its silhouette.
        error: ADD in diameters, ADD-S for symmetric objects; None without a pose, or where the truth is unknown.
        degrees, lateral, along: error of the rotation, and of the object's middle across and along the line of sight,
            metres; None as before.
        probability: that the tracker gives the pose.
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

    @property
    def right(self) -> bool:
        """Whether the pose is within 0.1 diameter."""
        return self.error is not None and self.error < RIGHT


def score_frame(
    tracked: TrackedPose, truth: np.ndarray | None, visible: float, mesh: Mesh, symmetric: bool, seconds: float
) -> FrameScore:
    """Compare one result with the truth (4, 4); None where the object is not in the picture."""
    facts = tracked.state, visible
    if tracked.pose is None or truth is None:
        wrong = None if tracked.pose is None or visible > 0 else np.inf  # a pose of what is not there is wrong
        return FrameScore(*facts, wrong, None, None, None, tracked.confidence, seconds)
    points = mesh.sample_surface(_POINTS, seed=0)
    error = float((add_s if symmetric else add)(tracked.pose, truth, points)) / float(mesh.diameter)
    turn = tracked.pose[:3, :3].T.astype(np.float64) @ truth[:3, :3]
    degrees = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0))))
    middle, wanted = (pose[:3, :3] @ mesh.center + pose[:3, 3] for pose in (tracked.pose, truth))
    ray = wanted / np.linalg.norm(wanted)
    along = float((middle - wanted) @ ray)
    lateral = float(np.linalg.norm(middle - wanted - along * ray))
    return FrameScore(*facts, error, degrees, lateral, along, tracked.confidence, seconds)


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
        sum(score.visible < HIDDEN or not score.right for score in tracking),
        len(hidden),
        sum(score.state == "tracking" for score in hidden),
        found_after,
    )
