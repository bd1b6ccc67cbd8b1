"""Following several objects, and knowing of each whether it is still there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from estimater import FoundationPose
from live import other_sides
from live.automatic_start import Propose, find_object
from live.judgement import log_odds
from live.network_following import STARTS_IN_DOUBT, NetworkFollowing, verdict_of
from live.object_search import EFFORTS, ObjectSearch
from live.object_track import ObjectTrack
from live.other_sides import Candidate, OtherSides
from live.pose_batch import JudgedWatch, PoseBatch
from live.steady_following import SteadyFollowing
from live.tracked_pose import TrackedPose
from pose6d.errors import FrameError, OptionError, Pose6DError
from pose6d.geometry.motion import place_at
from pose6d.scenes.frame import Frame
from pose6d.search import alignment_alone
from pose6d.search.alternatives import Alternative
from pose6d.search.plain_frame import plain_frame
from pose6d.segmentation.depth_regions import depth_regions

_BESIDE_OTHERS = {"cpu": 2, "cuda": 1}  # frames from one piece of a search to the next


@dataclass(frozen=True)
class TrackingOptions:
    """How much work goes into following.

    Attributes:
        iteration: refinement steps of each frame.
        rounds: of the alignment of texture and depth in each frame.
        starts: that are refined in one round of the search for a lost object; by device where None: 16 on a CPU, 64.
        starts_in_doubt: of one frame in which objects are in doubt, of all these objects together; by device where
            None: 4 on a CPU, 16.
        interval: frames from one piece of a search to the next; where None 1, and 2 on a CPU while others are followed.
        networks_every: frames from one in which the networks follow an object that goes on as it moved to the next;
            between them the alignment follows it alone. Where None 12 on a CPU, 4 on a GPU; 1: in all.
        waits: whether a frame waits for regions in which a lost object may be, unless others are followed in it: right
            for recordings, whose frames wait, too. A camera's frames do not, and are better told at once.
        register_iteration: refinement steps of a registration.
        smoothing: report the mean of the poses since an object and its camera came to rest, which the picture tells
            (`live.still_picture`), and each pose as it is where something moves. The next frame starts from the last.
    """

    iteration: int = 2
    rounds: int = alignment_alone.ROUNDS
    starts: int | None = None
    starts_in_doubt: int | None = None
    interval: int | None = None
    networks_every: int | None = None
    waits: bool = True
    register_iteration: int = 5
    smoothing: bool = True


class StateTracker:
    """Follows several objects through frames, all in one batch, and looks again for those that it has lost.

    Each frame: every object is refined from where it was, a fast one also from where its velocity leads to; all are
    judged by the scorer and by what a small drawing of them explains of the frame. An object that is in doubt
    is refined from more starts in the next frame, others in each; one that is lost is searched for, near its last place
    first, then wherever the frame has something of its size. Both are spread over frames.

    Args:
        estimators: one for each object by its name, with the same networks, as for `ManyObjects`.
        options: how much work.
        propose: where an object may be that is looked for, see `live.automatic_start`.
        watch: see `PoseBatch`.

    Raises:
        Pose6DError: no estimators, or they differ in networks or device, or one has no mesh.
    """

    def __init__(
        self,
        estimators: Mapping[str, FoundationPose],
        options: TrackingOptions = TrackingOptions(),
        propose: Propose = depth_regions,
        watch: JudgedWatch | None = None,
    ):
        if not isinstance(estimators, Mapping):
            raise Pose6DError(f"estimators: a {type(estimators).__name__}; a dict of one by the name of each is needed")
        self._batch = PoseBatch(list(estimators.values()), watch)
        self._tracks = [
            ObjectTrack(name, index, estimator, options.smoothing)
            for index, (name, estimator) in enumerate(estimators.items())
        ]
        self.options, self._propose = options, propose
        device = self._batch.device.type
        effort = EFFORTS[device]
        if options.starts is not None:
            effort = effort._replace(starts=options.starts)
        self._interval, self._interval_beside_others = options.interval or 1, options.interval or _BESIDE_OTHERS[device]
        refinement = options.iteration, options.rounds
        starts_in_doubt = options.starts_in_doubt or STARTS_IN_DOUBT[device]
        self._by_networks = NetworkFollowing(self._batch, refinement, starts_in_doubt)
        self._search = ObjectSearch(self._batch, propose, effort, refinement)
        self._sides = OtherSides(self._batch, refinement, other_sides.EFFORTS[device])
        usual = alignment_alone.INTERVALS[device]
        interval = usual if options.networks_every is None else options.networks_every
        self._steady = SteadyFollowing(self._batch, options.rounds, interval)
        self._frames = 0

    @property
    def names(self) -> list[str]:
        """Of the objects."""
        return [track.name for track in self._tracks]

    def warm_up(self, height: int = 480, width: int = 640) -> float:
        """Compile kernels and record graphs, so that the first frame, and the first loss, are as fast as any.

        Args:
            height, width: of the pictures that will come, pixels.

        Returns:
            Seconds that it took. The tracker is as new afterwards.

        Raises:
            OptionError: height or width is no number of pixels.
        """
        begun = time.perf_counter()
        self.reset()
        distance = max(2 * self._tracks[0].diameter, 0.05)
        frame = Frame("warm up", *plain_frame(height, width, distance))
        pose = place_at(np.eye(3), np.array([0.0, 0.0, distance]), self._tracks[0].center)
        for _ in range(2 if self._batch.device.type == "cuda" else 1):  # graphs are recorded at the second call
            self._by_networks.warm_up(frame, pose, len(self._tracks))
            self._steady.warm_up(frame, pose, len(self._tracks))
            self._batch.follow(frame, [0], pose[None], 0, 0)
            self._sides.warm_up(frame, pose)
            for track in {len(track.rotations): track for track in self._tracks}.values():
                self._search.warm_up(track, frame, pose)
        return time.perf_counter() - begun

    def reset(self) -> None:
        """Forget all objects' poses: `start` begins anew."""
        for track in self._tracks:
            track.reset()
        self._frames = 0

    def start(
        self,
        frame: Frame,
        masks: Mapping[str, np.ndarray | None] | Sequence[np.ndarray | None],
        progress: Callable[[int, int], object] | None = None,
    ) -> list[TrackedPose]:
        """Find the objects in the first frame. Those without a mask are looked for by `find_object`, which takes as
        long as several registrations; `step` goes on looking for those that it does not find.

        Args:
            frame: with depth in metres.
            masks: (H, W) by name, or in the order of the estimators; None where an object is to be looked for.
            progress: called with (regions tried, regions in all) while an object is looked for.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used, or one object's mask; the message says which.
        """
        if not isinstance(masks, Mapping):
            masks = list(masks) if isinstance(masks, Iterable) else []
            if len(masks) != len(self._tracks):
                raise FrameError(
                    f"masks: {len(masks)} for {len(self._tracks)} objects; one for each is needed, or None"
                )
            masks = dict(zip(self.names, masks, strict=True))
        if unknown := set(masks) - set(self.names):
            raise FrameError(f"masks of {', '.join(sorted(unknown))}: the objects are {', '.join(self.names)}")
        frame = self._batch.check(frame)
        found: dict[str, tuple[np.ndarray, list[Alternative]]] = {}
        for track in self._tracks:
            mask = masks.get(track.name)
            if mask is not None:
                found[track.name] = self._register(track, frame, mask)
            elif track.estimator.scorer.has_confidence:
                seen = find_object(track.estimator, frame, self._propose, progress)
                found |= {track.name: (seen.pose, track.estimator.alternatives)} if seen is not None else {}
        self.reset()
        for track in self._tracks:
            if track.name in found:
                self._begin(track, frame, *found[track.name])
        return [track.tracked_pose() for track in self._tracks]

    def start_from_mask(self, name: str, frame: Frame, mask: np.ndarray) -> TrackedPose:
        """Find one object again where people say that it is; the others stay as they are.

        Raises:
            OptionError: no object has that name.
            SceneError, FrameError: the frame or the mask cannot be used; nothing has changed.
        """
        track = self._track(name)
        frame = self._batch.check(frame)
        self._begin(track, frame, *self._register(track, frame, mask))
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
        frame = self._batch.check(frame)
        followed = [track for track in self._tracks if track.judge.state != "lost"]
        steady = self._steady.follow(followed, frame)
        for row, candidate in steady.items():
            self._settle(followed[row], frame, candidate, waits=False)
        others = [track for row, track in enumerate(followed) if row not in steady]
        for track, candidate in zip(others, self._by_networks.follow(others, frame), strict=True):
            track.verdict = verdict_of(track, self._settle(track, frame, candidate, waits=self._steady.seldom))
        waiting = [
            track
            for track in self._tracks
            if track.judge.unproven or (track.judge.state == "lost" and track not in followed)
        ]
        interval = self._interval_beside_others if followed else self._interval
        if waiting and self._frames % interval == 0:  # one at a time
            looked_for = waiting[self._frames // interval % len(waiting)]
            alone = all(track is looked_for for track in followed)
            self._search.go_on(looked_for, frame, wait=self.options.waits and alone)
        self._frames += 1
        return [track.tracked_pose() for track in self._tracks]

    def _track(self, name: str) -> ObjectTrack:
        for track in self._tracks:
            if track.name == name:
                return track
        raise OptionError(f"no object is called {name}: there are {', '.join(self.names)}")

    def _register(self, track: ObjectTrack, frame: Frame, mask: np.ndarray) -> tuple[np.ndarray, list[Alternative]]:
        """The pose (4, 4) that a registration finds, and all that it leaves open."""
        try:
            pose = track.estimator.register(frame.K, frame.rgb, frame.depth, mask, self.options.register_iteration)
            return pose, track.estimator.alternatives
        except FrameError as error:
            raise FrameError(f"object {track.name}: {error}") from error

    def _begin(self, track: ObjectTrack, frame: Frame, pose: np.ndarray, alternatives: Sequence[Alternative]) -> None:
        """Follow an object from the pose of a registration on."""
        judged = self._batch.follow(frame, [track.index], pose[None], 0, 0)
        odds, seen = float(log_odds(judged)[0]), {name: float(values[0]) for name, values in judged.evidence.items()}
        track.begin(pose, odds, frame, alternatives)
        track.judge.learn(seen)

    def _settle(self, track: ObjectTrack, frame: Frame, best: Candidate, waits: bool) -> Candidate:
        """Decide on the pose and the state of an object that has been followed into a frame; returns that pose. With
        `waits` what need not be done now is left to another frame."""
        good = track.judge.is_good(best.odds)
        if good and track.rivals is not None:
            best = self._sides.weigh_rivals(track, frame, best)
            good = track.judge.is_good(best.odds)
        shown = best.shows_its_side
        if good and shown and track.judge.unproven:
            best = self._sides.choose(track, frame, best)
            track.judge.unproven = not track.judge.is_good(best.odds)
        elif good and shown and track.judge.state == "tracking" and track.rivals is None:
            best = self._sides.look(track, frame, best, waits)
        pose, odds, seen = best.pose, best.odds, best.seen
        good = track.judge.is_good(odds)
        if track.judge.update(odds, seen["hidden"]) == "lost":
            track.lose()
        elif good:
            track.accept(pose, odds, frame)
            if track.judge.state == "tracking":
                track.judge.learn(seen)
        else:
            track.hold(pose, odds)
        return best
