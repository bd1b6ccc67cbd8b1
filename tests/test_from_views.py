"""A mesh from reference views: what the command writes, what it keeps, and how run_demo and Python use it.

What makes the object is replaced by one that knows it: these tests are of what is around it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimater import object_from_views
from live.objects import load_objects
from live.options import LiveOptions
from live.recorded_objects import RecordedObjects
from mesh_creation.__main__ import main as command
from mesh_creation.fusion.symmetry_proposal import propose_symmetries
from mesh_creation.object_field.make_object import MadeObject, ObjectOptions
from mesh_creation.reference_views import from_views, object_steps
from mesh_creation.reference_views import object_from_views as keeping
from mesh_creation.reference_views.from_views import FromViewsOptions, main
from mesh_creation.reference_views.object_from_views import keep_object
from mesh_creation.reference_views.open_views import ViewOptions
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.reference_views.view_quality import judge_views, mean_motion
from pose6d.errors import OptionError, OutputError, SceneError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes import open_scene
from pose6d.scenes.images import read_color
from recorded.options import RecordedOptions
from recorded.run import run_recorded
from tests.demo_recording import FakeEstimator
from tests.mesh_creation_scans import block
from tests.reference_view_folders import around, render_views, write_capture, write_list, write_reference_folder


class Maker:
    """Knows the house; of how many views it was made each time is noted. May be interrupted before a number of them."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.interrupted_at = 0

    def __call__(self, views: Sequence[ReferenceView], options: ObjectOptions | None = None) -> MadeObject:
        if len(views) == self.interrupted_at:
            raise KeyboardInterrupt
        self.counts.append(len(views))
        house = block().centered()
        colored = Mesh(house.vertices, house.faces, colors=np.full((len(house.vertices), 3), 120, np.uint8))
        unseen = np.zeros(len(house.faces), bool)
        unseen[-2:] = True
        return MadeObject(house, colored, unseen, np.stack([v.camera_in_object for v in views]), {"steps": 3})


@cache
def proposed() -> dict[str, Any]:
    house = block().centered()
    return propose_symmetries(house, np.full((len(house.vertices), 3), 120, np.uint8))


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    made = Maker()
    monkeypatch.setattr(from_views, "propose_symmetries", lambda *_: dict(proposed()))  # the house's, found once
    monkeypatch.setattr(object_steps, "make_object", made)
    monkeypatch.setattr(keeping, "make_object", made)
    return made


@pytest.fixture(scope="module")
def views() -> list[ReferenceView]:
    return render_views(around(7), wall=0.9, noise=0.0005)


@pytest.fixture
def folder(tmp_path: Path, views: list[ReferenceView]) -> Path:
    return write_reference_folder(tmp_path / "house", views)


