"""What a mesh file needs besides its triangles: its text, the files it names, and images as textures."""

from __future__ import annotations

import io
import math
import os
import threading
import unicodedata
import warnings
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image, UnidentifiedImageError

from pose6d.errors import MeshError

# Pillow refuses images of twice as many pixels, for fear of files made to fill the memory.
_MOST_TEXELS = 89_478_485
_MOST_PIXELS = 2**30  # of an image that is scaled down to them; more would fill the memory indeed
_STRIP = 2**24  # pixels that are scaled down at once: all would need four bytes each
_PILLOW_LIMIT = threading.Lock()  # the limit is Pillow's only, for all threads


class SideFiles:
    """Finds and reads the files that a mesh names, and warns of those it cannot.

    Exporters write absolute paths of their own machine, backslashes and another case; the file itself usually lies
    beside the mesh, or beside the material that names it.

    Attributes:
        mesh: the mesh file.
        lost: whether a file was missing or could not be read.
    """

    def __init__(self, mesh: Path):
        self.mesh = mesh
        self.lost = False
        self._images: dict[Path, np.ndarray | None] = {}
        self._missing: set[str] = set()

    def find(self, name: str, *folders: Path) -> Path | None:
        """The file of that name in the first of the folders, or beside the mesh; the end of its path may have to do.

        A URL's name may have %20 for a blank; a link to the mesh may lie in another folder than the mesh itself.
        """
        plain, names = name.strip().replace("\\", "/"), []
        for spelling in dict.fromkeys((plain, unquote(plain))):
            steps = [step for step in spelling.split("/") if step]
            names += [spelling, *("/".join(steps[i:]) for i in range(1, len(steps)))]
        for folder in dict.fromkeys((*folders, self.mesh.parent, Path(os.path.realpath(self.mesh)).parent)):
            for candidate in filter(None, names):
                found = _file_of_any_case(folder, candidate)
                if found is not None:
                    return found
        return None

    def image(self, name: str, *folders: Path) -> np.ndarray | None:
        """(H, W, 3) uint8 of an image file, the same array each time; None with a warning if it cannot be had."""
        found = self.find(name, *folders)
        if found is None:
            self.warn_of_missing(name, "texture", *folders)
            return None
        if found not in self._images:
            self._images[found] = self.decode(found.read_bytes(), f"texture file {found}")
        return self._images[found]

    def decode(self, data: bytes, what: str) -> np.ndarray | None:
        """(H, W, 3) uint8 of an image file's content; None with a warning if it cannot be read."""
        try:
            return _read_image(data, f"mesh {self.mesh}: its {what}")
        except Warning:  # where warnings are errors
            raise
        except Exception as error:  # Pillow raises many types: OSError, SyntaxError, struct.error, ...
            cure = "make it smaller" if isinstance(error, MeshError) else "save the image again as PNG or JPEG"
            why = "it is no image" if isinstance(error, UnidentifiedImageError) else error
            self.warn(f"its {what} cannot be read ({why}), so the mesh is drawn without it: {cure}")
            self.lost = True
            return None

    def warn_of_missing(self, name: str, kind: str, *folders: Path) -> None:
        """Say once that a file is not there, and where it was looked for."""
        self.lost = True
        if name in self._missing:
            return
        self._missing.add(name)
        self.warn(
            f"its {kind} file {name!r} is missing, so the mesh is drawn without it: put the file into "
            f"{(*folders, self.mesh.parent)[0]}, or export the mesh again with its textures"
        )

    def warn(self, text: str) -> None:
        """A warning that names the mesh."""
        warnings.warn(f"mesh {self.mesh}: {text}", stacklevel=2)


def _file_of_any_case(folder: Path, name: str) -> Path | None:
    """The file that a path names from a folder, even where case or the encoding of accents differ."""
    here = folder / name
    try:
        if here.is_file():
            return here
        here = folder
        for step in name.split("/"):
            if step in ("", ".", ".."):
                here = here / step
                continue
            here = next(entry for entry in sorted(here.iterdir()) if _fold_name(entry.name) == _fold_name(step))
        return here if here.is_file() else None
    except (OSError, ValueError, StopIteration):  # also names that no file can have
        return None


def _fold_name(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _read_image(data: bytes, what: str) -> np.ndarray:
    """(H, W, 3) uint8, scaled down with a warning if it has more than 89 million pixels."""
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    width, height = image.size
    if width * height <= _MOST_TEXELS:
        return rgb_pixels(image)
    if width * height > _MOST_PIXELS:
        raise MeshError(f"{width} x {height} pixels, wanted at most {_MOST_PIXELS}")
    factor = math.ceil(math.sqrt(width * height / _MOST_TEXELS))
    image.draft("RGB", (width // factor, height // factor))  # a JPEG is decoded at that size or somewhat above
    step = max(1, round(factor * image.size[0] / width))
    rows = max(1, _STRIP // image.size[0] // step) * step
    tops = range(0, image.size[1], rows)
    strips = (image.crop((0, top, image.size[0], min(top + rows, image.size[1]))) for top in tops)
    pixels = np.concatenate([np.asarray(Image.fromarray(rgb_pixels(strip)).reduce(step)) for strip in strips])
    warnings.warn(
        f"{what} has {width} x {height} pixels and is scaled down to {pixels.shape[1]} x {pixels.shape[0]}: "
        "save a smaller one to load faster",
        stacklevel=2,
    )
    return pixels


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of an image of any mode."""
    if image.mode == "F":  # Pillow would clip it
        raise ValueError("floating-point pixels, wanted 8 bits of RGB")
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        return np.repeat((np.asarray(image) // 257).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def text_lines(data: bytes, path: Path) -> list[bytes]:
    """The lines of a text file as UTF-8 or an 8-bit encoding, without the byte-order mark and blanks at both ends; a
    backslash at the end of a line continues it.

    Raises:
        MeshError: it is not text.
    """
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            data = data.decode("utf-16").encode()
        elif b"\0" in data[:64]:
            data = data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be").encode()
    except UnicodeDecodeError as error:
        raise MeshError(f"{path} is not text: it is damaged, or not really {path.suffix}; export it again") from error
    if b"\\\n" in data or b"\\\r" in data:
        data = data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").replace(b"\\\r", b" ")
    return [line.strip() for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]


def name_of(text: bytes) -> str:
    """A name as its writer meant it: UTF-8, or Latin-1 where it cannot be that; quotes around it are left out."""
    try:
        name = text.decode().strip()
    except UnicodeDecodeError:
        name = text.decode("latin-1").strip()
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] == '"' and name.count('"') == 2 else name
