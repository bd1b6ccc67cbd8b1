"""Simulated recordings: their ground truth is true, faults are what they say, and nothing is lost by a kill."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mesh_creation.__main__ import main
from mesh_creation.board.detection import detect_board
from mesh_creation.board.layout import load_board
from mesh_creation.simulation.motion import sample_frame_numbers
from mesh_creation.simulation.simulate import Simulation, simulate
from pose6d.command import BAD_INPUT
from pose6d.errors import OptionError, OutputError, SceneError
from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh, save_mesh
from pose6d.rendering import make_renderer
from pose6d.scenes import Frame, open_scene
from tests.mesh_creation_scans import CAMERA


def wedge() -> Mesh:
    """A coloured wedge of 60 x 40 x 30 mm, unlike itself upside down."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [-1, -1, 1], [-1, 1, 1]]) * [0.03, 0.02, 0.03]
    faces = [[0, 2, 1], [0, 3, 2], [0, 1, 4], [3, 5, 2], [0, 4, 5], [0, 5, 3], [1, 2, 5], [1, 5, 4]]
    colors = np.array([[220, 60, 50], [50, 190, 80], [60, 90, 220], [230, 200, 60], [200, 80, 200], [80, 200, 210]])
    return Mesh(corners, np.array(faces), colors=colors.astype(np.uint8), name="wedge")


def record(tmp_path_factory: pytest.TempPathFactory, **settings: object) -> Path:
    simulation = Simulation(camera=CAMERA, **settings)  # type: ignore[arg-type]
    return simulate(wedge(), tmp_path_factory.mktemp("scans") / "scan", simulation, progress=False)


@pytest.fixture(scope="module")
def handheld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory, frames=6)


@pytest.fixture(scope="module")
def turntable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory, frames=6, kind="turntable")


