"""Following objects by the networks: from where they were, and those in doubt from more starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from live.object_track import ObjectTrack
from live.other_sides import Candidate
from live.pose_batch import PoseBatch
from live.recovery import starts_in_doubt
from pose6d.geometry.motion import is_far
from pose6d.scenes.frame import Frame
from pose6d.search.alignment_alone import NetworkVerdict

_Starts = dict[int, list[np.ndarray]]  # (4, 4) each, by the row of the object
_Refined = tuple[np.ndarray, Candidate]  # a start (4, 4), and where it led to
_FAST = 6.0, 0.08  # degrees and diameters between frames from which on the velocity is worth a look
_FAR = 12.0, 0.2  # the same from a start to where it was refined to, from which on it is refined again


STARTS_IN_DOUBT = {"cpu": 4, "cuda": 16}
"""by the kind of device; a batch that is full on CUDA, see `filled_size`"""


class NetworkFollowing:
    """Follows objects by the networks, all in one batch.

    An object is refined from its last pose; a fast one also from where its velocity leads to. What is refined far away
    is refined again: a step reaches only so far. What was in doubt in the last frame, and is still, is refined from all
    that is known of it and from some turns of that, others in each frame. So no frame costs more than two batches.

    Args:
        batch: of all objects.
        refinement: steps and rounds of the alignment.
        starts: of one frame in which objects are in doubt, of all these objects together.
    """

    def __init__(self, batch: PoseBatch, refinement: tuple[int, int], starts: int):
        self._batch, self._refinement, self._starts = batch, refinement, starts

    def follow(self, tracks: Sequence[ObjectTrack], frame: Frame) -> list[Candidate]:
        """The likeliest pose of each object in a frame.

        Raises:
            SceneError, FrameError: the frame cannot be used.
        """
        if not tracks:
            return []
        refined = self._refine(tracks, frame, {row: _last_poses(track, frame) for row, track in enumerate(tracks)})
        again = self._refine(tracks, frame, self._starts_again(tracks, frame, refined))
        return [_likeliest(refined[row] + again.get(row, [])) for row in range(len(tracks))]

    def warm_up(self, frame: Frame, pose: np.ndarray, objects: int) -> None:
        """Do once with a pose (4, 4) of the first object all that may come with so many objects."""
        many = 2 * objects
        for count in {1, objects, many, self._starts, *(4**i for i in range(8) if 4**i < many)}:
            self._batch.follow(frame, [0] * count, np.stack([pose] * count), *self._refinement)

    def _refine(self, tracks: Sequence[ObjectTrack], frame: Frame, starts: _Starts) -> dict[int, list[_Refined]]:
        """What each start of each object led to, by the row of the object."""
        if not starts:
            return {}
        rows, poses = zip(*((row, pose) for row, own in starts.items() for pose in own), strict=True)
        judged = self._batch.follow(frame, [tracks[row].index for row in rows], np.stack(poses), *self._refinement)
        places = {row: [i for i, other in enumerate(rows) if other == row] for row in starts}
        return {
            row: [*zip([poses[i] for i in own], Candidate.each_of(tracks[row], judged.take(own)), strict=True)]
            for row, own in places.items()
        }

    def _starts_again(self, tracks: Sequence[ObjectTrack], frame: Frame, refined: dict[int, list[_Refined]]) -> _Starts:
        """What some objects are refined from in the same frame, after what their first starts led to."""
        far = {
            row: [candidate.pose for _, candidate in own]
            for row, own in refined.items()
            if any(_led_far(tracks[row], start, candidate) for start, candidate in own)
        }
        doubtful = [
            row
            for row, track in enumerate(tracks)
            if track.judge.bad and not track.judge.is_good(_likeliest(refined[row]).odds)
        ]
        each = max((self._starts - sum(map(len, far.values()))) // max(len(doubtful), 1), 1)
        return far | {row: far.get(row, []) + _starts_in_doubt(tracks[row], frame, each) for row in doubtful}


def _likeliest(refined: Sequence[_Refined]) -> Candidate:
    return max((candidate for _, candidate in refined), key=lambda candidate: candidate.odds)


def _led_far(track: ObjectTrack, start: np.ndarray, candidate: Candidate) -> bool:
    return is_far(start, candidate.pose, track.center, _FAR[0], _FAR[1] * track.diameter)


def verdict_of(track: ObjectTrack, best: Candidate) -> NetworkVerdict | None:
    """What the networks say of the pose of an object that needs none of them for a while; None of any other."""
    if track.judge.state != "tracking":
        return None
    known = best.judged.confidence
    return NetworkVerdict(best.pose, None if known is None else float(known[0]), best.seen, track.diameter)


def _last_poses(track: ObjectTrack, frame: Frame) -> list[np.ndarray]:
    """The last pose (4, 4), and of an object that is fast where its velocity leads to."""
    fast = track.motion.is_fast(_FAST[0], _FAST[1] * track.diameter)
    predicted = track.motion.predict(frame.seconds) if fast else None
    return [pose for pose in (track.pose, predicted) if pose is not None]


def _starts_in_doubt(track: ObjectTrack, frame: Frame, count: int) -> list[np.ndarray]:
    """(4, 4) each, at most so many."""
    known = [track.trusted, track.motion.predict(frame.seconds), track.pose, track.kept]
    known += [] if track.rivals is None else [track.pose @ rival for rival in track.rivals]
    poses = [pose for pose in known if pose is not None]
    return [*starts_in_doubt(poses, track.center, track.diameter, count, track.judge.bad - 1)]
