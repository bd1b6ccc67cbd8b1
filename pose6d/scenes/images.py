"""Image files of recordings: strict readers (a truncated file is an error, never a half-black image) and writers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pose6d.errors import FrameError, OutputError, SceneError, shorten, why_no_file
from pose6d.geometry.depth import is_measured
from pose6d.whole_file import whole_file, write_whole

COLOR_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
DEPTH_SUFFIXES = (".png", ".tif", ".tiff")
ARRAY_SUFFIXES = (".npy",)

_LEAST_SHARE, _MOST_VALUES = 0.02, 64  # of the mask, of a value that stands for something; and how many such there are


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which 2 comes before 10: digits compare as numbers."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts)


def list_images(folder: Path, suffixes: tuple[str, ...] = COLOR_SUFFIXES) -> dict[str, Path]:
    """Images of a folder by stem, in natural order; {} if there is no such folder. Hidden files are skipped.

    Raises:
        SceneError: two images share a stem, so that it is unclear which one is the frame.
    """
    if not folder.is_dir():
        return {}
    files = [f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith(".")]
    images: dict[str, Path] = {}
    for file in sorted(files, key=lambda f: natural_key(f.name)):
        if file.stem in images:
            raise SceneError(f"{folder} holds both {images[file.stem].name} and {file.name}: keep one image per frame")
        images[file.stem] = file
    return images


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as it is read, that is, turned as its EXIF data say, from its header only."""
    with _open_image(path) as image:
        sideways = read_orientation(image) >= 5
        return (image.width, image.height) if sideways else (image.height, image.width)


def read_orientation(image: Path | Image.Image) -> int:
    """EXIF's orientation of an image: 1 is upright, 5 to 8 exchange width and height."""
    if isinstance(image, Path):
        with _open_image(image) as opened:
            return read_orientation(opened)
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def read_color(path: Path) -> np.ndarray:
    """Read a colour or grey image as (H, W, 3) uint8 RGB; an alpha channel is dropped."""
    image = _load(path)
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.uint16)
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("F", "LAB", "HSV"):
        raise FrameError(f"{path} is no colour image: its pixels are of mode {image.mode}, wanted 8 or 16 bits of RGB")
    return np.array(image.convert("RGB"))


def read_depth(path: Path, scale: float) -> np.ndarray:
    """Read a depth image as (H, W) float32 metres, 0 where nothing was measured.

    Missing are 0, negative values, NaN, infinity, and the largest value of 16 bits or of the file's type.

    Args:
        path: a single-channel image of 16 or more bits, a floating-point TIFF, or a numpy array (.npy).
        scale: metres per unit of the file, 0.001 for millimetres.
    """
    values = _load_array(path) if path.suffix.lower() == ".npy" else _load_depth_image(path)
    if values.ndim != 2 or values.dtype == np.uint8 or values.dtype == bool:
        channels = 1 if values.ndim == 2 else values.shape[2]
        raise FrameError(
            f"{path} is no depth image: it has {channels} channel(s) of {values.dtype}, wanted one of 16 bits "
            "(a coloured or 8-bit picture of the depth has lost the distances)"
        )
    return depth_in_metres(values, scale)


def depth_in_metres(values: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) float32 metres of depth as a camera or a file counts it; what is missing (see `read_depth`) is 0.

    Args:
        values: (H, W) integers or floating-point numbers.
        scale: metres per unit.
    """
    if values.dtype.kind in "iu":
        missing = (values == np.iinfo(np.uint16).max) | (values == np.iinfo(values.dtype).max) | (values < 0)
    else:
        missing = ~is_measured(values)
    metres = values.astype(np.float32) * np.float32(scale)
    metres[missing] = 0
    return metres


def depth_in_units(depth: np.ndarray, unit: float) -> np.ndarray:
    """(H, W) metres as uint16 of `unit` metres, the reverse of `depth_in_metres`; 0 where 16 bits cannot hold it."""
    units = np.rint(depth / np.float32(unit))
    return np.where(units < np.iinfo(np.uint16).max, units, 0).astype(np.uint16)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as (H, W) bool: true where any channel is not 0.

    An alpha channel counts alone if it is not the same everywhere, and else not at all. Of a JPEG, whose compression
    leaves traces beside edges, what is brighter than half of the brightest pixel counts.

    Warns:
        UserWarning: it has several values or colours, as if it numbered objects.
    """
    image = _load(path)
    alpha, lossy = _cut_out(image), image.format in ("JPEG", "MPO")
    if alpha is not None:
        return alpha
    numbers = np.asarray(image) if image.mode == "P" else None
    if image.mode not in ("1", "L", "F") and not image.mode.startswith("I"):
        image = image.convert("RGB")  # drops alpha, and looks colours of a palette up
    colors = values = np.asarray(image)
    if values.ndim == 3:
        values = values.max(axis=2)
    if numbers is not None and numbers.any() and (values.all() or not values.any()):  # colours that do not tell
        colors = values = numbers
    mask = values > (values.max() / 2 if lossy else 0)
    if not lossy and (several := _several(colors[mask])):
        warnings.warn(
            f"{path} has several {'values' if colors.ndim == 2 else 'colours'} ({shorten(several)}), and all but 0 "
            "count as the object: if they stand for several things, keep one of them",
            stacklevel=2,
        )
    return mask


