"""Recordings by cameras that are not as usual: their lens, crops, turned pictures, masks in alpha, units of depth."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pose6d.errors import FrameError, MeshError, SceneError
from pose6d.mesh.mesh_files import save_mesh
from pose6d.rendering import make_renderer
from pose6d.scenes import Scene, open_scene
from pose6d.scenes.images import write_depth, write_image
from recorded import run as recorded_run
from recorded.options import RecordedOptions
from tests.demo_recording import FakeEstimator
from tests.rendering_scenes import torus

HEIGHT, WIDTH = 120, 160
SIZE = (HEIGHT, WIDTH)
K = np.array([[130.0, 0, 79.5], [0, 130, 59.5], [0, 0, 1]])
POSE = np.array([[1, 0, 0, 0.16], [0, 0.8, -0.6, 0.09], [0, 0.6, 0.8, 0.5], [0, 0, 0, 1]])
LENS = [-0.25, 0.08, 0.002, -0.001, 0.0]


def draw(camera: np.ndarray = K, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, depth in metres and mask of a torus before a wall."""
    pose, camera = (torch.as_tensor(x, dtype=torch.float32) for x in (POSE[None], camera))
    drawn = make_renderer(torus(), "cpu").render(pose, camera, size)
    mask = drawn.mask[0].numpy()
    v, u = np.mgrid[: size[0], : size[1]]
    color = np.dstack([u, 2 * v, 90 + 60 * mask]).astype(np.uint8)  # smooth: it tells where a pixel came from
    return color, np.where(mask, drawn.depth[0].numpy(), np.float32(1.0)), mask


