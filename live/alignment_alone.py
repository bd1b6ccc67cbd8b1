"""Following objects without any network, in frames in which they go on as they moved.

Where constant velocity leads to is then so near to the truth that the alignment of texture and depth does the rest, as
exactly as after a network's step, in a fraction of its time. What the frame shows of the pose is compared with what it
showed when the networks last followed the object; where it is less, they do, in the same frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from live.judgement import fitting_share
from live.motion import is_far
from live.object_track import ObjectTrack
from live.other_sides import Candidate
from live.pose_batch import JudgedPoses, PoseBatch
from pose6d.errors import OptionError
from pose6d.scenes.frame import Frame

INTERVALS = {"cpu": 12, "cuda": 4}
"""frames from one that the networks follow an object in to the next, by the kind of device"""

_STILL = 2.0, 0.02  # degrees and diameters between frames up to which an object counts as standing still
_FAR = 3.0, 0.04  # degrees and diameters from the predicted pose from which on the alignment may have gone astray
_LESS_TEXTURE, _LESS_FIT, _MORE_SPREAD = 0.1, 0.06, 0.1  # than when the networks last followed it
_LEAST_VISIBLE = 0.5  # share of the silhouette


class AlignmentAlone:
    """Follows objects by the alignment alone.

    Args:
        batch: of all objects.
        rounds: of the alignment; without any, the networks follow all objects in all frames.
        interval: frames from one that the networks follow an object in to the next; 1: all.

    Raises:
        OptionError: the interval is less than 1.
    """

    def __init__(self, batch: PoseBatch, rounds: int, interval: int):
        if interval < 1:
            raise OptionError(f"networks_every is {interval}: 1 (the networks follow in every frame) or more is needed")
        self._batch, self._rounds, self._interval = batch, rounds, interval

    def follow(self, tracks: Sequence[ObjectTrack], frame: Frame) -> dict[int, Candidate]:
        """Where objects are that need no network in this frame, by their rows in `tracks`. The confidence of the
        scorer is that of the last frame with networks.

        Raises:
            SceneError, FrameError: the frame cannot be used.
        """
        rows = [row for row, track in enumerate(tracks) if self._may_go_alone(track)]
        if not rows:
            return {}
        starts = np.stack([_start(tracks[row], frame) for row in rows])
        judged = self._align(frame, [tracks[row].index for row in rows], starts)
        found = {}
        for at, row in enumerate(rows):
            track, one = tracks[row], judged.take([at])
            verdict = track.verdict
            assert verdict is not None
            if verdict.confidence is not None:
                one = replace(one, confidence=np.array([verdict.confidence], np.float32))
            candidate = Candidate.of(track, one, 0)
            if _goes_on(track, starts[at], candidate, verdict.seen):
                track.verdict = verdict._replace(frames=verdict.frames + 1)
                found[row] = candidate
        return found

    def warm_up(self, frame: Frame, poses: np.ndarray) -> None:
        """Align poses (N, 4, 4) of the first object once."""
        self._align(frame, [0] * len(poses), poses)

    def _align(self, frame: Frame, objects: Sequence[int], starts: np.ndarray) -> JudgedPoses:
        return self._batch.follow(frame, objects, starts, 0, self._rounds, judge=False)

    def _may_go_alone(self, track: ObjectTrack) -> bool:
        return (
            self._rounds > 0
            and track.verdict is not None
            and track.verdict.frames + 1 < self._interval
            and track.challengers is None  # which the networks compare with the pose
            and track.pose is not None
        )


def _start(track: ObjectTrack, frame: Frame) -> np.ndarray:
    """Where the alignment starts from.

    Of an object that stands still that is where the networks saw it: from its last pose on it would creep to where the
    alignment by itself wants it, and jump back with the next frame of the networks.
    """
    assert track.pose is not None
    assert track.verdict is not None
    still = _STILL[0], _STILL[1] * track.diameter
    if track.motion.is_fast(*still):
        predicted = track.motion.predict(frame.seconds)
        return track.pose if predicted is None else predicted
    return track.pose if is_far(track.verdict.pose, track.pose, track.center, *still) else track.verdict.pose


def _goes_on(track: ObjectTrack, start: np.ndarray, candidate: Candidate, before: dict[str, float]) -> bool:
    """Whether a frame shows as much of an object at the aligned pose as it did `before`."""
    seen = candidate.seen
    return (
        track.judge.is_sure(candidate.odds)
        and not is_far(start, candidate.pose, track.center, _FAR[0], _FAR[1] * track.diameter)
        and seen["visible"] * seen["inside"] >= _LEAST_VISIBLE
        and seen["texture"] > before["texture"] - _LESS_TEXTURE
        and fitting_share(seen) > fitting_share(before) - _LESS_FIT
        and seen["spread"] < before["spread"] + _MORE_SPREAD
    )
