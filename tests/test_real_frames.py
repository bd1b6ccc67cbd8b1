"""Real frames: the layouts that are read, and how well a pose fits a frame without a true pose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.evaluation import Effort, evaluate
from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.real_fit import measure_fit
from benchmarks.accuracy.real_frames import load_real_frames
from benchmarks.accuracy.real_overlays import write_overlays
from benchmarks.accuracy.report import read_records
from benchmarks.accuracy.scenes import EvaluationScene, View
from benchmarks.accuracy.scoreboard import Options
from pose6d.errors import SceneError
from pose6d.evaluation.pose_errors import translation_error
from pose6d.evaluation.record import Record
from pose6d.evaluation.visible_surface import render_depth
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh
from pose6d.rendering import make_renderer
from pose6d.scenes.images import read_color, write_depth, write_image

K = np.array([[120.0, 0, 31.5], [0, 120.0, 23.5], [0, 0, 1]])
HEIGHT, WIDTH = 48, 64


def _brick(scale: float = 1.0) -> Mesh:
    size = scale * np.array([0.03, 0.1, 0.06])
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
    return Mesh(corners, np.array([*faces, [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]))


def _pose(shift: float = 0.0) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = [shift, 0.0, 0.6]
    return pose


def _write_frame(recording: Path, name: str, masks: dict[str, np.ndarray], depth: np.ndarray) -> None:
    write_image(recording / "rgb" / f"{name}.png", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    write_depth(recording / "depth" / f"{name}.png", depth)
    for folder, mask in masks.items():
        write_image(recording / "masks" / folder / f"{name}.png", mask)
    np.savetxt(recording / "cam_K.txt", K)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """`bin` with two bricks, in millimetres, of which the second is in one frame; `walk` with one and its poses."""
    depth = render_depth(make_renderer(_brick(), "cpu"), np.stack([_pose(-0.05), _pose(0.05), _pose()]), K, (48, 64))
    left, right, middle = depth
    for i, frame in enumerate(("000000", "000001")):
        masks = {"brick__0": left > 0} | ({"brick__1": right > 0} if i == 0 else {})
        _write_frame(tmp_path / "bin", frame, masks, left + right)
    for frame in ("a", "b", "c", "d"):
        _write_frame(tmp_path / "walk", frame, {"": middle > 0}, middle)
        (tmp_path / "walk" / "poses").mkdir(exist_ok=True)
        np.savetxt(tmp_path / "walk" / "poses" / f"{frame}.txt", _pose())
    (tmp_path / "bin" / "meshes" / "brick").mkdir(parents=True)
    (tmp_path / "walk" / "mesh").mkdir()
    save_mesh(_brick(1000.0), tmp_path / "bin" / "meshes" / "brick" / "model.ply")
    save_mesh(_brick(), tmp_path / "walk" / "mesh" / "brick.obj")
    return tmp_path


def test_each_layout_is_read_in_metres_with_the_poses_that_it_has(recordings: Path) -> None:
    objects, scenes, names = load_real_frames(recordings)
    assert names == ["bin/000000/0", "bin/000001/0", "bin/000000/1", "walk/a", "walk/b", "walk/c", "walk/d"]
    assert [target.mesh.name for target in objects] == ["brick", "walk"]
    assert [float(target.mesh.diameter) for target in objects] == pytest.approx([0.1204, 0.1204], abs=1e-3)
    assert [scene.object_index for scene in scenes] == [0, 0, 0, 1, 1, 1, 1]
    assert [scene.views[0].truth is None for scene in scenes] == [True] * 3 + [False] * 4
    assert load_real_frames(recordings / "walk", most=2)[2] == ["walk/a", "walk/c"]


def test_what_is_missing_is_named(recordings: Path) -> None:
    (recordings / "bin" / "meshes" / "brick" / "model.ply").unlink()
    with pytest.raises(SceneError, match=r"bin has masks of brick but no mesh of it"):
        load_real_frames(recordings)
    with pytest.raises(SceneError, match="no recording"):
        load_real_frames(recordings / "walk" / "rgb")


def _fit(pose: np.ndarray, depth: np.ndarray, mask: np.ndarray) -> Record:
    record = Record("real", "brick", 0, 0.12)
    target = TargetObject(_brick())
    measure_fit(record, target, pose, View(np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth, K, None), mask)
    return record


def test_a_pose_that_fits_has_full_overlap_and_no_residual() -> None:
    depth = render_depth(make_renderer(_brick(), "cpu"), _pose()[None], K, (HEIGHT, WIDTH))[0]
    right = _fit(_pose(), depth, depth > 0)
    assert right.mask_iou == 1 and right.depth_residual == pytest.approx(0, abs=1e-6)
    behind = _pose()
    behind[2, 3] += 0.006
    assert _fit(behind, depth, depth > 0).depth_residual == pytest.approx(0.05, abs=1e-3)
    beside = _fit(_pose(0.015), depth, depth > 0)
    assert beside.mask_iou == pytest.approx(1 / 3, abs=0.1)


def test_what_stands_in_front_takes_nothing_from_the_overlap() -> None:
    depth = render_depth(make_renderer(_brick(), "cpu"), _pose()[None], K, (HEIGHT, WIDTH))[0]
    covered = depth.copy()
    covered[:24] = 0.4
    assert _fit(_pose(), covered, (depth > 0) & (covered > 0.5)).mask_iou == 1
    # With the same mask and nothing in front, half of the outline is too much.
    assert _fit(_pose(), depth, (depth > 0) & (covered > 0.5)).mask_iou == pytest.approx(0.5, abs=0.05)


class _Fixed:
    """Gives one pose whatever it sees."""

    poses, confidence = None, 0.7

    def __init__(self, pose: np.ndarray) -> None:
        self.pose = pose

    def register(self, *_: object, **__: object) -> np.ndarray:
        return self.pose


def test_the_command_leaves_a_picture_of_every_frame(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.EstimatorFactory", lambda *_: lambda mesh: _Fixed(_pose()))
    file = recordings / "out" / "scores.json"
    main(Options(suites=("real",), real_folder=recordings, scenes=1, workers=0, device="cpu", output=file))
    records, _ = read_records(file)
    assert [r.recording for r in records] == ["bin/000000/0", "bin/000000/1", "walk/a"]
    assert [r.right for r in records] == [r.set_right for r in records] == [None, None, True]
    assert all(r.mask_iou is not None and r.pose is not None for r in records)
    assert "| bin/000000/1" in file.with_suffix(".md").read_text()
    assert read_color(file.with_name("scores.bin.png")).std() > 10 and file.with_name("scores.walk.png").is_file()


def test_a_second_pose_is_drawn_and_a_refused_frame_shown(tmp_path: Path) -> None:
    depth = render_depth(make_renderer(_brick(), "cpu"), _pose()[None], K, (HEIGHT, WIDTH))[0]
    view = View(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), depth, K, None)
    frame = TargetObject(_brick()), EvaluationScene(0, (view,), depth > 0, 1.0), "bin/0"
    pictures = []
    for name, facts in (
        ("one", {"pose": _pose().ravel().tolist()}),
        ("two", {"pose": _pose().ravel().tolist(), "second_pose": _pose(0.02).ravel().tolist()}),
        ("none", {"failure": "no depth"}),
    ):
        record = Record("real", "brick", 0, 0.12, recording="bin/0", alternatives=[0.5, 0.4], **facts)  # type: ignore[arg-type]
        (file,) = write_overlays(tmp_path / name, [record], [frame])
        pictures.append(read_color(file))
    one, two, none = pictures
    assert one.shape == two.shape and (one != two).any() and (one != none).any()


def test_real_frames_are_read_with_their_truth(shared_data: Path) -> None:
    folder = shared_data / "data" / "real"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    objects, scenes, recordings = load_real_frames(folder)
    assert len(objects) == len(scenes) == 10 and set(recordings) == {"tabletop_0/000000", "tabletop_1/000000"}
    assert sum(scene.views[0].truth is not None for scene in scenes) == 8
    assert [t.mesh.name for t in objects if t.symmetric] == ["024_bowl"]
    known = [(t, s) for t, s in zip(objects, scenes, strict=True) if s.views[0].truth is not None]
    for target, scene in known:
        truth = scene.views[0].truth
        assert truth is not None
        pose = truth.copy()
        pose[2, 3] += 0.004
        found = evaluate("real", iter([(target, scene, "tabletop")]), lambda mesh, p=pose: _Fixed(p), Effort())  # type: ignore[misc]
        record = next(found)
        assert record.millimetres == pytest.approx(4.0, abs=1e-3) and record.right and record.pose is not None
        assert float(translation_error(np.array(record.pose).reshape(4, 4), truth)) < 0.0041
        assert record.mask_iou is not None and record.mask_iou > 0.8, record.object
        assert record.depth_residual is not None and record.depth_residual < 0.06, record.object
