"""Following objects without networks, in frames in which they go on as they moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from live.state_tracker import StateTracker, TrackingOptions
from live.tracked_pose import TrackedPose
from pose6d.errors import OptionError
from pose6d.evaluation.pose_errors import rotation_error
from pose6d.scenes.frame import Frame
from tests.live_frames import Stage, moved, pose_at

EVERY = 5
WHOLE = slice(40, 240), slice(40, 280)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def begin(stage: Stage, networks_every: int | None, *names: str) -> StateTracker:
    tracker = StateTracker({n: stage.estimators[n] for n in names}, TrackingOptions(networks_every=networks_every))
    frame = stage.show(**{name: moved(0, name) for name in names})
    masks = dict(zip(stage.estimators, stage.masks, strict=True))
    tracker.start(frame, {name: masks[name] for name in names})
    return tracker


def step(stage: Stage, tracker: StateTracker, frame: Frame) -> tuple[list[TrackedPose], int]:
    """What is found, and how many poses the refiner was given."""
    before = stage.refiner.pairs
    return tracker.step(frame), stage.refiner.pairs - before


def assert_is_at(found: TrackedPose, pose: Tensor) -> None:
    assert found.state == "tracking"
    assert found.pose is not None
    assert np.degrees(rotation_error(found.pose, pose.numpy())) < 1.0
    assert np.linalg.norm(found.pose[:3, 3] - pose[:3, 3].numpy()) < 0.002


def test_networks_follow_every_few_frames_what_goes_on_as_it_moved(stage: Stage) -> None:
    tracker, asked = begin(stage, EVERY, "box"), []
    for i in range(1, 3 * EVERY):
        (found,), pairs = step(stage, tracker, stage.show(box=moved(i)))
        assert_is_at(found, moved(i))
        assert found.confidence is not None
        assert found.confidence > 0.9
        asked.append(pairs > 0)
    assert asked[0], "a registration says nothing of the next frame"
    assert 3 <= sum(asked) <= 5, asked
    assert all(any(asked[i : i + EVERY]) for i in range(len(asked) - EVERY))


def test_with_an_interval_of_one_they_follow_in_all_frames(stage: Stage) -> None:
    tracker = begin(stage, 1, "box")
    for i in range(1, 4):
        assert step(stage, tracker, stage.show(box=moved(i)))[1] > 0


def test_an_interval_of_none_is_refused(stage: Stage) -> None:
    with pytest.raises(OptionError, match=r"networks_every is 0: 1 .* or more is needed"):
        StateTracker(stage.estimators, TrackingOptions(networks_every=0))


def test_they_follow_at_once_what_jumps(stage: Stage) -> None:
    tracker = begin(stage, EVERY, "box")
    for i in range(1, 3):
        _, pairs = step(stage, tracker, stage.show(box=moved(i)))
    assert not pairs
    elsewhere = pose_at(0.03, 0.02, 0.6, (0.6, -0.3, 0.3))
    (found,), pairs = step(stage, tracker, stage.show(box=elsewhere))
    assert pairs
    assert_is_at(found, elsewhere)


@pytest.mark.parametrize("how", ["hidden", "without its print", "gone"])
def test_what_cannot_be_seen_is_doubtful_in_the_same_frame(stage: Stage, how: str) -> None:
    tracker = begin(stage, EVERY, "box")
    for i in range(1, 3):
        _, pairs = step(stage, tracker, stage.show(box=moved(i)))
    assert not pairs
    if how == "gone":
        frame = stage.show()
    else:
        frame = stage.show(WHOLE if how == "hidden" else None, box=moved(3))
    if how == "without its print":
        frame.rgb = np.full_like(frame.rgb, 128)
    (found,), pairs = step(stage, tracker, frame)
    assert pairs
    assert found.state == "doubtful"


def test_one_object_that_needs_networks_does_not_bring_them_to_another(stage: Stage) -> None:
    tracker = begin(stage, 50, "box", "torus")
    for i in range(1, 4):
        both, pairs = step(stage, tracker, stage.show(box=moved(i), torus=moved(i, "torus")))
    assert not pairs
    jump = pose_at(-0.07, 0.02, 0.6, (0.6, -0.3, 0.3))
    both, pairs = step(stage, tracker, stage.show(box=moved(4), torus=jump))
    assert 0 < pairs < 4
    assert_is_at(both[0], moved(4))
    assert both[1].state == "tracking"
    assert torch.allclose(torch.as_tensor(both[1].pose), jump, atol=0.01)


def test_what_stands_still_is_aligned_from_where_the_networks_saw_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, starts = begin(stage, EVERY, "box"), []
    follow = tracker._batch.follow

    def watched(frame: Frame, objects: list[int], poses: np.ndarray, *effort: int, **options: bool) -> object:
        if effort[0] == 0:
            starts.append(poses[0])
        return follow(frame, objects, poses, *effort, **options)

    monkeypatch.setattr(tracker._batch, "follow", watched)
    for _ in range(EVERY):
        step(stage, tracker, stage.show(box=moved(0)))
    assert len(starts) == EVERY - 1
    assert all(np.array_equal(start, starts[0]) for start in starts), "it creeps with each frame"
