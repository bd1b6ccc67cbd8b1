"""`track_one` and `track_many` where nobody says how many refinement steps: as many as a frame needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from many_objects import ManyObjects
from pose6d.evaluation.pose_errors import rotation_error
from pose6d.scenes.frame import Frame
from pose6d.search.alignment_alone import INTERVALS
from tests.live_frames import KnowingRefiner, KnowingScorer, Stage, moved, pose_at
from tests.rendering_scenes import box

EVERY = INTERVALS["cpu"]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def begin(stage: Stage) -> FoundationPose:
    stage.show(box=moved(0))
    estimator = stage.estimators["box"]
    estimator.start_from(moved(0).numpy())
    return estimator


def step(stage: Stage, track: Callable[..., np.ndarray], frame: Frame, **options: object) -> tuple[np.ndarray, int]:
    """What is found, and how many poses the refiner was given."""
    before = stage.refiner.pairs
    return track(frame.rgb, frame.depth, frame.K, **options), stage.refiner.pairs - before


def assert_is_at(found: np.ndarray, pose: Tensor) -> None:
    assert np.degrees(rotation_error(found, pose.numpy())) < 1.0
    assert np.linalg.norm(found[:3, 3] - pose[:3, 3].numpy()) < 0.003


def test_networks_are_asked_now_and_then_while_an_object_goes_on_as_it_moved(stage: Stage) -> None:
    estimator, asked = begin(stage), []
    for i in range(1, 2 * EVERY):
        found, pairs = step(stage, estimator.track_one, stage.show(box=moved(i)))
        assert_is_at(found, moved(i))
        asked.append(pairs > 0)
    assert asked[0], "nobody knows how it moves"
    assert 2 <= sum(asked) <= 4, asked
    assert all(any(asked[i : i + EVERY]) for i in range(len(asked) - EVERY))


def test_a_number_of_steps_is_taken_in_every_frame(stage: Stage) -> None:
    estimator = begin(stage)
    for i in range(1, 5):
        assert step(stage, estimator.track_one, stage.show(box=moved(i)), iteration=1)[1] == 1


def test_networks_are_asked_at_once_for_what_jumps(stage: Stage) -> None:
    estimator = begin(stage)
    for i in range(1, 4):
        _, pairs = step(stage, estimator.track_one, stage.show(box=moved(i)))
    assert not pairs
    elsewhere = pose_at(0.05, 0.02, 0.6, (0.6, -0.3, 0.3))
    found, pairs = step(stage, estimator.track_one, stage.show(box=elsewhere))
    assert pairs
    assert_is_at(found, elsewhere)


@pytest.mark.parametrize("how", ["hidden", "without its print"])
def test_networks_are_asked_in_each_frame_in_which_the_object_does_not_look_right(stage: Stage, how: str) -> None:
    estimator = begin(stage)
    for i in range(1, 4):
        _, pairs = step(stage, estimator.track_one, stage.show(box=moved(i)))
    assert not pairs
    for i in range(4, 7):
        cover = (slice(40, 240), slice(40, 280)) if how == "hidden" else None
        frame = stage.show(cover, box=moved(i))
        if how == "without its print":
            frame.rgb = np.full_like(frame.rgb, 128)
        assert step(stage, estimator.track_one, frame)[1] > 0


def test_the_confidence_is_the_networks_last_one(stage: Stage) -> None:
    estimator, asked = begin(stage), []
    for i in range(1, 6):
        _, pairs = step(stage, estimator.track_one, stage.show(box=moved(i)), judge=i > 2)
        asked.append(pairs > 0)
        if i > 2:
            assert estimator.confidence == pytest.approx(0.98)
        else:
            assert estimator.confidence is None
    assert asked == [True, False, True, False, False], "the third frame is the first that is to be judged"


def test_a_new_start_asks_the_networks(stage: Stage) -> None:
    estimator = begin(stage)
    for i in range(1, 4):
        step(stage, estimator.track_one, stage.show(box=moved(i)))
    estimator.start_from(moved(4).numpy())
    found, pairs = step(stage, estimator.track_one, stage.show(box=moved(4)))
    assert pairs
    assert_is_at(found, moved(4))


def test_what_stands_still_does_not_creep(stage: Stage) -> None:
    estimator = begin(stage)
    found = [step(stage, estimator.track_one, stage.show(box=moved(0)))[0] for _ in range(EVERY)]
    assert all(np.array_equal(pose, found[1]) for pose in found[1:])


def test_of_several_objects_all_are_refined_where_one_needs_it(stage: Stage) -> None:
    many = ManyObjects([stage.estimators["box"], stage.estimators["torus"]])
    many.start_from(np.stack([moved(0), moved(0, "torus")]))
    for i in range(1, 4):
        found, pairs = step(stage, many.track_many, stage.show(box=moved(i), torus=moved(i, "torus")))
    assert not pairs
    assert_is_at(found[0], moved(3))
    jump = pose_at(-0.07, 0.02, 0.6, (0.6, -0.3, 0.3))
    found, pairs = step(stage, many.track_many, stage.show(box=moved(4), torus=jump))
    assert pairs >= 2
    assert_is_at(found[0], moved(4))
    assert torch.allclose(torch.as_tensor(found[1]), jump, atol=0.01)


def test_the_alignment_alone_is_tried_ever_less_often_where_it_is_never_enough(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator, tried = begin(stage), []
    go_alone = estimator._tracker._go_alone
    monkeypatch.setattr(estimator._tracker, "_go_alone", lambda *frame: tried.append(i) or go_alone(*frame))
    for i in range(1, 20):
        pose = pose_at(0.02 * (-1) ** i, turn=(0.3 + 0.2 * (-1) ** i, -0.5, 0.2))
        found, pairs = step(stage, estimator.track_one, stage.show(box=pose))
        assert pairs, "it is refined in every frame"
        assert_is_at(found, pose)
    assert tried == [2, 3, 5, 9, 17]


@pytest.mark.cuda
def test_on_a_gpu_what_hardly_moves_takes_one_step() -> None:
    taken = []

    class Counting(KnowingRefiner):
        def predict(
            self, hypotheses: object, object: object, observation: object, steps: int = 5, *_: object
        ) -> Tensor:  # type: ignore[override]
            taken.append(steps)
            return hypotheses.poses  # type: ignore[attr-defined]

    refiner, stage = Counting(), Stage()
    estimator = FoundationPose(box(), refiner=refiner, scorer=KnowingScorer(refiner), device="cuda")
    frame = stage.show(box=moved(0))
    estimator.start_from(moved(0).numpy())
    for _ in range(3):
        estimator.track_one(frame.rgb, frame.depth, frame.K)
    assert taken == [2, 1, 1]
