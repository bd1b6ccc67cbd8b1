"""Readers of recordings: what each layout gives, in which unit, and what bad input is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pose6d.errors import FrameError, SceneError
from pose6d.geometry.transforms import rigid_transform
from pose6d.scenes import Frame, open_scene
from pose6d.scenes.images import list_images, natural_key, read_color, read_depth, read_mask, write_depth, write_image

K = np.array([[60.0, 0, 31.5], [0, 61.0, 23.5], [0, 0, 1]])
HEIGHT, WIDTH = 48, 64
INTRINSICS = {"fx": 60.0, "fy": 61.0, "ppx": 31.5, "ppy": 23.5, "width": WIDTH, "height": HEIGHT, "depth_scale": 0.001}


def make_rgb(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def make_depth() -> np.ndarray:
    depth = np.full((HEIGHT, WIDTH), 0.5)
    depth[:5] = 0
    return depth


def make_mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[20:30, 25:40] = True
    return mask


def make_pose(shift: float = 0.0) -> np.ndarray:
    return rigid_transform(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), [0.1 + shift, 0.02, 0.5])


@pytest.fixture
def folder_scene(tmp_path: Path) -> Path:
    # The word rgb in the parents' names must not confuse anything.
    scene = tmp_path / "rgb" / "my_rgb_scene"
    for i in range(3):
        write_image(scene / "rgb" / f"{i:04d}.png", make_rgb(i))
        write_depth(scene / "depth" / f"{i:04d}.png", make_depth())
    write_image(scene / "masks" / "0000.png", make_mask())
    np.savetxt(scene / "cam_K.txt", K)
    (scene / "mesh").mkdir()
    (scene / "mesh" / "thing.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (scene / "annotated_poses").mkdir()
    np.savetxt(scene / "annotated_poses" / "0001.txt", make_pose())
    return scene


@pytest.fixture
def capture_scene(tmp_path: Path) -> Path:
    scene = tmp_path / "capture"
    for i in range(12):
        write_image(scene / "JPEGImages" / f"{i}.jpg", np.full((HEIGHT, WIDTH, 3), 10 * i, dtype=np.uint8))
        write_depth(scene / "depth" / f"{i}.png", make_depth())
    (scene / "intrinsics.json").write_text(json.dumps(INTRINSICS))
    np.save(scene / "transforms.npy", np.stack([np.linalg.inv(make_pose(0.01 * i)) for i in range(12)]))
    return scene


@pytest.fixture
def bop_scene(tmp_path: Path) -> Path:
    scene = tmp_path / "dataset" / "test" / "000048"
    cameras, truths = {}, {}
    for number, frame in enumerate((1, 36)):
        write_image(scene / "rgb" / f"{frame:06d}.png", make_rgb())
        write_image(scene / "depth" / f"{frame:06d}.png", np.round(make_depth() * 10000).astype(np.uint16))
        write_image(scene / "mask_visib" / f"{frame:06d}_000001.png", make_mask())
        cameras[str(frame)] = {"cam_K": K.ravel().tolist(), "depth_scale": 0.1}
        pose = make_pose(0.01 * number)
        entry = {"cam_R_m2c": pose[:3, :3].ravel().tolist(), "cam_t_m2c": (pose[:3, 3] * 1000).tolist()}
        truths[str(frame)] = [{"obj_id": 2, **entry, "cam_t_m2c": [0, 0, 900]}, {"obj_id": 5, **entry}]
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    (scene / "scene_gt.json").write_text(json.dumps(truths))
    models = tmp_path / "dataset" / "models"
    models.mkdir()
    (models / "obj_000005.ply").write_text("ply\n")
    symmetric = {"diameter": 100.0, "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}
    (models / "models_info.json").write_text(json.dumps({"2": {"diameter": 90.0}, "5": symmetric}))
    return scene


def check_frame(frame: Frame) -> None:
    assert frame.rgb.shape == (HEIGHT, WIDTH, 3)
    assert frame.rgb.dtype == np.uint8
    assert frame.depth.dtype == np.float32
    np.testing.assert_allclose(frame.depth, make_depth(), atol=1e-6)
    np.testing.assert_array_equal(frame.K, K)


def test_folder_layout(folder_scene: Path) -> None:
    scene = open_scene(folder_scene)
    assert (scene.kind, len(scene), scene.names) == ("folder", 3, ["0000", "0001", "0002"])
    assert scene.mesh_file == folder_scene / "mesh" / "thing.obj"
    first, second, third = scene
    check_frame(first)
    np.testing.assert_array_equal(first.rgb, make_rgb(0))
    np.testing.assert_array_equal(first.mask, make_mask())
    assert second.mask is None
    assert first.object_in_camera is None
    np.testing.assert_allclose(second.object_in_camera, make_pose())
    assert scene[-1].name == third.name
    with pytest.raises(IndexError):
        scene[3]


@pytest.mark.parametrize("text", ["\ufeff{}", "[{}]", "({})"])
def test_ground_truth_as_people_write_it(folder_scene: Path, text: str) -> None:
    rows = make_pose().tolist()
    file = folder_scene / "annotated_poses" / "0001.txt"
    file.write_text(text.format(";\n".join(str(row) for row in rows)), encoding="utf-8")
    np.testing.assert_allclose(open_scene(folder_scene)[1].object_in_camera, make_pose())


def test_symmetries_come_with_the_mesh(folder_scene: Path) -> None:
    assert open_scene(folder_scene).symmetries(unit_scale=1.0) is None
    (folder_scene / "mesh" / "symmetry.json").write_text(json.dumps({"symmetries": "180 z at 4 0 0"}))
    symmetries = open_scene(folder_scene).symmetries(unit_scale=0.01)
    assert symmetries is not None
    np.testing.assert_allclose(symmetries[1], [[-1, 0, 0, 0.08], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], atol=1e-6)


def test_a_mask_may_have_three_channels(folder_scene: Path) -> None:
    red = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    red[..., 0] = make_mask() * 200
    write_image(folder_scene / "masks" / "0000.png", red)
    np.testing.assert_array_equal(open_scene(folder_scene)[0].mask, make_mask())
    opaque = np.concatenate([red, np.full((HEIGHT, WIDTH, 1), 255, dtype=np.uint8)], axis=2)
    write_image(folder_scene / "masks" / "0000.png", opaque)
    np.testing.assert_array_equal(open_scene(folder_scene)[0].mask, make_mask())


def test_several_objects_in_one_folder(folder_scene: Path) -> None:
    (folder_scene / "masks" / "0000.png").unlink()
    write_image(folder_scene / "masks" / "bowl" / "0000.png", make_mask())
    write_image(folder_scene / "masks" / "mug" / "0000.png", ~make_mask())
    scene = open_scene(folder_scene)
    assert scene.objects == ["bowl", "mug"]
    assert scene[0].mask is None
    assert "bowl, mug" in scene.description
    np.testing.assert_array_equal(open_scene(folder_scene, object_id="mug")[0].mask, ~make_mask())
    bowl = open_scene(folder_scene, mask_dir=folder_scene / "masks" / "bowl")
    np.testing.assert_array_equal(bowl[0].mask, make_mask())
    with pytest.raises(SceneError, match=r"'cup'.*bowl, mug"):
        open_scene(folder_scene, object_id="cup")


def test_capture_layout(capture_scene: Path) -> None:
    scene = open_scene(capture_scene)
    assert scene.kind == "capture"
    assert scene.names == [str(i) for i in range(12)]  # natural order: 10 after 9, not after 1
    check_frame(scene[10])
    assert abs(int(scene[10].rgb.mean()) - 100) <= 2
    np.testing.assert_allclose(scene[10].object_in_camera, make_pose(0.1), atol=1e-12)
    assert scene[0].mask is None
    write_image(capture_scene / "masks" / "0.png", make_mask())
    np.testing.assert_array_equal(open_scene(capture_scene)[0].mask, make_mask())


def test_capture_honours_the_depth_scale(capture_scene: Path) -> None:
    (capture_scene / "intrinsics.json").write_text(json.dumps({**INTRINSICS, "depth_scale": 0.00025}))
    assert open_scene(capture_scene)[0].depth.max() == pytest.approx(0.125)
    assert open_scene(capture_scene, depth_scale=0.001)[0].depth.max() == pytest.approx(0.5)


def test_capture_frames_without_registration_have_no_truth(capture_scene: Path) -> None:
    transforms = np.load(capture_scene / "transforms.npy")
    transforms[3] = np.nan
    np.save(capture_scene / "transforms.npy", transforms)
    scene = open_scene(capture_scene)
    assert scene[3].object_in_camera is None
    assert scene[4].object_in_camera is not None
    (capture_scene / "transforms.npy").unlink()
    assert "no ground truth" in open_scene(capture_scene).description


def test_bop_scene_in_metres(bop_scene: Path) -> None:
    scene = open_scene(bop_scene, object_id=5)
    assert (scene.kind, scene.names) == ("bop", ["000001", "000036"])
    assert (scene.mesh_unit, scene.mesh_file) == ("mm", bop_scene.parents[1].resolve() / "models" / "obj_000005.ply")
    symmetries = scene.symmetries(unit_scale=0.001)
    assert symmetries is not None
    assert symmetries.shape == (72, 4, 4)
    np.testing.assert_allclose(symmetries[:, 2, 2], 1)
    assert open_scene(bop_scene, object_id=2).symmetries(unit_scale=0.001) is None
    check_frame(scene[1])
    np.testing.assert_array_equal(scene[1].mask, make_mask())
    np.testing.assert_allclose(scene[1].object_in_camera, make_pose(0.01), atol=1e-9)
    assert open_scene(bop_scene, object_id="000002")[0].mask is None  # no file for its instance
    assert open_scene(bop_scene).objects == ["2", "5"]
    with pytest.raises(SceneError, match=r"object_id 7 .*2, 5"):
        open_scene(bop_scene, object_id=7)


def test_a_folder_that_is_no_scene(tmp_path: Path, bop_scene: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(SceneError, match=r"(?s)scene_camera\.json.*JPEGImages.*cam_K\.txt.*found: .*notes/"):
        open_scene(tmp_path)
    with pytest.raises(SceneError, match=r"holds BOP scenes.*000048"):
        open_scene(bop_scene.parent)
    with pytest.raises(SceneError, match="does not exist"):
        open_scene(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["rgb", "depth"])
@pytest.mark.parametrize("index", [0, 1])  # the first one tells the size of all
def test_a_truncated_image_is_named_and_the_rest_reads(folder_scene: Path, kind: str, index: int) -> None:
    file = folder_scene / kind / f"000{index}.png"
    whole = file.read_bytes()
    for length, says in ((0, "it is empty"), (20, "damaged"), (len(whole) // 2, "truncated"), (len(whole) - 40, "")):
        file.write_bytes(whole[:length])
        scene = open_scene(folder_scene)
        with pytest.raises(FrameError, match=rf"000{index}\.png.*{says}"):
            scene[index]
        check_frame(scene[2])


def test_frames_that_do_not_pair_up_are_named(folder_scene: Path, bop_scene: Path) -> None:
    (folder_scene / "depth" / "0001.png").unlink()
    write_depth(folder_scene / "depth" / "0009.png", make_depth())
    with pytest.raises(SceneError, match=r"1 without depth \(0001\) and 1 without colour \(0009\)"):
        open_scene(folder_scene)
    (bop_scene / "depth" / "000036.png").unlink()
    with pytest.raises(SceneError, match=r"without depth image \(000036\)"):
        open_scene(bop_scene, object_id=5)


def test_sizes_that_differ(folder_scene: Path) -> None:
    write_image(folder_scene / "masks" / "0000.png", make_mask()[:40])
    write_depth(folder_scene / "depth" / "0001.png", make_depth()[:, :60])
    scene = open_scene(folder_scene)
    with pytest.raises(FrameError, match="frame 0000: mask is 64x40 but colour is 64x48"):
        scene[0]
    with pytest.raises(FrameError, match="frame 0001: depth is 60x48 but colour is 64x48"):
        scene[1]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, r"cam_K\.txt is missing"),
        ("600 0 320\n0 600 240\n0 0 1\n", r"cam_K\.txt.*resolution"),
        ("nan 0 32\n0 60 24\n0 0 1\n", r"cam_K\.txt"),
    ],
)
def test_bad_intrinsics(folder_scene: Path, text: str | None, complaint: str) -> None:
    file = folder_scene / "cam_K.txt"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(SceneError, match=complaint):
        open_scene(folder_scene)


def test_the_camera_may_be_intrinsics_json_in_any_layout(folder_scene: Path) -> None:
    """Then what lies in the folder tells the layout, and what is missing is said of that one."""
    (folder_scene / "cam_K.txt").rename(folder_scene / "camera.txt")
    with pytest.raises(SceneError, match=r"cam_K\.txt is missing \(.*holds annotated_poses/, camera\.txt, depth/"):
        open_scene(folder_scene)
    (folder_scene / "intrinsics.json").write_text(json.dumps(INTRINSICS))
    scene = open_scene(folder_scene)
    assert scene.kind == "folder"
    np.testing.assert_array_equal(scene[0].K, K)
    (folder_scene / "rgb").rename(folder_scene / "color")
    with pytest.raises(SceneError, match=r"is no scene(?s:.*)JPEGImages/(?s:.*)found: .*color/.*intrinsics\.json"):
        open_scene(folder_scene)


def test_bad_capture_files(capture_scene: Path) -> None:
    intrinsics = capture_scene / "intrinsics.json"
    for values, complaint in (
        ({**INTRINSICS, "width": 1280, "height": 720}, "is for images of 1280x720"),
        ({"fx": 1.0}, "lacks fy, ppx, ppy"),
        ({**INTRINSICS, "depth_scale": 0}, "depth_scale is 0"),
    ):
        intrinsics.write_text(json.dumps(values))
        with pytest.raises(SceneError, match=complaint):
            open_scene(capture_scene)
    intrinsics.write_text("{")
    with pytest.raises(SceneError, match=r"intrinsics\.json cannot be read as JSON"):
        open_scene(capture_scene)
    intrinsics.write_text(json.dumps(INTRINSICS))
    (capture_scene / "transforms.npy").write_bytes(b"no array")
    with pytest.raises(SceneError, match=r"transforms\.npy cannot be read.*copy or save it again"):
        open_scene(capture_scene)
    np.save(capture_scene / "transforms.npy", np.tile(np.eye(4), (7, 1, 1)))
    with pytest.raises(SceneError, match=r"\(7, 4, 4\), wanted \(12, 4, 4\)"):
        open_scene(capture_scene)
    np.save(capture_scene / "transforms.npy", np.tile(2 * np.eye(4), (12, 1, 1)))
    with pytest.raises(SceneError, match="no rigid transforms"):
        open_scene(capture_scene)


def test_a_picture_of_depth_is_no_depth(folder_scene: Path) -> None:
    write_image(folder_scene / "depth" / "0001.png", make_rgb())
    with pytest.raises(FrameError, match="is no depth image"):
        open_scene(folder_scene)[1]
    write_image(folder_scene / "depth" / "0001.png", make_rgb()[..., 0])
    with pytest.raises(FrameError, match="8-bit"):
        open_scene(folder_scene)[1]


def test_a_text_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("no image")
    with pytest.raises(FrameError, match=r"mask\.png .*it is not an image"):
        read_mask(tmp_path / "mask.png")


def test_images_survive_a_round_trip(tmp_path: Path) -> None:
    depth = np.array([[0, 0.0004, 0.5, 1.2345, 65.5, 70.0]])
    write_depth(tmp_path / "d.png", depth)
    np.testing.assert_allclose(read_depth(tmp_path / "d.png", 0.001), [[0, 0, 0.5, 1.234, 65.5, 0]], atol=1e-6)
    write_image(tmp_path / "c.png", make_rgb())
    np.testing.assert_array_equal(read_color(tmp_path / "c.png"), make_rgb())
    write_image(tmp_path / "m.png", make_mask())
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), make_mask())


def test_names_sort_as_numbers(tmp_path: Path) -> None:
    assert sorted(["10", "9", "1a", "frame2", "frame10"], key=natural_key) == ["1a", "9", "10", "frame2", "frame10"]
    write_image(tmp_path / "1.png", make_mask())
    (tmp_path / "._1.png").write_bytes(b"left behind by an archiver")
    assert list(list_images(tmp_path)) == ["1"]
    write_image(tmp_path / "1.jpg", make_rgb())
    with pytest.raises(SceneError, match=r"both 1\.jpg and 1\.png"):
        list_images(tmp_path)


def test_real_frames_read(shared_data: Path) -> None:
    scene = open_scene(shared_data / "data" / "real" / "tabletop_0", object_id="024_bowl")
    frame = scene[0]
    assert frame.rgb.shape == (480, 640, 3)
    assert frame.mask is not None
    assert 0.4 < float(np.median(frame.depth[frame.mask])) < 1.0


def test_a_scene_is_opened_by_its_path_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    monkeypatch.setenv("HOME", str(recording.parent))
    assert len(open_scene(f"~/{recording.name}")) == len(open_scene(recording))
    for given in (None, 3, b"a", ["a"]):
        with pytest.raises(SceneError, match=f"scene is a {type(given).__name__}: a path is needed"):
            open_scene(given)  # type: ignore[arg-type]
