"""What a user gives is used, by whatever path it is named, or named as unused."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from pose6d.errors import MeshError, SceneError
from pose6d.mesh.mesh_files import save_mesh
from pose6d.mesh.symmetry import mesh_symmetries, symmetry_beside
from pose6d.scenes import open_scene
from pose6d.scenes.images import write_depth, write_image
from recorded import run as recorded_run
from recorded.options import RecordedOptions
from tests.evaluation_dataset import BOX, SIZE, box_mesh, write_dataset
from tests.evaluation_dataset import K as INTRINSICS


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """The plain layout with a mesh that states a half turn, and a mask of its only frame."""
    folder = tmp_path / "cup"
    write_image(folder / "rgb" / "0.png", np.zeros((*SIZE, 3), np.uint8))
    write_depth(folder / "depth" / "0.png", np.full(SIZE, 0.6))
    mask = np.zeros(SIZE, bool)
    mask[30:60, 40:80] = True
    write_image(folder / "masks" / "0.png", mask)
    np.savetxt(folder / "cam_K.txt", INTRINSICS)
    save_mesh(box_mesh(), folder / "mesh" / "cup.ply")
    (folder / "mesh" / "symmetry.json").write_text('{"symmetries": "180 z"}')
    return folder


def load(folder: Path, **options: object) -> tuple[int, list[str]]:
    """How many symmetries the object has, and what is named as unused."""
    chosen = RecordedOptions(test_scene_dir=folder, device="cpu", **options)  # type: ignore[arg-type]
    mask_dir = chosen.mask_file if chosen.mask_file and chosen.mask_file.is_dir() else None
    opened = open_scene(folder, object_id=chosen.object_id, mask_dir=mask_dir)
    first = recorded_run.read_first_frame(opened, 0, chosen.mask_file)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        symmetries = recorded_run.load_object(chosen, opened, first)[1]
    texts = [str(warning.message) for warning in warned]
    return 1 if symmetries is None else len(symmetries), [text for text in texts if text.startswith("not used")]


@pytest.mark.parametrize("way", ["own", "absolute", "relative", "dots", "symlink", "hard link", "home"])
def test_symmetries_come_with_the_mesh_by_whatever_path(
    scene: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = scene / "mesh" / "cup.ply"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link.ply").symlink_to(own)
    os.link(own, scene / "mesh" / ".hard.ply")
    file = {
        "own": None,
        "absolute": own,
        "relative": Path(os.path.relpath(own)),
        "dots": scene / "rgb" / ".." / "mesh" / "cup.ply",
        "symlink": tmp_path / "link.ply",
        "hard link": scene / "mesh" / ".hard.ply",
        "home": Path("~/cup/mesh/cup.ply"),
    }[way]
    assert load(scene, mesh_file=file) == (2, [])


def test_one_of_two_meshes(scene: Path) -> None:
    save_mesh(box_mesh(), scene / "mesh" / "cup.glb")
    count, (note,) = load(scene, mesh_file=scene / "mesh" / "cup.ply")
    assert count == 2
    assert note.startswith("not used: cup.glb in ")


def test_the_mesh_s_own_symmetries_win(scene: Path, tmp_path: Path) -> None:
    save_mesh(box_mesh(), tmp_path / "other" / "cup.ply")
    count, notes = load(scene, mesh_file=tmp_path / "other" / "cup.ply")
    assert count == 1
    assert any("cup.ply in " in note for note in notes)
    cure = f"pass --symmetry {scene / 'mesh' / 'symmetry.json'}"
    assert any(cure in note for note in notes)
    (tmp_path / "other" / "symmetry.json").write_text('{"symmetries": "90 z"}')
    assert load(scene, mesh_file=tmp_path / "other" / "cup.ply")[0] == 4
    count, notes = load(scene, symmetry="120 z")
    assert (count, len(notes)) == (3, 1)
    assert "symmetry.json: --symmetry is given instead" in notes[0]
    assert load(scene, symmetry=str(scene / "mesh" / "symmetry.json")) == (2, [])


def test_models_of_bop_state_their_symmetries_wherever_they_are_used(scene: Path, tmp_path: Path) -> None:
    models = write_dataset(tmp_path / "bop", scenes=1, images=1) / "models"
    shutil.rmtree(scene / "mesh")
    assert load(scene, mesh_file=models / "obj_000001.ply") == (2, [])
    assert load(scene, mesh_file=models / "obj_000005.ply", mesh_unit="mm") == (72, [])
    assert symmetry_beside(models / "obj_000005.ply") == (models / "models_info.json", "5")
    bop = tmp_path / "bop" / "test" / "000001"
    relative = Path(os.path.relpath(models / "obj_000001.ply"))
    assert load(bop, mesh_file=relative, object_id=str(BOX)) == (2, [])
    info = str(models / "models_info.json")
    save_mesh(box_mesh(), tmp_path / "mine.ply")
    assert load(bop, mesh_file=tmp_path / "mine.ply", object_id=str(BOX), symmetry=info)[0] == 2
    save_mesh(box_mesh(), models / "obj_000009.ply")
    with pytest.raises(MeshError, match=r"models_info\.json: no object 9; it holds 1, 5"):
        mesh_symmetries(models / "obj_000009.ply", 0.001)


def test_strange_files_are_named(scene: Path, tmp_path: Path) -> None:
    assert load(scene)[1] == []
    np.save(scene / "transforms.npy", np.eye(4)[None])
    (scene / "symmetry.json").write_text("{}")
    (scene / "mesh" / "symmetries.json").write_text("{}")
    for folder in ("masks", "annotated_poses"):
        (scene / folder).mkdir(exist_ok=True)
    write_image(scene / "masks" / "frame0.png", np.ones(SIZE, bool))
    write_image(scene / "masks" / "cup" / "0.png", np.ones(SIZE, bool))
    for name in ("7", "8"):
        np.savetxt(scene / "annotated_poses" / f"{name}.txt", np.eye(4))
    named = "\n".join(load(scene)[1])
    for text in (
        f"symmetry.json, transforms.npy in {scene}: not part of the folder layout",
        f"symmetries.json in {scene / 'mesh'}",
        f"masks frame0.png in {scene / 'masks'}: named like no frame",
        f"masks in {scene / 'masks'}/cup",
        f"ground truth 7.txt, 8.txt in {scene / 'annotated_poses'}: named like no frame",
    ):
        assert text in named
    write_image(tmp_path / "other" / "1.png", np.ones(SIZE, bool))
    opened = open_scene(scene, mask_dir=tmp_path / "other")
    assert "masks 1.png in" in "\n".join(opened.unused)
    with pytest.raises(SceneError, match=r"no mask for frame 0.*other holds 1\.png"):
        recorded_run.read_first_frame(opened, 0, tmp_path / "other")


def test_bop_scenes_and_captures_have_no_strange_files_of_their_own(tmp_path: Path) -> None:
    bop = write_dataset(tmp_path / "bop", scenes=1, images=1) / "test" / "000001"
    assert open_scene(bop, object_id=BOX).strange == []
    (bop / "notes.txt").write_text("")
    assert open_scene(bop, object_id=BOX).strange == [bop / "notes.txt"]


def test_a_folder_of_the_users_own_is_strange_unless_something_in_it_is_used(scene: Path) -> None:
    save_mesh(box_mesh(), scene / "meshes" / "cup.ply")
    (scene / "hand_made").mkdir()
    shutil.copy(scene / "masks" / "0.png", scene / "hand_made" / "0.png")
    note = f"not used: hand_made, meshes in {scene}: not part of the folder layout"
    assert load(scene)[1] == [note]
    relative = Path(os.path.relpath(scene / "meshes" / "cup.ply"))
    used = load(scene, mesh_file=relative, mask_file=scene / "hand_made" / "0.png")[1]
    assert not any("not part of" in text for text in used)


def test_options_without_effect(scene: Path) -> None:
    assert "--fps" in load(scene, fps=10.0, debug=0)[1][0]
    assert load(scene, fps=10.0, debug=1)[1] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"symmetries": {"z": 180}}, "symmetries are .*wanted a text"),
        ({"symmetries": "nan z"}, "'nan z' is not understood"),
        ({"symmetries": "180 z", "unit": ["mm"]}, r"unit \['mm'\] is unknown"),
        ({"symmetries_discrete": [[float("nan")] * 16]}, "a finite 4x4 matrix"),
        ({"symmetries_discrete": None}, "lists of 16 numbers"),
        ([], "an object such as"),
    ],
)
def test_symmetry_files_are_named(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "symmetry.json").write_text(json.dumps(content))
    with pytest.raises(MeshError, match=rf"symmetry\.json: .*{message}"):
        mesh_symmetries(tmp_path / "cup.ply", 1.0)
