"""Random surface textures for training objects, walls and tables: no picture is read from anywhere.

Every painter is a function of (rng, height, width, palette) and returns (height, width, 3) float32 in 0..1. Fields made
through the FFT are periodic, so a texture that is wrapped around a bottle has no seam in its noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

PLAIN_SHARE = 0.12
"""Share of textures that are one flat colour, so that networks also learn to work from shape alone."""

_SYLLABLE_LIST = "ba ce di fo gu ha jo ka li mo nu pa que ri so tu va wex yo zen tra blo cri sta plu nor mel tin gar"
_SYLLABLES = _SYLLABLE_LIST.split()


def make_texture(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """One random square texture, (size, size, 3) uint8 RGB."""
    return paint_texture(rng, size, size, choose_kind(rng), make_palette(rng))


def make_textures(n: int, seed: int, size: int = 256) -> np.ndarray:
    """`n` textures for backgrounds, (n, size, size, 3) uint8 RGB. Texture i depends on (seed, i) alone."""
    textures = np.empty((n, size, size, 3), np.uint8)
    for i in range(n):
        textures[i] = make_texture(np.random.default_rng([seed, i]), size)
    return textures


def choose_kind(rng: np.random.Generator) -> str:
    """Name of a painter, "plain" in PLAIN_SHARE of the cases."""
    if rng.random() < PLAIN_SHARE:
        return "plain"
    names, weights = zip(*((k, w) for k, (_, w) in PAINTERS.items() if w > 0), strict=True)
    return str(rng.choice(names, p=np.array(weights) / np.sum(weights)))


def paint_texture(rng: np.random.Generator, height: int, width: int, kind: str, palette: np.ndarray) -> np.ndarray:
    """A texture of the given kind, (height, width, 3) uint8 RGB, with some dirt over it unless it is plain."""
    picture = PAINTERS[kind][0](rng, height, width, palette)
    if kind != "plain":
        if rng.random() < 0.4:
            picture = picture * (1.0 + rng.uniform(0.05, 0.2) * fractal_noise(rng, height, width, 2.0))[..., None]
        if rng.random() < 0.5:
            picture = picture + rng.normal(0, rng.uniform(0.003, 0.02), (height, width, 1))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def make_palette(rng: np.random.Generator, colours: int = 6) -> np.ndarray:
    """(colours, 3) RGB in 0..1 that go together; the first is the ground, the others stand on it."""
    style = rng.choice(["vivid", "pastel", "earth", "grey", "white_ground", "dark_ground", "two_hues"])
    hue = rng.random(colours)
    saturation, value = rng.uniform(0.55, 1.0, colours), rng.uniform(0.4, 1.0, colours)
    if style == "pastel":
        saturation, value = rng.uniform(0.1, 0.4, colours), rng.uniform(0.7, 1.0, colours)
    elif style == "earth":
        hue, saturation = rng.normal(0.09, 0.04, colours) % 1.0, rng.uniform(0.2, 0.8, colours)
        value = rng.uniform(0.15, 0.85, colours)
    elif style == "grey":
        saturation, value = rng.uniform(0.0, 0.12, colours), rng.uniform(0.05, 1.0, colours)
    elif style == "two_hues":
        hue = np.where(rng.random(colours) < 0.5, hue[0], hue[-1])
    if style == "white_ground":
        saturation[0], value[0] = rng.uniform(0.0, 0.08), rng.uniform(0.85, 1.0)
    elif style == "dark_ground":
        value[0] = rng.uniform(0.02, 0.2)
    if rng.random() < 0.5:  # black and white occur on most things that carry print
        value[-1], saturation[-1] = rng.choice([0.04, 0.97]), 0.02
    return hsv_to_rgb(hue, saturation, value)


def hsv_to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    sector = (np.array([5.0, 3.0, 1.0]) + hue[:, None] * 6.0) % 6.0
    return value[:, None] * (1.0 - saturation[:, None] * np.clip(np.minimum(sector, 4.0 - sector), 0, 1))


def fractal_noise(rng: np.random.Generator, height: int, width: int, power: float, stretch: float = 1.0) -> np.ndarray:
    """(height, width) periodic noise of amplitude 1 / frequency**power; unit deviation, clipped to +-2.5."""
    fy = np.fft.fftfreq(height)[:, None] * height * stretch
    fx = np.fft.rfftfreq(width)[None, :] * width
    radius = np.sqrt(fy**2 + fx**2)
    radius[0, 0] = np.inf
    phase = rng.random(radius.shape) * 2 * np.pi
    field = np.fft.irfft2(np.exp(1j * phase) * np.maximum(radius, 1.0) ** -power, s=(height, width))
    return np.clip(field / (field.std() + 1e-12), -2.5, 2.5)


def colour_ramp(field: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colour of a scalar field in 0..1 along the palette, (..., 3)."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(field, stops, palette[:, c]) for c in range(3)], axis=-1)


def rgb_of(colour: np.ndarray) -> tuple[int, int, int]:
    return tuple(int(c) for c in np.clip(colour * 255, 0, 255))  # type: ignore[return-value]


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def random_word(rng: np.random.Generator) -> str:
    word = "".join(rng.choice(_SYLLABLES, rng.integers(1, 4)))
    if rng.random() < 0.2:
        word = str(rng.integers(1, 9999))
    return [word.upper(), word.capitalize(), word][rng.integers(3)]


def _plain(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    return np.broadcast_to(palette[0], (height, width, 3))


def _near_uniform(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    smudge = rng.uniform(0.01, 0.08) * fractal_noise(rng, height, width, rng.uniform(0.8, 2.0))
    return palette[0] * (1.0 + smudge[..., None])


def _noise(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    field = 0.5 + 0.3 * fractal_noise(rng, height, width, rng.uniform(0.9, 2.2), rng.choice([1.0, 1.0, 0.2, 5.0]))
    if rng.random() < 0.3:  # hard edges, as of camouflage or a map
        field = np.round(field * rng.integers(2, 6)) / 4.0
    return colour_ramp(field, palette[: rng.integers(2, len(palette) + 1)])


def _blotches(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Correlated colour channels with the 1/f spectrum of photographs."""
    power = rng.uniform(1.0, 1.6)
    fields = np.stack([fractal_noise(rng, height, width, power) for _ in range(3)], axis=-1)
    strength = np.diag([0.22, 0.08, 0.05]) @ rng.normal(0, 1, (3, 3))
    strength[0] = 0.22 * rng.uniform(0.6, 1.2, 3)
    return 0.5 * palette[0] + 0.25 + fields @ strength


