"""Following an object without any network, in frames in which it goes on as it moved.

Where constant velocity leads to is then so near to the truth that the alignment of texture and depth does the rest, as
exactly as after a network's step, in a fraction of its time. What the frame shows of the pose is compared with what it
showed when the networks last followed the object; where it is less, they do, in the same frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pose6d.geometry.motion import Motion, is_far
from pose6d.search.evidence import fitting_share

INTERVALS = {"cpu": 12, "cuda": 4}
"""frames from one that the networks follow an object in to the next, by the kind of device"""
ROUNDS = 3
"""of the alignment, all but the last one coarse"""

_STILL = 2.0, 0.02  # degrees and diameters between frames up to which an object counts as standing still
_FAR = 3.0, 0.04  # degrees and diameters from the predicted pose from which on the alignment may have gone astray
_LESS_TEXTURE, _LESS_FIT, _MORE_SPREAD = 0.1, 0.06, 0.1  # than when the networks last followed it
_LEAST_VISIBLE = 0.5  # share of the silhouette
_LEAST_FIT, _LEAST_CONFIDENCE = 0.8, 0.5  # of a pose that is worth following by the alignment
_WOBBLE = 0.3  # by which its texture may fall short of the usual one: light and blur change it
_LEARNING = 0.1  # share of a new frame in what is usual
_LONGEST_PAUSE = 7  # frames until the alignment alone is tried again of what does not go on as it moved


class NetworkVerdict(NamedTuple):
    """What the networks' last frame said of the pose of an object, and whether it still holds.

    Attributes:
        pose: (4, 4).
        confidence: of the scorer; None where it has none, or was not asked.
        seen: the evidence by name (`pose6d.search.evidence`).
        diameter: of the object, metres.
        usual: correlation of its texture in the networks' frames so far, this one included.
        frames: since then.
    """

    pose: np.ndarray
    confidence: float | None
    seen: Mapping[str, float]
    diameter: float
    usual: float = 0.0
    frames: int = 0

    @property
    def sound(self) -> bool:
        """Whether the pose looks right by itself: what is not hidden is where it should be, and has its texture."""
        return (
            bool(fitting_share(self.seen) >= _LEAST_FIT)
            and self.seen["visible"] * self.seen["inside"] >= _LEAST_VISIBLE
            and self.seen["texture"] > self.usual - _WOBBLE
            and (self.confidence is None or self.confidence >= _LEAST_CONFIDENCE)
        )

    def start(self, pose: np.ndarray, motion: Motion, seconds: float | None = None) -> np.ndarray:
        """Where the alignment starts from in a frame, (4, 4).

        Of an object that stands still that is where the networks saw it: from its last pose on it would creep to where
        the alignment by itself wants it, and jump back with the next frame of the networks.

        Args:
            pose: (4, 4) the last one.
            motion: of the object.
            seconds: when the frame was taken.
        """
        still = _STILL[0], _STILL[1] * self.diameter
        if motion.moves(*still):
            predicted = motion.predict(seconds)
            return pose if predicted is None else predicted
        return pose if is_far(self.pose, pose, motion.center, *still) else self.pose

    def holds(self, start: np.ndarray, pose: np.ndarray, center: np.ndarray, seen: Mapping[str, float]) -> bool:
        """Whether a frame shows as much of the object at an aligned pose as the networks' frame did at theirs.

        Args:
            start, pose: (4, 4) before and after the alignment.
            center: (3,) metres, the middle of the object in the mesh frame.
            seen: the evidence of the pose by name.
        """
        return (
            not is_far(start, pose, center, _FAR[0], _FAR[1] * self.diameter)
            and seen["visible"] * seen["inside"] >= _LEAST_VISIBLE
            and seen["texture"] > self.seen["texture"] - _LESS_TEXTURE
            and fitting_share(seen) > fitting_share(self.seen) - _LESS_FIT
            and seen["spread"] < self.seen["spread"] + _MORE_SPREAD
        )


class TrackMemory:
    """What is remembered of M centred objects from frame to frame, and whether the alignment alone may follow them.

    Args:
        diameters: (M,) metres.
    """

    def __init__(self, diameters: Sequence[float] | np.ndarray):
        self._diameters = [float(diameter) for diameter in diameters]
        self._motions: list[Motion] = []
        self._verdicts: list[NetworkVerdict] | None = None
        self._judged = False  # by the networks, in the last frame that they saw
        self._failures = self._pause = 0  # the alignment was not enough, in a row; frames until it is tried again

    def begin(self, poses: np.ndarray) -> None:
        """Know nothing but where the objects are, (M, 4, 4)."""
        self._motions = [Motion(np.zeros(3)) for _ in self._diameters]
        self._verdicts, self._judged, self._failures, self._pause = None, False, 0, 0
        self._move(poses)

    def rest(self, degrees: float, diameters: float) -> bool:
        """Whether the last step of all objects is known, and turned and moved none by more than that."""
        return all(m.rests(degrees, diameters * d) for m, d in zip(self._motions, self._diameters, strict=True))

    def may_go_alone(self, judge: bool) -> bool:
        """Whether the alignment alone may follow all objects into the next frame; `judge`: it is to be judged."""
        if self._verdicts is None or (judge and not self._judged):
            return False
        if self._pause:
            self._pause -= 1
            return False
        return all(verdict.sound and verdict.frames + 1 < INTERVALS["cpu"] for verdict in self._verdicts)

    def starts(self) -> np.ndarray:
        """(M, 4, 4) float32, where the alignment starts from, after a frame of the networks."""
        assert self._verdicts is not None
        pairs = zip(self._verdicts, self._motions, strict=True)
        return np.stack([verdict.start(motion.last, motion) for verdict, motion in pairs]).astype(np.float32)

    def went_alone(self, starts: np.ndarray, poses: np.ndarray, seen: Sequence[Mapping[str, float]]) -> bool:
        """Whether the aligned poses (M, 4, 4) of all objects count; else nothing has changed.

        Args:
            starts: (M, 4, 4) of `starts`.
            poses: aligned from there.
            seen: the evidence of each by name.
        """
        verdicts, middle = self._verdicts, np.zeros(3)
        assert verdicts is not None
        counts = bool(np.isfinite(poses).all()) and all(
            verdict.holds(start, pose, middle, each)
            for verdict, start, pose, each in zip(verdicts, starts, poses, seen, strict=True)
        )
        self._failures = 0 if counts else self._failures + 1
        self._pause = min(2**self._failures // 2 - 1, _LONGEST_PAUSE) if self._failures else 0
        if counts:
            self._move(poses)
            self._verdicts = [verdict._replace(frames=verdict.frames + 1) for verdict in verdicts]
        return counts

    def went_with_networks(
        self, poses: np.ndarray, confidence: np.ndarray | None, seen: Sequence[Mapping[str, float]] | None, judged: bool
    ) -> None:
        """The networks have followed all objects.

        Args:
            poses: (M, 4, 4).
            confidence: (M,) of the scorer; None where it has none, or was not asked.
            seen: the evidence of each by name; None where nobody looked, and none may go alone therefore.
            judged: whether the scorer was asked.
        """
        self._move(poses)
        self._judged = judged
        if seen is None:
            self._verdicts = None
            return
        known = [None] * len(poses) if confidence is None else [float(each) for each in confidence]
        before = [*self._verdicts] if self._verdicts else [None] * len(poses)
        self._verdicts = [
            NetworkVerdict(pose, said, now, diameter, _usual_texture(now, last))
            for pose, said, now, diameter, last in zip(poses, known, seen, self._diameters, before, strict=True)
        ]

    @property
    def confidence(self) -> np.ndarray | None:
        """(M,) of the last frame that the networks followed the objects in; None where they gave none."""
        known = [verdict.confidence for verdict in self._verdicts or []]
        return None if None in known else np.array(known, dtype=np.float32)

    def _move(self, poses: np.ndarray) -> None:
        for motion, pose in zip(self._motions, poses, strict=True):
            motion.add(pose, None)


def _usual_texture(seen: Mapping[str, float], before: NetworkVerdict | None) -> float:
    """How well the texture of an object correlates as a rule: in the networks' last frame, and in those before."""
    return seen["texture"] if before is None else before.usual + _LEARNING * (seen["texture"] - before.usual)