def test_the_command_writes_the_mesh_its_quality_and_where_the_cameras_were(
    maker: Maker, folder: Path, tmp_path: Path, views: list[ReferenceView], capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "mesh"
    assert command(["from_views", "--views", str(folder), "--out", str(out), "--name", "house"]) == 0
    assert maker.counts == [7, 6]
    mesh = load_mesh(out / "object.obj")
    assert mesh.texture is not None and mesh.diameter == pytest.approx(block().diameter, rel=1e-4)
    assert {file.name for file in (out / "formats").iterdir()} == {"object.ply", "object.glb", "filled.npy"}
    assert np.load(out / "formats" / "filled.npy").sum() == 2
    cameras = json.loads((out / "cameras.json").read_text())["camera_in_object"]
    np.testing.assert_allclose(list(cameras.values()), [view.camera_in_object for view in views], atol=1e-6)
    metadata = json.loads((out / "metadata.json").read_text())
    assert metadata["unit"] == "m" and metadata["name"] == "house" and metadata["quality"] == {"steps": 3}
    assert 0 < metadata["filled_share"] < 0.3
    (held_out,) = metadata["held_out"]
    assert held_out["psnr"] > 25 and held_out["depth_error"] < 0.002 and held_out["overlap"] > 0.9
    assert len(metadata["views"]) == 7
    assert read_color(out / "quality.png").shape[0] == 280
    assert not (tmp_path / "mesh.steps").exists() and not (tmp_path / "mesh.partial").exists()
    said = capsys.readouterr().out
    assert "making the object of" in said.partition("held out:")[0], "before the minutes that it may take"
    assert "held out:" in said


def test_a_killed_run_goes_on_and_a_finished_one_is_not_done_again(maker: Maker, folder: Path, tmp_path: Path) -> None:
    options = FromViewsOptions(folder, tmp_path / "mesh")
    maker.interrupted_at = 6
    with pytest.raises(KeyboardInterrupt):
        main(options)
    assert not options.out.exists()
    maker.interrupted_at = 0
    main(options)
    assert maker.counts == [7, 6]
    main(options)
    assert maker.counts == [7, 6]
    with pytest.raises(OutputError, match=r"a mesh of other views.*--overwrite"):
        main(replace(options, which=ViewOptions(leave_out=("2",))))
    main(replace(options, which=ViewOptions(leave_out=("2",)), overwrite=True))
    assert maker.counts == [7, 6, 6, 5]


def test_what_it_did_not_make_is_not_replaced(maker: Maker, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="did not make"):
        main(FromViewsOptions(folder, tmp_path / "mesh", overwrite=True))
    assert maker.counts == []


def test_poses_put_right_and_much_that_was_not_seen_are_said(
    maker: Maker, tmp_path: Path, views: list[ReferenceView], capsys: pytest.CaptureFixture
) -> None:
    wrong = [replace(view, camera_in_object=np.linalg.inv(view.camera_in_object)) for view in views]
    out = main(FromViewsOptions(write_reference_folder(tmp_path / "house", wrong), tmp_path / "mesh", held_out=0))
    (note,) = json.loads((out / "metadata.json").read_text())["notes"]
    assert "the object in the camera" in note and note in capsys.readouterr().out
    assert "no view was held out" in json.loads((out / "metadata.json").read_text())["held_out_is"]


def test_bad_views_end_the_command_with_their_name(
    maker: Maker, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "depth_enhanced" / "3.png").write_bytes(b"no image")
    assert command(["from_views", "--views", str(folder), "--out", str(tmp_path / "mesh")]) == 2
    assert "3.png" in capsys.readouterr().err


def test_an_object_is_kept_beside_its_views_until_they_change(
    maker: Maker, folder: Path, views: list[ReferenceView]
) -> None:
    mesh = object_from_views(folder)
    assert mesh.texture is not None and mesh.diameter == pytest.approx(block().diameter, rel=1e-4)
    assert keep_object(folder) == folder / "made_object" / "object.obj"
    assert maker.counts == [7]
    assert open_scene(folder).strange == []
    np.savetxt(folder / "cam_in_ob" / "1.txt", views[0].camera_in_object + 1e-5 * np.eye(4, k=3))
    keep_object(folder)
    assert maker.counts == [7, 7]
    object_from_views(views)
    assert maker.counts == [7, 7, 7]


def test_where_the_views_lie_read_only_the_object_is_kept_in_the_cache(
    maker: Maker, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(keeping.os, "access", lambda *_: False)
    file = keep_object(folder)
    assert tmp_path / "cache" / "pose6d" in file.parents
    assert keep_object(folder) == file and maker.counts == [7]


def test_an_object_of_a_list_is_kept_beside_it(maker: Maker, tmp_path: Path, views: list[ReferenceView]) -> None:
    file = keep_object(write_list(tmp_path / "cup.json", views))
    assert file == tmp_path / "cup.made_object" / "object.obj"


def test_run_demo_tracks_an_object_of_views(
    maker: Maker, tmp_path: Path, recording: Path, views: list[ReferenceView], capsys: pytest.CaptureFixture
) -> None:
    folder = write_capture(tmp_path / "house", views)
    scene = Path(shutil.copytree(recording, tmp_path / "box"))
    given: list[Mesh] = []

    def make(mesh: Mesh, **settings: Any) -> FakeEstimator:
        given.append(mesh)
        return FakeEstimator(mesh, **settings)

    for number in range(2):
        options = RecordedOptions(
            test_scene_dir=scene, reference_views=folder, device="cpu", debug_dir=tmp_path / f"out{number}", debug=0
        )
        assert run_recorded(options, make_estimator=make) == 0
    assert maker.counts == [7]
    assert given[1].diameter == pytest.approx(block().diameter, rel=1e-4)
    assert "made_object" in capsys.readouterr().out
    with pytest.raises(OptionError, match="--mesh_file and --reference_views"):
        run_recorded(replace(options, mesh_file=scene / "mesh" / "box.ply"), make_estimator=make)


def test_live_tracking_takes_views_for_an_object(maker: Maker, folder: Path, recording: Path) -> None:
    frame = open_scene(recording)[0]
    (named,) = load_objects(LiveOptions("", objects=[f"cup={folder}"]), frame, RecordedObjects())
    (single,) = load_objects(LiveOptions("", reference_views=folder), frame, RecordedObjects())
    assert (named.name, single.name) == ("cup", "house") and maker.counts == [7]
    with pytest.raises(OptionError, match="--mesh_file and --reference_views"):
        load_objects(LiveOptions("", reference_views=folder, mesh_file=Path("cup.obj")), frame, RecordedObjects())


def test_quality_is_that_of_the_picture(views: list[ReferenceView]) -> None:
    house = block().centered()
    poses = np.stack([view.camera_in_object for view in views[:2]])
    grey = Mesh(house.vertices, house.faces, colors=np.full((len(house.vertices), 3), 120, np.uint8))
    right, plain = judge_views(house, views[:1], poses[:1])[0], judge_views(grey, views[:1], poses[:1])[0]
    assert right.psnr > 40 and right.depth_error < 0.0006 and right.overlap > 0.99
    assert plain.psnr < 20
    poses[0, :3, 3] += 0.01 * poses[0, :3, 2]  # 10 mm nearer
    assert judge_views(house, views[:1], poses[:1])[0].depth_error_median == pytest.approx(
        0.011, abs=0.001
    )  # along the ray


def test_mean_motion_is_the_motion_between_two_sets_of_poses() -> None:
    before = np.stack(around(5))
    motion = around(3, seed=4)[2]
    np.testing.assert_allclose(mean_motion(before, motion @ before), motion, atol=1e-9)


def test_missing_views_are_an_error_of_the_option(maker: Maker, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="do not exist"):
        main(FromViewsOptions(tmp_path / "nowhere", tmp_path / "mesh"))


def test_views_become_a_mesh_of_the_object_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what really makes it; a pixel of the views is 2 mm, and their poses are the wrong way round and in mm."""
    monkeypatch.setattr("mesh_creation.object_field.make_object._CELLS", 90)  # as coarse as the views
    noisy = render_views(around(12), wall=0.9, noise=0.0005, rotation_off=0.25, position_off=0.001)
    wrong = [replace(view, camera_in_object=np.linalg.inv(view.camera_in_object)) for view in noisy]
    for view in wrong:
        view.camera_in_object[:3, 3] *= 1000
    folder = write_reference_folder(tmp_path / "house", wrong)
    out = main(FromViewsOptions(folder, tmp_path / "mesh", held_out=0, making=ObjectOptions(faces=1500, texel=0.002)))
    mesh, truth = load_mesh(out / "object.obj"), block().centered()
    assert mesh.diameter == pytest.approx(truth.diameter, rel=0.1)
    np.testing.assert_allclose(mesh.center, truth.center, atol=0.004)
    metadata = json.loads((out / "metadata.json").read_text())
    assert np.median([view["depth_error_median"] for view in metadata["views"]]) < 0.004
    assert np.median([view["overlap"] for view in metadata["views"]]) > 0.8
