"""What following costs in a frame: batches of the networks, turns that wait, smaller networks for a rough look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from estimater import FoundationPose
from live.network_following import NetworkFollowing
from live.object_track import ObjectTrack
from live.other_sides import EFFORTS, Candidate, OtherSides
from live.pose_batch import PoseBatch
from live.state_tracker import StateTracker, TrackingOptions
from pose6d.search.schedule import Schedule
from tests.live_frames import KnowingRefiner, KnowingScorer, Stage, pose_at

ALL = slice(None), slice(None)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def tracker(stage: Stage) -> StateTracker:
    tracker = StateTracker({"box": stage.estimators["box"]}, TrackingOptions(rounds=0))
    tracker.start(stage.show(box=pose_at(0.0)), [stage.masks[0]])
    return tracker


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the networks follow."""
    sizes: list[int] = []
    refine = NetworkFollowing._refine

    def counted(self: NetworkFollowing, tracks: Any, frame: Any, starts: Any) -> Any:
        sizes.append(sum(map(len, starts.values())))
        return refine(self, tracks, frame, starts)

    monkeypatch.setattr(NetworkFollowing, "_refine", counted)
    return sizes


def test_no_frame_of_a_doubt_costs_more_than_two_batches(
    stage: Stage, tracker: StateTracker, batches: list[int]
) -> None:
    work = []
    for _ in range(5):
        tracker.step(stage.show(ALL, box=pose_at(0.0)))
        work.append(batches[:])
        batches.clear()
    assert work[0] == [1, 0], "that it is in doubt is known after the first batch"
    assert work[1:] == [[1, 4]] * 4
    (found,) = tracker.step(stage.show(box=pose_at(0.0)))
    assert (found.state, batches) == ("doubtful", [1, 0]), "its last pose is good again"
    assert tracker.step(stage.show(box=pose_at(0.0)))[0].state == "tracking"


def test_what_is_refined_far_away_is_refined_again_in_the_same_frame(
    stage: Stage, tracker: StateTracker, batches: list[int]
) -> None:
    for x, more in ((0.004, 0), (0.045, 1)):
        tracker.step(stage.show(box=pose_at(x)))
        assert batches[-2:] == [1, more]
    batches.clear()
    tracker.step(stage.show(box=pose_at(0.085)))
    assert batches[0] == 2, "a fast one also from where its velocity leads to"


def test_turns_wait_for_a_frame_without_networks_but_not_for_long(
    stage: Stage, tracker: StateTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    effort, tried = EFFORTS["cpu"], []
    sides = OtherSides(tracker._batch, (2, 0), effort)
    monkeypatch.setattr(sides, "_try_turns", lambda *given: tried.append(True))
    track, frame = tracker._tracks[0], tracker._batch.check(stage.frame)
    (best,) = Candidate.each_of(track, tracker._batch.look(frame, [0], pose_at(0.0).numpy()[None]))
    for waits, first in ((False, effort.interval), (True, 1.5 * effort.interval)):
        track.since_look = 0
        tried.clear()
        looks = []
        for _ in range(int(first)):
            sides.look(track, frame, best, waits)
            looks.append(len(tried))
        assert looks == [0] * (len(looks) - 1) + [1]


def test_smaller_networks_look_roughly(stage: Stage) -> None:
    stage.show(box=pose_at(0.0))
    small = KnowingRefiner()
    small.truths = stage.refiner.truths
    box = stage.estimators["box"]
    scouted = FoundationPose(
        box.mesh,
        refiner=stage.refiner,
        scorer=box.scorer,
        scouts=(small, KnowingScorer(small)),
        device="cpu",
        schedule=Schedule("brief", 40),
    )
    poses = np.stack([pose_at(0.01).numpy()] * 3)
    for estimator, rough, own, scouts in ((scouted, True, 0, 3), (scouted, False, 3, 0), (box, True, 3, 0)):
        small.pairs = stage.refiner.pairs = 0
        PoseBatch([estimator]).follow(stage.frame, [0] * 3, poses, 1, 0, judge=False, rough=rough)
        assert (stage.refiner.pairs, small.pairs) == (own, scouts)
    batch, track = PoseBatch([scouted]), ObjectTrack("box", 0, scouted, smoothing=False)
    (best,) = Candidate.each_of(track, batch.look(stage.frame, [0], poses[:1]))
    track.since_look, small.pairs, stage.refiner.pairs = EFFORTS["cpu"].interval, 0, 0
    OtherSides(batch, (2, 0), EFFORTS["cpu"]).look(track, stage.frame, best, waits=False)
    assert (stage.refiner.pairs, small.pairs) == (0, EFFORTS["cpu"].turns)
