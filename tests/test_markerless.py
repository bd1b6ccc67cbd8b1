"""Following an unknown object through a video without markers, and the views that come of it."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.model_free.markerless import pose_difference
from benchmarks.model_free.videos import Video, film_around, film_held
from learning.datasets.objects.random_objects import make_kind
from mesh_creation.__main__ import main
from mesh_creation.markerless.direct_alignment import move, relate
from mesh_creation.markerless.from_video import follow_video
from mesh_creation.markerless.key_view import KeyView
from mesh_creation.markerless.mask_revision import looked_through
from mesh_creation.markerless.picture import OBJECT, OTHER, UNKNOWN, Surface, cut_picture
from mesh_creation.markerless.pixel_labels import decide
from mesh_creation.markerless.surroundings import surroundings_are_static
from mesh_creation.markerless.tracker import MarkerlessTracker
from pose6d.errors import FrameError, SceneError
from pose6d.geometry.masks import mask_iou
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame
from pose6d.streams.capture_writer import CaptureFolder

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


@cache
def video(kind: str) -> Video:
    mesh = make_kind("carton", np.random.default_rng(1), 0.14)
    return film_around(mesh, 1, shown=12) if kind == "around" else film_held(mesh, 1, shown=24)


@cache
def followed(kind: str) -> MarkerlessTracker:
    tracker = MarkerlessTracker(video(kind).frames[0])
    for frame in video(kind).frames[1:]:
        tracker.step(frame)
    return tracker


@pytest.mark.parametrize("kind", ["around", "held"])
def test_an_unknown_object_is_followed_with_its_mask(kind: str) -> None:
    tracker, frames = followed(kind), video(kind).frames
    first = tracker.frames[0].camera_in_object @ frames[0].object_in_camera
    for tracked, frame in zip(tracker.frames, frames, strict=True):
        angle, length = pose_difference(np.linalg.inv(tracked.camera_in_object) @ first, frame.object_in_camera)
        assert angle < 1.5
        assert length < 1.5
        assert mask_iou(tracked.mask, frame.mask) > 0.85
    assert len(tracker.views) >= 3
    assert tracker.static == (kind == "around")


def test_a_lost_object_is_found_again() -> None:
    frames = video("around").frames
    tracker = MarkerlessTracker(frames[0])
    tracker.step(frames[1])
    covered = replace(frames[2], rgb=np.full_like(frames[2].rgb, 90), depth=np.full_like(frames[2].depth, 0.2))
    lost = tracker.step(covered)
    assert lost.camera_in_object is None
    assert lost.mask is None
    again = tracker.step(frames[3])
    first = tracker.frames[0].camera_in_object @ frames[0].object_in_camera
    angle, length = pose_difference(again.object_in_camera @ first, frames[3].object_in_camera)
    assert angle < 1.5
    assert length < 1.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "frame 0000: it has no mask"),
        ({"mask": np.zeros((480, 640), bool)}, "the mask is empty"),
        ({"mask": np.ones((240, 320), bool)}, "the mask is 320x240, the frame is 640x480"),
        ({"depth": np.zeros((480, 640), np.float32)}, "0 of .* pixels of the mask have depth"),
    ],
)
def test_a_first_frame_that_is_no_start_is_refused(change: dict, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        MarkerlessTracker(replace(video("around").frames[0], **change))


def test_a_video_in_which_the_object_is_lost_names_the_frame() -> None:
    first = video("around").frames[0]
    nothing = [replace(first, name=f"{i}", depth=np.zeros_like(first.depth)) for i in range(1, 6)]
    with pytest.raises(SceneError, match="clip: the object was lost at frame 1 and found in 1 of 6"):
        follow_video([first, *nothing], source="clip", progress=False)
    with pytest.raises(FrameError, match="clip has no frames"):
        follow_video([], source="clip", progress=False)


def test_normal_equations_lead_back_from_a_small_motion() -> None:
    view = followed("around").views[0]
    motion = np.array([0.004, -0.006, 0.005, 0.001, -0.0015, 0.001])
    pose = move(np.eye(4), motion)
    for _ in range(8):
        equations = relate(view.own, pose, view.picture, 0)
        pose = move(pose, np.linalg.solve(equations.H, -equations.g))
    angle, length = pose_difference(pose, np.eye(4))
    assert angle < 0.02
    assert length < 0.1
    assert equations.correlation > 0.99


def test_surroundings_that_stand_still_before_the_camera_do_not_move_with_the_object() -> None:
    for kind, expected in (("around", True), ("held", False)):
        tracker, frame = followed(kind), video(kind).frames[-1]
        camera = tracker.frames[-1].camera_in_object
        assert surroundings_are_static(tracker.views[0], frame, camera) is expected
    view = tracker.views[0]
    assert surroundings_are_static(view, view.frame, view.camera_in_object) is None


def box_on_table() -> tuple[np.ndarray, np.ndarray]:
    """Depth of a box that stands on a table and fills the middle of the picture, and its mask."""
    rays = np.stack([*np.meshgrid((np.arange(640) - 320) / 600, (np.arange(480) - 240) / 600), np.ones((480, 640))], 2)
    normal = np.array([0, -np.cos(0.7), -np.sin(0.7)])  # of the table, seen from above
    table = -0.45 / (rays @ normal)
    depth = np.where(table > 0, np.minimum(table, 3.0), 3.0)
    front = np.full((480, 640), 0.5)
    points = rays * front[..., None]
    mask = (np.abs(points[..., 0]) < 0.05) & (points[..., 1] > -0.05) & (front < depth)
    return np.where(mask, front, depth).astype(np.float32), mask


def test_the_mask_grows_over_the_object_and_stops_at_the_table() -> None:
    depth, mask = box_on_table()
    rgb = np.where(mask[..., None], [40, 90, 200], [150, 110, 60]).astype(np.uint8)
    picture = cut_picture(Frame("0", rgb, depth, K), None, 0.0)
    votes = np.zeros(depth.shape, np.float32)
    rows = np.flatnonzero(mask.any(axis=1))
    votes[: rows[0] + 200][mask[: rows[0] + 200]] = 1  # the upper part is known, and the table to the left
    votes[:, :200][~mask[:, :200]] = -1
    labels = decide(picture, Surface.of(picture), votes, np.zeros_like(depth), 0.08)
    own = labels == OBJECT
    assert mask_iou(own, mask) > 0.95


def test_what_another_view_looks_through_is_found() -> None:
    depth = np.full((480, 640), 0.6, np.float32)
    finger = depth.copy()
    finger[200:260, 300:340] = 0.55

    def view(image: np.ndarray) -> KeyView:
        frame = Frame("0", np.full((480, 640, 3), 100, np.uint8), image, K)
        picture = cut_picture(frame, None, 0.0)
        labels = np.full(image.shape, OTHER, np.int8)
        labels[180:280, 280:360] = OBJECT
        return KeyView(0, frame, picture, Surface.of(picture), labels, np.eye(4))

    through = looked_through(view(finger), view(depth))
    assert through[210:250, 310:330].all()
    assert not through[:190].any()
    assert not looked_through(view(depth), view(finger)).any()
    assert UNKNOWN not in view(depth).labels


def test_a_video_becomes_a_folder_of_views(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = video("around").frames[:8]
    capture = CaptureFolder(tmp_path / "video", 0.001, {})
    for frame in frames:
        capture.add(replace(frame, mask=None))
    capture.finish()
    cv2.imwrite(str(tmp_path / "mask.png"), frames[0].mask.astype(np.uint8) * 255)
    command = ["from_video", "--scene", str(tmp_path / "video"), "--out", str(tmp_path / "views")]
    assert main(command) == 2
    assert "it has no mask" in capsys.readouterr().err
    command += ["--mask", str(tmp_path / "mask.png")]
    assert main(command) == 0
    views = open_scene(tmp_path / "views")
    assert len(views) >= 2
    assert not views.strange
    trajectory = json.loads((tmp_path / "views" / "trajectory.json").read_text())["camera_in_object"]
    assert list(trajectory) == [str(number) for number in range(8)]
    names = json.loads((tmp_path / "views" / "recording.json").read_text())["names"]
    first = np.array(trajectory["0"]) @ frames[0].object_in_camera
    for name, view in zip(names, views, strict=True):
        assert view.mask is not None
        angle, length = pose_difference(view.object_in_camera @ first, frames[int(name)].object_in_camera)
        assert angle < 1.5
        assert length < 1.5
    capsys.readouterr()
    assert main(command) == 0
    assert "is finished, skipped" in capsys.readouterr().out
    assert main([*command, "--every", "2"]) == 2
    assert "with these settings" in capsys.readouterr().err


def test_a_lost_object_that_was_turned_over_is_found_without_features(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, tracker = video("held").frames, deepcopy(followed("held"))
    monkeypatch.setattr(tracker, "_starts_by_features", lambda picture: [])
    nothing = replace(frames[0], rgb=np.full_like(frames[0].rgb, 90), depth=np.full_like(frames[0].depth, 0.2))
    assert tracker.step(nothing).camera_in_object is None
    turn = np.diag([-1.0, -1, 1, 1])  # of the camera, about its axis
    K_turned = frames[12].K.copy()
    K_turned[:2, 2] = [639, 479] - K_turned[:2, 2]
    turned = replace(frames[12], rgb=frames[12].rgb[::-1, ::-1], depth=frames[12].depth[::-1, ::-1].copy(), K=K_turned)
    views = len(tracker.views)
    again = [tracker.step(turned) for _ in range(3)]  # not every frame is searched
    first = tracker.frames[0].camera_in_object @ frames[0].object_in_camera
    angle, length = pose_difference(again[-1].object_in_camera @ first, turn @ frames[12].object_in_camera)
    assert angle < 1.5
    assert length < 1.5
    assert not any(frame.carried for frame in again)
    assert len(tracker.views) == views  # the model does not grow before later frames confirm it


def test_what_is_covered_moves_as_what_holds_it() -> None:
    frames = video("held").frames
    tracker = MarkerlessTracker(frames[0])
    for frame in frames[1:4]:
        assert not tracker.step(frame).carried
    first = tracker.frames[0].camera_in_object @ frames[0].object_in_camera
    for frame, share in zip(frames[4:12], (0.3, 0.5, 0.6, 0.7, 0.78, 0.86, 0.94, 1), strict=True):  # the hand stays
        rows = np.flatnonzero(frame.mask.any(axis=1))
        hidden = cv2.dilate(frame.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        hidden[int(rows[0] + share * (len(rows) + 5)) :] = False
        rgb, depth = np.where(hidden[..., None], np.uint8(90), frame.rgb), np.where(hidden, np.float32(0), frame.depth)
        tracked = tracker.step(replace(frame, rgb=rgb, depth=depth))
        angle, length = pose_difference(tracked.object_in_camera @ first, frame.object_in_camera)
        assert angle < 10
        assert length < 15
    assert tracked.carried
