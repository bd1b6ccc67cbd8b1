"""Data sets in their published layouts: what is asked for, in which unit, and what incomplete ones are told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pose6d.errors import FrameError, OutputError, SceneError
from pose6d.evaluation.bop_writer import BopWriter
from pose6d.evaluation.datasets import PoseDataset, Target
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.datasets_ycb import EoatDataset, YcbVideoDataset
from pose6d.evaluation.detections import DetectionFile, VisibleMasks
from pose6d.evaluation.open_dataset import open_dataset
from pose6d.evaluation.prediction import FoundPose, Job, PoseRequest, predict
from pose6d.evaluation.scoring import score
from pose6d.mesh.mesh_files import save_mesh
from pose6d.scenes.images import write_depth, write_image
from pose6d.scenes.run_length import decode_rle, encode_rle
from tests.evaluation_dataset import BOX, HALF_TURN, ROD, SIZE, box_mesh, make_pose, rod_mesh, write_dataset
from tests.evaluation_dataset import K as INTRINSICS

POSE = make_pose(np.eye(3), [0.02, 0.01, 0.6])


@pytest.fixture(scope="module")
def bop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("bop") / "tiny", scenes=2, images=2)


def test_bop_in_metres(bop: Path) -> None:
    dataset = open_dataset(bop)
    assert (dataset.name, dataset.split, dataset.object_ids) == ("tiny", "test", [BOX, ROD])
    assert dataset.targets == [Target(s, i, o, n) for s in (1, 2) for i in (0, 1) for o, n in ((BOX, 1), (ROD, 2))]
    assert [len(image.targets) for image in dataset.images()] == [2] * 4
    frame = dataset.frame(2, 1)
    assert frame.rgb.shape == (*SIZE, 3)
    np.testing.assert_array_equal(frame.K, INTRINSICS)
    truth = dataset.truths(2, 1)[0]
    mask = dataset.mask(2, 1, truth)
    assert mask is not None
    assert 0.5 < frame.depth[mask].mean() < 0.7
    assert frame.depth.max() == pytest.approx(1.5)
    np.testing.assert_allclose(truth.object_in_camera[:3, 3], [-0.06, 0, 0.61])
    for obj_id, mesh in ((BOX, box_mesh()), (ROD, rod_mesh())):
        assert dataset.diameter(obj_id) == pytest.approx(mesh.diameter)
        np.testing.assert_allclose(dataset.evaluation_mesh(obj_id).vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_allclose(dataset.symmetries(BOX), [np.eye(4), HALF_TURN])
    assert len(dataset.symmetries(ROD, 360 / 315)) == 315  # type: ignore[arg-type]


def test_the_most_visible_instances_count(bop: Path, tmp_path: Path) -> None:
    targets = [{"scene_id": 1, "im_id": 0, "obj_id": ROD, "inst_count": 1}]
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    dataset = open_dataset(bop, targets_file=tmp_path / "targets.json")
    first, second = (truth for truth in dataset.truths(1, 0) if truth.object_id == ROD)
    assert first.visible_fraction < second.visible_fraction == 1  # the first is partly behind the box
    assert [truth.index for truth in dataset.best_visible(dataset.targets[0])] == [second.index]


def test_t_less_and_hb_name_their_sensor(tmp_path: Path) -> None:
    tless = write_dataset(tmp_path / "tless", scenes=1, images=1, split="test_primesense")
    (tless / "models").rename(tless / "models_cad")
    (tless / "models_reconst").mkdir()
    save_mesh(box_mesh().scaled(1100), tless / "models_reconst" / "obj_000001.ply")
    dataset = open_dataset(tless)
    assert dataset.split == "test_primesense"
    assert dataset.mesh(BOX).diameter == pytest.approx(box_mesh().diameter)
    reconstructed = open_dataset(tless, models="models_reconst")
    assert reconstructed.mesh(BOX).diameter == pytest.approx(1.1 * box_mesh().diameter)
    assert reconstructed.evaluation_mesh(BOX).diameter == pytest.approx(box_mesh().diameter)
    with pytest.raises(SceneError, match=r"has none of val: found .*test_primesense/"):
        open_dataset(tless, split="val")


def test_itodd_is_gray_and_keeps_its_truth(tmp_path: Path) -> None:
    itodd = write_dataset(tmp_path / "itodd", scenes=1, images=1, gray=True)
    rgb = open_dataset(itodd).frame(1, 0).rgb
    assert (rgb[..., 0] == rgb[..., 2]).all()
    (itodd / "test" / "000001" / "scene_gt.json").unlink()
    dataset = open_dataset(itodd)
    assert len(dataset.targets) == 2
    with pytest.raises(SceneError, match="kept private for this split: submit the results"):
        dataset.truths(1, 0)


def test_linemod_asks_for_the_scene_s_own_object(tmp_path: Path) -> None:
    """Archives unpacked beside each other, no targets file, and objects 3 and 7 left out."""
    source = write_dataset(tmp_path / "source", scenes=1, images=2)
    for scene_id in (3, 5):
        shutil.copytree(source / "test" / "000001", tmp_path / "lm" / "lm_test_all" / "test" / f"{scene_id:06d}")
    shutil.copytree(source / "models", tmp_path / "lm" / "lm_models" / "models")
    dataset = open_dataset(tmp_path / "lm")
    assert dataset.targets == [Target(5, 0, ROD, 2), Target(5, 1, ROD, 2)]
    assert dataset.mesh(ROD).diameter == pytest.approx(rod_mesh().diameter)


def test_keyframes_choose_images(bop: Path, tmp_path: Path) -> None:
    ycbv = shutil.copytree(bop, tmp_path / "ycbv")
    (ycbv / "test_targets_bop19.json").unlink()
    (ycbv / "keyframe.txt").write_text("0002/000001\n")
    assert {target[:2] for target in open_dataset(ycbv).targets} == {(2, 1)}
    (ycbv / "keyframe.txt").write_text("0002_000001\n")
    with pytest.raises(SceneError, match=r"keyframe\.txt: '0002_000001'.* such as 0048/000001"):
        open_dataset(ycbv)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([{"im_id": 0, "scene_id": 1}], "wanted a list of entries with scene_id, im_id, obj_id and inst_count"),
        ([{"scene_id": 1, "im_id": 0, "obj_id": 1, "inst_count": 1}] * 2, r"names .* \(1, 0, 1\) twice"),
        ([], "nothing to find"),
    ],
)
def test_bad_targets(bop: Path, tmp_path: Path, targets: list, message: str) -> None:
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    with pytest.raises(SceneError, match=message):
        open_dataset(bop, targets_file=tmp_path / "targets.json")


def test_incomplete_data_sets(bop: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"is no data set\. Looked for one of"):
        open_dataset(tmp_path)
    with pytest.raises(SceneError, match="does not exist"):
        open_dataset(tmp_path / "absent")
    broken = shutil.copytree(bop, tmp_path / "broken")
    (broken / "test" / "000001" / "depth" / "000000.png").unlink()
    with pytest.raises(FrameError, match="no depth image of frame 000000"):
        open_dataset(broken).frame(1, 0)
    open_dataset(broken).frame(1, 1)  # the others can be used
    shutil.rmtree(broken / "test" / "000002")
    with pytest.raises(SceneError, match="the targets name scene 2"):
        open_dataset(broken).frame(2, 0)
    (broken / "models_eval" / "models_info.json").unlink()
    with pytest.raises(SceneError, match=r"models_info\.json is missing"):
        open_dataset(broken)
    with pytest.raises(OutputError, match="not empty"):
        BopWriter(broken, {BOX: box_mesh()}, SIZE)


def write_ycb_models(root: Path, *names: str) -> None:
    for name in names:
        (root / "models" / name).mkdir(parents=True)
        save_mesh(box_mesh(), root / "models" / name / "textured_simple.obj")


def test_ycb_video(tmp_path: Path) -> None:
    root = tmp_path / "YCB_Video_Dataset"
    write_ycb_models(root, "003_cracker_box", "002_master_chef_can")
    stem = root / "data" / "0048" / "000001"
    write_image(Path(f"{stem}-color.png"), np.full((*SIZE, 3), 90, np.uint8))
    write_image(Path(f"{stem}-depth.png"), np.full(SIZE, 6000, np.uint16))
    label = np.zeros(SIZE, np.uint8)
    label[40:50, 50:60] = 2
    write_image(Path(f"{stem}-label.png"), label)
    meta = {"intrinsic_matrix": INTRINSICS, "poses": POSE[:3, :, None], "cls_indexes": [[2]], "factor_depth": [[10000]]}
    savemat(f"{stem}-meta.mat", meta)
    (root / "keyframe.txt").write_text("0048/000001\n")
    dataset = open_dataset(root)
    assert isinstance(dataset, YcbVideoDataset)
    assert dataset.targets == [Target(48, 1, 2)]
    frame, (truth,) = dataset.frame(48, 1), dataset.truths(48, 1)
    assert frame.depth[0, 0] == pytest.approx(0.6)
    np.testing.assert_array_equal(truth.object_in_camera, POSE)
    np.testing.assert_array_equal(dataset.mask(48, 1, truth), label == 2)
    assert dataset.mesh(2).diameter == pytest.approx(box_mesh().diameter)
    check_ground_truth_scores_one(dataset, tmp_path / "r.csv")
    with pytest.raises(SceneError, match="--split: the YCB-Video layout has none"):
        open_dataset(root, split="val")


def test_ycbineoat_is_tracked(tmp_path: Path) -> None:
    """Images named by time stamps, poses by numbers, a mask of the first frame only."""
    root = tmp_path / "YCBInEOAT"
    write_ycb_models(root, "006_mustard_bottle", "021_bleach_cleanser")
    for sequence, frames in (("bleach0", 3), ("mustard_easy_00_02", 2)):
        for i in range(frames):
            stamp = f"158112042410026210{i}"
            write_image(root / sequence / "rgb" / f"{stamp}.png", np.full((*SIZE, 3), 90, np.uint8))
            write_depth(root / sequence / "depth" / f"{stamp}.png", np.full(SIZE, 0.6))
            pose = POSE.copy()
            pose[0, 3] += 0.01 * i
            (root / sequence / "annotated_poses").mkdir(exist_ok=True)
            np.savetxt(root / sequence / "annotated_poses" / f"{i:07d}.txt", pose)
        write_image(root / sequence / "masks" / "1581120424100262100.png", np.ones(SIZE, bool))
        np.savetxt(root / sequence / "cam_K.txt", INTRINSICS)
    dataset = open_dataset(root)
    assert isinstance(dataset, EoatDataset)
    assert [target[:3] for target in dataset.targets] == [(1, 0, 21), (1, 1, 21), (1, 2, 21), (2, 0, 6), (2, 1, 6)]
    assert dataset.truths(1, 2)[0].object_in_camera[0, 3] == pytest.approx(0.04)
    scores = check_ground_truth_scores_one(dataset, tmp_path / "r.csv", track=True)
    assert scores["tracking"]["1"] == {
        "frames": 3,
        "lost_rate": 0,
        "losses": 0,
        "mean_seconds_to_loss": None,
        "first_loss_seconds": None,
        "jitter_deg": pytest.approx(0, abs=1e-4),
        "jitter_mm": pytest.approx(0, abs=1e-4),
    }
    (root / "bleach0").rename(root / "pitcher")
    with pytest.raises(SceneError, match="sequence pitcher: its object is unknown"):
        open_dataset(root)


def check_ground_truth_scores_one(dataset: PoseDataset, output: Path, track: bool = False) -> dict:
    def truth(request: PoseRequest) -> FoundPose:
        assert (request.previous is None) == (not track or request.target.im_id == 0)
        return FoundPose(dataset.truths(*request.target[:2])[0].object_in_camera)

    summary = predict(lambda: Job(dataset, VisibleMasks(dataset), truth, track), dataset.images(), output, {})
    assert not summary.failures
    scores = score(dataset, output)
    for name in ("AR", "AUC_ADD", "AUC_ADD-S", "recall_ADD(-S)_0.1d"):
        assert scores[name] == pytest.approx(1, abs=1e-9)
    return scores


def test_detections_in_both_encodings_and_as_boxes(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((7, 9)) < 0.4
    mask[0, 0] = True
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)
    key = {"scene_id": 1, "image_id": 2, "category_id": 3}
    entries = [
        {**key, "score": 0.2, "bbox": [1.6, 2.0, 3.0, 4.2], "segmentation": encode_rle(mask), "time": 0.3},
        {**key, "score": 0.9, "bbox": [1.6, 2.0, 3.0, 4.2]},
        {**key, "score": 0.1, "bbox": [0, 0, 1, 1]},
    ]
    (tmp_path / "detections.json").write_text(json.dumps(entries))
    detections = DetectionFile(tmp_path / "detections.json")
    best, second = detections.find(Target(1, 2, 3, 2), mask.shape)
    assert (best.score, second.score, second.seconds) == (0.9, 0.2, 0.3)
    box = np.zeros_like(mask)
    box[2:6, 2:5] = True
    np.testing.assert_array_equal(best.mask, box)
    np.testing.assert_array_equal(second.mask, mask)
    with pytest.raises(FrameError, match="no detection of it"):
        detections.find(Target(1, 2, 4), mask.shape)
    with pytest.raises(FrameError, match=r"a mask of \(9, 7\) for an image of \(8, 8\)"):
        detections.find(Target(1, 2, 3, 2), (8, 8))


def test_compressed_masks_of_coco() -> None:
    """Runs are stored as differences to the run two before; the text was made by pycocotools."""
    runs = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    text = "61X13mN000`0"
    mask = decode_rle({"size": [9, 10], "counts": text})
    assert encode_rle(mask)["counts"] == runs
    with pytest.raises(FrameError, match="covers 69 pixels of an image of 90"):
        decode_rle({"size": [9, 10], "counts": runs[:-1]})
    with pytest.raises(FrameError, match="ends inside a number"):
        decode_rle({"size": [9, 10], "counts": "X"})


def test_bad_detections(tmp_path: Path) -> None:
    for text, message in (
        ("{}", "wanted a list"),
        ('[{"scene_id": 1}]', "entry 0: wanted scene_id, image_id"),
        ('[{"scene_id": 1, "image_id": 1, "category_id": 1, "score": 1}]', "neither segmentation nor bbox"),
    ):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(SceneError, match=message):
            DetectionFile(tmp_path / "d.json")


def test_masks_of_a_data_set_without_any(bop: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(bop, tmp_path / "bare")
    shutil.rmtree(bare / "test" / "000001" / "mask_visib")
    dataset = BopDataset(bare)
    with pytest.raises(FrameError, match=r"no mask of it .*pass --detections"):
        VisibleMasks(dataset).find(dataset.targets[0], SIZE)
