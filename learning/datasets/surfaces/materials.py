"""Surfaces beyond the plain textures: print, photographs, metal, fruit skin, and bodies with one telling mark.

The painters have the signature of those in textures. No picture is read from anywhere.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from learning.datasets.surfaces.textures import (
    PAINTERS,
    Painter,
    choose_kind,
    colour_ramp,
    fractal_noise,
    hsv_to_rgb,
    make_palette,
    paint_texture,
    quiet_ground,
    random_word,
    rgb_of,
    write_text,
)


def make_materials(n: int, seed: int, size: int = 256) -> np.ndarray:
    """`n` square surfaces, (n, size, size, 3) uint8 RGB. Surface i depends on (seed, i) alone."""
    surfaces = np.empty((n, size, size, 3), np.uint8)
    for i in range(n):
        rng = np.random.default_rng([seed, i, 0x3A7])
        surfaces[i] = paint_material(rng, size, size, choose_material(rng), material_palette(rng))
    return surfaces


def choose_material(rng: np.random.Generator) -> str:
    """Name of a painter of MATERIALS, or now and then of one of textures."""
    if rng.random() < 0.2:
        return choose_kind(rng)
    names = list(MATERIALS)
    weights = np.array([weight for _, weight in MATERIALS.values()])
    return str(rng.choice(names, p=weights / weights.sum()))


def paint_material(rng: np.random.Generator, height: int, width: int, kind: str, palette: np.ndarray) -> np.ndarray:
    """A surface of a kind of MATERIALS or PAINTERS, (height, width, 3) uint8 RGB."""
    if kind in PAINTERS:
        return paint_texture(rng, height, width, kind, palette)
    picture = MATERIALS[kind][0](rng, height, width, palette)
    if kind != "single_colour" and rng.random() < 0.4:
        picture = picture * (1.0 + rng.uniform(0.03, 0.12) * fractal_noise(rng, height, width, 2.0))[..., None]
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def material_palette(rng: np.random.Generator) -> np.ndarray:
    """(6, 3) RGB in 0..1 whose ground is often dark, nearly white or grey, as that of most manufactured things."""
    style = rng.choice(["any", "dark", "white", "grey", "plastic"], p=[0.4, 0.15, 0.15, 0.12, 0.18])
    palette = make_palette(rng)
    if style == "dark":
        palette[0] = rng.uniform(0.03, 0.16) * (1 + rng.normal(0, 0.12, 3))
    elif style == "white":
        palette[0] = rng.uniform(0.8, 0.98) * (1 - rng.uniform(0, 0.07, 3))
    elif style == "grey":
        palette[0] = rng.uniform(0.2, 0.75) * (1 + rng.normal(0, 0.02, 3))
    elif style == "plastic":
        palette[0] = one_colour(rng, (0.6, 1.0), (0.45, 1.0))
    return np.clip(palette, 0, 1)


def one_colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """(3,) RGB of any hue."""
    return hsv_to_rgb(rng.random(1), rng.uniform(*saturation, 1), rng.uniform(*value, 1))[0]


def metal_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) RGB of steel, aluminium, gunmetal, brass or copper."""
    tints = np.array([[1, 1, 1], [0.97, 1, 1.04], [1, 0.98, 0.95], [1.0, 0.82, 0.5], [1.0, 0.68, 0.52]])
    return np.clip(rng.choice(tints, p=[0.35, 0.25, 0.2, 0.12, 0.08]) * rng.uniform(0.2, 0.8), 0, 1)


