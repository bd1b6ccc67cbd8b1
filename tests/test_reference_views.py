"""Views of an object are read from every layout, bad ones are refused by name, poses are put the right way round."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from learning.datasets.objects.random_objects import make_kind
from mesh_creation.reference_views.open_views import ViewOptions, open_views
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.reference_views.view_selection import choose_views, farthest_views
from pose6d.errors import FrameError, SceneError
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes.images import write_depth, write_image
from tests.reference_view_folders import (
    around,
    render_views,
    write_capture,
    write_list,
    write_onboarding,
    write_reference_folder,
)

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def views() -> list[ReferenceView]:
    return render_views(around(11), wall=0.9, noise=0.0005)


def assert_same(read: list[ReferenceView], written: list[ReferenceView]) -> None:
    assert len(read) == len(written)
    for view, original in zip(read, written, strict=True):
        np.testing.assert_allclose(view.camera_in_object, original.camera_in_object, atol=1e-6)
        np.testing.assert_array_equal(view.rgb, original.rgb)
        np.testing.assert_array_equal(view.mask, original.mask)
        np.testing.assert_allclose(view.depth, original.depth, atol=0.0006)
        np.testing.assert_allclose(view.K, original.K)


def posed(views: list[ReferenceView], poses: np.ndarray) -> list[ReferenceView]:
    return [replace(view, camera_in_object=pose) for view, pose in zip(views, poses, strict=True)]


def poses_of(views: list[ReferenceView]) -> np.ndarray:
    return np.stack([view.camera_in_object for view in views])


@pytest.mark.parametrize("masks", ["mask", "mask_refined"])
def test_the_published_layout_is_read_in_natural_order(tmp_path: Path, views: list[ReferenceView], masks: str) -> None:
    read, notes = open_views(write_reference_folder(tmp_path / "ob_0000001", views, masks))
    assert_same(read, views)
    assert notes == []
    assert read[9].name.endswith("rgb/10.png")


def test_a_capture_with_transforms_is_read_and_frames_without_a_pose_are_named(
    tmp_path: Path, views: list[ReferenceView]
) -> None:
    folder = write_capture(tmp_path / "cup", views)
    transforms = np.load(folder / "transforms.npy")
    transforms[4] = np.nan
    np.save(folder / "transforms.npy", transforms)
    read, (note,) = open_views(folder)
    assert_same(read, views[:4] + views[5:])
    assert "1 of 11 frames have no pose" in note and "0004" in note


def test_masks_that_the_scan_pipeline_made_are_taken(tmp_path: Path, views: list[ReferenceView]) -> None:
    read, _ = open_views(write_capture(tmp_path / "cup", views, masks="labels/masks/cup"))
    assert_same(read, views)


def test_both_recordings_of_a_static_onboarding_are_one_set(tmp_path: Path, views: list[ReferenceView]) -> None:
    write_onboarding(tmp_path / "obj_000001_up", views[:6])
    write_onboarding(tmp_path / "obj_000001_down", views[6:])
    write_onboarding(tmp_path / "obj_000002_up", views[:2], obj_id=2)
    with pytest.raises(SceneError, match=r"several objects \(1, 2\)"):
        open_views(tmp_path)
    read, _ = open_views(tmp_path, ViewOptions(object_id="1"))
    assert_same(read, views[6:] + views[:6])
    alone, _ = open_views(tmp_path / "obj_000001_up")
    assert_same(alone, views[:6])


def test_a_list_of_files_says_which_way_round_each_pose_is(tmp_path: Path, views: list[ReferenceView]) -> None:
    read, _ = open_views(write_list(tmp_path / "views.json", views))
    assert_same(read, views)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": None}, "view 2: 'depth' is None"),
        ({"object_in_camera": np.eye(4).tolist()}, "camera_in_object and object_in_camera"),
        ({"color": "gone.png"}, "gone.png"),
        ({"pose": 1}, "has pose, which is not known"),
        ({"camera_in_object": (2 * np.eye(4)).tolist()}, "view 2: camera_in_object is no pose"),
        ({"camera_in_object": [1, 2]}, "wanted 4x4 numbers in metres"),
        ({"depth_scale": -1}, "depth_scale is -1"),
    ],
)
def test_a_wrong_list_is_refused_by_view_and_key(
    tmp_path: Path, views: list[ReferenceView], change: dict[str, object], message: str
) -> None:
    file = write_list(tmp_path / "views.json", views[:3])
    listed = json.loads(file.read_text())
    entry = listed["views"][1]
    entry["camera_in_object"] = np.linalg.inv(entry.pop("object_in_camera")).tolist()
    listed["views"][1] = entry | change
    file.write_text(json.dumps(listed))
    with pytest.raises(SceneError, match=message):
        open_views(file)


def test_a_folder_of_several_objects_or_of_nothing_is_refused(tmp_path: Path, views: list[ReferenceView]) -> None:
    write_reference_folder(tmp_path / "ob_0000001", views[:2])
    with pytest.raises(SceneError, match=r"several objects, pass one of them: ob_0000001"):
        open_views(tmp_path)
    with pytest.raises(SceneError, match="do not exist"):
        open_views(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match="ref_views"):
        open_views(tmp_path / "empty")
    with pytest.raises(SceneError, match="no views"):
        open_views([])


def test_bad_pictures_are_named(tmp_path: Path, views: list[ReferenceView]) -> None:
    folder = write_reference_folder(tmp_path / "ob", views)
    view = views[2]
    write_image(folder / "mask" / "3.png", np.zeros_like(view.mask))
    with pytest.raises(FrameError, match=r"rgb/3.png: the mask is empty"):
        open_views(folder)
    write_image(folder / "mask" / "3.png", np.ones_like(view.mask))
    with pytest.raises(FrameError, match=r"rgb/3.png: the mask covers 100% of the picture"):
        open_views(folder)
    write_image(folder / "mask" / "3.png", view.mask[::2, ::2])
    with pytest.raises(FrameError, match=r"rgb/3.png.*mask is 80x60 but colour is 160x120"):
        open_views(folder)
    write_image(folder / "mask" / "3.png", view.mask)
    write_depth(folder / "depth_enhanced" / "3.png", np.zeros_like(view.depth))
    with pytest.raises(FrameError, match=r"rgb/3.png: 0 valid depth values under the mask"):
        open_views(folder)
    write_depth(folder / "depth_enhanced" / "3.png", view.depth)
    (folder / "cam_in_ob" / "3.txt").write_text(" ".join(["nan"] * 16))
    with pytest.raises(FrameError, match=r"cam_in_ob/3.txt.*no pose: R holds nan"):
        open_views(folder)
    np.savetxt(folder / "cam_in_ob" / "3.txt", view.camera_in_object)
    np.savetxt(folder / "K.txt", 2 * np.diag([1, 1, 0.5]) @ view.K)
    with pytest.raises(SceneError, match=r"K.txt.*look like those of an image of about 318x238"):
        open_views(folder)


def test_few_pixels_of_depth_are_refused(views: list[ReferenceView]) -> None:
    depth = np.where(views[0].depth == views[0].depth[views[0].mask].max(), views[0].depth, 0)
    depth[tuple(np.argwhere(views[0].mask)[:10].T)] = 0.3
    with pytest.raises(FrameError, match="pixels of depth on the object, wanted 30 or more"):
        open_views([replace(views[0], depth=depth)])


def test_masked_pictures_are_refused(views: list[ReferenceView]) -> None:
    depth = np.ma.masked_less(views[0].depth, views[0].depth.max())
    with pytest.raises(FrameError, match=r"a picture has masked values: fill them.*depth\.filled"):
        open_views([replace(views[0], depth=depth)])


@pytest.mark.parametrize("count", [3, 11])
@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda poses: np.linalg.inv(poses), "the object in the camera: "),
        (lambda poses: in_millimetres(poses), "the camera in the object, in millimetres: "),
        (lambda poses: in_millimetres(np.linalg.inv(poses)), "the object in the camera, in millimetres: "),
        (lambda poses: poses @ OPENGL, "with OpenGL's camera axes"),
    ],
)
def test_poses_written_another_way_are_put_right_and_it_is_said(views, count, write, said) -> None:
    chosen = views[:count]
    read, (note,) = open_views(posed(chosen, write(poses_of(chosen))))
    np.testing.assert_allclose(poses_of(read), poses_of(chosen), atol=1e-6)
    assert said in note


@pytest.mark.parametrize(
    "write", [np.linalg.inv, lambda poses: in_millimetres(poses), lambda poses: poses @ OPENGL, lambda poses: poses]
)
def test_of_views_that_hardly_differ_and_meet_either_way_the_way_that_fits_best_is_told(write) -> None:
    turns = Rotation.from_rotvec(np.radians(4) * 0.6 * np.random.default_rng(3).normal(size=(6, 3))).as_matrix()
    poses = np.stack([np.block([[turn, np.zeros((3, 1))], [np.eye(4)[3]]]) for turn in turns]) @ around(11)[0]
    alike = render_views(poses, wall=0.9, noise=0.0005)
    read, _ = open_views(posed(alike, write(poses)))
    np.testing.assert_allclose(poses_of(read), poses, atol=1e-6)


def in_millimetres(poses: np.ndarray) -> np.ndarray:
    poses = poses.copy()
    poses[:, :3, 3] *= 1000
    return poses


def test_poses_of_a_folder_are_put_right(tmp_path: Path, views: list[ReferenceView]) -> None:
    folder = write_reference_folder(tmp_path / "ob", posed(views, np.linalg.inv(poses_of(views))))
    read, (note,) = open_views(folder)
    assert_same(read, views)
    assert "the object in the camera" in note


def test_one_view_in_millimetres_is_put_right_and_else_taken_as_it_is(views: list[ReferenceView]) -> None:
    one = views[:1]
    assert_same(open_views(one)[0], one)
    read, (note,) = open_views(posed(one, in_millimetres(poses_of(one))))
    np.testing.assert_allclose(poses_of(read), poses_of(one))
    assert "millimetres" in note


def test_poses_of_another_object_are_refused(views: list[ReferenceView]) -> None:
    others = [pose.copy() for pose in around(11, seed=5)[::-1]]
    for number, pose in enumerate(others):
        pose[:3, 3] += [0.3 * (-1) ** number, 0.2 * number, 0.1]
    with pytest.raises(SceneError, match=r"contradict.*show one object in one place.*the frame of this object"):
        open_views(posed(views, np.stack(others)))


def test_one_wrong_pose_is_named_with_its_cure(tmp_path: Path, views: list[ReferenceView]) -> None:
    poses = poses_of(views)
    poses[5] = poses[9] @ np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])
    folder = write_reference_folder(tmp_path / "ob", posed(views, poses))
    with pytest.raises(SceneError, match=r"the pose of view .*rgb/6.png contradicts.*10 views.*--leave_out 6\)"):
        open_views(folder)
    read, _ = open_views(folder, ViewOptions(leave_out=("6",)))
    assert_same(read, views[:5] + views[6:])
    with pytest.raises(SceneError, match="no view is named 7x"):
        open_views(folder, ViewOptions(leave_out=("7x",)))


def test_an_object_that_moved_between_views_is_told_from_wrong_poses(views: list[ReferenceView]) -> None:
    poses = poses_of(views)
    poses[6:, :3, 3] += [0.0, 0.12, 0.05]
    with pytest.raises(SceneError, match=r"object has moved: the views view_00.*view_05 agree.*view_06.*contradict"):
        open_views(posed(views, poses))


def test_views_that_do_not_overlap_are_refused(views: list[ReferenceView]) -> None:
    """Both masks reach the border of the picture, so that what is beside it may belong to the object."""
    mask = np.zeros_like(views[0].mask)
    mask[:, :60] = True
    near = [replace(view, mask=mask, depth=np.full_like(view.depth, 0.3)) for view in views[:2]]
    poses = np.stack([np.eye(4), np.eye(4)])
    poses[1, 0, 3] = -1.0
    with pytest.raises(SceneError, match="no part of the object in common"):
        open_views(posed(near, poses))


@pytest.mark.parametrize("kind", ["sheet", "pipe", "ball", "marker", "fruit"])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_noisy_views_of_any_shape_are_accepted(kind: str, count: int) -> None:
    """Poses off by 1 degree and 5 mm, noisy depth, masks that bleed onto a wall; two views are of opposite sides."""
    mesh = make_kind(kind, np.random.default_rng(1), size=0.15)
    poses = around(count) if count != 2 else [around(3)[1], opposite(around(3)[1])]
    noisy = render_views(poses, mesh, bleed=2, noise=0.002, wall=1.0, rotation_off=1.0, position_off=0.005, seed=count)
    read, notes = open_views(noisy)
    assert len(read) == count and notes == []


def opposite(pose: np.ndarray) -> np.ndarray:
    """The camera turned half round about the object's vertical axis."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ pose