def distorted(image: np.ndarray, interpolation: int) -> np.ndarray:
    """What a camera with OpenCV's lens LENS takes of a pinhole camera's picture."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    seen = cv2.undistortPoints(np.stack([u, v], -1).reshape(-1, 1, 2), K, np.array(LENS), P=K).reshape(HEIGHT, WIDTH, 2)
    return cv2.remap(image, seen[..., 0], seen[..., 1], interpolation)


def write_folder(path: Path, color: np.ndarray, depth: np.ndarray, mask: np.ndarray | None, camera: np.ndarray) -> Path:
    write_image(path / "rgb" / "0.png", color)
    write_depth(path / "depth" / "0.png", depth)
    if mask is not None:
        write_image(path / "masks" / "0.png", mask)
    np.savetxt(path / "cam_K.txt", camera)
    save_mesh(torus(), path / "mesh" / "torus.obj")
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "scene", *draw(), K)


@pytest.fixture
def behind_a_lens(tmp_path: Path) -> Path:
    """The same in the capture layout, by a camera with a lens that distorts."""
    scene, (color, depth, mask) = tmp_path / "capture", draw()
    write_image(scene / "JPEGImages" / "0.png", distorted(color, cv2.INTER_LINEAR))
    write_depth(scene / "depth" / "0.png", distorted(depth, cv2.INTER_NEAREST))
    write_image(scene / "masks" / "0.png", distorted(mask.astype(np.uint8), cv2.INTER_NEAREST) > 0)
    values = {"fx": 130, "fy": 130, "ppx": 79.5, "ppy": 59.5, "width": WIDTH, "height": HEIGHT}
    lens = {"model": "distortion.brown_conrady", "coeffs": LENS}
    (scene / "intrinsics.json").write_text(json.dumps(values | lens))
    return scene


def demo(scene: Path, **options: object) -> int:
    options = {"test_scene_dir": scene, "device": "cpu", "debug": 0, "debug_dir": scene.parent / "out", **options}
    return recorded_run.run_recorded(RecordedOptions(**options), make_estimator=FakeEstimator)


def assert_pinhole(scene: Scene) -> None:
    frame, (color, depth, mask) = scene[0], draw()
    assert frame.mask is not None
    assert (frame.mask != mask).sum() < 0.12 * mask.sum()  # pixels at its edge: two samplings of whole pixels
    inside = cv2.erode((mask & frame.mask).astype(np.uint8), np.ones((5, 5))) > 0
    np.testing.assert_allclose(frame.depth[inside], depth[inside], atol=0.006)  # 1.5 px of a slope
    # in the smooth channels, rounding twice; not mixed with nearest, which would be up to half a pixel off
    np.testing.assert_allclose(frame.rgb[inside].astype(int), color[inside], atol=1.5)
    np.testing.assert_array_equal(frame.K, K)


def test_lens_distortion_is_taken_out_of_all_pictures(behind_a_lens: Path) -> None:
    scene = open_scene(behind_a_lens)
    assert scene.distorted
    assert "lens (brown_conrady, up to" in scene.notes[0]
    assert_pinhole(scene)
    given = open_scene(behind_a_lens, mask_dir=behind_a_lens / "masks")
    assert_pinhole(given)
    np.testing.assert_array_equal(scene.read_mask(behind_a_lens / "masks" / "0.png"), scene[0].mask)
    values = json.loads((behind_a_lens / "intrinsics.json").read_text())
    (behind_a_lens / "intrinsics.json").write_text(json.dumps(values | {"coeffs": [0] * 5}))
    ignored = open_scene(behind_a_lens)
    assert not ignored.distorted and not ignored.notes
    assert (ignored[0].mask != scene[0].mask).sum() > 0.2 * draw()[2].sum()


def test_lens_distortion_of_the_folder_layout(behind_a_lens: Path) -> None:
    (behind_a_lens / "JPEGImages").rename(behind_a_lens / "rgb")
    (behind_a_lens / "intrinsics.json").unlink()
    info = f"height: {HEIGHT}\nwidth: {WIDTH}\ndistortion_model: plumb_bob\nD: {LENS}\nK: {K.ravel().tolist()}\n"
    (behind_a_lens / "cam_K.yaml").write_text(info)
    scene = open_scene(behind_a_lens)
    assert scene.notes[0] == "cam_K.yaml is read as YAML"
    assert_pinhole(scene)
    np.testing.assert_array_equal(scene.mask(0), scene[0].mask)


@pytest.mark.parametrize("lens", [{"coeffs": [-50, 0, 0, 0, 0]}, {"coeffs": [1e30, 0, 0, 0, 0]}])
def test_coefficients_that_leave_no_picture_are_refused(behind_a_lens: Path, lens: dict) -> None:
    file = behind_a_lens / "intrinsics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | lens))
    with pytest.raises(SceneError, match=r"intrinsics\.json.* \d+ % of the picture is left.*k1 k2 p1 p2 k3"):
        open_scene(behind_a_lens)


def test_a_mask_of_another_size_is_named_behind_a_lens_too(behind_a_lens: Path) -> None:
    write_image(behind_a_lens / "masks" / "0.png", np.ones((HEIGHT // 2, WIDTH // 2), bool))
    with pytest.raises(FrameError, match="mask is 80x60 but colour is 160x120"):
        open_scene(behind_a_lens)[0]


def test_the_demo_says_what_it_read_of_an_unusual_camera(plain: Path, capsys: pytest.CaptureFixture) -> None:
    assert demo(plain) == 0
    assert "camera:" not in capsys.readouterr().out
    (plain / "cam_K.txt").write_text("130 140 79.5 59.5")
    assert demo(plain, debug_dir=plain.parent / "other") == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("camera:"))
    assert said.startswith(
        "camera: fx 130, fy 140, cx 79.5, cy 59.5; cam_K.txt is read as fx fy cx cy; the pixels are not"
    )


def test_intrinsics_of_another_size_are_refused(plain: Path) -> None:
    (plain / "cam_K.txt").write_text(json.dumps({"K": K.tolist(), "width": 640, "height": 480}))
    with pytest.raises(SceneError, match=r"cam_K\.txt is for images of 640x480"):
        open_scene(plain)


@pytest.mark.parametrize(
    ("top", "left", "height", "width", "refused"), [(45, 95, 60, 60, False), (40, 60, 62, 80, True)]
)
def test_pictures_cut_out_of_larger_ones(
    tmp_path: Path, top: int, left: int, height: int, width: int, refused: bool
) -> None:
    camera = K - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    part = [image[top : top + height, left : left + width] for image in draw()]
    drawn = draw(camera, (height, width))  # what is drawn with the part's K is the part
    np.testing.assert_array_equal(part[2], drawn[2])
    np.testing.assert_allclose(part[1], drawn[1], atol=1e-5)
    scene = write_folder(tmp_path / "part", *part, camera)
    if refused:
        for read in (open_scene, demo):
            with pytest.raises(SceneError, match=r"about 39x39.*--cropped"):
                read(scene)
    np.testing.assert_array_equal(open_scene(scene, cropped=refused)[0].K, camera)
    assert demo(scene, cropped=refused) == 0


def test_turned_pictures(plain: Path) -> None:
    color, depth, _ = draw()
    exif = Image.Exif()
    exif[0x0112] = 6
    (plain / "rgb" / "0.png").unlink()
    stored = Image.fromarray(color).transpose(Image.Transpose.ROTATE_90)
    stored.save(plain / "rgb" / "0.jpg", exif=exif, quality=95)
    scene = open_scene(plain)
    assert "EXIF orientation (6)" in scene.notes[0]
    assert np.abs(scene[0].rgb.astype(int) - color).mean() < 3
    write_depth(plain / "depth" / "0.png", np.rot90(depth))
    with pytest.raises(FrameError, match=r"depth is 120x160 but colour is 160x120.*turned by 90 degrees.*EXIF"):
        open_scene(plain)[0]
    Image.fromarray(color).save(plain / "rgb" / "0.jpg", exif=exif, quality=95)
    with pytest.raises(SceneError, match=r"fits one of 160x120.*turned by 90 degrees"):
        open_scene(plain)


def test_the_alpha_channel_is_the_mask_where_there_is_no_other(plain: Path) -> None:
    color, _, mask = draw()
    Image.fromarray(np.dstack([color, mask.astype(np.uint8) * 255])).save(plain / "rgb" / "0.png")
    other = np.roll(mask, 3, axis=1)
    write_image(plain / "masks" / "0.png", other)
    np.testing.assert_array_equal(open_scene(plain)[0].mask, other)
    (plain / "masks" / "0.png").unlink()
    scene = open_scene(plain)
    assert "masks in the alpha channel" in scene.description
    np.testing.assert_array_equal(scene[0].mask, mask)
    np.testing.assert_array_equal(scene[0].rgb, color)
    assert demo(plain) == 0


def test_depth_of_a_tenth_of_a_millimetre(plain: Path) -> None:
    _, depth, _ = draw()
    write_image(plain / "depth" / "0.png", np.round(depth * 10000).astype(np.uint16))
    save_mesh(torus().scaled(1000), plain / "mesh" / "torus.obj")
    with pytest.raises(MeshError, match=r"--mesh_unit cm if.*--mesh_unit mm --depth_scale 0\.0001 if"):
        demo(plain)
    with pytest.raises(MeshError, match=r"--depth_scale 0\.0001"):
        demo(plain, mesh_unit="mm")
    assert demo(plain, mesh_unit="mm", depth_scale=0.0001) == 0
    assert demo(plain, depth_scale=0.0001, debug_dir=plain.parent / "other") == 0
    (plain / "cam_K.txt").write_text(json.dumps({"K": K.tolist(), "depth_scale": 0.001}))  # as many tools write it
    with pytest.raises(MeshError, match=r"--mesh_unit mm --depth_scale 0\.0001 if"):
        demo(plain)
    (plain / "cam_K.txt").write_text(json.dumps({"cam_K": K.ravel().tolist(), "depth_scale": 0.1}))
    assert open_scene(plain).depth_scale_stated
    assert demo(plain, debug_dir=plain.parent / "third") == 0


def test_missing_depth_of_65535_is_missing_in_each_frame(plain: Path) -> None:
    _, depth, mask = draw()
    write_image(plain / "depth" / "0.png", np.where(mask, np.round(depth * 1000), 65535).astype(np.uint16))
    frame = open_scene(plain)[0]
    assert (frame.depth[~mask] == 0).all()
    np.testing.assert_allclose(frame.depth[mask], depth[mask], atol=6e-4)