def truth(scan: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.load(scan / "truth" / "camera_in_board.npy"), np.load(scan / "truth" / "object_in_board.npy")


def board_pose(scan: Path, frame: Frame) -> np.ndarray | None:
    """Camera in board by the markers alone."""
    board = load_board(scan / "board.json")
    found = detect_board(frame.rgb, board)
    if len(found.ids) < 8:
        return None
    _, rotation, translation, _ = cv2.solvePnPRansac(board.object_points(found.ids), found.corners, frame.K, None)
    return np.linalg.inv(rigid_transform(cv2.Rodrigues(rotation)[0], translation[:, 0]))


@pytest.mark.parametrize("kind", ["handheld", "turntable"])
def test_truth_agrees_with_what_the_markers_say(kind: str, request: pytest.FixtureRequest) -> None:
    scan = request.getfixturevalue(kind)
    cameras, _ = truth(scan)
    found = [(camera, board_pose(scan, frame)) for camera, frame in zip(cameras, open_scene(scan), strict=True)]
    distances = [np.linalg.norm(camera[:3, 3] - pose[:3, 3]) for camera, pose in found if pose is not None]
    assert len(distances) >= 5
    assert np.median(distances) < 0.0006  # metres; 0.0001 observed


@pytest.mark.parametrize("kind", ["handheld", "turntable"])
def test_depth_shows_the_object_where_the_truth_says(kind: str, request: pytest.FixtureRequest) -> None:
    scan = request.getfixturevalue(kind)
    cameras, object_in_board = truth(scan)
    renderer = make_renderer(load_mesh(scan / "truth" / "mesh" / "object.obj"), "cpu")
    for camera, frame in zip(cameras, open_scene(scan), strict=True):
        pose = torch.from_numpy(np.linalg.inv(camera) @ object_in_board)[None].float()
        drawn = renderer.render(pose, torch.from_numpy(frame.K).float(), frame.depth.shape).depth[0].numpy()
        inner = cv2.erode((drawn > 0).astype(np.uint8), np.ones((9, 9))) > 0
        both = inner & (frame.depth > 0)
        assert both.sum() > 0.8 * inner.sum() > 200
        assert abs(np.median(frame.depth[both] - drawn[both])) < 0.002
        assert 0.0001 < np.std(frame.depth[both] - drawn[both]) < 0.004  # noisy as a sensor is


def test_on_a_turntable_the_room_stands_still(turntable: Path, handheld: Path) -> None:
    """The upper edge of the picture, which shows the wall, changes far less than under a moving camera."""
    still, moving = ([frame.rgb[:60].astype(float) for frame in open_scene(scan)][:3] for scan in (turntable, handheld))
    assert np.abs(still[1] - still[0]).mean() < 0.5 * np.abs(moving[1] - moving[0]).mean()
    cameras, _ = truth(turntable)
    heights = cameras[:, 2, 3]
    assert np.ptp(heights[:3]) < 0.005 and heights[-1] - heights[0] > 0.1  # two rounds, the second from higher up


def test_a_handheld_recording_goes_around(handheld: Path) -> None:
    cameras, _ = truth(handheld)
    azimuth = np.degrees(np.unwrap(np.arctan2(cameras[:, 1, 3], cameras[:, 0, 3])))
    assert np.ptp(azimuth) > 360
    elevation = np.degrees(np.arctan2(cameras[:, 2, 3], np.hypot(cameras[:, 0, 3], cameras[:, 1, 3])))
    assert elevation.min() < 32 and elevation.max() > 68  # the sides, and into what is hollow
    assert np.isfinite(cameras).all() and (np.linalg.det(cameras[:, :3, :3]) > 0.999).all()


def test_a_flipped_recording_stands_upside_down_on_the_board(tmp_path_factory: pytest.TempPathFactory) -> None:
    scan = record(tmp_path_factory, frames=1, flipped=True)
    _, pose = truth(scan)
    points = wedge().vertices @ pose[:3, :3].T + pose[:3, 3]
    assert pose[2, 2] == pytest.approx(-1)
    assert 0 <= points[:, 2].min() < 0.001


def test_faults_are_what_they_say(tmp_path_factory: pytest.TempPathFactory, handheld: Path) -> None:
    scan = record(
        tmp_path_factory, frames=6, markerless=0.5, stated_depth_scale=1.25, nudge_at=0.5, duplicate_markers=True
    )
    board = load_board(scan / "board.json")
    markers = [detect_board(frame.rgb, board) for frame in open_scene(scan)]
    assert sum(len(found.marker_ids) > 4 for found in markers) == 3
    seen_twice = {number for found in markers for number in found.duplicates}
    assert seen_twice and seen_twice <= {0, 1}
    stated = json.loads((scan / "intrinsics.json").read_text())["depth_scale"]
    assert stated == pytest.approx(0.00125)
    _, poses = truth(scan)
    assert poses.shape == (6, 4, 4)
    np.testing.assert_allclose(poses[2], poses[0])
    assert np.linalg.norm(poses[3] - poses[2]) > 0.01


def test_the_same_settings_give_the_same_recording_and_a_killed_one_goes_on(tmp_path: Path, handheld: Path) -> None:
    partial = tmp_path / "scan.partial"
    for name in ("JPEGImages/0.jpg", "depth/0.png", "truth/truth.json"):
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes((handheld / name).read_bytes())
    (partial / "JPEGImages" / "0.jpg").write_bytes(b"made before the kill")
    scan = simulate(wedge(), tmp_path / "scan", Simulation(frames=6, camera=CAMERA), progress=False)
    assert (scan / "JPEGImages" / "0.jpg").read_bytes() == b"made before the kill"
    for name in ("JPEGImages/5.jpg", "depth/5.png", "truth/camera_in_board.npy"):
        assert (scan / name).read_bytes() == (handheld / name).read_bytes()
    assert not partial.exists()


def test_other_folders_and_settings_are_left_alone(tmp_path: Path, handheld: Path) -> None:
    with pytest.raises(OutputError, match="no recording of these settings"):
        simulate(wedge(), handheld, Simulation(frames=7, camera=CAMERA), progress=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        simulate(wedge(), tmp_path, Simulation(frames=6), progress=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "scale", "message"),
    [
        ({"kind": "flying"}, 1, "handheld or turntable"),
        ({"frames": 0}, 1, "at least one frame"),
        ({"seed": -1}, 1, "seed is -1: a whole number is needed, 0 or more"),
        ({}, 1000, "in metres?"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, scale: float, message: str, tmp_path: Path) -> None:
    with pytest.raises((SceneError, OptionError), match=message):
        simulate(wedge().scaled(scale), tmp_path / "scan", Simulation(**settings), progress=False)
    assert not list(tmp_path.iterdir())


def test_lost_frames_leave_gaps() -> None:
    numbers = sample_frame_numbers(300, 0.1, np.random.default_rng(0))
    assert len(numbers) == 300 and (np.diff(numbers) >= 1).all()
    assert numbers[-1] > 320 and np.diff(numbers).max() > 2


def test_simulate_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_mesh(wedge(), tmp_path / "wedge.ply")
    arguments = ["--mesh", str(tmp_path / "wedge.ply"), "--out", str(tmp_path / "scan"), "--frames", "1"]
    assert main(["simulate", *arguments]) == 0
    assert len(open_scene(tmp_path / "scan")) == 1
    arguments = ["--mesh", str(tmp_path / "none.ply"), "--out", str(tmp_path / "other")]
    assert main(["simulate", *arguments]) == BAD_INPUT
    assert re.search(r"error: .*none\.ply", capsys.readouterr().err)
    assert main(["fly"]) == BAD_INPUT
    assert "'fly' is no step" in capsys.readouterr().err