@pytest.mark.parametrize("name", ["030_fork", "037_scissors", "062_dice", "072-b_toy_airplane"])
def test_scanned_objects_are_accepted_and_their_poses_put_right(shared_data: Path, name: str) -> None:
    mesh = load_mesh(shared_data / "data" / "scanned" / f"{name}.glb").centered()
    noisy = render_views(around(8), mesh, bleed=1, noise=0.001, wall=1.0, rotation_off=0.5, position_off=0.002)
    read, notes = open_views(noisy)
    assert len(read) == 8 and notes == []
    turned, (note,) = open_views(posed(noisy, np.linalg.inv(poses_of(noisy))))
    np.testing.assert_allclose(poses_of(turned), poses_of(noisy), atol=1e-6)
    assert "the object in the camera" in note


def test_farthest_views_are_chosen_and_of_neighbours_the_sharpest() -> None:
    angles = np.radians([0, 1, 2, 90, 91, 180, 181, 270])
    directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(8)], axis=1)
    chosen = farthest_views(directions, 4)
    assert {round(np.degrees(angles[i]) / 90) for i in chosen} == {0, 1, 2, 3}
    sharp = {1: 2.0, 4: 3.0}
    assert choose_views(directions, 4, lambda index: sharp.get(index, 1.0))[:2] == [1, 4]
    assert choose_views(directions, 8, lambda index: pytest.fail("nothing is to choose")) == list(range(8))


def test_few_of_many_views_are_used_and_it_is_said(views: list[ReferenceView]) -> None:
    read, (note,) = open_views(views, ViewOptions(views_used=4))
    assert len(read) == 4 and "4 of 11 views are used" in note
    names = [view.name for view in views]
    assert [names.index(view.name) for view in read] == sorted(names.index(view.name) for view in read)


@pytest.mark.parametrize("given", [None, 3, b"views", ["views"], {"a": 1}])
def test_what_are_no_views_is_named(given: object) -> None:
    with pytest.raises(SceneError, match=r"views: (int|NoneType|str) is none; give ReferenceViews"):
        open_views(given)
