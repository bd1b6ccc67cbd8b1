"""Poses that no picture tells from the truth, on bodies where everybody knows which those are."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from pose6d.evaluation.equivalent_poses import EquivalentPoses
from pose6d.evaluation.pose_errors import rotation_error
from pose6d.evaluation.record import Record
from pose6d.evaluation.visible_surface import render_depth
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer

K = np.array([[250.0, 0, 39.5], [0, 250.0, 29.5], [0, 0, 1]])
SIZE = (60, 80)
FRONT, AWAY = 0.0, 180.0  # degrees that the mark is turned from the camera


def _mesh(solid: trimesh.Trimesh, marked: np.ndarray, name: str) -> Mesh:
    """A grey body with a red mark on some of its faces (F,) bool; every face has vertices of its own."""
    vertices = solid.vertices[solid.faces].reshape(-1, 3)
    colors = np.where(np.repeat(marked, 3)[:, None], [220, 40, 40], [150, 150, 150]).astype(np.uint8)
    return Mesh(vertices, np.arange(len(vertices)).reshape(-1, 3), colors=colors, name=name, keep_debris=True)


def _cube() -> Mesh:
    solid = trimesh.creation.box((0.1, 0.1, 0.1)).subdivide().subdivide().subdivide()
    middle = solid.triangles_center
    return _mesh(solid, (middle[:, 2] < -0.049) & (np.abs(middle[:, :2]).max(axis=1) < 0.02), "cube")


def _can() -> Mesh:
    solid = trimesh.creation.cylinder(radius=0.035, height=0.11, sections=72).subdivide().subdivide()
    middle = solid.triangles_center
    angle = np.degrees(np.arctan2(middle[:, 0], -middle[:, 1]))
    return _mesh(solid, (np.abs(angle) < 30) & (np.abs(middle[:, 2]) < 0.03), "can")


def _mug() -> Mesh:
    body = trimesh.creation.cylinder(radius=0.035, height=0.09, sections=72)
    handle = trimesh.creation.box((0.008, 0.03, 0.06)).apply_translation([0, -0.048, 0])
    solid = trimesh.util.concatenate([body, handle]).subdivide()
    return _mesh(solid, np.zeros(len(solid.faces), bool), "mug")


@cache
def finder(name: str) -> EquivalentPoses:
    return EquivalentPoses({"cube": _cube, "can": _can, "mug": _mug}[name](), device="cpu")


def about(axis: str, degrees: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    return turn


def seen(name: str, object_to_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pose 0.6 m before the camera, and depth and mask of it alone."""
    pose = object_to_camera.copy()
    pose[2, 3] = 0.6
    mesh = {"cube": _cube, "can": _can, "mug": _mug}[name]()
    depth = render_depth(make_renderer(mesh, "cpu"), pose[None], K, SIZE)[0]
    return pose, depth, depth > 0


