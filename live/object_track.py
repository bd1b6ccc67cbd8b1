"""One followed object: its pose, its state, and what is remembered of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from estimater import FoundationPose
from live.judgement import StateJudge
from live.recovery import SearchProgress
from live.smoothing import PoseMean
from live.still_picture import StillPicture
from live.tracked_pose import TrackedPose
from pose6d.geometry.motion import Motion
from pose6d.geometry.rotation_grids import covering_rotations
from pose6d.geometry.transforms import so3_exp
from pose6d.scenes.frame import Frame
from pose6d.search.alignment_alone import NetworkVerdict
from pose6d.search.placement import NearSides

_RIVAL = 1 / 3  # of the likeliest pose's probability, above which another one is a rival
MOST_RIVALS = 3
"""poses that a registration left open and that are followed beside its own"""


class ObjectTrack:
    """What is known of one object.

    Args:
        name, index: of the object among all.
        estimator: of it.
        smoothing: whether what is reported is a mean while nothing moves.

    Attributes:
        center, diameter: of its mesh: the middle (3,) and the size in metres.
        rotations, near: (R, 3, 3) from all around, and what a camera sees of it in each, for the search.
        judge: its state.
        motion: its velocity.
        search: how far the search has got while it is lost.
        pose: (4, 4) of the last frame that was good; None before, and while the object is lost.
        trusted: (4, 4) of the last frame with state `tracking`.
        kept: (4, 4) the best pose of the last frame if it was not good; the next frame starts from there, too.
        rivals: (N, 4, 4) the poses that the registration left open beside its own, in the mesh frame of that one, until
            a frame tells them apart.
        odds: log odds of the pose of the last frame.
        turns, quarter_turns: (21, 3, 3) of the mesh about its principal axes, all around in steps of 45 degrees, axis
            by axis, and (9, 3, 3) in steps of 90.
        challengers: (N, 4, 4) other poses that compete with its own (`live.other_sides`), in the mesh frame of that
            one; None without any. favoured: log odds by which frames have favoured the only one; 0 before.
        looks, since_look: how often turns have been tried, and frames since then.
        verdict: what the networks last said of its pose; None while it needs them in each frame.
        shown: (4, 4) what is reported.
        probability: that the pose is right.
    """

    def __init__(self, name: str, index: int, estimator: FoundationPose, smoothing: bool):
        self.name, self.index, self.estimator = name, index, estimator
        assert estimator.mesh is not None
        self.center = np.asarray(estimator.mesh.center, dtype=np.float32)
        self.diameter = float(estimator.diameter)
        axes = estimator.object.principal_axes().cpu()
        turns = so3_exp(axes[:, None] * torch.arange(45, 360, 45).deg2rad()[:, None]).numpy()  # (3, 7, 3, 3)
        self.turns, self.quarter_turns = turns.reshape(-1, 3, 3), turns[:, 1::2].reshape(-1, 3, 3)
        self.rotations = covering_rotations(estimator.symmetries).to(estimator.device)
        self.near = NearSides.of(estimator.object, self.rotations)
        self.search = SearchProgress()
        self.motion = Motion(self.center)
        self._mean = PoseMean(self.center, self.diameter) if smoothing else None
        self._picture = StillPicture(self.center, self.diameter)
        self.reset()

    def reset(self) -> None:
        """Know nothing of where it is."""
        self.judge = StateJudge(credit=0.0)
        self.trusted: np.ndarray | None = None
        self.lose()

    def lose(self) -> None:
        """Look for it from now on, near where it was first."""
        self.judge.lose()
        self.pose: np.ndarray | None = None
        self.kept: np.ndarray | None = None
        self.rivals: np.ndarray | None = None
        self.odds = -math.inf
        self.challengers: np.ndarray | None = None
        self.favoured, self.looks, self.since_look = 0.0, 0, 0
        self.verdict: NetworkVerdict | None = None
        self.shown: np.ndarray | None = None
        self.probability: float | None = None
        self.search.restart()
        self.jump()

    def jump(self) -> None:
        """The next pose is another one than the last, not one that it has moved to."""
        self.motion.clear()
        self._picture.forget()

    def begin(self, pose: np.ndarray, odds: float, frame: Frame, others: Sequence[tuple[np.ndarray, float]]) -> None:
        """A registration found it.

        Args:
            pose: (4, 4).
            odds: of it.
            frame: in which.
            others: the alternatives of the registration, (4, 4) each with its probability, `pose` first; or none.
        """
        self.reset()
        said = others[0][1] if others else 1.0
        rivals = [other for other, chance in others[1:] if chance > _RIVAL * said][:MOST_RIVALS]
        self.judge.start(odds, said, bool(rivals))
        self.rivals = np.stack([np.linalg.inv(pose) @ rival for rival in rivals]) if rivals else None
        self.accept(pose, odds, frame)

    def tell_apart(self) -> None:
        """Its rivals are out of question."""
        self.rivals, self.judge.rivals = None, False

    def accept(self, pose: np.ndarray, odds: float, frame: Frame) -> None:
        """It is there, as far as its state says."""
        self.pose, self.kept = pose.astype(np.float32), None
        self.odds, self.probability = odds, self.judge.probability(odds)
        self.shown = self.pose
        if self._mean is not None:
            turns_tried = self.looks > 0 and self.since_look == 0
            self.shown = self._mean(self.pose, self._picture.is_still(frame, self.pose, busy=turns_tried))
        self.motion.add(pose, frame.seconds)
        if self.judge.state == "tracking":
            self.trusted = self.pose

    def hold(self, pose: np.ndarray, odds: float) -> None:
        """It stays where it was last: what hides it must not carry its pose off."""
        self.kept, self.odds, self.probability = pose, odds, self.judge.probability(odds)

    def tracked_pose(self) -> TrackedPose:
        """What is reported."""
        pose = None if self.shown is None else self.shown.copy()
        return TrackedPose(self.name, self.judge.state, pose, self.probability)
