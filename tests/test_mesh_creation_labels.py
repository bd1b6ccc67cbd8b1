"""Labels: exact masks and boxes of hand-made scenes, and that every format can be read back."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_creation import __main__ as commands
from mesh_creation.__main__ import main as run_step
from mesh_creation.labels.formats import join_outlines
from mesh_creation.labels.label import LabelOptions, main, split_frames
from mesh_creation.labels.masks import MaskRenderer
from mesh_creation.scan_folder import ScannedObject
from pose6d.command import BAD_INPUT
from pose6d.errors import OptionError, OutputError, SceneError
from pose6d.geometry.masks import mask_box
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh
from pose6d.scenes import open_scene
from pose6d.scenes.images import write_image
from pose6d.scenes.run_length import decode_rle, encode_rle
from tests.evaluation_dataset import make_pose
from tests.mesh_boxes import make_box

K = np.array([[500.0, 0, 79.5], [0, 500.0, 59.5], [0, 0, 1]])
SIZE = (120, 160)
OBJECT = {"name": "a", "mesh": "rod.obj", "object_in_board": np.eye(4).tolist()}
FRAMES = 12


def placed(x: float, y: float, z: float) -> np.ndarray:
    return make_pose(np.eye(3), [x, y, z])


def scanned(number: int, mesh: Mesh, pose: np.ndarray) -> ScannedObject:
    return ScannedObject(number, f"object{number}", mesh, Path("none"), pose)


# The camera looks along the board's z axis from 1 m below it, so that a camera pose is a translation.
CAMERA = placed(0, 0, -1.0)
NO_DEPTH = np.zeros(SIZE, np.float32)


def test_masks_and_boxes_of_a_box_seen_straight_on() -> None:
    """A 40 x 20 mm face 1 m away: 20 x 10 pixels, centred between pixels 79 and 80."""
    (label,) = MaskRenderer([scanned(1, make_box((0.04, 0.02, 0.02)), placed(0, 0, 0.01))]).label(CAMERA, K, NO_DEPTH)
    assert label.full_pixels == label.full.sum() == label.visible.sum() == 200
    assert label.full_box == label.visible_box == (70, 55, 20, 10)
    assert label.full[55:65, 70:90].all()
    assert label.visibility == 1
    np.testing.assert_allclose(label.object_in_camera, placed(0, 0, 1.01))
    near = [[69.5, 54.5], [69.5, 64.5], [89.5, 54.5], [89.5, 64.5]]  # x slowest, then y, then z (near, far)
    np.testing.assert_allclose(label.corners[[1, 3, 5, 7]], near, atol=1e-3)
    np.testing.assert_allclose(label.corners[0], [79.5, 59.5])


def test_an_object_in_front_hides_one_behind() -> None:
    behind = scanned(1, make_box((0.08, 0.04, 0.02)), placed(0, 0, 0.01))
    front = scanned(2, make_box((0.02, 0.08, 0.002)), placed(0.01, 0, -0.1))
    first, second = MaskRenderer([behind, front]).label(CAMERA, K, NO_DEPTH)
    assert first.full.sum() == 40 * 20
    assert not (first.visible & second.visible).any()
    assert (first.visible == (first.full & ~second.full)).all()
    assert second.visibility == 1
    assert first.visibility == pytest.approx(1 - (first.full & second.full).sum() / 800)


def test_what_leaves_the_picture_counts_in_the_whole_silhouette() -> None:
    (label,) = MaskRenderer([scanned(1, make_box((0.08, 0.04, 0.002)), placed(0.16, 0, 0.001))]).label(
        CAMERA, K, NO_DEPTH
    )
    assert label.full_box == (140, 50, 40, 20)
    assert label.full_pixels == 800 and label.full.sum() == 400
    assert label.visible_box == (140, 50, 20, 20)
    assert label.visibility == 0.5
    assert not MaskRenderer([scanned(1, make_box((0.02, 0.02, 0.02)), placed(0.5, 0, 0))]).label(CAMERA, K, NO_DEPTH)
    assert not MaskRenderer([scanned(1, make_box((0.02, 0.02, 0.02)), placed(0, 0, -1.5))]).label(CAMERA, K, NO_DEPTH)


def test_measured_depth_in_front_hides_only_when_asked() -> None:
    hand = np.full(SIZE, 1.0, np.float32)
    hand[:, :80] = 0.9
    item = [scanned(1, make_box((0.04, 0.02, 0.02)), placed(0, 0, 0.01))]
    assert MaskRenderer(item).label(CAMERA, K, hand)[0].visible.sum() == 200
    label = MaskRenderer(item, occluder_gap=0.015).label(CAMERA, K, hand)[0]
    assert label.full.sum() == 200 and label.visible.sum() == 100 and not label.visible[:, :80].any()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_run_lengths_round_trip(height: int, width: int, seed: int, share: float) -> None:
    mask = np.kron(np.random.default_rng(seed).random((height, width)) < share, np.ones((5, 3))) > 0
    np.testing.assert_array_equal(decode_rle(encode_rle(mask, compressed=True)), mask)


def test_run_lengths_are_those_of_the_coco_api() -> None:
    """Texts made by pycocotools 2.0.11 for these masks."""
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    assert encode_rle(mask, compressed=True) == {"size": [4, 5], "counts": "5220003"}
    assert encode_rle(np.ones((2, 3), bool), compressed=True) == {"size": [2, 3], "counts": "06"}
    assert encode_rle(np.zeros((100, 70), bool), compressed=True) == {"size": [100, 70], "counts": "hj6"}
    api = pytest.importorskip("pycocotools.mask", exc_type=ImportError)
    blobs = cv2.resize(np.random.default_rng(0).random((9, 12)), (640, 480), interpolation=cv2.INTER_CUBIC) > 0.6
    assert (
        encode_rle(blobs, compressed=True)["counts"]
        == api.encode(np.asfortranarray(blobs.astype(np.uint8)))["counts"].decode()
    )


def test_outlines_keep_all_parts() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 5:30] = mask[15:50, 50:70] = mask[40:45, 10:20] = True
    drawn = cv2.fillPoly(np.zeros(mask.shape, np.uint8), [join_outlines(mask).astype(np.int32)], 1) > 0
    assert (drawn & mask).sum() == mask.sum()
    assert (drawn & ~mask).sum() < 60  # the lines that join the parts


@given(st.integers(1, 200), st.floats(0, 1), st.integers(1, 30))
def test_splits_have_the_stated_proportion(count: int, share: float, block: int) -> None:
    splits = split_frames(count, share, block)
    assert splits.count("test") == round(count * share) and len(splits) == count
    assert splits == split_frames(count, share, block)


def test_splits_keep_neighbours_together() -> None:
    splits = split_frames(100, 0.2, 10)
    changes = sum(a != b for a, b in pairwise(splits))
    assert changes <= 4 and split_frames(100, 0.2, 1) != splits


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of two boxes; the last frame but one was rejected."""
    scan = tmp_path_factory.mktemp("labels") / "scan"
    rng = np.random.default_rng(0)
    cameras = []
    for index in range(FRAMES):
        write_image(scan / "depth" / f"{index}.png", np.full(SIZE, 4000, np.uint16))
        (scan / "JPEGImages").mkdir(exist_ok=True)
        cv2.imwrite(str(scan / "JPEGImages" / f"{index}.jpg"), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        cameras.append((CAMERA @ placed(0.004 * index, 0, 0)).tolist())
    cameras[-2] = None
    intrinsics = {"fx": 500, "fy": 500, "ppx": 79.5, "ppy": 59.5, "width": 160, "height": 120, "depth_scale": 0.00025}
    (scan / "intrinsics.json").write_text(json.dumps(intrinsics))
    names = [str(index) for index in range(FRAMES)]
    (scan / "registration.json").write_text(json.dumps({"frames": names, "camera_in_board": cameras}))
    save_mesh(make_box((0.08, 0.04, 0.02)), scan / "mesh" / "plate.ply")
    save_mesh(make_box((0.02, 0.06, 0.002)), scan / "rod.obj")
    spin = {"symmetries_continuous": [{"axis": [0, 1, 0], "offset": [0.001, 0, 0]}]}
    objects = [
        {"name": "plate", "mesh": "mesh/plate.ply", "object_in_board": placed(0, 0, 0.01).tolist()},
        {"name": "rod", "mesh": "rod.obj", "object_in_board": placed(0.02, 0, -0.1).tolist(), "symmetries": spin},
    ]
    (scan / "objects.json").write_text(json.dumps(objects))
    return scan


@pytest.fixture
def scan(registered: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(registered, tmp_path / "scan", ignore=shutil.ignore_patterns("labels")))


@pytest.fixture(scope="module")
def labels(registered: Path) -> Path:
    return main(LabelOptions(registered, test_share=0.25, block=2))


def test_bop_is_read_by_the_bop_reader(labels: Path, registered: Path) -> None:
    poses = {}
    for split, count in (("train", 8), ("test", 3)):
        for number in (1, 2):
            scene = open_scene(labels / "bop" / split / "000000", object_id=number)
            assert len(scene) == count and scene.mesh_unit == "mm" and len(scene.mesh_files) == 1
            assert (scene.symmetries(0.001) is not None) == (number == 2)
            for frame in scene:
                assert frame.mask is not None and frame.object_in_camera is not None
                assert frame.depth[0, 0] == pytest.approx(1.0)
                np.testing.assert_allclose(frame.K, K)
                poses[int(frame.name), number] = frame.object_in_camera
    assert sorted({frame for frame, _ in poses}) == [*range(10), 11]
    np.testing.assert_allclose(poses[3, 1], placed(-0.012, 0, 1.01), atol=1e-9)
    info = json.loads((labels / "bop" / "models" / "models_info.json").read_text())
    assert info["1"]["size_x"] == pytest.approx(80) and info["1"]["min_y"] == pytest.approx(-20)
    assert info["2"]["symmetries_continuous"] == [{"axis": [0, 1, 0], "offset": [1.0, 0.0, 0.0]}]
    gt = json.loads((labels / "bop" / "train" / "000000" / "scene_gt_info.json").read_text())
    for entries in gt.values():
        assert entries[0]["visib_fract"] == pytest.approx(entries[0]["px_count_visib"] / entries[0]["px_count_all"])
        assert entries[0]["visib_fract"] < 1 == entries[1]["visib_fract"]


def test_coco_masks_boxes_and_areas_agree(labels: Path) -> None:
    names = []
    for split in ("train", "test"):
        data = json.loads((labels / "coco" / f"{split}.json").read_text())
        names += [image["file_name"] for image in data["images"]]
        files = {image["id"]: Path(image["file_name"]).stem for image in data["images"]}
        assert [category["name"] for category in data["categories"]] == ["plate", "rod"]
        for entry in data["annotations"]:
            mask = decode_rle(entry["segmentation"])
            assert mask.sum() == entry["area"] and tuple(entry["bbox"]) == mask_box(mask)
            name = data["categories"][entry["category_id"] - 1]["name"]
            stored = cv2.imread(str(labels / "masks" / name / f"{files[entry['image_id']]}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, stored > 0)
    assert len(set(names)) == len(names) == FRAMES - 1 and all((labels / name).is_file() for name in names)


def test_the_recording_is_not_shared_with_the_labels(labels: Path, registered: Path) -> None:
    """Training tools rewrite pictures in place."""
    pictures = list(labels.rglob("*.jpg"))
    assert len({picture.stat().st_ino for picture in pictures}) < len(pictures)
    recorded = {path.stat().st_ino for name in ("JPEGImages", "depth") for path in (registered / name).iterdir()}
    assert not recorded & {path.stat().st_ino for path in labels.rglob("*")}


def test_yolo_boxes_and_segments_cover_the_masks(labels: Path) -> None:
    for split, count in (("train", 8), ("test", 3)):
        for kind in ("boxes", "segments"):
            folder = labels / "yolo" / kind
            images = {path.stem for path in (folder / "images" / split).iterdir()}
            assert images == {path.stem for path in (folder / "labels" / split).iterdir()} and len(images) == count
    mask = cv2.imread(str(labels / "masks" / "plate" / "0.png"), cv2.IMREAD_UNCHANGED) > 0
    split = "train" if (labels / "yolo" / "boxes" / "images" / "train" / "0.jpg").exists() else "test"
    number, *values = (labels / "yolo" / "boxes" / "labels" / split / "0.txt").read_text().splitlines()[0].split()
    x, y, w, h = np.array(values, float) * [160, 120, 160, 120]
    assert number == "0" and mask_box(mask) == pytest.approx((x - w / 2, y - h / 2, w, h), abs=1e-3)
    line = (labels / "yolo" / "segments" / "labels" / split / "0.txt").read_text().splitlines()[0].split()
    outline = np.array(line[1:], float).reshape(-1, 2) * [160, 120] - 0.5
    drawn = cv2.fillPoly(np.zeros(SIZE, np.uint8), [np.round(outline).astype(np.int32)], 1) > 0
    assert (drawn & mask).sum() == mask.sum()
    assert "0: 'plate'" in (labels / "yolo" / "boxes" / "data.yaml").read_text()


def test_singleshotpose_has_21_numbers(labels: Path) -> None:
    folder = labels / "singleshotpose"
    for line in (folder / "labels" / "0.txt").read_text().splitlines():
        numbers = np.array(line.split(), float)
        assert len(numbers) == 21
        corners = numbers[3:19].reshape(8, 2)
        np.testing.assert_allclose(numbers[19:], np.ptp(corners, axis=0), atol=2e-6)
    centre = np.array((folder / "labels" / "0.txt").read_text().split()[1:3], float)
    np.testing.assert_allclose(centre, [79.5 / 160, 59.5 / 120], atol=1e-6)
    listed = [line for split in ("train", "test") for line in (folder / f"{split}.txt").read_text().splitlines()]
    assert len(listed) == FRAMES - 1 and all((folder / line).is_file() for line in listed)


def test_csv_has_the_boxes(labels: Path) -> None:
    with (labels / "annotations.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert len(rows) == 2 * (FRAMES - 1)
    plate, rod = rows[0], rows[1]
    corners = [int(plate[f"{where} corner {axis}"]) for where in ("Upper left", "Lower right") for axis in "XY"]
    assert plate["Filename"] == "JPEGImages/0.jpg" and corners == [60, 50, 100, 70]
    assert (plate["Occluded"], rod["Occluded"]) == ("1", "0")


def test_the_video_shows_every_labelled_frame(labels: Path) -> None:
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(labels / "inspection.mp4"))
    assert frames == FRAMES - 1


def test_finished_labels_are_kept_and_a_killed_run_is_done_again(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scan / "labels.partial" / "bop").mkdir(parents=True)
    options = LabelOptions(scan, formats=("csv",))
    main(options)
    assert not (scan / "labels.partial").exists() and not (scan / "labels" / "bop").exists()
    assert "1 without a pose left out" in capsys.readouterr().out
    before = (scan / "labels" / "labels.json").stat().st_mtime_ns
    main(options)
    assert (scan / "labels" / "labels.json").stat().st_mtime_ns == before
    assert "kept" in capsys.readouterr().out
    main(replace(options, overwrite=True, formats=("coco",)))
    assert (scan / "labels" / "coco").exists() and not (scan / "labels" / "annotations.csv").exists()


def test_folders_of_others_are_left_alone(scan: Path) -> None:
    (scan / "labels").mkdir()
    (scan / "labels" / "mine.txt").write_text("by hand")
    with pytest.raises(OutputError, match="did not write"):
        main(LabelOptions(scan, overwrite=True))
    assert (scan / "labels" / "mine.txt").read_text() == "by hand"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "intrinsics.json",
            {"fx": 500, "fy": 500, "ppx": 79.5, "ppy": 59.5, "model": "brown_conrady", "coeffs": [0.1, 0, 0, 0, 0]},
            "states lens distortion.*undistort colour and depth",
        ),
        ("registration.json", None, "run `python -m mesh_creation register"),
        ("objects.json", None, "run `python -m mesh_creation fuse"),
        ("objects.json", [], "lists no objects"),
        ("objects.json", [{"name": "a"}], "lacks mesh, object_in_board"),
        ("objects.json", [OBJECT | {"name": "../a"}], "cannot name"),
        ("objects.json", [OBJECT | {"object_in_board": np.eye(3).tolist()}], "wanted 4x4"),
        ("objects.json", [OBJECT | {"object_in_board": np.diag([2, 2, 2, 1]).tolist()}], "scaled by 2.*rigid"),
        (
            "objects.json",
            [OBJECT | {"symmetries": {"symmetries_discrete": [[1, 0, 0]]}}],
            r"objects\.json: symmetries of 'a': .*lists of 16 numbers",
        ),
        ("registration.json", {"frames": ["0"], "camera_in_board": [None]}, "run register again"),
        (
            "registration.json",
            {"frames": [str(i) for i in range(FRAMES)], "camera_in_board": [None] * FRAMES},
            "nothing",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(file: str, change: object, message: str, scan: Path) -> None:
    (scan / file).unlink() if change is None else (scan / file).write_text(json.dumps(change))
    with pytest.raises(SceneError, match=message):
        main(LabelOptions(scan))
    assert not (scan / "labels").exists()


def test_a_seed_that_is_none_is_refused(scan: Path) -> None:
    with pytest.raises(OptionError, match="seed is -1: a whole number is needed, 0 or more"):
        main(LabelOptions(scan, seed=-1))
    assert not (scan / "labels").exists()


def test_a_damaged_frame_is_left_out_and_named(scan: Path) -> None:
    picture = scan / "JPEGImages" / "4.jpg"
    picture.write_bytes(picture.read_bytes()[:500])
    facts = json.loads((main(LabelOptions(scan, formats=("coco",))) / "labels.json").read_text())
    assert len(facts["frames"]) == FRAMES - 2 and "4.jpg" in facts["damaged"][0]
    assert facts["not_registered"] == [str(FRAMES - 2)]


def test_run_skips_what_is_finished_and_says_so(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scan / "mesh" / "metadata.json").write_text("{}")
    run_step(["run", "--scan", str(scan)])
    said = capsys.readouterr().out
    assert f"register: {scan} is finished, skipped" in said and f"fuse: {scan} is finished, skipped" in said
    assert (scan / "labels" / "labels.json").is_file() and "label: " not in said
    run_step(["run", "--scan", str(scan)])
    assert f"label: {scan} is finished, skipped" in capsys.readouterr().out
    (scan / "objects.json").unlink()
    shutil.rmtree(scan / "labels")
    assert run_step(["label", "--scan", str(scan)]) == BAD_INPUT
    assert f"error: {scan / 'objects.json'} is missing" in capsys.readouterr().err


def test_run_does_again_what_lacks_the_flipped_scan_or_is_older_than_the_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str, bool]] = []

    def load(step: str) -> tuple[type, Callable[[Any], None]]:
        return SimpleNamespace, lambda options: done.append((step, options.scan.name, options.overwrite))

    monkeypatch.setattr(commands, "_load", load)
    scans = [tmp_path / "cup", tmp_path / "flipped"]
    for number, file in enumerate(("registration.json", "mesh/metadata.json", "labels/labels.json")):
        for scan in scans:
            (scan / file).parent.mkdir(parents=True, exist_ok=True)
            (scan / file).write_text("{}")
            os.utime(scan / file, (number, number))
    commands.run(commands.RunOptions(scans[0]))
    assert done == []
    commands.run(commands.RunOptions(*scans))
    assert done == [("fuse", "cup", True)]
    metadata = scans[0] / "mesh" / "metadata.json"
    metadata.write_text(json.dumps({"flipped": {"scan": str(scans[1])}}))
    done.clear()
    commands.run(commands.RunOptions(*scans))
    assert done == [("label", "cup", True), ("label", "flipped", True)]
