"""Other sides of an object that may be the right ones: which of them a frame favours.

Where a shape looks nearly the same from several sides, a registration or a search may take the wrong one, and following
it never turns it over. Three times others compete with it, by colours and shape where they differ from each other
(`PoseBatch.weigh`): those that a registration left open, until a frame tells them apart; the quarter turns of what a
search came upon; and, now and then while an object is tracked, one of its turns, since what hid the telling side may be
gone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from live.judgement import explained_share, log_odds
from live.object_track import MOST_RIVALS, ObjectTrack
from live.pose_batch import JudgedPoses, PoseBatch
from live.recovery import best_distinct
from pose6d.geometry.motion import is_far, place_at
from pose6d.scenes.frame import Frame

SHOWS_ITS_SIDE = 0.7
"""share of the silhouette that must be visible to tell which side of an object is seen"""
_SAME = 10.0, 0.05  # degrees and diameters within which two poses are one
_TELLS_APART = 3.0  # log odds, against the others, by which a frame says that only one of them is right
_OTHER = 15.0, 0.08  # degrees and diameters from which on a turn that was refined is another pose
_PROMISING = 0.6  # by which a turn after one step may explain less of a frame than the pose
_HOPELESS = -3.0  # log odds of a turn after one step, against the pose, from which on it does not compete
_BETTER = 2.0  # log odds, against the others, by which each frame must favour a turn, and all of them, to be believed
_BELIEVED = 8.0
_LATEST = 1.5  # times the interval, after which turns wait no longer for another frame


class Candidate(NamedTuple):
    """The best pose of an object in a frame so far.

    Attributes:
        judged: the pose alone, and what the frame says of it.
        odds: log odds that it is right, by all that is known of the object.
    """

    judged: JudgedPoses
    odds: float

    @classmethod
    def each_of(cls, track: ObjectTrack, judged: JudgedPoses) -> list[Candidate]:
        """Judged poses of one object."""
        return [cls(judged.take([row]), float(odds)) for row, odds in enumerate(track.judge.log_odds(judged))]

    @property
    def pose(self) -> np.ndarray:
        """(4, 4)."""
        return self.judged.poses[0]

    @property
    def seen(self) -> dict[str, float]:
        """The evidence by name."""
        return {name: float(values[0]) for name, values in self.judged.evidence.items()}

    @property
    def shows_its_side(self) -> bool:
        """Whether enough of the object is seen to tell which side it is."""
        seen = self.seen
        return seen["visible"] * seen["inside"] >= SHOWS_ITS_SIDE


class LookEffort(NamedTuple):
    """How much work goes into other sides.

    Attributes:
        sides: quarter turns that compete where an object was found, at most, the pose itself counted.
        turns: that one look at a tracked object tries; no divisor of all of them, or the same ones would always meet.
        challengers: of these, that compete with its pose.
        interval: frames from one look to the next.
    """

    sides: int
    turns: int
    challengers: int
    interval: int


EFFORTS = {"cpu": LookEffort(4, 2, 2, 6), "cuda": LookEffort(10, 16, 3, 4)}
"""by the kind of device"""


class OtherSides:
    """Lets other sides of an object compete with its pose.

    Args:
        batch: of all objects.
        refinement: steps and rounds of the alignment for poses that are refined to the end.
        effort: how much work.
    """

    def __init__(self, batch: PoseBatch, refinement: tuple[int, int], effort: LookEffort):
        self._batch, self._refinement, self._effort = batch, refinement, effort

    def warm_up(self, frame: Frame, pose: np.ndarray) -> None:
        """Do once with a pose (4, 4) of the first object all that may come."""
        many = np.stack([pose] * max(self._effort.sides, self._effort.turns))
        self._batch.look(frame, [0] * len(many), many)
        self._batch.follow(frame, [0] * self._effort.turns, many[: self._effort.turns], 1, 0, judge=False, rough=True)
        for count in (1, 1 + MOST_RIVALS, self._effort.sides):
            self._batch.weigh(frame, 0, self._batch.follow(frame, [0] * count, many[:count], *self._refinement))

    def weigh_rivals(self, track: ObjectTrack, frame: Frame, best: Candidate) -> Candidate:
        """Follow the poses that a registration left open beside the one that is taken (`best`), until a frame tells
        them apart; returns the one to go on with."""
        assert track.rivals is not None
        rivals = self._follow(track, frame, best.pose @ track.rivals)
        within = _SAME[0], _SAME[1] * track.diameter
        far = [i for i, pose in enumerate(rivals.poses) if is_far(best.pose, pose, track.center, *within)]
        if not far:  # they have become one
            track.tell_apart()
            return best
        judged = best.judged + rivals.take(far)
        odds = self._batch.weigh(frame, track.index, judged)
        first, second = np.argsort(-odds, kind="stable")[:2]
        if odds[first] - odds[second] < _TELLS_APART:
            return best
        track.tell_apart()
        return _take(track, best, judged, int(first))

    def choose(self, track: ObjectTrack, frame: Frame, best: Candidate) -> Candidate:
        """Let the quarter turns of a pose compete with it, those that explain most of the frame; returns the best."""
        turned = _turned(track, best.pose, track.quarter_turns)
        explained = explained_share(self._batch.look(frame, [track.index] * len(turned), turned).evidence)
        likeliest = np.argsort(-explained, kind="stable")[: self._effort.sides - 1]
        judged = best.judged + self._follow(track, frame, turned[likeliest])
        return _take(track, best, judged, int(self._batch.weigh(frame, track.index, judged).argmax()))

    def look(self, track: ObjectTrack, frame: Frame, best: Candidate, waits: bool) -> Candidate:
        """Try some of the turns of a tracked pose, others each time. The one that explains most competes in the next
        frames, and takes its place if these favour it.

        Args:
            track: of the object.
            frame: the newest one.
            best: its pose in that.
            waits: turns wait for another frame, if they have not for long: this one has cost networks, and no frame is
                to cost much more than the others.

        Returns:
            The pose to go on with.
        """
        if track.challengers is None:
            track.since_look += 1
            if track.since_look >= self._effort.interval * (_LATEST if waits else 1):
                self._try_turns(track, frame, best)
            return best
        challengers, favoured = self._follow(track, frame, best.pose @ track.challengers), track.favoured
        track.challengers, track.favoured = None, 0.0
        others = [i for i, pose in enumerate(challengers.poses) if _is_other(track, best.pose, pose)]
        if not others:
            return best
        judged = best.judged + challengers.take(others)
        odds = self._batch.weigh(frame, track.index, judged)
        first = int(odds.argmax())
        better, winner = float(odds[first] - odds[0]), judged.take([first])
        if better < _BETTER or not track.judge.is_good(float(log_odds(winner)[0])):
            return best
        if favoured == 0.0 or favoured + better < _BELIEVED:
            track.challengers = np.linalg.inv(best.pose) @ winner.poses
            track.favoured = favoured + better
            return best
        track.judge.forget_looks()
        return _take(track, best, judged, first)

    def _try_turns(self, track: ObjectTrack, frame: Frame, best: Candidate) -> None:
        """Refine some turns once; those that explain most are the next challengers, unless colours and shape already
        speak against them."""
        count = self._effort.turns
        rows = (track.looks * count + np.arange(count)) % len(track.turns)
        track.looks, track.since_look = track.looks + 1, 0
        turned = _turned(track, best.pose, track.turns[rows])
        once = self._batch.follow(frame, [track.index] * count, turned, 1, 0, judge=False, rough=True)
        explained = explained_share(once.evidence)
        least = float(explained_share(best.judged.evidence)[0]) - _PROMISING
        likely = [i for i, pose in enumerate(once.poses) if explained[i] > least and _is_other(track, best.pose, pose)]
        chosen = best_distinct(
            once.poses[likely], explained[likely], self._effort.challengers, track.center, track.diameter
        )
        if not len(chosen):
            return
        turns = once.take(np.array(likely)[chosen])
        # Neither scorer nor history: a turn has none so far.
        pose = replace(best.judged, ranking=np.zeros(1, np.float32), confidence=None)
        odds = self._batch.weigh(frame, track.index, pose + turns)
        hopeful = turns.poses[odds[1:] > odds[0] + _HOPELESS]
        if len(hopeful):
            track.challengers = np.linalg.inv(best.pose) @ hopeful

    def _follow(self, track: ObjectTrack, frame: Frame, poses: np.ndarray) -> JudgedPoses:
        return self._batch.follow(frame, [track.index] * len(poses), poses, *self._refinement)


def _take(track: ObjectTrack, best: Candidate, judged: JudgedPoses, row: int) -> Candidate:
    """The judged pose of that row, of which the first is `best`."""
    if row == 0:
        return best
    track.jump()
    return Candidate.each_of(track, judged.take([row]))[0]


def _is_other(track: ObjectTrack, pose: np.ndarray, refined: np.ndarray) -> bool:
    return is_far(pose, refined, track.center, _OTHER[0], _OTHER[1] * track.diameter)


def _turned(track: ObjectTrack, pose: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """(T, 4, 4) a pose (4, 4) after rotations (T, 3, 3) of the object about its middle."""
    middle = pose[:3, :3] @ track.center + pose[:3, 3]
    return np.stack([place_at(pose[:3, :3] @ turn, middle, track.center) for turn in turns]).astype(np.float32)
