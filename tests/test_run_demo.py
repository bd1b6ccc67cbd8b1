"""The command people start with: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import run_demo
from pose6d.errors import MeshError, OptionError, OutputError, SceneError
from pose6d.mesh.mesh_files import save_mesh
from pose6d.report.overlay import MAGENTA
from pose6d.scenes import open_scene
from pose6d.scenes.images import read_color, read_depth, write_image
from recorded import run as recorded_run
from recorded.options import RecordedOptions
from test_data import make_avocado_scene as avocado_scene
from tests.demo_recording import BOX, FRAMES, WIDTH, FakeEstimator, estimated_pose
from tests.demo_recording import run_scene as run
from tests.pose_files import read_poses


@pytest.fixture
def scene(recording: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recording, tmp_path / "box"))


def test_poses_video_times_and_errors_are_written(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(scene, tmp_path) == 0
    out = tmp_path / "out"
    poses = read_poses(out)
    assert list(poses) == [f"{i:04d}" for i in range(FRAMES)]
    assert json.loads((out / "timings.json").read_text())["confidence"] == {"0000": 0.9} | {
        f"{i:04d}": 0.8 for i in range(1, FRAMES)
    }
    np.testing.assert_allclose(poses["0003"], estimated_pose(3), atol=1e-6)
    assert (out / "track.mp4").stat().st_size > 1000
    times = json.loads((out / "timings.json").read_text())
    assert times["frames"] == FRAMES
    assert {"register", "track", "draw and write"} <= set(times["seconds"])
    assert times["frames_per_second"]["track"] > 0
    rows = (out / "errors.csv").read_text().splitlines()
    assert rows[0] == "frame,rotation_deg,translation_mm,add_diameters,adds_diameters"
    assert float(rows[1].split(",")[2]) == pytest.approx(2.0, abs=1e-3)
    assert not (out / "track_vis").exists()
    assert not (out / "comparison.csv").exists()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<title>box" in page and "Error against ground truth" in page
    text = capsys.readouterr().out
    assert "within 0.1 d: 5 of 5" in text
    assert "frames per second" in text
    assert "diameter 189.7 mm" in text
    assert text.splitlines()[-1] == f"video: {out / 'track.mp4'}"
    assert Path(times["weights"]).is_dir()


def test_compare_writes_errors_per_axis_and_figures(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(scene, tmp_path, compare=True, fps=10.0) == 0
    out, text = tmp_path / "out", capsys.readouterr().out
    header, *rows = (line.split(",") for line in (out / "comparison.csv").read_text().splitlines())
    last = dict(zip(header, rows[-1], strict=True))
    assert len(rows) == FRAMES
    assert last["frame"] == "0004"
    wanted = {"seconds": 0.4, "translation_x_mm": 2, "translation_y_mm": 0, "angle_deg": 0, "add_mm": 2}
    for key, value in wanted.items():
        assert float(last[key]) == pytest.approx(value, abs=1e-3)
    for name in ("poses_vs_ground_truth", "errors_per_axis"):
        assert (out / f"{name}.png").stat().st_size > 10_000
        assert (out / f"{name}.pdf").stat().st_size > 5_000
    assert "translation mean               x   2.00  y   0.00  z   0.00 mm" in text
    assert str(out / "errors_per_axis.png") in text


def test_compare_draws_the_ground_truth(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_run, "write_comparison", lambda *_: [])  # slow, and not what is looked at

    def magenta(folder: str) -> int:
        picture = read_color(tmp_path / folder / "track_vis" / "0001.png")
        return int((np.abs(picture.astype(int) - MAGENTA).max(axis=2) < 40).sum())

    assert run(scene, tmp_path, debug=2, frames="2", debug_dir=tmp_path / "plain") == 0
    assert run(scene, tmp_path, debug=2, frames="2", debug_dir=tmp_path / "both", compare=True) == 0
    assert magenta("plain") == 0
    assert magenta("both") > 50


def test_compare_without_ground_truth_names_what_is_missing(scene: Path, tmp_path: Path) -> None:
    shutil.rmtree(scene / "annotated_poses")
    with pytest.raises(SceneError, match=r"--compare needs ground truth.*5 frame.*annotated_poses/<frame>\.txt"):
        run(scene, tmp_path, compare=True)
    assert not (tmp_path / "out").exists()
    assert run(scene, tmp_path) == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_compare_takes_the_frames_that_have_ground_truth_and_needs_no_pictures(scene: Path, tmp_path: Path) -> None:
    for i in (0, 1, 3, 4):
        (scene / "annotated_poses" / f"{i:04d}.txt").unlink()
    assert run(scene, tmp_path, compare=True, debug=0) == 0
    rows = (tmp_path / "out" / "comparison.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["frame", "0002"]
    found = {file.name for file in (tmp_path / "out").iterdir()}
    assert "errors_per_axis.pdf" in found
    assert not {"report.html", "track.mp4"} & found


def test_higher_debug_levels_write_pictures(scene: Path, tmp_path: Path) -> None:
    assert run(scene, tmp_path, debug=3, frames="2") == 0
    found = {file.name for file in (tmp_path / "out").iterdir()}
    pictures = {"color.png", "depth.png", "ob_mask.png", "vis_score.png", "vis_refiner.png"}
    assert pictures | {"scene_raw.ply", "scene_complete.ply", "model_tf.obj", "track_vis"} <= found
    assert {file.name for file in (tmp_path / "out" / "track_vis").iterdir()} == {"0000.png", "0001.png"}
    assert run(scene, tmp_path, debug=0, debug_dir=tmp_path / "quiet") == 0
    assert {file.name for file in (tmp_path / "quiet").iterdir()} == {
        "ob_in_cam",
        "timings.json",
        "errors.csv",
        "alternatives.csv",
    }


def test_a_truncated_frame_is_named_and_the_rest_runs(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = scene / "depth" / "0002.png"
    file.write_bytes(file.read_bytes()[:100])
    assert run(scene, tmp_path) == 3
    assert "frame 0002 is left out" in capsys.readouterr().err
    assert list(read_poses(tmp_path / "out")) == ["0000", "0001", "0003", "0004"]
    assert list(json.loads((tmp_path / "out" / "timings.json").read_text())["failed_frames"]) == ["0002"]


def test_intrinsics_of_one_frame_do_not_stop_the_others(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def track_one(self: FakeEstimator, rgb: Any, depth: Any, K: Any, iteration: int, judge: bool = False) -> np.ndarray:
        if rgb[0, 0, 0] == 2:
            raise SceneError("K: for another resolution")
        return estimated_pose(int(rgb[0, 0, 0]))

    monkeypatch.setattr(FakeEstimator, "track_one", track_one)
    assert run(scene, tmp_path) == 3
    assert list(read_poses(tmp_path / "out")) == ["0000", "0001", "0003", "0004"]


def test_results_are_never_lost(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(scene, tmp_path) == 0
    with pytest.raises(OutputError, match="already holds results"):
        run(scene, tmp_path)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run(scene, tmp_path, debug_dir=None, debug=0) == 0
    assert sorted(folder.name for folder in (tmp_path / "debug" / "box").iterdir()) == ["000", "001"]


def test_overwriting_replaces_only_files_of_its_own(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(scene, tmp_path) == 0
    (tmp_path / "out" / "mine.txt").write_text("kept")
    capsys.readouterr()
    assert run(scene, tmp_path, overwrite=True, frames="2") == 0
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"
    assert "3 pose file(s) of an earlier run are still in" in capsys.readouterr().out


def test_a_mesh_in_millimetres_is_recognised(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_mesh(BOX.scaled(1000), scene / "mesh" / "box.ply")
    assert run(scene, tmp_path) == 0
    text = capsys.readouterr().out
    assert "millimetres" in text
    assert "diameter 189.7 mm" in text
    with pytest.raises(MeshError, match="--mesh_unit mm"):
        run(scene, tmp_path, mesh_unit="m", debug_dir=tmp_path / "other")


def test_symmetries_reach_the_estimator_and_the_report(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    seen = []

    def make_estimator(*args: Any, **options: Any) -> FakeEstimator:
        seen.append(options["symmetries"])
        return FakeEstimator(*args, **options)

    options = RecordedOptions(test_scene_dir=scene, device="cpu", debug_dir=tmp_path / "out", symmetry="180 x; 180 y")
    assert recorded_run.run_recorded(options, make_estimator) == 0
    assert seen[0].shape == (4, 4, 4)
    assert "symmetric: ADD-S counts" in capsys.readouterr().out


def test_what_makes_a_pose_ambiguous_is_said(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_mesh(replace(BOX, texture=None, uv=None, colors=None), tmp_path / "grey.ply")
    mask = open_scene(scene)[0].mask
    right = np.arange(WIDTH) > np.nonzero(mask)[1].mean()
    write_image(scene / "masks" / "0000.png", np.uint8(mask) + (mask & right))
    with pytest.warns(UserWarning, match=r"0000\.png has several values \(1, 2\)"):
        assert run(scene, tmp_path, mesh_file=tmp_path / "grey.ply") == 0
    assert "faces of one colour, so that its shape alone" in capsys.readouterr().out
    assert "0000.png has several values (1, 2)" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_depth_is_moved_back_in_every_frame(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    seen = []

    class Recorder(FakeEstimator):
        def track_one(self, rgb: Any, depth: Any, *rest: Any, **options: Any) -> np.ndarray:
            seen.append(depth)
            return super().track_one(rgb, depth, *rest, **options)

    options = RecordedOptions(
        test_scene_dir=scene, device="cpu", debug_dir=tmp_path / "out", depth_offset="4,0", frames="2"
    )
    assert recorded_run.run_recorded(options, make_estimator=Recorder) == 0
    assert "--depth_offset" in capsys.readouterr().out
    for index, depth in enumerate(seen):
        recorded = read_depth(scene / "depth" / f"{index:04d}.png", 0.001)
        np.testing.assert_array_equal(depth[:, :-4], recorded[:, 4:])
    assert len(seen) == 2
    with pytest.raises(OptionError, match=r"--depth_offset is 'left'"):
        run(scene, tmp_path, depth_offset="left", overwrite=True)


def test_the_command_line(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """One clean message and exit code 2; flags with underscores as well as with hyphens."""
    assert run_demo.main(["--test_scene_dir", str(tmp_path / "nowhere"), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("error: scene ")
    assert run_demo.main(["--test-scene-dir", str(scene), "--est_refine_iter", "0"]) == 2
    assert "--est_refine_iter is 0" in capsys.readouterr().err
    assert run_demo.main(["--test_scene_dir", str(scene), "--debug", "-1"]) == 2
    assert "--debug is -1: wanted 0" in capsys.readouterr().err
    assert run_demo.main(["--test_scene_dir", str(scene / "cam_K.txt"), "--device", "cpu"]) == 2
    assert "cam_K.txt is a file, not a folder" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert run_demo.main(["--test_scene_dir", str(scene), "--device", "cuda"]) == 2
        assert "--device cpu" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        run_demo.main(["--no_such_flag"])
    assert stopped.value.code == 2


@pytest.fixture
def avocado(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The scene that is looked for where none is named, made because it is not there; its first frames only."""
    monkeypatch.delenv("TEST_SCENE_URL", raising=False)
    monkeypatch.setattr(recorded_run, "SCENES", tmp_path)
    monkeypatch.setattr(avocado_scene, "make_avocado_scene", partial(avocado_scene.make_avocado_scene, frames=3))
    monkeypatch.chdir(tmp_path)
    scene = recorded_run.find_scene(RecordedOptions().test_scene_dir)
    assert scene == tmp_path / recorded_run.AVOCADO
    assert f"making the scene {scene} (once" in capsys.readouterr().out
    return scene


@pytest.mark.slow
def test_avocado_end_to_end(repository: Path, avocado: Path, tmp_path: Path) -> None:
    """The command of the README on the first frames of its scene, with the released weights."""
    if not (repository / "weights" / "manifest.json").is_file():
        pytest.skip("there are no released weights in this checkout")
    command = [sys.executable, "run_demo.py", "--compare", "--device", "cpu", "--frames", "3"]
    command += ["--test_scene_dir", str(avocado), "--debug_dir", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, env={**os.environ, "DISPLAY": ""})
    assert done.returncode == 0, done.stderr
    assert "within 0.1 d: 3 of 3" in done.stdout
    assert len(read_poses(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "track.mp4").stat().st_size > 10_000
    assert 1_000_000 < (tmp_path / "out" / "report.html").stat().st_size < 15_000_000
    errors = np.genfromtxt(tmp_path / "out" / "comparison.csv", delimiter=",", names=True)
    for axis in "xyz":
        assert np.abs(errors[f"translation_{axis}_mm"]).mean() < 2  # 1 over the whole recording
