"""What tells the sides of a nearly symmetric body apart: prints, stickers, screws, dents, of any size and contrast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from learning.datasets.objects.lofts import cylinder, turn
from learning.datasets.objects.shapes import Chart, Shape, box
from learning.datasets.surfaces.marks import Mark
from learning.datasets.surfaces.materials import material_palette, metal_colour, one_colour, palette_on

_UNMARKED = 0.1  # share of charts chosen for a mark that get none
_FAINTEST, _SMALLEST, _LARGEST = 0.06, 0.05, 0.7  # opacity; square roots of the chart's area
_PRINTS = ("text", "print", "barcode")
_EMBLEMS = ("disc", "ring", "patch", "frame", "cross", "star")


def with_look(rng: np.random.Generator, part: Shape) -> Shape:
    """One colour or material all over, with nothing on it."""
    style = rng.choice(["single_colour", "near_uniform", "wood", "metal", "noise"], p=[0.5, 0.2, 0.12, 0.08, 0.1])
    palette = material_palette(rng)
    if style == "wood":
        palette = palette_on(rng, np.array([0.75, 0.55, 0.35]) * rng.uniform(0.5, 1.25))
    if style in ("wood", "noise"):  # two near tones
        palette[1:] = palette[0] * (1 + rng.uniform(0.05, 0.25) * rng.choice([-1, 1]))
        return part.with_paint("noise", np.clip(palette, 0, 1))
    return part.with_paint(str(style), palette)


def tell_apart(rng: np.random.Generator, body: Shape, bump: float = 0.25) -> list[Shape]:
    """The body with marks on one or two charts, print that repeats, or, with probability `bump`, something on it."""
    ground = ground_color(body)
    if rng.random() < bump:
        return _with_bump(rng, body)
    sides = [i for i, chart in enumerate(body.charts) if chart.role == "side"]
    marks: dict[int, list[Mark]] = {}
    if rng.random() < 0.3:  # the same print on all sides, or several times around; one more mark is what tells
        marks = _repeated(rng, ground, body, sides)
    chosen = rng.permutation(len(body.charts))[: rng.choice([1, 2], p=[0.75, 0.25])]
    if len(sides) == 1 and rng.random() < 0.75:  # round things carry their print on the side
        chosen = np.array(sides)
    for i in chosen:
        marks[int(i)] = marks.get(int(i), []) + random_marks(rng, ground, body.charts[i])
    return [body.with_marks(marks)]


def random_marks(rng: np.random.Generator, ground: np.ndarray, chart: Chart) -> list[Mark]:
    """No mark, one or, rarely, a few on a chart whose colour is `ground` (3,)."""
    if rng.random() < _UNMARKED:
        return []
    return [_mark(rng, ground, chart) for _ in range(rng.choice([1, 2, 4], p=[0.75, 0.15, 0.1]))]


def _mark(rng: np.random.Generator, ground: np.ndarray, chart: Chart) -> Mark:
    kind = str(rng.choice(_PRINTS if rng.random() < 0.6 else _EMBLEMS))
    extent = np.array([np.sqrt(chart.aspect), 1 / np.sqrt(chart.aspect)])  # along u and v, in roots of the area
    turned = bool(rng.random() < (0.85 if chart.aspect < 1 else 0.15)) if kind in _PRINTS else False
    reading = extent[::-1] if turned else extent
    width = np.exp(rng.uniform(np.log(_SMALLEST), np.log(_LARGEST)))
    shape = {"text": (0.2, 0.45), "print": (0.4, 1.0), "barcode": (0.3, 0.6)}.get(kind, (0.6, 1.6))
    size = np.minimum([width, width * rng.uniform(*shape)], 0.9 * reading)
    half = (size[::-1] if turned else size) / extent / 2
    centre = rng.uniform(half, 1 - half)
    return Mark(kind, (centre[0], centre[1]), (size[0], size[1]), as_rgb(contrasting_color(rng, ground)),
                random_opacity(rng), turned, int(rng.integers(1 << 16)))  # fmt: skip


def _repeated(rng: np.random.Generator, ground: np.ndarray, body: Shape, sides: list[int]) -> dict[int, list[Mark]]:
    """One print on every side of a box, or two to four times around a round body."""
    first = [_mark(rng, ground, body.charts[sides[0]]) for _ in range(rng.integers(1, 4))]
    if len(sides) > 1:
        return {i: list(first) for i in sides}
    times = int(rng.integers(2, 5))
    around = [
        replace(mark, centre=((mark.centre[0] / times + k / times), mark.centre[1])) for mark in first
        for k in range(times)
    ]  # fmt: skip
    return {sides[0]: around}


def color_faces(rng: np.random.Generator, body: Shape) -> Shape:
    """A box of which one face, two opposite ones or all have another colour."""
    faces = [[int(rng.integers(6))], [0, 1], list(range(6))][rng.integers(3)]
    marks = {
        face: [
            Mark(
                "patch", (0.5, 0.5), (9.0, 9.0), as_rgb(contrasting_color(rng, ground_color(body))), random_opacity(rng)
            )
        ]
        for face in faces
    }
    return body.with_marks(marks)


def _with_bump(rng: np.random.Generator, body: Shape) -> list[Shape]:
    """The body with a dent, a screw, a button, a sticker or a rib somewhere."""
    extent, normals = np.ptp(body.vertices, axis=0), body.normals()
    place = int(rng.integers(len(body.vertices)))
    spot, normal = body.vertices[place], normals[place]
    reach = np.exp(rng.uniform(np.log(0.015), np.log(0.14))) * extent.max()
    style = rng.choice(["dent", "screw", "button", "sticker", "rib"])
    if style == "dent":  # the vertices of a seam move alike, so the surface stays closed
        reach = min(2 * reach, 0.25 * extent.min())
        near = np.exp(-((body.vertices - spot) ** 2).sum(1) / (2 * reach**2))[:, None]
        body.vertices = body.vertices - 0.5 * reach * near * normal
        return [body]
    if style in ("screw", "button"):
        thing = cylinder(reach, -reach, reach * rng.uniform(0.05, 0.6), 20)
    elif style == "sticker":
        thing = box(np.array([reach * rng.uniform(1, 3), reach * 2, 0.012 * extent.max()]), cells=4)
    else:
        thing = box(np.array([reach * 0.4, reach * rng.uniform(2, 6), reach * rng.uniform(0.2, 0.8)]), cells=4)
    palette = palette_on(rng, metal_colour(rng) if style == "screw" else other_color(rng, ground_color(body)))
    first = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    frame = np.stack([first, np.cross(normal, first), normal], 1) / [np.linalg.norm(first), np.linalg.norm(first), 1]
    frame = frame @ turn("z", rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]))
    return [body, thing.transform(frame, spot).with_paint("single_colour", palette)]


def ground_color(part: Shape) -> np.ndarray:
    assert part.palette is not None
    return part.palette[0]


def random_opacity(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(_FAINTEST), 0.0)))


def contrasting_color(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour far from the ground, (3,)."""
    colour = one_colour(rng, (0.0, 1.0), (0.02, 1.0)) if rng.random() < 0.6 else np.full(3, rng.choice([0.03, 0.97]))
    return colour if np.abs(colour - ground).max() > 0.35 else np.round(1.0 - ground)


def other_color(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """A colour at any distance from the ground, (3,)."""
    return ground + random_opacity(rng) * (contrasting_color(rng, ground) - ground)


def as_rgb(colour: np.ndarray) -> tuple[float, float, float]:
    return (float(colour[0]), float(colour[1]), float(colour[2]))
