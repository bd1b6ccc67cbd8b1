"""Following objects that go on steadily, as they moved, without any network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from live.object_track import ObjectTrack
from live.other_sides import Candidate
from live.pose_batch import JudgedPoses, PoseBatch
from pose6d.errors import OptionError
from pose6d.scenes.frame import Frame


class SteadyFollowing:
    """Follows objects by the alignment alone (`pose6d.search.alignment_alone`) while they go on as they moved.

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

    @property
    def seldom(self) -> bool:
        """Whether there are frames without networks."""
        return self._rounds > 0 and self._interval > 1

    def follow(self, tracks: Sequence[ObjectTrack], frame: Frame) -> dict[int, Candidate]:
        """Where objects are that need no network in this frame, by their rows in `tracks`. The confidence of the
        scorer is that of the last frame with networks.

        Raises:
            SceneError, FrameError: the frame cannot be used.
        """
        rows = [row for row, track in enumerate(tracks) if self._may_go_alone(track)]
        if not rows:
            return {}
        starts = []
        for row in rows:
            track = tracks[row]
            assert track.verdict is not None
            assert track.pose is not None
            starts.append(track.verdict.start(track.pose, track.motion, frame.seconds))
        judged = self._align(frame, [tracks[row].index for row in rows], np.stack(starts))
        found = {}
        for at, row in enumerate(rows):
            track, one = tracks[row], judged.take([at])
            verdict = track.verdict
            assert verdict is not None
            if verdict.confidence is not None:
                one = replace(one, confidence=np.array([verdict.confidence], np.float32))
            (candidate,) = Candidate.each_of(track, one)
            sure = track.judge.is_sure(candidate.odds)
            if sure and verdict.holds(starts[at], candidate.pose, track.center, candidate.seen):
                track.verdict = verdict._replace(frames=verdict.frames + 1)
                found[row] = candidate
        return found

    def warm_up(self, frame: Frame, pose: np.ndarray, objects: int) -> None:
        """Align a pose (4, 4) of the first object once in each number that may come with so many objects."""
        for count in {objects, *(4**i for i in range(8) if 4**i < objects)}:
            self._align(frame, [0] * count, np.stack([pose] * count))

    def _align(self, frame: Frame, objects: Sequence[int], starts: np.ndarray) -> JudgedPoses:
        return self._batch.follow(frame, objects, starts, 0, self._rounds, judge=False)

    def _may_go_alone(self, track: ObjectTrack) -> bool:
        return (
            self.seldom
            and track.verdict is not None
            and track.verdict.frames + 1 < self._interval
            and track.challengers is None  # which the networks compare with the pose
            and track.pose is not None
        )