def palette_on(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A palette with a given ground colour (3,)."""
    palette = make_palette(rng)
    palette[0] = np.clip(ground, 0, 1)
    return palette


def _single_colour(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    return np.broadcast_to(palette[0], (height, width, 3))


def _metal(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Brushed or cast grey with broad reflections along one direction and a few scratches."""
    colour = metal_colour(rng)
    v, u = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    t = u if rng.random() < 0.7 else v
    shine = 1 + rng.uniform(0.0, 0.35) * np.cos(2 * np.pi * (rng.integers(1, 4) * t + rng.random()))
    grain = fractal_noise(rng, height, width, rng.uniform(0.3, 1.5), rng.choice([0.05, 1.0, 10.0]))
    picture = colour * (shine * (1 + rng.uniform(0.01, 0.12) * grain))[..., None]
    if rng.random() < 0.3:
        image = _image(picture)
        draw = ImageDraw.Draw(image)
        for _ in range(rng.integers(3, 20)):
            ends = rng.random((2, 2)) * [width, height]
            draw.line([tuple(e) for e in ends], fill=rgb_of(colour * rng.choice([0.6, 1.5])), width=1)
        picture = np.asarray(image, np.float32) / 255
    return picture


def _photo(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Overlapping shaded shapes of all sizes, whose edges and spectrum are those of photographs.

    The dead leaves model of Lee, Mumford and Huang, Occlusion models for natural images (2001), section 3.
    """
    image = _image(colour_ramp(0.5 + 0.2 * fractal_noise(rng, height, width, 1.6), palette[:3]))
    draw = ImageDraw.Draw(image)
    unit = np.sqrt(height * width)
    count = int(rng.integers(40, 140))
    radii = np.sort(unit * 0.028 / np.sqrt(rng.uniform(0.004, 1.0, count)))[::-1]  # density ~ r^-3
    hues = palette[rng.integers(0, len(palette), count)] * rng.uniform(0.5, 1.2, (count, 1))
    for radius, colour, centre in zip(radii, hues, rng.random((count, 2)) * [width, height], strict=True):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 12 if rng.random() < 0.6 else 4))
        spoke = radius * rng.uniform(0.7, 1.1, (len(angle), 1)) * np.stack([np.cos(angle), np.sin(angle)], 1)
        draw.polygon([tuple(p) for p in centre + spoke], fill=rgb_of(colour))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 2.0)))
    light = 1 + 0.18 * fractal_noise(rng, height, width, 1.8) + 0.06 * fractal_noise(rng, height, width, 0.7)
    return np.asarray(image, np.float32) / 255 * light[..., None]


def _document(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Text all over, in several blocks of different sizes and inks."""
    image = quiet_ground(rng, height, width, palette)
    draw = ImageDraw.Draw(image)
    columns = int(rng.integers(1, 4)) if width > 60 else 1
    for column in range(columns):
        left, right = np.array([column + 0.06, column + 0.96]) * width / columns
        y = height * rng.uniform(0.0, 0.1)
        while y < height:
            ink = palette[rng.integers(1, len(palette))]
            size = max(6.0, min(height, width) * rng.choice([0.035, 0.05, 0.08, 0.16], p=[0.4, 0.3, 0.2, 0.1]))
            if rng.random() < 0.12:  # a coloured box behind the block, or a rule
                draw.rectangle([left, y, right, y + size * rng.uniform(0.2, 4)], fill=rgb_of(ink))
                ink = palette[0]
            for _ in range(rng.integers(1, 6)):
                words = int(np.clip((right - left) / (size * 2.6), 1, 8))
                write_text(draw, (left, y), " ".join(random_word(rng) for _ in range(words)), size, ink)
                y += size * 1.15
            y += size * rng.uniform(0.3, 1.2)
    return np.asarray(image, np.float32) / 255


def _label(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """A plain body with a printed label around it, or on one side."""
    picture = np.array(np.broadcast_to(palette[0], (height, width, 3)))
    top, bottom = rng.uniform(0.05, 0.4), rng.uniform(0.6, 0.97)
    left, right = (0.0, 1.0) if rng.random() < 0.6 else (rng.uniform(0.05, 0.3), rng.uniform(0.6, 0.95))
    r0, r1, c0, c1 = (int(x) for x in (top * height, bottom * height, left * width, right * width))
    own = make_palette(rng) if rng.random() < 0.6 else np.roll(palette, 1, axis=0)
    kind = str(rng.choice(["package", "label_print", "document", "logo"], p=[0.5, 0.25, 0.1, 0.15]))
    painter = {"label_print": _several_panels, "document": _document, "logo": _logo}.get(kind)
    h, w = max(r1 - r0, 12), max(c1 - c0, 12)
    print_ = painter(rng, h, w, own) if painter else PAINTERS["package"][0](rng, h, w, own)
    picture[r0:r1, c0:c1] = print_[: r1 - r0, : c1 - c0]
    return picture


def _several_panels(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Two or three panels beside each other, each with text, a photograph or a logo, over common stripes."""
    picture = np.array(PAINTERS["gradient"][0](rng, height, width, palette[:3]))
    edges = np.linspace(0, width, int(rng.integers(2, 4)) + 1).astype(int)
    for left, right in pairwise(edges):
        painter = [_document, _photo, _logo, PAINTERS["package"][0]][rng.integers(4)]
        pad = int(0.04 * height)
        h, w = height - 2 * pad, right - left - 2
        if h >= 12 and w >= 12:
            picture[pad : pad + h, left + 1 : left + 1 + w] = painter(rng, h, w, np.roll(palette, left % 5, 0))
    return picture


def _logo(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """A quiet ground with one or two emblems, each with a word."""
    image = quiet_ground(rng, height, width, palette)
    draw = ImageDraw.Draw(image)
    unit = min(height, width)
    for _ in range(rng.integers(1, 3)):
        centre, radius = rng.uniform(0.25, 0.75, 2) * [width, height], unit * rng.uniform(0.12, 0.38)
        first, second = palette[rng.permutation(len(palette) - 1)[:2] + 1]
        _emblem(rng, draw, centre, radius, first, second)
        if rng.random() < 0.7:
            size = radius * rng.uniform(0.4, 0.9)
            write_text(draw, (centre[0] - size * 1.2, centre[1] - size / 2), random_word(rng), size, palette[-1])
    return np.asarray(image, np.float32) / 255


def _emblem(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, first: np.ndarray,
    second: np.ndarray,
) -> None:  # fmt: skip
    """A shield, star, ring or crescent."""
    points = int(rng.integers(3, 9))
    turns = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False) + rng.uniform(0, 6)
    reach = np.where(np.arange(2 * points) % 2, rng.uniform(0.4, 1.0), 1.0)[:, None]
    star = centre + radius * reach * np.stack([np.cos(turns), np.sin(turns)], 1)
    disc = [*(centre - radius), *(centre + radius)]
    inner = [*(centre - 0.6 * radius), *(centre + 0.6 * radius)]
    shape = rng.integers(4)
    if shape == 0:
        draw.polygon([tuple(p) for p in star], fill=rgb_of(first))
    elif shape == 1:
        draw.ellipse(disc, fill=rgb_of(first))
        draw.polygon([tuple(p) for p in centre + 0.75 * (star - centre)], fill=rgb_of(second))
    elif shape == 2:
        draw.ellipse(disc, fill=rgb_of(first))
        draw.ellipse(inner, fill=rgb_of(second))
    else:
        draw.rectangle([disc[0], disc[1] + 0.4 * radius, disc[2], disc[3] - 0.4 * radius], fill=rgb_of(first))
        start, end = np.sort(rng.uniform(0, 360, 2))
        draw.pieslice(inner, start, end, fill=rgb_of(second))


def _striped_gradient(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """A gradient with a few stripes across or around, some of them fine."""
    picture = np.array(PAINTERS["gradient"][0](rng, height, width, palette))
    for _ in range(rng.integers(1, 6)):
        length, thick = (height, width)[flip := int(rng.random() < 0.3)], rng.uniform(0.01, 0.12)
        start = int(rng.random() * length)
        stop = start + max(2, int(thick * length))
        colour = palette[rng.integers(len(palette))]
        if flip:
            picture[:, start:stop] = colour
        else:
            picture[start:stop] = colour
    return picture


def _mark(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """One colour and a single small mark: all that tells one side of a round or square thing from another."""
    picture = np.array(np.broadcast_to(palette[0], (height, width, 3)))
    image = _image(picture)
    draw = ImageDraw.Draw(image)
    contrast = 1.0 - palette[0] if rng.random() < 0.4 else palette[rng.integers(1, len(palette))]
    centre = rng.uniform(0.2, 0.8, 2) * [width, height]
    reach = np.sqrt(height * width) * rng.uniform(0.05, 0.16)
    shape = rng.integers(4)
    if shape == 0:
        draw.ellipse([*(centre - reach), *(centre + reach)], fill=rgb_of(contrast))
    elif shape == 1:
        wide = reach * rng.uniform(0.5, 2.0, 2)
        draw.rectangle([*(centre - wide), *(centre + wide)], fill=rgb_of(contrast))
    elif shape == 2:
        _emblem(rng, draw, centre, reach, contrast, palette[-1])
    else:
        write_text(draw, (centre[0] - reach, centre[1]), random_word(rng), 1.6 * reach, contrast)
    return np.asarray(image, np.float32) / 255


def _peel(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Skin of fruit: a blush over the ground colour, along and around, with pores and bruises."""
    v, u = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    blush = 0.5 + 0.4 * np.sin(2 * np.pi * (u + rng.random())) * rng.random() + (v - 0.5) * rng.uniform(-0.8, 0.8)
    blush = np.clip(blush + 0.2 * fractal_noise(rng, height, width, 1.4, rng.choice([0.3, 1.0, 3.0])), 0, 1)
    picture = colour_ramp(blush, palette[:2])
    pores = fractal_noise(rng, height, width, 0.2) > rng.uniform(1.6, 2.6)
    picture[pores] *= rng.choice([0.7, 1.3])
    bruise = np.clip(fractal_noise(rng, height, width, 2.0) - rng.uniform(1.2, 2.4), 0, 1)
    return picture * (1 - 0.8 * bruise[..., None])


def _skin(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Human skin: mottled between two near tones, with creases across."""
    mottle = 0.35 + 0.2 * fractal_noise(rng, height, width, 1.3)
    creases = 1 - 0.06 * np.clip(fractal_noise(rng, height, width, 1.0, 0.15), 0, 2.5)
    return colour_ramp(np.clip(mottle, 0, 1), palette[:2]) * creases[..., None]


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))


MATERIALS: dict[str, tuple[Painter, float]] = {
    "single_colour": (_single_colour, 0.20),
    "metal": (_metal, 0.12),
    "photo": (_photo, 0.14),
    "document": (_document, 0.10),
    "label": (_label, 0.14),
    "panels": (_several_panels, 0.06),
    "logo": (_logo, 0.10),
    "striped_gradient": (_striped_gradient, 0.07),
    "mark": (_mark, 0.05),
    "peel": (_peel, 0.03),
    "skin": (_skin, 0.0),
}
"""Painter and relative weight of each kind."""
