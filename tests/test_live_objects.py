"""The objects of the live command: their meshes, their names, and where each is in the first frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from live.objects import FollowedObject, load_objects
from live.options import LiveOptions
from live.recorded_objects import RecordedObjects, recorded_objects
from pose6d.errors import MeshError, OptionError, SceneError
from pose6d.mesh.mesh_files import save_mesh
from pose6d.scenes import open_scene
from pose6d.scenes.images import write_image
from pose6d.streams import open_stream
from tests.demo_recording import BOX, write_recording
from tests.evaluation_dataset import BOX as BOX_NUMBER
from tests.evaluation_dataset import ROD, rod_mesh, write_dataset


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording")


def test_a_home_folder_is_found_behind_an_equals_sign(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_mesh(BOX, tmp_path / "box.obj")
    (tmp_path / "symmetry.json").write_text('{"symmetries": "180 z"}')
    frame = open_scene(recording)[0]
    plain, tilde = (
        load_objects(LiveOptions(str(recording), objects=[f"a={folder}/box.obj"]), frame, RecordedObjects())[
            0
        ].symmetries
        for folder in (tmp_path, "~")
    )
    assert plain is not None and tilde is not None and len(plain) == len(tilde) == 2


def test_masks_and_meshes_go_to_the_objects_they_name(recording: Path, tmp_path: Path) -> None:
    scene = open_scene(recording)
    mesh, frame = scene.mesh_file, scene[0]
    assert mesh is not None and frame.mask is not None

    def load(**options: Any) -> list[FollowedObject]:
        return load_objects(LiveOptions(str(recording), **options), frame, RecordedObjects(mesh))

    rows, columns = np.nonzero(frame.mask)
    point = f"{columns.mean():.0f},{rows.mean():.0f}"
    first, second = load(objects=[f"a={mesh}", f"b={mesh}"], mask=[f"a={point}", "b=auto"])
    assert first.mask is not None and (first.mask & frame.mask).sum() > 0.6 * frame.mask.sum()
    assert (first.name, second.name, second.mask) == ("a", "b", None)
    assert load(mask=["auto"])[0].mask is None
    assert [each.mask for each in load(objects=[f"a={mesh}", f"b={mesh}"])] == [None, None], "the frame's is of one"
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), np.full((6, 8), 255, np.uint8))
    for options, problem in (
        ({"objects": ["a"]}, "wanted NAME=MESH"),
        ({"objects": [f"a={mesh}", f"a={mesh}"]}, "a is there twice"),
        ({"objects": [f"a={mesh}"], "mesh_file": mesh}, "by one of them"),
        ({"mask": ["c=auto"]}, "no object is called c; there are box"),
        ({"objects": [f"a={mesh}", f"b={mesh}"], "mask": [point]}, "say of which object, a="),
        ({"objects": [f"a={mesh}", f"b={mesh}"], "symmetry": "180 z"}, "for one object"),
        ({"mask": ["autoo"]}, "--mask autoo is no file: give the file of a mask, auto"),
        ({"mask": [str(small)]}, "small.png is 8x6, the frames are 160x120: give a mask of their size"),
        ({"mask": [str(tmp_path)]}, "is a folder: give the file of a mask"),
    ):
        with pytest.raises(OptionError, match=problem):
            load(**options)
    with pytest.raises(OptionError, match="no object: pass --mesh_file"):
        load_objects(LiveOptions("realsense"), frame, RecordedObjects())


def test_masks_of_a_recording_go_to_the_objects_of_their_names(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = recording / "masks" / "0000.png"
    mask, mesh = open_scene(recording)[0].mask, recording / "mesh" / "box.ply"
    assert mask is not None

    def load(**options: Any) -> list[FollowedObject]:
        given = LiveOptions(str(recording), **options)
        frame = next(iter(open_stream(recording, object_id=given.object_id)))
        return load_objects(given, frame, recorded_objects(given, frame))

    several = [f"{name}={mesh}" for name in ("cup", "box", "nut")]
    assert [each.mask for each in load(objects=several)] == [None] * 3
    assert "cup, box, nut: looked for, since the recording has masks without the name" in capsys.readouterr().out
    for name, part in (("cup", np.s_[:, :80]), ("box", np.s_[:, 80:]), ("spoon", np.s_[:50])):
        (recording / "masks" / name).mkdir()
        of_one = np.zeros_like(mask)
        of_one[part] = mask[part]
        write_image(recording / "masks" / name / own.name, of_one)
    own.unlink()
    cup, box, nut = load(objects=several)
    assert cup.mask is not None and box.mask is not None and nut.mask is None
    np.testing.assert_array_equal(cup.mask[:, :80], mask[:, :80])
    np.testing.assert_array_equal(cup.mask | box.mask, mask)
    said = capsys.readouterr().out
    assert "nut: looked for, since the recording has masks of box, cup, spoon; not used: spoon. Name" in said
    (alone,) = load()
    assert alone.name == "box" and alone.mask is not None, "the mesh is called so"
    np.testing.assert_array_equal(alone.mask, box.mask)
    (chosen,) = load(object_id="cup")
    assert chosen.mask is not None
    np.testing.assert_array_equal(chosen.mask, cup.mask)
    assert load(objects=several, mask=["auto"])[0].mask is None
    assert "looked for" not in capsys.readouterr().out, "as somebody said"
    with pytest.raises(OptionError, match="--object_id is for one object"):
        load(objects=several, object_id="cup")
    with pytest.raises(SceneError, match=r"object_id 'fork' is not in .*: it has box, cup, spoon"):
        load(object_id="fork")


def test_objects_of_a_bop_scene_are_chosen_by_their_numbers(tmp_path: Path) -> None:
    scene = write_dataset(tmp_path / "tiny", scenes=1, images=1) / "test" / "000001"

    def load(**options: Any) -> list[FollowedObject]:
        given = LiveOptions(str(scene), **options)
        frame = next(iter(open_stream(scene, object_id=given.object_id)))
        return load_objects(given, frame, recorded_objects(given, frame))

    with pytest.raises(OptionError, match="and objects 1, 5: choose one by --object_id"):
        load()
    (rod,) = load(object_id=str(ROD))
    assert rod.mask is not None and rod.mesh.diameter == pytest.approx(rod_mesh().diameter, rel=1e-3), "in metres"
    models = scene.parents[1] / "models"
    both = load(objects=[f"{number}={models}/obj_{number:06d}.ply" for number in (BOX_NUMBER, ROD)])
    assert all(each.mask is not None for each in both)
    np.testing.assert_array_equal(both[1].mask, rod.mask)
    assert not (both[0].mask & both[1].mask).any()  # type: ignore[operator]


def test_without_a_mask_a_mesh_in_millimetres_is_told_by_its_size(recording: Path) -> None:
    scene = open_scene(recording)
    assert scene.mesh_file is not None
    auto, own = LiveOptions(str(recording), mask=["auto"]), RecordedObjects(scene.mesh_file)
    metres = load_objects(auto, scene[0], own)[0].mesh.diameter
    save_mesh(BOX.scaled(1000.0), scene.mesh_file)
    assert load_objects(auto, scene[0], own)[0].mesh.diameter == pytest.approx(metres, rel=1e-4)
    save_mesh(BOX.scaled(30.0), scene.mesh_file)
    with pytest.raises(MeshError, match="neither metres nor millimetres: pass --mesh_unit"):
        load_objects(auto, scene[0], own)
    told = LiveOptions(str(recording), mask=["auto"], mesh_unit="mm")
    assert load_objects(told, scene[0], own)[0].mesh.diameter == pytest.approx(0.03 * metres, rel=1e-4)


def test_an_object_is_called_by_its_folder_where_the_name_of_the_mesh_says_nothing(
    recording: Path, tmp_path: Path
) -> None:
    mesh = tmp_path / "mug" / "mesh" / "textured.obj"
    mesh.parent.mkdir(parents=True)
    save_mesh(BOX, mesh)
    assert load_objects(LiveOptions("", mesh_file=mesh), open_scene(recording)[0], RecordedObjects())[0].name == "mug"
