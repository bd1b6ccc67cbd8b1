"""Image files as people have them: turned, with alpha, in palettes, lossy, of more bits, too large."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pose6d.errors import FrameError, SceneError
from pose6d.scenes.images import read_color, read_cut_out, read_depth, read_mask, read_orientation, read_size
from pose6d.scenes.layout import pair_frames

HEIGHT, WIDTH = 48, 64
OBJECT = np.zeros((HEIGHT, WIDTH), dtype=bool)
OBJECT[20:30, 25:40] = True
# Smooth, so that JPEG keeps it.
RGB = np.stack(np.meshgrid(np.linspace(20, 220, WIDTH), np.linspace(40, 200, HEIGHT)), -1)
RGB = np.dstack([RGB, np.full((HEIGHT, WIDTH), 90)]).astype(np.uint8)
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def with_alpha(color: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([color, alpha.astype(np.uint8) * 255]))


@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_are_turned_as_exif_says(tmp_path: Path, orientation: int) -> None:
    """TURNS holds what a camera held in another way would have stored of the same view."""
    stored, turn = Image.fromarray(RGB), TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path / "a.jpg", stored if turn is None else stored.transpose(turn), exif=exif, quality=95)
    assert read_size(file) == (HEIGHT, WIDTH)
    assert read_orientation(file) == orientation
    np.testing.assert_allclose(read_color(file).astype(int), RGB, atol=8)


def palette_with_white_first() -> Image.Image:
    image = Image.fromarray((~OBJECT).astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    return image


def palette_of_one_color(color: int) -> Image.Image:
    image = Image.fromarray(OBJECT.astype(np.uint8), mode="P")
    image.putpalette([color] * 6)
    return image


RED = np.where(OBJECT[..., None], np.array([200, 0, 0], np.uint8), np.uint8(0))
WHITE = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
MASKS: dict[str, tuple[str, Callable[[], Image.Image]]] = {
    "1 bit": (".png", lambda: Image.fromarray(OBJECT)),
    "values of 1": (".png", lambda: Image.fromarray(OBJECT.astype(np.uint8))),
    "16 bits": (".png", lambda: Image.fromarray(OBJECT.astype(np.uint16) * 300)),
    "float with NaN": (".tif", lambda: Image.fromarray(np.where(OBJECT, 1, np.nan).astype(np.float32))),
    "red": (".png", lambda: Image.fromarray(RED)),
    "palette": (".png", palette_with_white_first),
    "black palette": (".png", lambda: palette_of_one_color(0)),
    "white palette": (".png", lambda: palette_of_one_color(255)),
    "opaque": (".png", lambda: with_alpha(RED, np.ones_like(OBJECT))),
    "in alpha": (".png", lambda: with_alpha(WHITE, OBJECT)),
    "in alpha of black": (".png", lambda: with_alpha(0 * WHITE, OBJECT)),
    "grey, in alpha": (".png", lambda: with_alpha(WHITE, OBJECT).convert("LA")),
    "JPEG": (".jpg", lambda: Image.fromarray(OBJECT.astype(np.uint8) * 255)),
    "red JPEG": (".jpg", lambda: Image.fromarray(RED)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks(tmp_path: Path, kind: str) -> None:
    suffix, make = MASKS[kind]
    mask = read_mask(saved(tmp_path / f"mask{suffix}", make()))
    assert mask.dtype == bool
    # JPEG halves the resolution of colours, and blurs edges.
    assert (mask != OBJECT).sum() <= (60 if "JPEG" in kind else 0)


def test_a_full_mask_of_one_palette_color_is_full(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8), mode="P")
    image.putpalette([255] * 3)
    assert read_mask(saved(tmp_path / "mask.png", image)).all()


NUMBERED = OBJECT.astype(np.uint8) + OBJECT * (np.arange(WIDTH) > 32)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (NUMBERED, r"several values \(1, 2\)"),
        (NUMBERED.astype(np.uint16) * 1000, r"several values \(1000, 2000\)"),
        (np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[NUMBERED], "several colours .*0, 255, 0"),
    ],
)
def test_a_mask_that_numbers_objects_is_all_of_them_and_says_so(tmp_path: Path, image: np.ndarray, says: str) -> None:
    with pytest.warns(UserWarning, match=rf"mask\.png has {says}.*keep one"):
        mask = read_mask(saved(tmp_path / "mask.png", Image.fromarray(image)))
    np.testing.assert_array_equal(mask, OBJECT)


@pytest.mark.filterwarnings("error")
def test_soft_edges_number_nothing(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(cv2.resize(OBJECT.astype(np.uint8) * 255, None, fx=8, fy=8), (9, 9), 0)
    for image in (soft, np.dstack([soft] * 3)):
        assert read_mask(saved(tmp_path / "mask.png", Image.fromarray(image))).sum() >= 64 * OBJECT.sum()


def test_alpha_cuts_out_only_where_it_differs(tmp_path: Path) -> None:
    for alpha in (np.ones_like(OBJECT), np.zeros_like(OBJECT)):
        assert read_cut_out(saved(tmp_path / "a.png", with_alpha(RGB, alpha))) is None
    assert read_cut_out(saved(tmp_path / "a.png", Image.fromarray(RGB))) is None
    cut = saved(tmp_path / "a.png", with_alpha(RGB, OBJECT))
    np.testing.assert_array_equal(read_cut_out(cut), OBJECT)
    np.testing.assert_array_equal(read_color(cut), RGB)


def test_color_of_other_kinds(tmp_path: Path) -> None:
    cmyk = read_color(saved(tmp_path / "cmyk.jpg", Image.fromarray(RGB).convert("CMYK"), quality=95))
    np.testing.assert_allclose(cmyk.astype(int), RGB, atol=10)
    cv2.imwrite(str(tmp_path / "deep.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_color(tmp_path / "deep.png"), RGB)
    grey = RGB[..., 0]
    for name, image in (("grey", Image.fromarray(grey)), ("deep grey", Image.fromarray(grey.astype(np.uint16) * 257))):
        np.testing.assert_array_equal(read_color(saved(tmp_path / f"{name}.png", image)), np.dstack([grey] * 3))
    with pytest.raises(FrameError, match=r"float\.tif is no colour image.*mode F"):
        read_color(saved(tmp_path / "float.tif", Image.fromarray(grey.astype(np.float32))))


@pytest.mark.parametrize("scale", [0.001, 0.0001, 1.0])
def test_the_largest_value_of_16_bits_is_missing_depth(tmp_path: Path, scale: float) -> None:
    units = np.array([[0, 600, 65534, 65535]])
    for suffix, kind in ((".png", np.uint16), (".tif", np.uint16), (".tif", np.int32)):
        depth = read_depth(saved(tmp_path / f"d{suffix}", Image.fromarray(units.astype(kind))), scale)
        np.testing.assert_allclose(depth, scale * np.array([[0, 600, 65534, 0]]), rtol=1e-6)
        assert depth.dtype == np.float32


def test_what_is_no_measurement_in_floats_is_missing_depth(tmp_path: Path) -> None:
    values = np.array([[0.6, 0, np.nan, np.inf, -np.inf, -1, 65535, 65.535]], np.float32)
    depth = read_depth(saved(tmp_path / "d.tif", Image.fromarray(values)), 1.0)
    np.testing.assert_array_equal(depth, np.float32([[0.6, 0, 0, 0, 0, 0, 0, 0]]))


def test_pictures_beyond_the_limit_of_pillow_name_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path / "huge.png", Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for read in (read_size, read_color, read_mask, read_cut_out, lambda path: read_depth(path, 0.001)):
        with pytest.raises(FrameError, match=r"huge\.png is too large.*smaller by the same factor.*rows of K"):
            read(file)


def test_a_folder_without_images_lists_what_it_holds(tmp_path: Path) -> None:
    for folder in ("rgb", "depth"):
        (tmp_path / folder).mkdir()
    saved(tmp_path / "rgb" / "0.png", Image.fromarray(RGB))
    (tmp_path / "depth" / "0.jpg").write_bytes(b"")
    with pytest.raises(SceneError, match=r"depth holds none \(found: 0\.jpg\).*16 bits or more"):
        pair_frames(tmp_path / "rgb", tmp_path / "depth")
    with pytest.raises(SceneError, match=r"color does not exist \(.* holds depth/, rgb/\)"):
        pair_frames(tmp_path / "color", tmp_path / "depth")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".npy", ".tiff"])
def test_depth_in_floats(tmp_path: Path, suffix: str, dtype: type) -> None:
    metres = np.linspace(0.3, 2, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    metres[0, :3] = 0, np.nan, -1
    file = tmp_path / f"0{suffix}"
    if suffix == ".npy":
        np.save(file, metres[..., None])
    else:
        cv2.imwrite(str(file), metres)
    depth = read_depth(file, 1.0)
    np.testing.assert_allclose(depth[1:], metres[1:], rtol=1e-6)
    assert depth.dtype == np.float32 and not depth[0, :3].any()


def test_depth_as_integers_in_an_array_counts_in_the_recording_s_unit(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.full((HEIGHT, WIDTH), 800, np.uint16))
    assert np.all(read_depth(tmp_path / "0.npy", 0.001) == np.float32(0.8))


@pytest.mark.parametrize("content", [b"", b"no array", "object", "colour", "8 bits"])
def test_an_array_that_is_no_depth_is_named(tmp_path: Path, content: bytes | str) -> None:
    arrays = {"object": np.array([None]), "colour": RGB.astype(float), "8 bits": RGB[..., 0]}
    if isinstance(content, bytes):
        (tmp_path / "0.npy").write_bytes(content)
    else:
        np.save(tmp_path / "0.npy", arrays[content], allow_pickle=True)
    with pytest.raises(FrameError, match=r"0\.npy.*(numpy\.save|wanted)"):
        read_depth(tmp_path / "0.npy", 0.001)
    with pytest.raises(FrameError, match=r"gone\.npy is missing"):
        read_depth(tmp_path / "gone.npy", 0.001)


def test_arrays_beside_depth_images_are_left_alone(tmp_path: Path) -> None:
    for file in ("rgb/0.png", "depth/0.png"):
        (tmp_path / file).parent.mkdir()
        saved(tmp_path / file, Image.fromarray(RGB[..., 0].astype(np.uint16)))
    np.save(tmp_path / "depth" / "0.npy", RGB[..., 0])
    assert pair_frames(tmp_path / "rgb", tmp_path / "depth")[2]["0"].suffix == ".png"
    (tmp_path / "depth" / "0.png").unlink()
    assert pair_frames(tmp_path / "rgb", tmp_path / "depth")[2]["0"].suffix == ".npy"


def test_a_path_that_is_no_file_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.symlink(tmp_path / "gone.png", tmp_path / "nothing.png")
    os.symlink(tmp_path / "self.png", tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.png")
    says = {
        "folder": "is a folder, wanted a file",
        "nothing": "is a link to .*gone.png, which leads to no file: copy",
        "self": "is a link to .*self.png, which leads to no file",
        "pipe": "is no file but a pipe",
        "missing": "is missing",
    }
    for name, text in says.items():
        with pytest.raises(FrameError, match=f"{name}.png {text}"):
            read_color(tmp_path / f"{name}.png")
    os.symlink(tmp_path / "rgb", tmp_path / "rgb")
    with pytest.raises(SceneError, match=r"rgb does not exist \(it is a link to .*rgb, which leads nowhere"):
        pair_frames(tmp_path / "rgb", tmp_path / "depth")