def _several(values: np.ndarray) -> list[str]:
    """The values (N,) or colours (N, 3) of a mask, if they are few enough, and often enough there, to mean something.

    Soft edges have many, of which none is frequent.
    """
    if not len(values) or (values == values[:1]).all():
        return []
    found, counts = np.unique(values, axis=0, return_counts=True)
    often = found[counts >= _LEAST_SHARE * len(values)]
    meant = 2 <= len(often) <= _MOST_VALUES and counts[counts >= _LEAST_SHARE * len(values)].sum() > 0.95 * len(values)
    return [str(value.tolist()) for value in often] if meant else []


def read_cut_out(path: Path) -> np.ndarray | None:
    """The object (H, W) bool in a colour image whose alpha channel cuts it out; None where it has none that does."""
    with _open_image(path) as image:
        if not image.has_transparency_data:
            return None
    return _cut_out(_load(path))


def _cut_out(image: Image.Image) -> np.ndarray | None:
    if not image.has_transparency_data:
        return None
    opaque = np.asarray(image.convert("RGBA").getchannel("A")) > 127
    return None if opaque.all() or not opaque.any() else opaque


def read_label(path: Path) -> np.ndarray:
    """Read an image of object numbers as (H, W) integers."""
    values = np.asarray(_load(path))
    if values.ndim != 2:
        raise FrameError(f"{path} is no label image: it has {values.shape[2]} channels, wanted one of object numbers")
    return values


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB, (H, W) uint8 or uint16, or (H, W) bool (as 0 and 255)."""
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    with whole_file(path) as partial:
        Image.fromarray(np.ascontiguousarray(image)).save(partial)


def write_picture(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB, (H, W) uint8 or uint16 as a .jpg or .png beside a running camera.

    OpenCV's PNG encoder takes 5 ms for a depth image where Pillow's takes 100.
    """
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    encoded, data = cv2.imencode(path.suffix, image, options)
    if not encoded:
        raise OutputError(f"{path} cannot be encoded as {path.suffix}")
    write_whole(path, data.tobytes())


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write (H, W) metres as a 16-bit PNG in millimetres; beyond 65.535 m is written as 0 (missing)."""
    millimetres = np.round(depth.astype(np.float64) * 1000)
    write_image(path, np.where(millimetres > np.iinfo(np.uint16).max, 0, millimetres).astype(np.uint16))


def _load_array(path: Path) -> np.ndarray:
    """The numbers (H, W) of a .npy file; (H, W, 1) and (1, H, W) count as that."""
    if not path.is_file():
        raise FrameError(f"{path} {why_no_file(path)}")
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # numpy's own message would suggest to load the file unsafely
        raise FrameError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as a numpy array ({type(error).__name__}): save it "
            "again by numpy.save, as (height, width) numbers"
        ) from error
    values = values.reshape([length for length in values.shape if length != 1])
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise FrameError(f"{path} is no depth image: {values.dtype} of shape {values.shape}, wanted (H, W) numbers")
    return values


def _load_depth_image(path: Path) -> np.ndarray:
    try:
        return np.asarray(_load(path))
    except FrameError:
        if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
            raise
        data = np.fromfile(path, dtype=np.uint8)
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if values is None or values.dtype != np.float64:  # 64 bits, which Pillow does not know
            raise
        return values


def _load(path: Path) -> Image.Image:
    """The image, turned as its EXIF data say."""
    with _open_image(path) as image:
        image.load()
        turned = ImageOps.exif_transpose(image)
        turned.format = image.format  # of the file
        return turned


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """The image with its header read; what cannot be decoded of it inside is a FrameError as well."""
    if not path.is_file():
        raise FrameError(f"{path} {why_no_file(path)}")
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, ValueError) as error:
        raise _decode_error(path, error) from error
    except Image.DecompressionBombError as error:
        raise FrameError(
            f"{path} is too large to be a picture of a depth camera: {error}; make colour, depth and masks smaller by "
            "the same factor, and the first two rows of K with them"
        ) from error


def _decode_error(path: Path, error: Exception) -> FrameError:
    size = path.stat().st_size
    cause = "it is truncated or damaged, copy or record it again"
    if isinstance(error, UnidentifiedImageError):
        cause = "it is empty" if size == 0 else "it is not an image, or damaged at its beginning"
    return FrameError(f"{path} ({size} bytes) cannot be decoded: {error}; {cause}")
