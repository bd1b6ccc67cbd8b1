"""Following several objects, and knowing of each whether it is still there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from estimater import FoundationPose
from live.judgement import StateJudge, log_odds
from live.motion import Motion
from live.pose_batch import JudgedPoses, PoseBatch
from live.recovery import Search, best_distinct, place_at, quarter_turns, region_middles, starts_in_doubt
from live.smoothing import PoseFilter
from live.tracked_pose import TrackedPose
from pose6d.errors import FrameError, OptionError
from pose6d.scenes.frame import Frame
from pose6d.segmentation.depth_regions import depth_regions

Regions = Callable[[np.ndarray, np.ndarray, np.ndarray, float], list[np.ndarray]]
"""(rgb, depth, K, diameter) -> masks (H, W) where the object may be, likeliest first"""

_FAST = 6.0, 0.08  # degrees and diameters between frames from which on the velocity is worth a look
JudgedWatch = Callable[[Frame, Sequence[int], JudgedPoses], object]

_INTERVALS = {"cpu": 2, "cuda": 1}
_STARTS = {"cpu": 24, "cuda": 128}
_POOL = 4  # times as many starts of a search are drawn as are refined
_FINALISTS = 4  # of so many starts of a search, one is refined to the end
_IN_DOUBT = 3  # times fewer starts than a search has are refined for an object in doubt


@dataclass(frozen=True)
class TrackingOptions:
    """How much work goes into following.

    Attributes:
        iteration: refinement steps of each frame.
        rounds: of the alignment of texture and depth in each frame.
        starts: of one attempt to find a lost object; by device where None: 24 on a CPU, 128. An object in doubt is
            refined from a third as many.
        interval: frames between two attempts to find a lost object; by device where None: 2 on a CPU, 1.
        register_iteration: refinement steps of a registration.
        smoothing: filter the poses that are reported (`live.smoothing`), which adds no latency; the next frame starts
            from the unfiltered ones.
    """

    iteration: int = 2
    rounds: int = 3
    starts: int | None = None
    interval: int | None = None
    register_iteration: int = 5
    smoothing: bool = False


class _Track:
    """What is known of one object.

    Attributes:
        pose: (4, 4) where the next frame starts from; None before, and while the object is lost.
        trusted: (4, 4) of the last frame with state `tracking`.
        shown: (4, 4) what is reported.
        probability: that the pose is right.
    """

    def __init__(self, name: str, index: int, estimator: FoundationPose, smoothing: bool):
        self.name, self.index, self.estimator = name, index, estimator
        assert estimator.mesh is not None
        self.center = np.asarray(estimator.mesh.center, dtype=np.float32)
        self.diameter = float(estimator.diameter)
        self.axes = estimator.object.principal_axes()
        self.search = Search.with_grid(estimator.symmetries)
        self.motion = Motion(self.center)
        self._filter = PoseFilter(self.center) if smoothing else None
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
        self.shown: np.ndarray | None = None
        self.probability: float | None = None
        self.motion.clear()
        self.search.restart()
        if self._filter is not None:
            self._filter.reset()

    def accept(self, pose: np.ndarray, odds: float, seconds: float | None) -> None:
        """It is there, as far as its state says."""
        self.pose, self.probability = pose.astype(np.float32), self.judge.probability(odds)
        self.shown = self.pose if self._filter is None else self._filter(self.pose)
        self.motion.add(pose, seconds)
        if self.judge.state == "tracking":
            self.trusted = self.pose

    def hold(self, odds: float) -> None:
        """It was there, and nothing better is known: what hides it must not carry its pose off."""
        self.probability = self.judge.probability(odds)
        if self.trusted is not None:
            self.pose = self.shown = self.trusted

    def tracked_pose(self) -> TrackedPose:
        """What is reported."""
        return TrackedPose(self.name, self.judge.state, self.shown, self.probability)


class StateTracker:
    """Follows several objects through frames, all in one batch, and looks again for those that it has lost.

    Each frame: every object is refined from where it was, or from where its velocity leads to where that fits better;
    all are judged by the scorer and by what a small drawing of them explains of the frame. An object that leaves doubt
    is refined from more starts, one that is lost is searched for, near its last place first, then wherever the frame
    has something of its size. A search is spread over frames.

    Args:
        estimators: one for each object by its name, with the same networks, as for `ManyObjects`.
        options: how much work.
        regions: finds the places where a lost object may be.
        watch: called with the frame, the index of the object of each pose, and poses that were refined and judged.

    Raises:
        Pose6DError: no estimators, or they differ in networks or device, or one has no mesh.
    """

    def __init__(
        self,
        estimators: Mapping[str, FoundationPose],
        options: TrackingOptions = TrackingOptions(),
        regions: Regions = depth_regions,
        watch: JudgedWatch | None = None,
    ):
        self._batch = PoseBatch(list(estimators.values()))
        self._tracks = [_Track(name, i, given, options.smoothing) for i, (name, given) in enumerate(estimators.items())]
        self.options, self._regions, self._watch = options, regions, watch
        device = self._batch.device.type
        self._starts, self._interval = options.starts or _STARTS[device], options.interval or _INTERVALS[device]
        self._frames = 0

    @property
    def names(self) -> list[str]:
        """Of the objects."""
        return [track.name for track in self._tracks]

    def reset(self) -> None:
        """Forget all objects' poses: `start` begins anew."""
        for track in self._tracks:
            track.reset()
        self._frames = 0

    def start(
        self, frame: Frame, masks: Mapping[str, np.ndarray | None] | Sequence[np.ndarray | None]
    ) -> list[TrackedPose]:
        """Find the objects in the first frame; those without a mask are looked for.

        Args:
            frame: with depth in metres.
            masks: (H, W) by name, or in the order of the estimators; None where an object is to be looked for.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used, or one object's mask; the message says which.
        """
        if not isinstance(masks, Mapping):
            if len(masks) != len(self._tracks):
                raise FrameError(
                    f"masks: {len(masks)} for {len(self._tracks)} objects; one for each is needed, or None"
                )
            masks = dict(zip(self.names, masks, strict=True))
        if unknown := set(masks) - set(self.names):
            raise FrameError(f"masks of {', '.join(sorted(unknown))}: the objects are {', '.join(self.names)}")
        found = {
            track.name: self._register(track, frame, mask)
            for track in self._tracks
            if (mask := masks.get(track.name)) is not None
        }
        self.reset()
        for track in self._tracks:
            if track.name in found:
                self._begin(track, frame, found[track.name])
            else:
                self._look_for(track, frame)
        return [track.tracked_pose() for track in self._tracks]

    def start_from_mask(self, name: str, frame: Frame, mask: np.ndarray) -> TrackedPose:
        """Find one object again where people say that it is; the others stay as they are.

        Raises:
            OptionError: no object has that name.
            SceneError, FrameError: the frame or the mask cannot be used; nothing has changed.
        """
        track = self._track(name)
        self._begin(track, frame, self._register(track, frame, mask))
        return track.tracked_pose()

    def look_again(self, name: str) -> None:
        """Let go of an object's pose, which people see is wrong, and look for it from the next frame on.

        Raises:
            OptionError: no object has that name.
        """
        self._track(name).reset()

    def step(self, frame: Frame) -> list[TrackedPose]:
        """Follow all objects into the next frame.

        Returns:
            One for each object, in the order of the estimators.

        Raises:
            SceneError, FrameError: the frame cannot be used; nothing has changed, and the next frame goes on.
        """
        self._batch.check(frame)
        followed = [track for track in self._tracks if track.judge.state != "lost"]
        if followed:
            starts = self._choose_starts(followed, frame)
            judged = self._follow(frame, [track.index for track in followed], starts)
            odds = log_odds(judged)
            for row, track in enumerate(followed):
                self._settle(track, frame, judged, row, float(odds[row]))
        waiting = [track for track in self._tracks if track.judge.state == "lost" and track not in followed]
        if waiting and self._frames % self._interval == 0:  # one at a time: the others must not wait for it
            self._look_for(waiting[self._frames // self._interval % len(waiting)], frame)
        self._frames += 1
        return [track.tracked_pose() for track in self._tracks]

    def _track(self, name: str) -> _Track:
        for track in self._tracks:
            if track.name == name:
                return track
        raise OptionError(f"no object is called {name}: there are {', '.join(self.names)}")

    def _register(self, track: _Track, frame: Frame, mask: np.ndarray) -> np.ndarray:
        """The pose (4, 4) that a registration finds."""
        try:
            return track.estimator.register(frame.K, frame.rgb, frame.depth, mask, self.options.register_iteration)
        except FrameError as error:
            raise FrameError(f"object {track.name}: {error}") from error

    def _begin(self, track: _Track, frame: Frame, pose: np.ndarray) -> None:
        """Follow an object from the pose of a registration on."""
        odds = float(log_odds(self._follow(frame, [track.index], pose[None], refine=False))[0])
        track.reset()
        track.judge.start(odds)
        track.accept(pose, odds, frame.seconds)

    def _follow(
        self, frame: Frame, objects: Sequence[int], poses: np.ndarray, refine: bool = True, judge: bool = True
    ) -> JudgedPoses:
        iteration, rounds = (self.options.iteration, self.options.rounds) if refine else (0, 0)
        judged = self._batch.follow(frame, objects, poses, iteration, rounds, judge)
        if self._watch is not None and refine:
            self._watch(frame, objects, judged)
        return judged

    def _choose_starts(self, tracks: Sequence[_Track], frame: Frame) -> np.ndarray:
        """(N, 4, 4) the last pose of each object, or where its velocity leads to, whichever explains more."""
        poses = np.stack([track.pose for track in tracks])  # type: ignore[misc]
        predictions = {
            row: prediction
            for row, track in enumerate(tracks)
            if track.motion.is_fast(_FAST[0], _FAST[1] * track.diameter)
            and (prediction := track.motion.predict(frame.seconds)) is not None
        }
        if predictions:
            rows = [*predictions]
            both = np.concatenate([poses[rows], np.stack([*predictions.values()])])
            objects = [tracks[row].index for row in rows] * 2
            stay, go = np.split(_explained(self._follow(frame, objects, both, refine=False, judge=False)), 2)
            for row, better in zip(rows, go > stay, strict=True):
                if better:
                    poses[row] = predictions[row]
        return poses

    def _settle(self, track: _Track, frame: Frame, judged: JudgedPoses, row: int, odds: float) -> None:
        """Decide on the pose and the state of an object that has been followed into a frame."""
        pose, through = judged.poses[row], float(judged.evidence["through"][row])
        if not track.judge.is_good(odds) and track.judge.bad % self._interval == 0:
            known = [track.trusted, track.motion.predict(frame.seconds), track.pose, pose]
            starts = starts_in_doubt(
                [p for p in known if p is not None], track.center, max(self._starts // _IN_DOUBT, 1)
            )
            more = self._follow(frame, [track.index] * len(starts), starts)
            chances = log_odds(more)
            best = int(chances.argmax())
            if chances[best] > odds:
                pose, odds, through = more.poses[best], float(chances[best]), float(more.evidence["through"][best])
        good = track.judge.is_good(odds)
        if track.judge.update(odds, through) == "lost":
            track.lose()
        elif good:
            track.accept(pose, odds, frame.seconds)
        else:
            track.hold(odds)

    def _look_for(self, track: _Track, frame: Frame) -> None:
        """One attempt to find a lost object; what it came upon is confirmed in the next frames.

        1. Choose starts (`_search_starts`).
        2. Refine them once; go on with those that explain most of the frame.
        3. Refine and judge these. The surest counts, if it is sure enough.
        4. Other sides of it that look alike by shape compete with it.
        """
        starts = self._search_starts(track, frame)
        if not len(starts):
            return
        once = self._batch.follow(frame, [track.index] * len(starts), starts, 1, 0, judge=False)
        count = max(self._starts // _FINALISTS, 1)
        finalists = once.poses[best_distinct(once.poses, _explained(once), count, track.center, track.diameter)]
        judged = self._follow(frame, [track.index] * len(finalists), finalists)
        odds = log_odds(judged)
        best = int(odds.argmax())
        if not track.judge.is_found(float(odds[best])):
            track.search.keep(judged.poses, odds)
            return
        turns = quarter_turns(judged.poses[best], track.axes, track.center)
        sides = self._follow(frame, [track.index] * len(turns), turns)
        ranking = sides.ranking + self._texture_weight * sides.evidence["texture"] * sides.evidence["visible"]
        side = int(ranking.argmax())
        track.judge.found()
        track.accept(sides.poses[side], float(log_odds(sides)[side]), frame.seconds)

    def _search_starts(self, track: _Track, frame: Frame) -> np.ndarray:
        """(N, 4, 4) the best of the last attempt, the last trusted pose, its rotation at each place, and there also
        rotations of the grid, those that explain most of the frame."""
        regions = self._regions(frame.rgb, frame.depth, frame.K, track.diameter)
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
        offset = self._follow(frame, objects, pool, refine=False, judge=False).evidence["offset"]
        rays = np.repeat(np.stack([place / place[2] for place in places]), len(rotations), axis=0)
        pool[:, :3, 3] += offset[:, None] * rays
        explained = _explained(self._follow(frame, objects, pool, refine=False, judge=False))
        each = max((self._starts - len(first)) // len(places), 1)
        order = np.argsort(-explained.reshape(len(places), -1), axis=1, kind="stable")[:, :each]
        chosen = np.take_along_axis(pool.reshape(len(places), -1, 16), order[..., None], axis=1).reshape(-1, 4, 4)
        return np.concatenate([np.array(first, dtype=np.float32).reshape(-1, 4, 4), chosen])

    @property
    def _texture_weight(self) -> float:
        return float(self._tracks[0].estimator.scorer.texture_weight)


def _explained(judged: JudgedPoses) -> np.ndarray:
    """(N,) how much of the frame each pose explains, before it is refined to the end."""
    seen = judged.evidence
    there = seen["visible"] * (1.0 - 0.5 * seen["spread"]) - seen["through"] - 0.5 * seen["beyond"]
    return (there + 0.5 * seen["texture"]) * seen["inside"]
