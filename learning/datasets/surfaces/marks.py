"""Marks on a surface: prints, stickers, dots and lines, of a stated place, size and contrast.

The painters of textures and materials choose where things are by themselves; a mark is where its maker wants it, so
that it can be the one thing that tells two sides of an object apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from learning.datasets.surfaces.textures import random_word

_FINER = 3  # marks are drawn so many times finer, which smooths their edges
_FONT_SIZE = 40  # of which all text is scaled


@dataclass(frozen=True)
class Mark:
    """One mark on a chart.

    Attributes:
        kind: of MARKS.
        centre: (u, v) in the chart, 0..1, v up.
        size: width and height as the mark reads, in square roots of the chart's area.
        colour: RGB in 0..1.
        opacity: 1 hides the ground, 0 is no mark: the contrast.
        turned: the mark reads along v rather than along u.
        seed: decides the words and shapes, so that two marks may be alike.
    """

    kind: str
    centre: tuple[float, float]
    size: tuple[float, float]
    colour: tuple[float, float, float]
    opacity: float = 1.0
    turned: bool = False
    seed: int = 0


def draw_mark(picture: np.ndarray, mark: Mark) -> np.ndarray:
    """The picture (H, W, 3) uint8, whose pixels are square on the surface, with the mark on it.

    What lies outside of the picture is cut off.
    """
    height, width = picture.shape[:2]
    unit = _FINER * np.sqrt(height * width)
    size = (max(_FINER, round(mark.size[0] * unit)), max(_FINER, round(mark.size[1] * unit)))
    shape = MARKS[mark.kind](np.random.default_rng([mark.seed, 0x3A]), *size)
    if mark.turned:
        shape = shape.transpose(Image.Transpose.ROTATE_90)
    left = round(mark.centre[0] * _FINER * width - shape.width / 2)
    top = round((1 - mark.centre[1]) * _FINER * height - shape.height / 2)
    x0, y0 = max(0, left // _FINER), max(0, top // _FINER)
    x1, y1 = min(width, -(-(left + shape.width) // _FINER)), min(height, -(-(top + shape.height) // _FINER))
    if x1 <= x0 or y1 <= y0:
        return picture
    mask = Image.new("L", (_FINER * (x1 - x0), _FINER * (y1 - y0)))
    mask.paste(shape, (left - _FINER * x0, top - _FINER * y0))
    alpha = np.asarray(mask.resize((x1 - x0, y1 - y0), Image.Resampling.BOX), np.float32)[..., None] / 255
    painted = picture.copy()
    ground = picture[y0:y1, x0:x1]
    colour = 255 * np.asarray(mark.colour, np.float32)
    painted[y0:y1, x0:x1] = ground + mark.opacity * alpha * (colour - ground) + 0.5
    return painted


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (width, height))
    return image, ImageDraw.Draw(image)


def _disc(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image, draw = _canvas(width, height)
    draw.ellipse((0, 0, width - 1, height - 1), fill=255)
    return image


def _ring(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image, draw = _canvas(width, height)
    draw.ellipse((0, 0, width - 1, height - 1), outline=255, width=max(1, round(0.2 * min(width, height))))
    return image


def _patch(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    return Image.new("L", (width, height), 255)


def _frame(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image, draw = _canvas(width, height)
    draw.rectangle((0, 0, width - 1, height - 1), outline=255, width=max(1, round(0.15 * min(width, height))))
    return image


def _cross(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image, draw = _canvas(width, height)
    draw.rectangle((0.36 * width, 0, 0.64 * width, height), fill=255)
    draw.rectangle((0, 0.36 * height, width, 0.64 * height), fill=255)
    return image


def _star(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A star or, with few points, an arrow-like emblem."""
    image, draw = _canvas(width, height)
    points = int(rng.integers(3, 8))
    angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False) - np.pi / 2
    reach = np.where(np.arange(2 * points) % 2, rng.uniform(0.3, 0.8), 1.0)
    spokes = 0.5 + 0.5 * reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    draw.polygon([tuple(p) for p in spokes * [width, height]], fill=255)
    return image


def _text(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """One word that fills the mark."""
    font, word = ImageFont.load_default(size=_FONT_SIZE), random_word(rng)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(word))
    image, draw = _canvas(max(1, right - left), max(1, bottom - top))
    draw.text((-left, -top), word, fill=255, font=font)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _print(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A word above lines of small print."""
    image, draw = _canvas(width, height)
    title = max(1, round(height * rng.uniform(0.3, 0.6)))
    image.paste(_text(rng, max(1, round(width * rng.uniform(0.5, 1.0))), title), (0, 0))
    lines = int(rng.integers(1, 5))
    pitch = (height - title) / lines
    for line in range(lines):
        y = title + (line + 0.4) * pitch
        draw.rectangle((0, y, width * rng.uniform(0.3, 1.0), y + 0.4 * pitch), fill=255)
    return image


def _barcode(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image, draw = _canvas(width, height)
    edges = np.sort(rng.uniform(0, width, 24))
    for left, right in edges.reshape(-1, 2):
        draw.rectangle((left, 0, right, height), fill=255)
    return image


MARKS: dict[str, Callable[[np.random.Generator, int, int], Image.Image]] = {
    "disc": _disc, "ring": _ring, "patch": _patch, "frame": _frame, "cross": _cross, "star": _star, "text": _text,
    "print": _print, "barcode": _barcode,
}  # fmt: skip
"""What draws each kind: (generator, width, height) to an image of opacities."""
