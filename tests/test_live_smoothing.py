"""Poses that stand still where nothing moves: the picture that tells, and the mean of the poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from live import still_picture
from live.object_track import ObjectTrack
from live.smoothing import PoseMean
from live.still_picture import StillPicture
from pose6d.evaluation.pose_errors import rotation_error
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.frame import Frame
from tests.live_frames import Stage, draw_frame, pose_at
from tests.rendering_scenes import box

CENTER = np.array([0.01, -0.02, 0.03])
NOISE = 3.0  # grey levels
RNG = np.random.default_rng(0)


def seen(x: float = 0.0, light: float = 1.0, z: float = 0.6, turn: float = 0.3, mesh: Mesh | None = None) -> Frame:
    """What a noisy camera sees of the box."""
    frame, _ = draw_frame([pose_at(x, z=z, turn=(turn, -0.5, 0.2))], [mesh or box()])
    return replace(frame, rgb=noisy_picture(light * frame.rgb))


def noisy_picture(rgb: np.ndarray, noise: float = NOISE) -> np.ndarray:
    return (rgb + RNG.normal(scale=noise, size=rgb.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def picture() -> StillPicture:
    return StillPicture(np.zeros(3), float(box().diameter))


def is_still(picture: StillPicture, frame: Frame) -> bool:
    return picture.is_still(frame, pose_at(0.0).numpy())


def test_noise_and_exposure_are_no_motion(picture: StillPicture) -> None:
    assert not is_still(picture, seen()), "nobody knows what came before the first frame"
    assert all(is_still(picture, seen(light=light)) for light in (1.0, 1.0, 1.0, 0.97, 1.03, 0.9))
    picture.forget()
    assert not is_still(picture, seen())


@pytest.mark.parametrize("moved", [{"x": 0.0005}, {"z": 0.603}, {"turn": 0.31}])
def test_the_first_frame_of_a_motion_is_told_from_rest(picture: StillPicture, moved: dict[str, float]) -> None:
    """By half a millimetre to the side, three towards it, or half a degree: 0.3, 0.2 and 0.2 pixels."""
    for _ in range(3):
        is_still(picture, seen())
    assert not is_still(picture, seen(**moved))
    assert is_still(picture, seen(**moved)), "it has come to rest there"


def test_a_busy_frame_is_looked_at_only_while_nothing_moves(picture: StillPicture) -> None:
    pose = pose_at(0.0).numpy()
    is_still(picture, seen())
    assert not picture.is_still(seen(), pose, busy=True), "what moved until now is taken to move"
    assert is_still(picture, seen()), "and the frame before the busy one is still remembered"
    assert picture.is_still(seen(), pose, busy=True)
    assert not picture.is_still(seen(x=0.001), pose, busy=True)


def test_creeping_is_motion(picture: StillPicture) -> None:
    still = [is_still(picture, seen(x=0.00005 * i)) for i in range(12)]
    assert not all(still[1:])


def test_while_something_moves_rest_is_noticed_a_frame_later_at_most(picture: StillPicture) -> None:
    assert not any(is_still(picture, seen(x=0.002 * i)) for i in range(12))
    first, second, third = (is_still(picture, seen(x=0.022)) for _ in range(3))
    assert third and (first or second)
    assert not is_still(picture, seen(x=0.024)), "and where rest ends is seen at once"
    assert is_still(picture, seen(x=0.024))


def test_while_something_moves_every_other_frame_is_compared(
    picture: StillPicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    monkeypatch.setattr(still_picture, "_is_same", lambda *_: bool(compared.append(1)))
    for i in range(20):
        is_still(picture, seen(x=0.002 * i))
    assert 8 <= len(compared) <= 12


def test_noise_that_hides_motion_is_not_taken_for_rest(picture: StillPicture) -> None:
    for _ in range(5):
        frame = seen()
        assert not is_still(picture, replace(frame, rgb=noisy_picture(frame.rgb, 60.0)))


def test_what_shows_nothing_is_not_known_to_rest(picture: StillPicture) -> None:
    plain = Frame("0", np.full((240, 320, 3), 90, np.uint8), np.ones((240, 320), np.float32), seen().K)
    for _ in range(3):
        assert not is_still(picture, replace(plain, rgb=noisy_picture(plain.rgb)))
    for rgb in (plain.rgb, plain.rgb[:120, :160]):
        assert not is_still(picture, replace(plain, rgb=rgb)), "a picture of another size is another picture"
    is_still(picture, seen())
    assert not is_still(picture, replace(plain, rgb=np.zeros_like(plain.rgb))), "the light is out"
    for pose in (pose_at(9.0), pose_at(0.0, z=-0.6), pose_at(-0.345)):
        for _ in range(2):
            assert not picture.is_still(seen(), pose.numpy()), "next to nothing of it is in the picture"


def noisy(time: float, rng: np.random.Generator) -> np.ndarray:
    turn = torch.tensor(rng.normal(scale=0.02, size=3) + np.array([0.0, 0.06 * time, 0.0]))
    place = np.array([0.01 * time, 0.0, 0.8]) + rng.normal(scale=0.001, size=3)
    return make_transform(so3_exp(turn), torch.from_numpy(place)).numpy()


def test_poses_at_rest_become_their_mean_and_those_in_motion_stay_as_they_are() -> None:
    rng, mean = np.random.default_rng(0), PoseMean(CENTER, 0.1)
    still = [noisy(0.0, rng) for _ in range(60)]
    shown = [mean(pose, rests=i > 0) for i, pose in enumerate(still)]
    np.testing.assert_allclose(shown[9], np.mean(still[:10], axis=0), atol=1e-3)

    def jumps(poses: list[np.ndarray]) -> float:
        return float(np.mean([rotation_error(a, b) for a, b in zip(poses[1:], poses[:-1], strict=True)]))

    assert jumps(shown[10:]) < 0.1 * jumps(still[10:])
    for time in range(1, 9):
        pose = noisy(time, rng)
        np.testing.assert_allclose(mean(pose, rests=False), pose, atol=1e-6)


def test_a_pose_that_was_wrong_at_first_is_put_right_at_rest() -> None:
    mean, turned = PoseMean(CENTER, 0.1), {}
    for degrees in (10, 20):
        turned[degrees] = np.eye(4, dtype=np.float32)
        turned[degrees][:3, :3] = so3_exp(torch.tensor([0.0, np.radians(degrees), 0.0])).numpy()
    for i in range(100):
        mean(np.eye(4), rests=i > 0)
    for _ in range(60):
        shown = mean(turned[10], rests=True)
    assert np.degrees(rotation_error(shown, turned[10])) < 1.0
    mean(np.eye(4), rests=False)
    np.testing.assert_allclose(mean(turned[20], rests=True), turned[20], atol=1e-6), "another pose, not noise"


@pytest.fixture
def track() -> ObjectTrack:
    return ObjectTrack("box", 0, Stage().estimators["box"], smoothing=True)


def test_a_track_reports_its_mean_until_something_moves(track: ObjectTrack) -> None:
    rng, shown = np.random.default_rng(1), []
    for i in range(8):
        moves = i > 5
        pose = pose_at(0.02 * moves).numpy()
        pose[:3, 3] += rng.normal(scale=0.001, size=3)
        track.accept(pose, 3.0, seen(x=0.02 * moves))
        assert (track.shown == pose).all() == (i in (0, 6)), i
        np.testing.assert_array_equal(track.pose, pose), "the next frame starts from what was measured"
        shown.append(track.shown)
    steps = [np.linalg.norm(a[:3, 3] - b[:3, 3]) for a, b in zip(shown[1:6], shown, strict=False)]
    assert max(steps[2:]) < 0.001


def test_a_frame_in_which_turns_are_tried_is_a_busy_one(track: ObjectTrack, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []

    def is_still(frame: Frame, pose: np.ndarray, busy: bool) -> bool:
        told.append(busy)
        return False

    monkeypatch.setattr(track._picture, "is_still", is_still)
    for looks, since_look in ((0, 0), (1, 0), (1, 1)):
        track.looks, track.since_look = looks, since_look
        track.accept(pose_at(0.0).numpy(), 3.0, seen())
    assert told == [False, True, False]


def test_another_side_is_shown_at_once(track: ObjectTrack) -> None:
    first, other = pose_at(0.0).numpy(), pose_at(0.0, turn=(0.4, -0.6, 0.2)).numpy()
    frame = seen()
    for second in range(3):
        track.accept(first, 3.0, replace(frame, seconds=float(second)))
    track.jump()
    track.accept(other, 3.0, replace(frame, seconds=3.0))
    np.testing.assert_array_equal(track.shown, other)
    assert track.motion.predict(4.0) is None, "it did not move there"
