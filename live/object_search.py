"""The search for a lost object, spread over frames."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from live.automatic_start import Propose, propose_regions
from live.judgement import explained_share
from live.object_track import ObjectTrack
from live.pose_batch import PlacedPoses, PoseBatch
from live.recovery import MOST_PLACES, PossiblePlace, best_distinct, region_places
from pose6d.scenes.frame import Frame
from pose6d.segmentation.depth_regions import depth_regions

_PLACED = 24  # rotations at each place that a small drawing is compared of
_SURER = 1.0  # log odds by which another place must be better than the one that was come upon
_OTHER_COLOR = 3.0  # log odds that a colour loses which is certainly another thing's


class SearchEffort(NamedTuple):
    """How much work goes into looking for a lost object.

    Attributes:
        starts: poses that are refined in one round.
        finalists: of these, refined to the end and judged.
        spread: over frames, because a round takes much longer than a frame.
    """

    starts: int
    finalists: int
    spread: bool


EFFORTS = {"cpu": SearchEffort(16, 3, True), "cuda": SearchEffort(64, 16, False)}
"""by the kind of device"""


class ObjectSearch:
    """Looks for an object, where it was last, and wherever something has its size; a piece of the work in each frame.

    Args:
        batch: of all objects.
        propose: where an object may be, see `live.automatic_start`.
        effort: how much work.
        refinement: steps and rounds of the alignment for poses that are refined to the end.
    """

    def __init__(
        self,
        batch: PoseBatch,
        propose: Propose,
        effort: SearchEffort,
        refinement: tuple[int, int],
    ):
        self._batch, self._propose, self._effort, self._refinement = batch, propose, effort, refinement
        # It needs no network, and takes longer than a frame on a GPU: what is followed need not wait for it. What
        # others wrote is called in the frame: it may use the device, while graphs are recorded, too.
        self._beside = ThreadPoolExecutor(1, "regions") if propose is depth_regions else None

    def warm_up(self, track: ObjectTrack, frame: Frame, pose: np.ndarray) -> None:
        """Do once with a pose (4, 4) of the first object all that a search for an object does."""
        if self._beside is not None:  # on a GPU nothing else has compiled loops by then
            self._ask(track, frame).result()
        count = self._effort.finalists
        self._batch.follow(frame, [0] * count, np.stack([pose] * count), *self._refinement)
        place = PossiblePlace(np.ones(frame.depth.shape, bool), pose[:3, 3], pose[:3, 3])
        self._place(track, frame, [place])
        self._batch.follow(frame, [0] * self._effort.starts, np.stack([pose] * self._effort.starts), 1, 0, False)

    def go_on(self, track: ObjectTrack, frame: Frame, wait: bool = True) -> None:
        """Do the next piece of looking for a lost object; what is come upon the next frames confirm.

        Args:
            track: of the object.
            frame: the newest one.
            wait: for regions that are not there yet.
        """
        pieces, track.search.pieces = track.search.pieces, None  # after an error, and when it ends, all begins anew
        with suppress(StopIteration):
            if pieces is None:
                pieces = self._pieces(track, frame)
                next(pieces)
            else:
                pieces.send((frame, wait))
            track.search.pieces = pieces

    def _pieces(self, track: ObjectTrack, frame: Frame) -> Generator[None, tuple[Frame, bool], None]:
        """The work of a search, a piece for each frame that is sent, with whether regions are waited for; it ends when
        the object is found.

        First ask where something has the object's size (regions), and look where it was last. Then, in rounds:

        1. Look where it was last, and go on with the best so far.
        2. Lay rotations against four regions of the last frame; go on with those that explain most of it (`_lay`).
        3. Refine them once; go on with those that explain most.
        4. Refine and judge these. The surest counts, if it is sure enough.

        A round is one frame, and the next regions are asked for at its beginning; or, where it is spread, it is three:
        1 and 2, 3, and 4, where they are asked for. Either way they are of the frame before the one that uses them.
        """
        spread = self._effort.spread
        asked_of, asked = frame, self._ask(track, frame)
        if self._is_where_it_was(track, frame):
            return
        frame, wait = yield
        while True:
            seen, regions = asked_of, asked
            if not spread:
                asked_of, asked = frame, self._ask(track, frame)
            if self._is_where_it_was(track, frame):
                return
            while not (wait or regions.done()):
                frame, wait = yield
            starts = self._lay(track, seen, regions.result())
            if len(starts):
                if spread:
                    frame, _ = yield
                once = self._batch.follow(frame, [track.index] * len(starts), starts, 1, 0, judge=False)
                if spread:
                    frame, _ = yield
                best = best_distinct(
                    once.poses, explained_share(once.evidence), self._effort.finalists, track.center, track.diameter
                )
            if spread:
                asked_of, asked = frame, self._ask(track, frame)
            if len(starts) and self._is_found(track, frame, once.poses[best]):
                return
            frame, wait = yield

    def _is_where_it_was(self, track: ObjectTrack, frame: Frame) -> bool:
        """Whether it is found at the last trusted pose, or the best so far."""
        known = [*track.search.kept, *([] if track.trusted is None else [track.trusted])]
        return bool(known) and self._is_found(track, frame, np.stack(known))

    def _ask(self, track: ObjectTrack, frame: Frame) -> Future[list[np.ndarray]]:
        """Where something has the object's size: masks (H, W), likeliest first."""
        wanted = self._propose, frame, track.diameter
        if self._beside is not None:
            return self._beside.submit(propose_regions, *wanted)
        done: Future[list[np.ndarray]] = Future()
        done.set_result(propose_regions(*wanted))
        return done

    def _lay(self, track: ObjectTrack, frame: Frame, regions: list[np.ndarray]) -> np.ndarray:
        """(N, 4, 4) of the rotations from all around, laid against some regions (H, W), those that explain most of the
        frame: half of them of each place as many, others each time that it is tried, the rest the best of all places.
        Places of another colour are passed over while there are others."""
        places = region_places(regions, frame, track.diameter)
        chosen = track.search.choose([place.middle for place in places], track.diameter)
        if not chosen:
            return np.zeros((0, 4, 4), np.float32)
        placed = self._place(track, frame, [places[row] for row, _ in chosen])
        explained = explained_share(placed.evidence)
        alike = track.judge.lost_by_color(placed.evidence).min(axis=1) < _OTHER_COLOR
        rows = np.flatnonzero(alike if alike.any() else ~alike)
        each = min(max(self._effort.starts // (2 * len(rows)), 1), explained.shape[1])
        chance = np.full(explained.shape, -np.inf)
        chance[rows] = explained[rows]
        starts = []
        for row in rows:
            order = np.argsort(-explained[row], kind="stable")
            own = np.roll(order, -each * chosen[row][1])[:each]
            starts.append(placed.poses[row, own])
            chance[row, own] = -np.inf
        best = np.argsort(-chance, axis=None, kind="stable")[: max(self._effort.starts - each * len(rows), 0)]
        best = best[np.isfinite(chance.flat[best])]
        return np.concatenate([*starts, placed.poses.reshape(-1, 4, 4)[best]])

    def _place(self, track: ObjectTrack, frame: Frame, places: list[PossiblePlace]) -> PlacedPoses:
        """All rotations at at most `MOST_PLACES` places."""
        rows = np.arange(len(places) if self._batch.device.type == "cpu" else MOST_PLACES) % len(places)
        fronts, masks = (np.stack([getattr(places[row], name) for row in rows]) for name in ("front", "mask"))
        placed = self._batch.place(frame, track.index, track.rotations, track.near, fronts, masks, _PLACED)
        evidence = {name: values[: len(places)] for name, values in placed.evidence.items()}
        return PlacedPoses(placed.poses[: len(places)], evidence)

    def _is_found(self, track: ObjectTrack, frame: Frame, poses: np.ndarray) -> bool:
        """Refine and judge poses (N, 4, 4); the surest is where the object is, if it is sure enough, and surer than
        what was come upon before. Which side of it is seen the next frames ask."""
        judged = self._batch.follow(frame, [track.index] * len(poses), poses, *self._refinement)
        odds = track.judge.log_odds(judged)
        best = int(odds.argmax())
        surer = track.pose is None or odds[best] > track.odds + _SURER
        if not (surer and track.judge.is_found(float(odds[best]))):
            track.search.keep(judged.poses, odds)
            return False
        track.jump()
        track.judge.found()
        track.accept(judged.poses[best], float(odds[best]), frame)
        return True
