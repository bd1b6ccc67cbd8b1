"""What run_demo.py takes for its scene, object and mask, and what it refuses before any work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose6d.errors import FrameError, MeshError, Pose6DError, SceneError
from pose6d.mesh.mesh_files import save_mesh
from pose6d.scenes import open_scene
from pose6d.scenes.images import write_depth, write_image
from recorded import run as recorded_run
from tests.demo_recording import BOX, HEIGHT, WIDTH, K
from tests.demo_recording import run_scene as run
from tests.evaluation_dataset import BOX as NUMBER
from tests.evaluation_dataset import ROD, write_dataset


@pytest.fixture
def scene(recording: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recording, tmp_path / "box"))


def test_scenes_are_found_by_name(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_run, "SCENES", tmp_path)
    monkeypatch.chdir("/")
    assert recorded_run.find_scene(Path("box")) == tmp_path / "box"
    assert recorded_run.find_scene(scene) == scene
    with pytest.raises(SceneError, match=r"avocado_translate_1, box"):
        recorded_run.find_scene(Path("cup"))


def test_a_recording_that_is_not_downloaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = tmp_path / recorded_run.AVOCADO
    scene.mkdir()
    monkeypatch.setattr(recorded_run, "SCENES", tmp_path)
    monkeypatch.setenv("TEST_SCENE_URL", "https://localhost/recording.zip")
    assert recorded_run.find_scene(Path(recorded_run.AVOCADO)) == scene
    assert "TEST_SCENE_URL is not used" in capsys.readouterr().out


def test_a_mask_by_hand(scene: Path, tmp_path: Path) -> None:
    mask = scene / "masks" / "0000.png"
    shutil.move(mask, tmp_path / "mine.png")
    with pytest.raises(SceneError, match=r"no mask for frame 0000.*--mask_file"):
        run(scene, tmp_path)
    assert run(scene, tmp_path, mask_file=tmp_path / "mine.png") == 0
    write_image(tmp_path / "small.png", np.ones((20, 30), dtype=bool))
    (scene / "masks" / "mask.npy").write_bytes(b"")
    with pytest.raises(SceneError, match=r"no mask for frame 0000.*masks holds mask\.npy; pass --mask_file"):
        run(scene, tmp_path)
    (scene / "masks").rename(scene / "mask")
    with pytest.raises(SceneError, match=r"no mask for frame 0000.*masks does not exist \(.* holds .*mask/, mesh/.*\)"):
        run(scene, tmp_path)
    with pytest.raises(FrameError, match="mask is 30x20 but colour is 160x120"):
        run(scene, tmp_path, mask_file=tmp_path / "small.png", debug_dir=tmp_path / "other")
    with pytest.raises(FrameError, match=r"none\.png is missing"):
        run(scene, tmp_path, mask_file=tmp_path / "none.png", debug_dir=tmp_path / "other")


def empty_mask(scene: Path) -> None:
    write_image(scene / "masks" / "0000.png", np.zeros((HEIGHT, WIDTH), dtype=bool))


def no_depth(scene: Path) -> None:
    write_depth(scene / "depth" / "0000.png", np.zeros((HEIGHT, WIDTH)))


def depth_in_micrometres(scene: Path) -> None:
    write_image(scene / "depth" / "0000.png", np.full((HEIGHT, WIDTH), 60000, dtype=np.uint16))


def no_mesh(scene: Path) -> None:
    shutil.rmtree(scene / "mesh")


def two_meshes(scene: Path) -> None:
    save_mesh(BOX, scene / "mesh" / "other.ply")


def mesh_of_another_kind(scene: Path) -> None:
    (scene / "mesh" / "box.ply").rename(scene / "mesh" / "box.step")


def mesh_of_points(scene: Path) -> None:
    (scene / "mesh" / "box.ply").unlink()
    (scene / "mesh" / "box.obj").write_text("v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\n")


def broken_mesh(scene: Path) -> None:
    (scene / "mesh" / "box.ply").write_bytes(b"no mesh at all")


def other_resolution(scene: Path) -> None:
    np.savetxt(scene / "cam_K.txt", K * [[4], [4], [1]])


@pytest.mark.parametrize(
    ("spoil", "kind", "complaint"),
    [
        (empty_mask, FrameError, "frame 0000.*mask is empty"),
        (no_depth, FrameError, "frame 0000.*valid depth"),
        (depth_in_micrometres, FrameError, "frame 0000.*median depth"),
        (no_mesh, SceneError, "no mesh: pass --mesh_file"),
        (mesh_of_another_kind, SceneError, r"no mesh.*\.obj, .*it holds box\.step"),
        (two_meshes, SceneError, r"no mesh.*box\.ply, other\.ply"),
        (mesh_of_points, MeshError, "no faces|point cloud"),
        (broken_mesh, MeshError, r"box\.ply"),
        (other_resolution, SceneError, r"cam_K\.txt.*resolution"),
    ],
)
def test_bad_input_is_told_before_any_work(
    scene: Path, tmp_path: Path, spoil: Any, kind: type[Pose6DError], complaint: str
) -> None:
    spoil(scene)
    with pytest.raises(kind, match=complaint):
        run(scene, tmp_path)
    assert not (tmp_path / "out").exists()


def test_of_several_objects_one_is_chosen_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    scene = write_dataset(tmp_path / "tiny", scenes=1, images=2) / "test" / "000001"
    (scene / "mask_visib" / "000000_000000.png").unlink()  # of the box in the first image
    mask = tmp_path / "mask.png"
    write_image(mask, open_scene(scene, object_id=ROD)[0].mask)
    for options, problem in (
        ({}, r"no mask for frame 000000.*: choose one of its objects by --object_id \(1, 5\), or pass --mask_file"),
        ({"mask_file": mask}, r"no mesh: choose one of its objects by --object_id \(1, 5\), or pass --mesh_file"),
        ({"object_id": "7"}, r"object_id 7 is not in .*: it has 1, 5"),
        ({"object_id": str(NUMBER)}, r"no mask for frame 000000.*: pass --mask_file.*; or start at frame 000001.* 1:"),
    ):
        with pytest.raises(SceneError, match=problem):
            run(scene, tmp_path, **options)
    assert run(scene, tmp_path, object_id=str(ROD), debug=0, debug_dir=tmp_path / "of the rod") == recorded_run.OK
    assert "obj_000005.ply" in capsys.readouterr().out
