"""Looking for an object of which nobody says where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from live.automatic_start import SURE, Trial, find_object
from live.promising_regions import MOST_TRIED
from pose6d.errors import FrameError, Pose6DError
from pose6d.search.interfaces import Hypotheses, Scores
from tests.live_frames import SIZE, Stage, pose_at

BOX, TORUS = pose_at(-0.08), pose_at(0.09)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def scorer_that_says(confidence: float) -> Callable[..., Scores]:
    def predict(hypotheses: Hypotheses, *_: object, **__: object) -> Scores:
        values = torch.full((len(hypotheses),), confidence)
        return Scores(values.clone(), values)

    return predict


def test_the_object_is_found_and_tracking_goes_on(stage: Stage) -> None:
    frame = stage.show(box=BOX, torus=TORUS)
    box = stage.estimators["box"]
    own, reports = box.schedule, []
    found = find_object(box, frame, progress=lambda done, total: reports.append((done, total)))
    assert found is not None
    np.testing.assert_allclose(found.pose, BOX.numpy(), atol=0.01)
    assert found.confidence >= SURE
    assert (found.mask & stage.masks[0]).sum() > 0.5 * stage.masks[0].sum()
    assert reports == [(i + 1, found.regions) for i in range(found.tried)]
    assert box.schedule is own
    np.testing.assert_allclose(box.track_one(frame.rgb, frame.depth, frame.K), BOX.numpy(), atol=0.01)


def test_an_object_that_is_not_there_is_not_found(stage: Stage) -> None:
    frame = stage.show(torus=TORUS)
    box = stage.estimators["box"]
    assert find_object(box, frame, propose=lambda *_: [stage.masks[1]]) is None
    with pytest.raises(Pose6DError, match="no pose to start from"):
        box.track_one(frame.rgb, frame.depth, frame.K)


def test_regions_may_come_from_ones_own_function(stage: Stage) -> None:
    frame = stage.show(box=BOX, torus=TORUS)
    box = stage.estimators["box"]
    given = []

    def segment(*inputs: object) -> list[np.ndarray]:
        given.extend(inputs)
        return [np.zeros(SIZE, bool), stage.masks[1].astype(np.uint8) * 255, stage.masks[0]]

    found = find_object(box, frame, propose=segment)
    assert found is not None
    assert (found.tried, found.regions) == (2, 2)  # an empty mask is none
    first = find_object(box, frame, propose=lambda *_: stage.masks)
    assert first is not None and first.tried == 1, "very sure: no other is tried"
    assert given[0] is frame.rgb
    assert given[3] == box.diameter
    assert find_object(box, frame, propose=lambda *_: []) is None
    with pytest.raises(Pose6DError, match=r"segment_small proposed a mask of shape \(4, 4\).*\(240, 320\)"):
        find_object(box, frame, propose=segment_small)


def test_of_many_regions_those_that_promise_nothing_are_not_searched(stage: Stage) -> None:
    patches = [np.zeros(SIZE, bool) for _ in range(6)]
    for row, patch in enumerate(patches):
        patch[10:50, 10 + 50 * row : 50 + 50 * row] = True  # of the wall
    box = stage.estimators["box"]
    frame = stage.show(box=BOX, torus=TORUS)
    found = find_object(box, frame, propose=lambda *_: [*patches, stage.masks[0]])
    assert found is not None and found.regions == MOST_TRIED
    np.testing.assert_allclose(found.pose, BOX.numpy(), atol=0.01)
    assert found.tried == 1, "the likeliest comes first"
    frame, tried = stage.show(torus=TORUS), []
    progress = lambda done, total: tried.append((done, total))  # noqa: E731
    assert find_object(box, frame, lambda *_: [*patches, stage.masks[1]], progress) is None
    assert tried == [(i + 1, MOST_TRIED) for i in range(MOST_TRIED)]


def segment_small(*_: object) -> list[np.ndarray]:
    return [np.ones((4, 4), bool)]


@pytest.mark.parametrize(("confidence", "is_found"), [(0.3, False), (0.7, True)])
def test_a_doubtful_object_is_none(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, confidence: float, is_found: bool
) -> None:
    frame = stage.show(box=BOX)
    box = stage.estimators["box"]
    predict = box.scorer.predict

    def less_sure(*given: Any) -> Scores:
        return predict(*given)._replace(confidence=torch.full((len(given[0]),), confidence))

    monkeypatch.setattr(box.scorer, "predict", less_sure)
    assert (find_object(box, frame, propose=lambda *_: [stage.masks[0]]) is not None) == is_found


@pytest.mark.parametrize(("fit", "seen", "value"), [(0.8, 0.3, 0.9), (0.7, 0.9, 0.0), (0.9, 0.2, 0.0)])
def test_a_pose_that_depth_contradicts_or_that_is_hardly_seen_counts_for_nothing(
    fit: float, seen: float, value: float
) -> None:
    assert Trial(np.eye(4, dtype=np.float32), 0.9, np.ones(SIZE, bool), fit, seen).value == value


def test_depth_overrules_a_confidence_that_is_wrong(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = stage.show()  # the wall alone
    box = stage.estimators["box"]
    monkeypatch.setattr(box.scorer, "predict", scorer_that_says(0.99))
    post = np.zeros(SIZE, bool)
    post[40:200, 118:124] = True  # too thin for the box: beside it the wall is seen
    frame.depth[post] *= 0.6
    assert find_object(box, frame, propose=lambda *_: [post]) is None


def test_what_cannot_be_looked_through_is_an_error(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = stage.show(box=BOX)
    box = stage.estimators["box"]
    frame.depth = np.zeros(SIZE, np.float32)
    with pytest.raises(FrameError, match="depth"):
        find_object(box, frame)
    monkeypatch.setattr(type(box.scorer), "has_confidence", False)
    with pytest.raises(Pose6DError, match=r"have none: take the released weights, or say where"):
        find_object(box, frame)