def turns(name: str, truth: np.ndarray, found: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Degrees, sorted, of the found poses that only turn the object about an axis of its frame."""
    vectors = Rotation.from_matrix((np.linalg.inv(truth) @ found)[:, :3, :3]).as_rotvec(degrees=True)
    only = np.linalg.norm(np.cross(vectors, axis), axis=1) < 3
    return np.sort(vectors[only] @ axis)


def test_a_cube_whose_mark_is_hidden_has_many_poses_and_one_where_it_is_seen() -> None:
    # The mark is on the side at z = -0.05, which looks at the camera unless the cube is turned.
    truth, depth, mask = seen("cube", about("x", FRONT))
    found = finder("cube").find(truth, K, depth, mask).poses
    off = np.degrees(rotation_error(found, truth))
    # The mark is square: turns about the viewing axis by quarters remain, and small ones that noise hides.
    assert np.minimum(off % 90, 90 - off % 90).max() < 8
    axis = np.abs(Rotation.from_matrix((np.linalg.inv(truth) @ found)[:, :3, :3]).as_rotvec())[off > 20]
    assert axis[:, :2].max() < 0.15

    truth, depth, mask = seen("cube", about("x", AWAY))
    hidden = finder("cube").find(truth, K, depth, mask).poses
    marks = np.unique(np.round(hidden[:, :3, :3] @ [0, 0, -1.0]).astype(int), axis=0)
    assert len(hidden) > len(found)
    # The mark may be on every side but the one that is seen, which looks along -z of the camera.
    assert [0, 0, -1] not in marks.tolist() and len(marks) >= 5


def test_a_can_turns_about_its_axis_as_long_as_its_print_is_away() -> None:
    z = np.array([0.0, 0.0, 1.0])
    upright = about("x", 90)  # its axis is the camera's y
    results = {}
    for side in (FRONT, AWAY):
        truth, depth, mask = seen("can", upright @ about("z", side + 180))
        found = finder("can").find(truth, K, depth, mask)
        results[side] = turns("can", truth, found.poses, z)
        assert (found.texture > 0.05) == (np.ptp(results[side]) < 100)
    shown, away = sorted(results.values(), key=np.ptp)
    assert np.ptp(shown) < 20
    # The print is 60 degrees wide: it shows from 60 degrees on, and is wider than two pixels from 90 degrees on.
    assert 100 < np.ptp(away) < 170 and np.diff(away).max() < 8


def test_a_mug_turns_as_long_as_its_handle_is_behind_it() -> None:
    z = np.array([0.0, 0.0, 1.0])
    spread = {}
    for degrees in (0.0, 90.0, 180.0):
        truth, depth, mask = seen("mug", about("x", 90) @ about("z", degrees))
        spread[degrees] = np.ptp(turns("mug", truth, finder("mug").find(truth, K, depth, mask).poses, z))
    assert spread[90.0] < 20
    assert max(spread[0.0], spread[180.0]) > 40 and min(spread[0.0], spread[180.0]) < 25


def test_what_stands_in_front_hides_the_mark() -> None:
    truth, depth, _ = seen("can", about("x", 90))
    truth2, depth2, _ = seen("can", about("x", 90) @ about("z", 180))
    shown = truth, depth
    for pose, picture in ((truth, depth), (truth2, depth2)):
        if finder("can").find(pose, K, picture, picture > 0).texture > 0.05:
            shown = pose, picture
    pose, picture = shown
    covered = picture.copy()
    # A bar before the middle of the can leaves its left and right edge, where the print is only if it is turned away.
    covered[:, 31:49] = 0.4
    visible = (picture > 0) & (covered == picture)
    few = len(finder("can").find(pose, K, picture, picture > 0).poses)
    many = len(finder("can").find(pose, K, covered, visible).poses)
    assert many > 2 * few


def test_the_nearest_symmetry_of_an_answer_is_a_candidate() -> None:
    ball = _mesh(trimesh.creation.icosphere(subdivisions=3, radius=0.05), np.zeros(1280, bool), "ball")
    equivalents = EquivalentPoses(ball, device="cpu")
    truth = np.eye(4)
    truth[2, 3] = 0.6
    depth = render_depth(make_renderer(ball, "cpu"), truth[None], K, SIZE)[0]
    answer = truth @ about("xyz", [31, 47, 13])  # type: ignore[arg-type]
    found = equivalents.find(truth, K, depth, depth > 0, answer[None]).poses
    assert np.degrees(rotation_error(found, answer)).min() < 2


@pytest.mark.parametrize(("second", "precision", "coverage"), [(180.0, 1.0, 1.0), (90.0, 0.5, 0.5), (None, 1.0, 0.5)])
def test_precision_and_recall_of_alternatives(second: float | None, precision: float, coverage: float) -> None:
    """A brick has two poses: how much of them the answers cover, and how many of the answers are among them."""
    points = trimesh.creation.box((0.02, 0.1, 0.06)).sample(500, seed=0)
    truth = np.eye(4)
    answers = [truth] if second is None else [truth, about("x", second)]
    record = Record("cluttered", "brick", 0, 0.12, alternatives=[0.5] * len(answers))
    record.measure_set(np.stack(answers), np.stack([truth, about("x", 180)]), points)
    assert (record.precision, record.recall, record.coverage) == (precision, 1, coverage)
    assert record.set_size == 2 and record.set_error == pytest.approx(0) and record.set_right
    assert record.likely == len(answers)


def test_wrong_answers_find_nothing_of_the_set() -> None:
    points = trimesh.creation.box((0.02, 0.1, 0.06)).sample(500, seed=0)
    record = Record("cluttered", "brick", 0, 0.12)
    record.measure_set(about("y", 90)[None], np.eye(4)[None], points)
    assert record.precision == record.recall == record.coverage == 0 and record.set_right is False