def _gradient(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    if rng.random() < 0.3:
        field = np.hypot(x - rng.random(), y - rng.random())
    else:
        angle = rng.uniform(0, 2 * np.pi)
        field = x * np.cos(angle) + y * np.sin(angle)
    field = (field - field.min()) / (np.ptp(field) + 1e-9)
    return colour_ramp(field, palette[: rng.integers(2, 5)])


def _stripes(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    phase = (x * np.cos(angle) + y * np.sin(angle)) * rng.choice([1, 2, 3, 4, 6, 8, 12])
    if rng.random() < 0.35:
        phase = phase + rng.uniform(0.05, 0.3) * fractal_noise(rng, height, width, 2.0)
    cuts = np.sort(rng.random(rng.integers(1, 5)))
    return palette[np.searchsorted(cuts, phase % 1.0) % len(palette)]


def _checks(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    count = int(rng.choice([3, 4, 6, 8, 12, 16]))
    pattern = rng.choice(["checks", "dots", "bricks", "grid", "random"])
    if pattern == "bricks":
        x = x + 0.5 / count * (np.floor(y * count * 2) % 2)
        y = y * 2
    column, row = np.floor(x * count).astype(int), np.floor(y * count).astype(int)
    inside_x, inside_y = x * count - column - 0.5, y * count - row - 0.5
    if pattern == "checks":
        index = (column + row) % 2
    elif pattern == "dots":
        index = (np.hypot(inside_x, inside_y) < rng.uniform(0.2, 0.45)).astype(int)
    elif pattern == "random":
        index = rng.integers(0, len(palette), (3 * count + 1, 3 * count + 1))[row, column]
    else:
        edge = 0.5 - rng.uniform(0.04, 0.2)
        index = ((np.abs(inside_x) > edge) | (np.abs(inside_y) > edge)).astype(int)
        index = np.where(index == 0, rng.integers(1, 3, (3 * count + 1, 3 * count + 1))[row, column], 0)
    return palette[index]


def _cells(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Voronoi cells: terrazzo, mosaic, cracked earth. Computed at half resolution, which keeps it under 20 ms."""
    seeds = rng.random((rng.integers(12, 160), 2)) * [height, width]
    y, x = np.mgrid[0:height:2, 0:width:2]
    distance, nearest = cKDTree(seeds).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    colours = palette[rng.integers(0, len(palette), len(seeds))][nearest[:, 0]]
    if rng.random() < 0.6:
        joint = (distance[:, 1] - distance[:, 0]) < rng.uniform(1.0, 6.0)
        colours = np.where(joint[:, None], palette[0] * 0.5, colours)
    colours = colours.reshape(*y.shape, 3)
    return np.repeat(np.repeat(colours, 2, axis=0), 2, axis=1)[:height, :width]


def _wood(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    light = np.array([0.75, 0.55, 0.35]) * rng.uniform(0.5, 1.2) + rng.normal(0, 0.03, 3)
    dark = light * rng.uniform(0.4, 0.75)
    warp = fractal_noise(rng, height, width, 2.2, stretch=4.0)
    y = np.linspace(0, 1, height)[:, None]
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (y * rng.uniform(3, 9) + rng.uniform(0.2, 0.7) * warp))
    grain = fractal_noise(rng, height, width, 0.7, stretch=0.04)
    mix = np.clip(0.75 * rings + 0.12 * grain, 0, 1)[..., None]
    picture = light * (1 - mix) + dark * mix
    if rng.random() < 0.4:  # planks
        row = np.arange(height) % max(height // int(rng.integers(2, 6)), 8)
        picture[row < 2] *= 0.45
    return (
        picture if rng.random() < 0.7 else picture.transpose(1, 0, 2)[:height, :width] if height == width else picture
    )


def _weave(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """Fabric, brushed metal, corrugation: fine regular structure on one or two colours."""
    y, x = np.mgrid[0:height, 0:width]
    pitch = rng.uniform(3.0, 12.0)
    threads = np.sin(2 * np.pi * x / pitch) * rng.choice([0.0, 1.0]) + np.sin(2 * np.pi * y / pitch)
    base = _stripes(rng, height, width, palette) if rng.random() < 0.4 else palette[0]
    return base * (1.0 + rng.uniform(0.05, 0.25) * threads[..., None])


def _shapes(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    picture = quiet_ground(rng, height, width, palette)
    draw = ImageDraw.Draw(picture)
    unit = np.sqrt(height * width)
    for _ in range(rng.integers(4, 40)):
        colour = rgb_of(palette[rng.integers(len(palette))])
        centre, radius = rng.random(2) * [width, height], unit * rng.uniform(0.02, 0.2)
        if rng.random() < 0.35:
            a, b = centre - radius * rng.uniform(0.4, 1, 2), centre + radius * rng.uniform(0.4, 1, 2)
            draw.ellipse([*a, *b], fill=colour if rng.random() < 0.7 else None, outline=colour, width=3)
        elif rng.random() < 0.75:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
            corners = centre + radius * rng.uniform(0.4, 1, (len(angles), 1)) * np.stack(
                [np.cos(angles), np.sin(angles)], -1
            )
            draw.polygon([tuple(c) for c in corners], fill=colour)
        else:
            ends = rng.random((rng.integers(2, 5), 2)) * [width, height]
            draw.line([tuple(e) for e in ends], fill=colour, width=int(rng.integers(1, 8)))
    return np.asarray(picture, np.float32) / 255


def quiet_ground(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> Image.Image:
    """A quiet ground for print: flat, graded or slightly mottled."""
    kind = rng.choice(["plain", "near_uniform", "gradient"], p=[0.6, 0.25, 0.15])
    if kind == "plain":
        return Image.new("RGB", (width, height), rgb_of(palette[0]))
    return Image.fromarray((np.clip(PAINTERS[kind][0](rng, height, width, palette), 0, 1) * 255).astype(np.uint8))


def write_text(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: float, colour: np.ndarray) -> None:
    # Sizes are rounded to a geometric series: a font object costs a millisecond, and the cache then serves all.
    draw.text(xy, text, fill=rgb_of(colour), font=_font(int(2 ** (np.round(np.log2(max(size, 6.0)) * 4) / 4))))


def _words(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    picture = quiet_ground(rng, height, width, palette)
    if rng.random() < 0.3:
        picture = picture.rotate(90, expand=True)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(3, 16)):
        size = min(height, width) * rng.uniform(0.05, 0.35)
        position = rng.uniform(-0.1, 0.85, 2) * picture.size
        write_text(draw, tuple(position), random_word(rng), size, palette[rng.integers(1, len(palette))])
    if picture.size != (width, height):
        picture = picture.rotate(-90, expand=True)
    return np.asarray(picture, np.float32) / 255


def _package(rng: np.random.Generator, height: int, width: int, palette: np.ndarray) -> np.ndarray:
    """A printed panel as on groceries: bands, a title, an emblem, lines of small print, a bar code."""
    if rng.random() < 0.2:
        ground = PAINTERS[str(rng.choice(["stripes", "checks", "blotches"]))][0](rng, height, width, palette)
        picture = Image.fromarray((np.clip(ground, 0, 1) * 255).astype(np.uint8))
    else:
        picture = quiet_ground(rng, height, width, palette)
    draw = ImageDraw.Draw(picture)
    ink = palette[1:]
    for _ in range(rng.integers(0, 4)):  # bands
        y, thickness = rng.random() * height, height * rng.uniform(0.03, 0.3)
        draw.rectangle([0, y, width, y + thickness], fill=rgb_of(ink[rng.integers(len(ink))]))
    if rng.random() < 0.7:  # emblem
        centre, radius = rng.uniform(0.25, 0.75, 2) * [width, height], min(width, height) * rng.uniform(0.12, 0.35)
        flat = rng.uniform(0.5, 1.0)
        draw.ellipse(
            [centre[0] - radius, centre[1] - radius * flat, centre[0] + radius, centre[1] + radius * flat],
            fill=rgb_of(ink[rng.integers(len(ink))]), outline=rgb_of(ink[rng.integers(len(ink))]), width=3,
        )  # fmt: skip
    title = min(width * 0.3, height * rng.uniform(0.12, 0.3))
    for _ in range(rng.integers(1, 3)):
        position = (width * rng.uniform(0.02, 0.3), height * rng.uniform(0.05, 0.7))
        write_text(draw, position, random_word(rng), title, ink[rng.integers(len(ink))])
    if rng.random() < 0.6:  # small print
        x, y, step = width * rng.uniform(0.05, 0.6), height * rng.uniform(0.4, 0.9), max(height * 0.045, 6)
        colour = ink[rng.integers(len(ink))]
        for line in range(rng.integers(2, 8)):
            write_text(draw, (x, y + line * step), f"{random_word(rng)} {random_word(rng)}", step, colour)
    if rng.random() < 0.3:  # bar code
        x, y, w, h = width * rng.random() * 0.7, height * rng.uniform(0.6, 0.85), width * 0.25, max(height * 0.12, 8)
        draw.rectangle([x, y, x + w, y + h], fill=(250, 250, 250))
        for bar in np.flatnonzero(rng.random(20) < 0.5):
            draw.rectangle([x + w * (bar + 2) / 24, y + 2, x + w * (bar + 2.7) / 24, y + h - 2], fill=(10, 10, 10))
    return np.asarray(picture, np.float32) / 255


Painter = Callable[[np.random.Generator, int, int, np.ndarray], np.ndarray]

PAINTERS: dict[str, tuple[Painter, float]] = {
    "plain": (_plain, 0.0),
    "near_uniform": (_near_uniform, 0.06),
    "noise": (_noise, 0.10),
    "blotches": (_blotches, 0.12),
    "gradient": (_gradient, 0.04),
    "stripes": (_stripes, 0.09),
    "checks": (_checks, 0.08),
    "cells": (_cells, 0.05),
    "wood": (_wood, 0.05),
    "weave": (_weave, 0.04),
    "shapes": (_shapes, 0.11),
    "words": (_words, 0.10),
    "package": (_package, 0.16),
}
"""Painter and relative weight of each kind; "plain" is drawn by PLAIN_SHARE instead."""
