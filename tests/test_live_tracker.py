"""What a tracker says of objects that are hidden, leave, and come back."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

from live.object_search import EFFORTS
from live.state_tracker import StateTracker, TrackingOptions
from live.tracked_pose import TrackedPose
from pose6d.errors import FrameError, OptionError, Pose6DError, SceneError
from pose6d.search.alternatives import Alternative
from pose6d.search.interfaces import Hypotheses, Scores
from tests.live_frames import Stage, pose_at

HALF, WHOLE = (slice(60, 240), slice(60, 160)), (slice(40, 240), slice(40, 280))
AWAY = pose_at(-0.1, 0.04, 0.7, (1.9, 0.4, -1.2))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def make_tracker(stage: Stage, *names: str) -> StateTracker:
    """One that is told where things stand out from the wall."""
    estimators = {name: stage.estimators[name] for name in names or ("box",)}
    regions = lambda rgb, depth, K, diameter: [mask for mask in stage.masks if mask.any()]  # noqa: E731
    return StateTracker(estimators, TrackingOptions(rounds=0, starts=12), regions)


def is_there(found: TrackedPose, pose: torch.Tensor) -> bool:
    return found.pose is not None and np.allclose(
        found.pose, pose.numpy(), atol=0.01
    )  # a registration aligns what it found


def test_an_object_in_view_is_tracked_also_half_hidden(stage: Stage) -> None:
    tracker = make_tracker(stage)
    (found,) = tracker.start(stage.show(box=pose_at(0.0)), {"box": stage.masks[0]})
    assert found.state == "tracking"
    for i in range(1, 6):
        pose = pose_at(0.004 * i)
        (found,) = tracker.step(stage.show(HALF if i > 2 else None, box=pose))
        assert (found.name, found.state) == ("box", "tracking")
        assert is_there(found, pose)
        assert found.confidence is not None
        assert found.confidence > 0.7


def test_an_object_wholly_hidden_is_never_called_tracked_and_is_followed_when_it_shows_up(stage: Stage) -> None:
    tracker, pose = make_tracker(stage), pose_at(0.0)
    tracker.start(stage.show(box=pose), [stage.masks[0]])
    for _ in range(3):
        (found,) = tracker.step(stage.show(WHOLE, box=pose))
        assert found.state == "doubtful"
        assert is_there(found, pose), "what hides it must not carry it off"
    states = [tracker.step(stage.show(box=pose))[0].state for _ in range(3)]
    assert states[1:] == ["tracking", "tracking"]


def test_a_thing_of_the_same_shape_without_the_texture_is_not_called_tracked(stage: Stage) -> None:
    tracker, pose = make_tracker(stage), pose_at(0.0)
    tracker.start(stage.show(box=pose), [stage.masks[0]])
    for _ in range(3):
        (found,) = tracker.step(stage.show(box=pose))
    assert found.state == "tracking"
    plain = stage.show(box=pose)
    plain.rgb = np.full_like(plain.rgb, 128)
    assert tracker.step(plain)[0].state == "doubtful"


def test_an_object_that_leaves_is_lost_and_found_elsewhere_in_another_pose(stage: Stage) -> None:
    tracker = make_tracker(stage)
    tracker.start(stage.show(box=pose_at(0.0)), [stage.masks[0]])
    states = []
    for _ in range(12):
        (found,) = tracker.step(stage.show())
        states.append(found.state)
    assert "tracking" not in states
    assert states[-1] == "lost"
    assert found.pose is None
    assert found.confidence is None
    for _ in range(15):
        (found,) = tracker.step(stage.show(box=AWAY))
        if found.state == "tracking":
            break
    assert found.state == "tracking", "not found again within 15 frames"
    assert is_there(found, AWAY)


@pytest.mark.parametrize("waited", range(4))
@pytest.mark.parametrize(("device", "frames"), [("cpu", 7), ("cuda", 3)])
def test_an_object_that_comes_back_is_found_in_the_next_round(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, device: str, frames: int, waited: int
) -> None:
    """Three frames where a round is one, as on a GPU: its regions are found, so is it, and a frame confirms that. Where
    a round is three it ends two later, and one that has begun is waited for, two frames more."""
    monkeypatch.setitem(EFFORTS, "cpu", EFFORTS[device])
    tracker = make_tracker(stage)
    tracker.start(stage.show(box=pose_at(0.0)), [stage.masks[0]])
    for _ in range(6 + waited):  # whatever the search is at when it comes
        (found,) = tracker.step(stage.show(torus=pose_at(0.1)))
    assert found.state == "lost"
    states = [tracker.step(stage.show(box=AWAY, torus=pose_at(0.1)))[0].state for _ in range(frames)]
    assert states[-1] == "tracking"


def test_a_search_finds_regions_of_depth_by_itself(stage: Stage) -> None:
    tracker = StateTracker({"box": stage.estimators["box"]}, TrackingOptions(rounds=0, starts=12))
    tracker.start(stage.show(box=pose_at(0.0)), [stage.masks[0]])
    tracker.look_again("box")
    states = [tracker.step(stage.show(box=AWAY))[0].state for _ in range(15)]
    assert "tracking" in states


def test_a_search_goes_on_after_an_error_of_what_proposes_regions(stage: Stage) -> None:
    masks: list[np.ndarray] = [np.ones((2, 2), bool)]

    def segment(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, diameter: float) -> list[np.ndarray]:
        return masks

    tracker = StateTracker({"box": stage.estimators["box"]}, TrackingOptions(rounds=0, starts=12), segment)
    frame = stage.show(box=AWAY)
    with pytest.raises(Pose6DError, match=r"segment proposed a mask of shape \(2, 2\)"):
        tracker.step(frame)
    masks[:] = stage.masks[:1]
    states = [tracker.step(stage.show(box=AWAY))[0].state for _ in range(10)]
    assert "tracking" in states


def test_one_lost_object_does_not_disturb_another(stage: Stage) -> None:
    tracker = make_tracker(stage, "box", "torus")
    assert tracker.names == ["box", "torus"]
    tracker.start(stage.show(box=pose_at(-0.08), torus=pose_at(0.09)), stage.masks)
    for i in range(12):
        pose = pose_at(0.09 - 0.003 * i)
        gone, followed = tracker.step(stage.show(torus=pose))
        assert followed.state == "tracking"
        assert is_there(followed, pose)
    assert gone.state == "lost"


@pytest.mark.parametrize("beside", [True, False])
def test_neither_what_is_followed_nor_a_camera_waits_for_the_regions_of_what_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    names = ["box", "torus"] if beside else ["box"]
    both = StateTracker(
        {name: stage.estimators[name] for name in names}, TrackingOptions(rounds=0, starts=12, waits=beside)
    )
    both.start(stage.show(box=pose_at(0.0), torus=pose_at(0.12)), stage.masks[: len(names)])
    allowed, asked = threading.Event(), []

    def slow(*given: Any) -> list[np.ndarray]:
        asked.append(allowed.wait(timeout=20))
        return [stage.masks[0]]

    monkeypatch.setattr("live.object_search.propose_regions", slow)
    both.look_again("box")
    for _ in range(6):
        found = both.step(stage.show(box=AWAY, torus=pose_at(0.12)))
        assert [one.state for one in found] == ["lost", "tracking"][: len(names)]
    assert not asked, "a frame waited until regions were there"
    allowed.set()
    states = []
    for _ in range(20):
        states.append(both.step(stage.show(box=AWAY, torus=pose_at(0.12)))[0].state)
        time.sleep(0.01)
    assert "tracking" in states


def test_an_object_without_a_mask_is_looked_for(stage: Stage) -> None:
    tracker, poses = make_tracker(stage, "box", "torus"), {"box": pose_at(-0.08), "torus": pose_at(0.09)}
    first, second = tracker.start(stage.show(**poses), {"box": stage.masks[0], "torus": None})
    assert (first.state, second.state) == ("tracking", "tracking")
    assert is_there(second, poses["torus"])


def test_an_object_that_is_not_there_at_the_start_is_found_when_it_comes(stage: Stage) -> None:
    tracker = make_tracker(stage)
    (found,) = tracker.start(stage.show(), [None])
    assert found == TrackedPose("box", "lost", None, None)
    assert tracker.step(stage.show())[0].state == "lost"
    for _ in range(40):
        (found,) = tracker.step(stage.show(box=AWAY))
        if found.state == "tracking":
            break
    assert is_there(found, AWAY)


def test_frames_that_cannot_be_used_change_nothing(stage: Stage) -> None:
    tracker, pose = make_tracker(stage), pose_at(0.0)
    tracker.start(stage.show(box=pose), [stage.masks[0]])
    broken = stage.show(box=pose)
    broken.depth = np.zeros_like(broken.depth)
    with pytest.raises(FrameError, match="depth"):
        tracker.step(broken)
    broken.depth = np.ones((2, 2), np.float32)
    with pytest.raises(FrameError, match="depth 2x2"):
        tracker.step(broken)
    broken = stage.show(box=pose)
    broken.K = np.zeros((3, 3))
    with pytest.raises(SceneError, match="no pinhole matrix"):
        tracker.step(broken)
    (found,) = tracker.step(stage.show(box=pose))
    assert found.state == "tracking"


def test_a_mask_that_cannot_be_used_names_the_object_and_changes_nothing(stage: Stage) -> None:
    tracker, pose = make_tracker(stage), pose_at(0.0)
    frame = stage.show(box=pose)
    tracker.start(frame, [stage.masks[0]])
    nothing = np.zeros_like(stage.masks[0])
    for begin in (lambda: tracker.start(frame, [nothing]), lambda: tracker.start_from_mask("box", frame, nothing)):
        with pytest.raises(FrameError, match=r"object box: .*mask"):
            begin()
        assert tracker.step(stage.show(box=pose))[0].state == "tracking"
    with pytest.raises(FrameError, match="2 for 1 objects"):
        tracker.start(frame, [None, None])
    with pytest.raises(FrameError, match="masks of cup: the objects are box"):
        tracker.start(frame, {"cup": nothing})


def test_people_can_send_it_to_look_again_or_show_where_the_object_is(stage: Stage) -> None:
    tracker, pose = make_tracker(stage), pose_at(0.0)
    tracker.start(stage.show(box=pose), [stage.masks[0]])
    tracker.look_again("box")
    assert tracker.step(stage.show())[0].state == "lost"
    found = tracker.start_from_mask("box", stage.show(box=AWAY), stage.masks[0])
    assert found.state == "tracking"
    assert is_there(found, AWAY)
    tracker.reset()
    assert tracker.step(stage.show())[0].pose is None
    with pytest.raises(OptionError, match="no object is called cup: there are box"):
        tracker.look_again("cup")


def two_halves(stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, radians: float) -> torch.Tensor:
    """Let a registration give a second pose, turned about z, the same probability; returns the turn (4, 4) to it."""
    estimator, other = stage.estimators[name], pose_at(0, 0, 0, (0.0, 0.0, radians))
    register = estimator.register

    def unsure(*given: Any) -> np.ndarray:
        pose = register(*given)
        estimator.alternatives = [Alternative(pose, 0.48), Alternative(pose @ other.numpy(), 0.48)]
        return pose

    monkeypatch.setattr(estimator, "register", unsure)
    return other


def test_two_poses_that_are_as_likely_are_not_called_tracked_until_a_frame_tells_them_apart(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_halves(stage, monkeypatch, "torus", 2 * np.pi / 3)  # its texture comes three times
    alike = stage.estimators["torus"].scorer
    predict = alike.predict

    def both_sides(*given: Any) -> Scores:
        return predict(*given)._replace(confidence=torch.full((len(given[0]),), 0.97))

    monkeypatch.setattr(alike, "judge", both_sides)
    tracker = make_tracker(stage, "torus")
    (found,) = tracker.start(stage.show(torus=pose_at(0.0)), [stage.masks[1]])
    for i in range(1, 5):
        assert found.state == "doubtful" and found.confidence is not None and found.confidence <= 0.48
        assert is_there(found, pose_at(0.004 * (i - 1))), "it is followed all the while"
        (found,) = tracker.step(stage.show(torus=pose_at(0.004 * i)))
    monkeypatch.setattr(alike, "judge", predict)  # now the scorer sees which side it is
    states = [tracker.step(stage.show(torus=pose_at(0.02)))[0] for _ in range(3)]
    assert [found.state for found in states[1:]] == ["tracking", "tracking"]
    assert is_there(states[-1], pose_at(0.02))


def test_the_other_pose_is_taken_where_a_frame_says_that_it_is_right(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = two_halves(stage, monkeypatch, "box", 1.5)
    tracker, first = make_tracker(stage), pose_at(0.0)
    assert tracker.start(stage.show(box=first), [stage.masks[0]])[0].state == "doubtful"
    right = first @ other
    found = [tracker.step(stage.show(box=right))[0] for _ in range(4)]
    assert is_there(found[-1], right) and found[-1].state == "tracking"


def test_doubt_and_loss_cost_a_bounded_amount_of_work(stage: Stage) -> None:
    tracker = make_tracker(stage)
    tracker.start(stage.show(box=pose_at(0.0)), [stage.masks[0]])
    work = []
    for i in range(24):  # something else moves about
        before = stage.refiner.pairs
        frame = stage.show(torus=pose_at(-0.12 + 0.009 * i))
        tracker.step(frame)
        work.append(stage.refiner.pairs - before)
    assert tracker.step(frame)[0].state == "lost"
    assert max(work[16:]) <= max(work[:16]), "the search must not grow with time"
    assert max(work) <= 12, "on a CPU a frame that searches refines a part of a round alone: 12 starts once"


def test_the_work_of_doubt_does_not_grow_with_the_number_of_objects_in_doubt(stage: Stage) -> None:
    work = []
    for names in (("box",), ("box", "torus")):
        tracker = make_tracker(stage, *names)
        poses = {name: pose_at(0.15 * i - 0.08) for i, name in enumerate(("box", "torus")) if name in names}
        tracker.start(stage.show(**poses), {name: stage.masks[i] for i, name in enumerate(names)})
        for _ in range(2):
            before = stage.refiner.pairs
            states = [found.state for found in tracker.step(stage.show((slice(None), slice(None)), **poses))]
            assert states == ["doubtful"] * len(names)
            work.append(stage.refiner.pairs - before)
    # From the second frame of a doubt on: two steps of each start, one of what stays where it is.
    assert work == [1, 1 + 4 * 2, 2, 2 + 2 * 2 * 2]


@pytest.mark.parametrize("begun", ["right", "wrong"])
def test_a_tracked_object_is_turned_to_the_side_that_its_colours_show(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    """The networks are as sure of the box half a turn about its axis, and move poses to the nearer one of the two."""
    truth, estimator = pose_at(0.0), stage.estimators["box"]
    sides = torch.stack([truth, truth @ pose_at(0, 0, 0, (0.0, 0.0, np.pi))])

    def nearer(hypotheses: Hypotheses, *given: Any) -> torch.Tensor:
        turns = hypotheses.poses[:, None, :3, :3].mT @ sides[:, :3, :3]
        trace, side = turns.diagonal(dim1=-2, dim2=-1).sum(-1).max(dim=1)
        return torch.where((trace > 2.0)[:, None, None], sides[side], hypotheses.poses)

    def sure(hypotheses: Hypotheses, *given: Any) -> Scores:
        return Scores(torch.zeros(len(hypotheses)), torch.full((len(hypotheses),), 0.99))

    monkeypatch.setattr(estimator.refiner, "predict", nearer)
    monkeypatch.setattr(estimator.scorer, "judge", sure)
    start = sides[["right", "wrong"].index(begun)]
    monkeypatch.setattr(estimator, "register", lambda *given: start.numpy())
    tracker = make_tracker(stage)
    tracker.start(stage.show(box=truth), [stage.masks[0]])
    found, competed = [], []
    for _ in range(70):
        found += tracker.step(stage.show(box=truth))
        competed.append(tracker._tracks[0].challengers is not None)
    assert is_there(found[0], start)
    assert {one.state for one in found} == {"tracking"}
    assert is_there(found[-1], truth)
    assert any(competed) == (begun == "wrong"), "no work for a side that colours speak against"


def test_what_is_found_half_hidden_is_doubtful_until_it_is_seen(stage: Stage) -> None:
    tracker = make_tracker(stage)
    tracker.start(stage.show(box=pose_at(0.0)), [stage.masks[0]])
    for _ in range(6):
        (found,) = tracker.step(stage.show())
    assert found.state == "lost"
    half = slice(0, 240), slice(0, 112)
    seen = [tracker.step(stage.show(box=AWAY, cover=half))[0] for _ in range(20)]
    assert stage.masks[0].sum() > 100
    assert {one.state for one in seen} == {"lost", "doubtful"}
    assert is_there(seen[-1], AWAY), "where it is, is said"
    states = [tracker.step(stage.show(box=AWAY))[0].state for _ in range(2)]
    assert states[-1] == "tracking"


def test_what_is_no_frame_and_no_estimators_is_named() -> None:
    stage = Stage()
    tracker = StateTracker(stage.estimators)
    for given in (None, (1, 2, 3), {"rgb": 1}):
        with pytest.raises(FrameError, match=f"frame is a {type(given).__name__}"):
            tracker.step(given)  # type: ignore[arg-type]
        with pytest.raises(Pose6DError):
            StateTracker(given)  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="masks: 0 for 2 objects"):
        tracker.start(stage.show(), None)  # type: ignore[arg-type]


def test_frames_of_lists_and_tensors_are_followed() -> None:
    stage = Stage()
    tracker = StateTracker(stage.estimators)
    frame = stage.show(box=pose_at(0.0))
    frame.K, frame.depth = frame.K.tolist(), torch.from_numpy(frame.depth)  # type: ignore[assignment]
    assert [pose.name for pose in tracker.step(frame)] == list(stage.estimators)
