"""The search for a lost object, spread over frames."""

from __future__ import annotations

import numpy as np

from live.automatic_start import Propose
from live.judgement import explained_share
from live.motion import place_at
from live.object_track import ObjectTrack
from live.pose_batch import PoseBatch
from live.recovery import best_distinct, quarter_turns, region_middles
from pose6d.scenes.frame import Frame
from pose6d.search.axis_rotations import QUARTER_TURNS

_POOL = 4  # times as many starts are drawn as are refined
SHOWS_ITS_SIDE = 0.7
"""share of the silhouette that must be visible to tell which side of an object is seen"""
_FINALISTS = 4  # of so many starts, one is refined to the end


class ObjectSearch:
    """Makes attempts to find an object, near its last place first, then wherever something has its size.

    Args:
        batch: of all objects.
        propose: where an object may be, see `live.automatic_start`.
        starts: that are refined in one attempt.
        effort: refinement steps and rounds of the alignment for those that are refined to the end.
        texture_weight: what a texture that agrees adds to the ranking of two sides.
    """

    def __init__(self, batch: PoseBatch, propose: Propose, starts: int, effort: tuple[int, int], texture_weight: float):
        self._batch, self._propose, self._starts, self._effort = batch, propose, starts, effort
        self._finalists, self._texture_weight = max(starts // _FINALISTS, 1), texture_weight

    def warm_up(self, frame: Frame, pose: np.ndarray) -> None:
        """Do once with a pose (4, 4) what an attempt does."""
        for count in (self._finalists, QUARTER_TURNS + 1):
            self._batch.follow(frame, [0] * count, np.stack([pose] * count), *self._effort)
        self._batch.look(frame, [0] * _POOL * self._starts, np.stack([pose] * _POOL * self._starts))
        self._batch.follow(frame, [0] * self._starts, np.stack([pose] * self._starts), 1, 0, judge=False)

    def attempt(self, track: ObjectTrack, frame: Frame) -> None:
        """Look for a lost object; what is come upon the next frames confirm.

        1. Choose starts (`_choose_starts`).
        2. Refine them once; go on with those that explain most of the frame.
        3. Refine and judge these. The surest counts, if it is sure enough.
        4. Other sides of it that look alike by shape compete with it.
        """
        starts = self._choose_starts(track, frame)
        if not len(starts):
            return
        once = self._batch.follow(frame, [track.index] * len(starts), starts, 1, 0, judge=False)
        finalists = once.poses[
            best_distinct(once.poses, explained_share(once), self._finalists, track.center, track.diameter)
        ]
        judged = self._batch.follow(frame, [track.index] * len(finalists), finalists, *self._effort)
        odds = track.judge.log_odds(judged)
        best = int(odds.argmax())
        if not track.judge.is_found(float(odds[best])):
            track.search.keep(judged.poses, odds)
            return
        pose, chance = self.choose_side(track, frame, judged.poses[best])
        seen = judged.evidence["visible"][best] * judged.evidence["inside"][best]
        track.judge.found()
        track.accept(pose, chance, frame.seconds)
        track.side_unsure = bool(seen < SHOWS_ITS_SIDE)

    def choose_side(self, track: ObjectTrack, frame: Frame, pose: np.ndarray) -> tuple[np.ndarray, float]:
        """Let the quarter turns of a pose (4, 4) compete with it: a search has tried few rotations.

        Returns:
            The best pose, refined, and its log odds.
        """
        turns = quarter_turns(pose, track.axes, track.center)
        sides = self._batch.follow(frame, [track.index] * len(turns), turns, *self._effort)
        ranking = sides.ranking + self._texture_weight * sides.evidence["texture"] * sides.evidence["visible"]
        side = int(ranking.argmax())
        track.side_unsure = False
        return sides.poses[side], float(track.judge.log_odds(sides)[side])

    def _choose_starts(self, track: ObjectTrack, frame: Frame) -> np.ndarray:
        """(N, 4, 4) the best of the last attempt, the last trusted pose, its rotation at each place, and there also
        rotations of the grid, those that explain most of the frame."""
        regions = self._propose(frame.rgb, frame.depth, frame.K, track.diameter)
        places = track.search.choose(region_middles(regions, frame, track.diameter), track.diameter)
        first = list(track.search.kept)
        if track.trusted is not None:
            first.append(track.trusted)
            first += [place_at(track.trusted[:3, :3], place, track.center) for place in places]
        if not places:
            return np.array(first, dtype=np.float32).reshape(-1, 4, 4)
        rotations = track.search.take(_POOL * self._starts // len(places))
        pool = np.stack([place_at(turn, place, track.center) for place in places for turn in rotations])
        objects = [track.index] * len(pool)
        offset = self._batch.look(frame, objects, pool).evidence["offset"]
        rays = np.repeat(np.stack([place / place[2] for place in places]), len(rotations), axis=0)
        pool[:, :3, 3] += offset[:, None] * rays
        explained = explained_share(self._batch.look(frame, objects, pool))
        each = max((self._starts - len(first)) // len(places), 1)
        order = np.argsort(-explained.reshape(len(places), -1), axis=1, kind="stable")[:, :each]
        chosen = np.take_along_axis(pool.reshape(len(places), -1, 16), order[..., None], axis=1).reshape(-1, 4, 4)
        return np.concatenate([np.array(first, dtype=np.float32).reshape(-1, 4, 4), chosen])
