"""Ground truth that cannot be is refused, with its file and place, in every layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from pose6d.command import BAD_INPUT
from pose6d.errors import FrameError, MeshError, Pose6DError, SceneError
from pose6d.evaluation import __main__ as command
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.open_dataset import open_dataset
from pose6d.evaluation.results_file import HEADER, PoseEstimate
from pose6d.evaluation.truth_check import check_frame_truth, check_truths
from pose6d.geometry.pose_check import check_in_front, check_rigid
from pose6d.mesh.mesh_files import save_mesh
from pose6d.scenes import open_scene
from pose6d.scenes.bop_folder import BopFolder
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import write_image
from tests.evaluation_dataset import SIZE, box_mesh, make_pose, write_dataset
from tests.evaluation_dataset import K as INTRINSICS

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def bop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("bop") / "tiny", scenes=1, images=2)


@given(st.integers(0, 10_000), st.floats(0.02, 90), st.floats(-1e-4, 1e-4))
def test_every_pose_in_front_of_a_camera_passes(seed: int, distance: float, rounding: float) -> None:
    pose = make_pose(Rotation.random(random_state=seed).as_matrix() + rounding, [0, 0, distance])
    check_rigid(pose)
    check_in_front(pose[:3, 3])


@given(st.integers(0, 10_000), st.floats(0.01, 100).filter(lambda s: abs(s - 1) > 0.01), st.booleans())
def test_no_scaled_or_mirrored_rotation_passes(seed: int, scale: float, mirrored: bool) -> None:
    R = Rotation.random(random_state=seed).as_matrix() * (scale if not mirrored else -1)
    with pytest.raises(ValueError, match="a reflection" if mirrored else "it is scaled by"):
        check_rigid(make_pose(R, [0, 0, 1]))


def edit_json(file: Path, change: Callable[[Any], None]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def first(values: dict) -> dict:
    return values["0"][0]


def all_t(scale: float) -> Callable[[dict], None]:
    def change(values: dict) -> None:
        for entry in (entry for entries in values.values() for entry in entries):
            entry["cam_t_m2c"] = [scale * x for x in entry["cam_t_m2c"]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: first(v).update(cam_t_m2c=[NAN] * 3), "frame 0, instance 0: .* t holds nan"),
        (lambda v: first(v).update(cam_t_m2c=[0, INF, 600]), "t holds inf"),
        (lambda v: first(v).update(cam_R_m2c=[NAN] * 9), "R holds nan"),
        (lambda v: first(v).update(cam_R_m2c=[2 * x for x in first(v)["cam_R_m2c"]]), "scaled by 2"),
        (lambda v: first(v).update(cam_R_m2c=[-x for x in first(v)["cam_R_m2c"]]), "a reflection"),
        (lambda v: first(v).update(cam_R_m2c=[1.0] * 9), "no rotation"),
        (lambda v: first(v).update(cam_R_m2c=[1.0] * 8), "cam_R_m2c has 8 numbers, wanted 9"),
        (lambda v: first(v).update(cam_R_m2c="turned"), "cam_R_m2c is turned, wanted 9 numbers"),
        (lambda v: first(v).pop("cam_t_m2c"), "cam_t_m2c has 0 numbers, wanted 3"),
        (lambda v: first(v).update(cam_t_m2c=None), "cam_t_m2c (has 1|is None).*wanted 3"),
        (lambda v: first(v).pop("obj_id"), "instance 0: obj_id is missing"),
        (lambda v: first(v).update(obj_id="box"), "obj_id is 'box', wanted a number"),
        (lambda v: v.update({"0": 5}), "frame 0: found int, wanted a list"),
        (lambda v: v.update({"0": [5]}), "frame 0, instance 0: found int"),
        (all_t(0.001), r"image 0, instance 0 \(object 1\): .*0\.603 mm .*is it in metres\? wanted millimetres"),
        (all_t(0.1), "here as far as ever, but it has a radius of .* wanted millimetres"),
        (all_t(1000), "is it in micrometres"),
        (all_t(-1), "behind the camera"),
        (lambda v: first(v).update(obj_id=7), "the ground truth has no object 1"),
    ],
)
def test_ground_truth_of_bop(bop: Path, tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    broken = shutil.copytree(bop, tmp_path / "broken")
    edit_json(broken / "test" / "000001" / "scene_gt.json", change)
    (tmp_path / "r.csv").write_text(HEADER + "\n")
    arguments = ["score", "--results", str(tmp_path / "r.csv"), "--dataset", str(broken)]
    assert command.main(arguments) == BAD_INPUT
    with pytest.raises(Pose6DError, match=rf"(scene_gt\.json|scene 1, image 0).*{message}"):
        command.run_score(command.Score(tmp_path / "r.csv", command.DatasetOptions(broken)))


@pytest.mark.parametrize(("scale", "warned"), [(1.0, False), (3.0, True), (0.4, True)])
def test_the_depth_images_contradict_ground_truth_of_another_scale(
    bop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: float, warned: bool
) -> None:
    """Such poses could be, but not in these images."""
    other = shutil.copytree(bop, tmp_path / "other")
    edit_json(other / "test" / "000001" / "scene_gt.json", all_t(scale))
    dataset, rows = BopDataset(other), [HEADER]
    for target in dataset.targets:
        for truth in dataset.best_visible(target):
            rows.append(PoseEstimate(*target[:3], 0.9, truth.object_in_camera, 1.0).row())
    (tmp_path / "r.csv").write_text("\n".join(rows) + "\n")
    assert command.main(["score", "--results", str(tmp_path / "r.csv"), "--dataset", str(other)]) == command.OK
    assert ("depth image shows nothing" in capsys.readouterr().err) == warned


def test_a_right_data_set_is_not_refused(bop: Path) -> None:
    dataset = BopDataset(bop)
    check_truths(dataset, {obj_id: dataset.evaluation_mesh(obj_id) for obj_id in dataset.object_ids})


def test_visible_fractions_are_numbers(bop: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(bop / "test" / "000001", tmp_path / "scene")
    edit_json(broken / "scene_gt_info.json", lambda v: v["1"][2].update(visib_fract=NAN))
    with pytest.raises(FrameError, match=r"scene_gt_info\.json, frame 1, instance 2: visib_fract is nan"):
        BopFolder(broken).instances(1)


@pytest.mark.parametrize("value", ["x", None, [], NAN, 10**400])
def test_depth_scales_are_numbers(bop: Path, tmp_path: Path, value: Any) -> None:
    broken = shutil.copytree(bop / "test" / "000001", tmp_path / "scene")
    edit_json(broken / "scene_camera.json", lambda v: v["0"].update(depth_scale=value))
    with pytest.raises(FrameError, match=r"scene_camera\.json, frame 0: depth_scale is .*, wanted a (finite )?number"):
        BopFolder(broken).read(0)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("models_info.json", lambda v: v["1"].update(diameter=0.1755), r"is models_info\.json in metres"),
        ("models_info.json", lambda v: v["1"].update(diameter=NAN), "diameter of object 1 is nan"),
        ("models_info.json", lambda v: v["1"].update(diameter=10**400), "diameter of object 1 is 1000"),
        ("models_info.json", lambda v: v["1"].pop("diameter"), "diameter of object 1 is None"),
        ("models_info.json", lambda v: v.pop("1"), "has no object 1: it has 5"),
        (
            "models_info.json",
            lambda v: v["1"].update(symmetries_discrete=[[2.0] * 16]),
            r"models_info\.json, object 1: .*no rotation",
        ),
        (
            "models_info.json",
            lambda v: v["1"].update(symmetries_continuous=[{"axis": [0, 0, 1], "offset": [0, 0]}]),
            r"models_info\.json, object 1: .*offset",
        ),
        ("obj_000001.ply", 0.001, r"obj_000001\.ply: object 1 measures 0\.1755 mm.*is obj_000001\.ply in metres"),
        ("obj_000001.ply", 0.1, r"object 1 measures 17\.55 mm"),
    ],
)
def test_models_of_bop(bop: Path, tmp_path: Path, file: str, change: Any, message: str) -> None:
    broken = shutil.copytree(bop, tmp_path / "broken")
    if callable(change):
        edit_json(broken / "models_eval" / file, change)
    else:
        save_mesh(box_mesh().scaled(1000 * change), broken / "models_eval" / file)
    (tmp_path / "r.csv").write_text(HEADER + "\n")
    with pytest.raises((MeshError, SceneError), match=message):
        command.run_score(command.Score(tmp_path / "r.csv", command.DatasetOptions(broken)))


def test_ground_truth_of_ycb_video(tmp_path: Path) -> None:
    root = tmp_path / "ycb"
    (root / "models" / "002_can").mkdir(parents=True)
    save_mesh(box_mesh(), root / "models" / "002_can" / "textured_simple.obj")
    (root / "data" / "0048").mkdir(parents=True)
    (root / "keyframe.txt").write_text("0048/000001\n")

    def write(pose: np.ndarray, ids: list[int]) -> None:
        meta = {"intrinsic_matrix": INTRINSICS, "poses": pose, "cls_indexes": [ids], "factor_depth": [[10000]]}
        savemat(root / "data" / "0048" / "000001-meta.mat", meta)

    pose = make_pose(np.eye(3), [0, 0, 0.6])[:3, :, None]
    for spoilt, ids, message in (
        (pose * NAN, [1], r"000001-meta\.mat, pose 0 \(object 1\): .*R holds nan"),
        (np.concatenate([pose[:, :3] * 2, pose[:, 3:]], axis=1), [1], "scaled by 2"),
        (pose, [1, 2], "poses of 2 objects are wanted"),
    ):
        write(spoilt, ids)
        with pytest.raises(FrameError, match=message):
            open_dataset(root).truths(48, 1)
    write(np.concatenate([pose[:, :3], 1000 * pose[:, 3:]], axis=1), [1])
    dataset = open_dataset(root)
    with pytest.raises(SceneError, match=r"000001-meta\.mat.*600 m from the camera: is it in millimetres\? wanted met"):
        check_truths(dataset, {1: dataset.mesh(1)})


def test_ground_truth_of_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    write_image(folder / "rgb" / "0.png", np.zeros((*SIZE, 3), np.uint8))
    write_image(folder / "depth" / "0.png", np.full(SIZE, 700, np.uint16))
    np.savetxt(folder / "cam_K.txt", INTRINSICS)
    (folder / "annotated_poses").mkdir()

    for pose, message in (
        (make_pose(2 * np.eye(3), [0, 0, 1]), r"frame 0: .*annotated_poses/0\.txt: .*scaled by 2"),
        (make_pose(np.eye(3), [0, 0, NAN]), "t holds nan"),
        (make_pose(np.eye(3), [0, 0, 1]).T, "is it transposed"),
    ):
        np.savetxt(folder / "annotated_poses" / "0.txt", pose)
        with pytest.raises(FrameError, match=message):
            open_scene(folder)[0]


@pytest.mark.parametrize("t", [[0, 0, 600.0], [0, 0, 0.0006]])
def test_a_recording_in_another_unit(t: list[float]) -> None:
    frame = Frame("7", np.zeros((*SIZE, 3)), np.zeros(SIZE), INTRINSICS, None, make_pose(np.eye(3), t))
    with pytest.raises(
        FrameError, match=r"frame 7: the ground truth cannot be: the object's centre is .* wanted metres"
    ):
        check_frame_truth(frame, box_mesh().center)


def test_the_mesh_s_origin_may_be_anywhere() -> None:
    """A scan has the frame of its first camera, which then is where the mesh's origin is."""
    mesh = box_mesh()
    moved = type(mesh)(mesh.vertices + np.array([0, 0, 0.5]), mesh.faces)
    check_frame_truth(Frame("0", np.zeros((*SIZE, 3)), np.zeros(SIZE), INTRINSICS, None, np.eye(4)), moved.center)
