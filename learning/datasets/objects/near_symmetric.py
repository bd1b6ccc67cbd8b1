"""Things that are symmetric, or nearly so, by shape, with one mark or a few that may tell their sides apart.

The marks are of every size and contrast: from what a glance tells to what no camera sees, and some things have none.
Every maker takes a generator and returns the parts of one object, of any size; parts overlap where they are joined.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from learning.datasets.objects.lofts import Maker, circle, cylinder, loft, ring_prism, spline, torus
from learning.datasets.objects.parts import smooth_profile, straight_profile
from learning.datasets.objects.shapes import Band, Shape, box, disc, extrusion, join, lathe, superquadric, tube
from learning.datasets.objects.telling_marks import (
    as_rgb,
    color_faces,
    contrasting_color,
    ground_color,
    other_color,
    random_marks,
    random_opacity,
    tell_apart,
    with_look,
)
from learning.datasets.surfaces.marks import Mark
from learning.datasets.surfaces.materials import material_palette, metal_colour, one_colour, palette_on

_PUZZLE = np.array([[0.9, 0.9, 0.9], [0.9, 0.8, 0.1], [0.75, 0.08, 0.1], [0.95, 0.42, 0.05], [0.05, 0.25, 0.65],
                    [0.05, 0.55, 0.2]])  # fmt: skip


def wood_block(rng: np.random.Generator) -> list[Shape]:
    """Wood blocks, erasers, bars, cartons without print: a box, often with equal edges, marked on a face or two."""
    size = np.exp(rng.uniform(np.log(0.25), 0.0, 3))
    size[1] = size[0] if rng.random() < 0.4 else size[1]
    body = with_look(rng, box(size, rng.choice([0.0, rng.uniform(0.02, 0.15)]) * size.min(), 6))
    if rng.random() < 0.3:
        body = color_faces(rng, body)
    return tell_apart(rng, body)


def sandwich(rng: np.random.Generator) -> list[Shape]:
    """Sponges, brushes, magnets, batteries: two layers of nearly one shape."""
    size, share = np.array([1.0, rng.uniform(0.3, 1.0), rng.uniform(0.15, 0.6)]), rng.uniform(0.15, 0.5)
    radius = rng.uniform(0.0, 0.12) * size[2]
    low, high = (
        with_look(rng, box(size * [1, 1, part + 0.02], radius, 6)).shift([0, 0, side * size[2] * (1 - part) / 2])
        for part, side in ((1 - share, -1), (share, 1))
    )
    if rng.random() < 0.5:
        high = replace(high, palette=palette_on(rng, other_color(rng, ground_color(low))))
    return [*tell_apart(rng, low), high]


def can(rng: np.random.Generator) -> list[Shape]:
    """Cans, candles, rolls, batteries, pucks: a cylinder with equal ends, marked on its side or on one end."""
    height = np.exp(rng.uniform(np.log(0.3), np.log(5.0)))
    rim = rng.choice([0.0, rng.uniform(0.02, 0.12)])
    side = straight_profile((1.0, -height / 2 + rim * 0.5), (1.0, height / 2 - rim * 0.5), 8)
    bands: list[Band] = [
        disc(1.0 - rim, -height / 2, outwards=True), ("side", side), disc(1.0 - rim, height / 2, outwards=False),
    ]  # fmt: skip
    if rim:
        bands.insert(1, ("side", straight_profile((1.0 - rim, -height / 2), side[0], 2)))
        bands.insert(3, ("side", straight_profile(side[-1], (1.0 - rim, height / 2), 2)))
    return tell_apart(rng, with_look(rng, lathe(bands, 49)))


def spindle(rng: np.random.Generator) -> list[Shape]:
    """Spools, dumb-bells, beads, chair legs: turned, and the same upside down."""
    half = rng.uniform(0.25, 1.0, rng.integers(2, 5))
    radii = np.concatenate([half, half[-2::-1]])
    profile = smooth_profile(radii, np.linspace(-1, 1, len(radii)) * rng.uniform(0.5, 2.0), 31)
    bands: list[Band] = [
        disc(radii[0], profile[0, 1], outwards=True), ("side", profile), disc(radii[0], profile[-1, 1], outwards=False),
    ]  # fmt: skip
    return tell_apart(rng, with_look(rng, lathe(bands, 41)))


def ball(rng: np.random.Generator) -> list[Shape]:
    """Balls, eggs, soap, pebbles."""
    size = np.ones(3) if rng.random() < 0.5 else rng.uniform(0.5, 1.0, 3)
    return tell_apart(rng, with_look(rng, superquadric(size, rng.choice([1.0, rng.uniform(0.4, 1)]), 1.0, 30, 45)))


def ring(rng: np.random.Generator) -> list[Shape]:
    """Rings, tape, tyres, washers."""
    if rng.random() < 0.5:
        return tell_apart(rng, with_look(rng, torus(1.0, rng.uniform(0.15, 0.45), 18)))
    rim, hole = circle(1.0, 48), circle(rng.uniform(0.3, 0.85), 48)
    body = ring_prism(rim, hole, rng.uniform(0.1, 1.2), np.zeros(48, bool), rng.choice([0.0, 0.05]))
    return tell_apart(rng, with_look(rng, body))


def polygon_bar(rng: np.random.Generator) -> list[Shape]:
    """Pencils, nuts, prisms: three to eight equal sides."""
    sides = int(rng.choice([3, 4, 5, 6, 6, 8]))
    outline, fill = circle(1.0, sides), max(2, 40 // sides)
    t = np.linspace(0, 1, fill, endpoint=False)[None, :, None]
    points = (outline[:, None] * (1 - t) + np.roll(outline, -1, 0)[:, None] * t).reshape(-1, 2)
    height = np.exp(rng.uniform(np.log(0.4), np.log(7.0)))
    return tell_apart(rng, with_look(rng, extrusion(points, np.arange(len(points)) % fill == 0, height)))


def puzzle(rng: np.random.Generator) -> list[Shape]:
    """Cube puzzles and blocks of 1 to 5 coloured stickers a side, solved or not, some of two colours only."""
    count = int(rng.choice([1, 2, 3, 3, 3, 4, 5]))
    colours = np.clip(_PUZZLE * rng.uniform(0.8, 1.1, (6, 1)) + rng.normal(0, 0.05, (6, 3)), 0, 1)
    if rng.random() < 0.25:  # nearly one colour
        colours = colours[0] + rng.uniform(0.05, 0.5) * (colours - colours[0])
    used = rng.permutation(6)[: rng.choice([2, 6], p=[0.15, 0.85])]
    solved = rng.random() < 0.35
    body = box(np.ones(3), rng.choice([0.0, 0.04]), 6)
    plastic = rng.choice([0.03, 0.05, 0.6, 0.93]) * np.ones(3)
    gap = rng.uniform(0.78, 0.97) / count
    marks = {}
    for face in range(6):
        which = np.full((count, count), used[face % len(used)]) if solved else rng.choice(used, (count, count))
        marks[face] = [
            Mark("patch", ((i + 0.5) / count, (j + 0.5) / count), (gap, gap), as_rgb(colours[which[i, j]]))
            for i in range(count) for j in range(count)
        ]  # fmt: skip
    return [body.with_paint("single_colour", palette_on(rng, plastic)).with_marks(marks)]


def die(rng: np.random.Generator) -> list[Shape]:
    """Dice with pips, of any contrast."""
    body = box(np.ones(3), rng.uniform(0.0, 0.2), 6).with_paint("single_colour", material_palette(rng))
    colour, opacity, reach = (
        as_rgb(contrasting_color(rng, ground_color(body))),
        random_opacity(rng),
        rng.uniform(0.1, 0.2),
    )
    near, far = 0.25, 0.75
    corners = [(near, near), (far, far), (near, far), (far, near), (near, 0.5), (far, 0.5)]
    marks = {}
    for face, pips in enumerate((1, 6, 2, 5, 3, 4)):
        places = corners[: pips - pips % 2] + [(0.5, 0.5)] * (pips % 2)
        marks[face] = [Mark("disc", place, (reach, reach), colour, opacity) for place in places]
    return [body.with_marks(marks)]


def brick(rng: np.random.Generator) -> list[Shape]:
    """Toy bricks with studs; now and then one stud is missing or of another colour."""
    columns, rows = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    height = rng.choice([0.4, 1.2])
    body = box(np.array([columns, rows, height]), rng.choice([0.0, 0.03]), 6)
    body = body.with_paint("single_colour", material_palette(rng))
    places = [[i - (columns - 1) / 2, j - (rows - 1) / 2, height / 2] for i in range(columns) for j in range(rows)]
    studs = [cylinder(0.3, -0.02, 0.22, 20).shift(place) for place in places]
    odd = studs.pop(rng.integers(len(studs))) if len(studs) > 1 and rng.random() < 0.35 else None
    parts = [*tell_apart(rng, body), join(studs).with_paint("single_colour", body.palette)]
    if odd is not None and rng.random() < 0.6 and len(parts) < 4:
        parts.append(odd.with_paint("single_colour", palette_on(rng, other_color(rng, ground_color(body)))))
    return parts


def marker(rng: np.random.Generator) -> list[Shape]:
    """Pens, markers, glue sticks: long, round, with a cap and a print that may be turned away."""
    length, thick, cap = rng.uniform(4.0, 9.0), rng.uniform(0.35, 0.6), rng.uniform(0.15, 0.4)
    barrel = _rounded_rod(thick, 0.0, length * (1 - cap))
    top = _rounded_rod(thick * rng.choice([1.0, rng.uniform(1.0, 1.15)]), length * (1 - cap), length)
    barrel = with_look(rng, barrel)
    other = ground_color(barrel) if rng.random() < 0.3 else other_color(rng, ground_color(barrel))
    parts = [*tell_apart(rng, barrel, bump=0.1), top.with_paint("single_colour", palette_on(rng, other))]
    if rng.random() < 0.25:
        clip = box(np.array([0.1, 0.25, length * cap * 0.8])).shift([thick * 1.05, 0, length * (1 - cap / 2)])
        parts.append(clip.with_paint("single_colour", palette_on(rng, metal_colour(rng))))
    return parts


def screwdriver(rng: np.random.Generator) -> list[Shape]:
    """A fluted grip with a print, a round shaft, and a flat, square or crossed tip."""
    lobes, length = int(rng.integers(3, 9)), rng.uniform(1.6, 3.0)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    flute = 1 + rng.choice([0.0, rng.uniform(0.03, 0.12)]) * np.cos(lobes * angle)
    profile = smooth_profile(rng.uniform(0.3, 0.5, 5) * [0.9, 1.0, 1.0, 0.75, 1.0], np.linspace(0, length, 5), 24)
    section = flute[:, None] * circle(1.0, 48)
    grip = with_look(rng, loft(np.stack([np.column_stack([r * section, np.full(48, z)]) for r, z in profile])))
    reach, thin = rng.uniform(1.5, 3.5), rng.uniform(0.07, 0.13)
    end = length + reach
    blade = np.array([rng.uniform(2.0, 3.5), rng.uniform(0.4, 0.8), 0]) * thin + [0, 0, rng.uniform(0.2, 0.5)]
    tips = [box(blade, cells=4)] if rng.random() < 0.7 else [box(blade, cells=4), box(blade[[1, 0, 2]], cells=4)]
    shaft = join([cylinder(thin, length - 0.1, end, 20), *(tip.shift([0, 0, end]) for tip in tips)])
    return [*tell_apart(rng, grip, bump=0.1), shaft.with_paint("single_colour", palette_on(rng, metal_colour(rng)))]


def curved_fruit(rng: np.random.Generator) -> list[Shape]:
    """Bananas, sausages, boomerangs, horns: a bent body with nearly equal ends."""
    t = np.linspace(-1, 1, 40)
    bend = rng.uniform(0.3, 1.6)
    path = np.stack([(1 - np.cos(bend * t)) / bend, 0 * t, np.sin(bend * t) / bend], 1) * 2
    radii = rng.uniform(0.18, 0.4) * (1 - np.abs(t) ** rng.uniform(2, 6) * rng.uniform(0.4, 0.85))
    radii *= 1 + rng.choice([0.0, rng.uniform(-0.15, 0.15)]) * t
    hue = one_colour(rng, (0.4, 0.9), (0.5, 0.95)) if rng.random() < 0.5 else np.array([0.9, 0.75, 0.15])
    palette = palette_on(rng, hue)
    palette[1] = other_color(rng, palette[0])
    body = tube(path, radii, 20, rng.choice([1.0, rng.uniform(0.6, 1.0)]))
    body = body.with_paint("peel" if rng.random() < 0.6 else "single_colour", palette)
    marks = random_marks(rng, palette[0], body.charts[0])
    for end in (0.06, 0.94):  # tips that differ in tone, more or less
        colour = as_rgb(np.array([0.35, 0.28, 0.1]) * rng.uniform(0.3, 1.5))
        span = (0.12 * np.sqrt(body.charts[0].aspect), 2.0)
        marks.append(Mark("patch", (end, 0.5), span, colour, rng.uniform(0.0, 0.9)))
    return [body.with_marks({0: marks})]


def spoon(rng: np.random.Generator) -> list[Shape]:
    """Spoons, spatulas, paddles, rackets: a flat or hollow head on a flat handle that may look alike on both sides."""
    wide, long, deep = rng.uniform(0.3, 0.6), rng.uniform(0.45, 0.8), rng.choice([0.0, rng.uniform(0.1, 0.7)])
    head = superquadric(np.array([wide, long, rng.uniform(0.03, 0.06)]), rng.uniform(0.5, 1.0), 1.0, 26, 40)
    x, y, z = head.vertices.T
    hollow = deep * 0.5 * ((x / wide) ** 2 + (y / long) ** 2 - 1) * wide
    head.vertices = np.stack([x, y, z + hollow], 1)
    knots = np.array([[0, -long * 0.9, 0], [0, -long - 0.5, rng.uniform(0, 0.12)], [0, -rng.uniform(2.2, 3.2), 0]])
    radii = np.linspace(0.06, rng.uniform(0.06, 0.14), 24)
    handle = tube(spline(knots, 24), radii, 18, rng.uniform(0.3, 1.0))
    palette = palette_on(rng, metal_colour(rng)) if rng.random() < 0.5 else material_palette(rng)
    own = palette if rng.random() < 0.6 else material_palette(rng)
    paint = "metal" if rng.random() < 0.3 else "single_colour"
    handle = handle.with_paint(paint, own).with_marks({0: random_marks(rng, own[0], handle.charts[0])})
    return [handle, *tell_apart(rng, head.with_paint(paint, palette), bump=0.1)]


def spring_clamp(rng: np.random.Generator) -> list[Shape]:
    """Two equal arms about a pivot, with pads and sleeves that may differ in colour or a little in size."""
    opening, grip, jaw = rng.uniform(0.05, 0.5), rng.uniform(0.8, 1.4), rng.uniform(0.5, 1.0)
    thick, flat = rng.uniform(0.08, 0.14), rng.uniform(1.0, 2.2)
    size = np.array([rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.4)])
    arms, pads = [], []
    for side in (-1.0, 1.0):
        half = opening / 2
        knots = np.array([[0.55, -grip, 0], [0.2, -0.3 * grip, 0], [0.12, 0.1, 0], [0.3 + half, 0.6 * jaw, 0],
                          [0.1 + half, jaw, 0]]) * [side, 1, 1]  # fmt: skip
        arms.append(tube(spline(knots, 28), np.full(28, thick), 14, flat))
        unequal = 1 + rng.choice([0.0, rng.uniform(-0.3, 0.3)])
        pads.append(box(size * unequal, 0.02, 4).shift([side * (0.06 + half), jaw, 0]))
    first, pivot = material_palette(rng), cylinder(0.12, -thick * flat * 1.3, thick * flat * 1.3, 24)
    others = [first, palette_on(rng, other_color(rng, first[0]))]
    pivot = pivot.with_paint("single_colour", palette_on(rng, metal_colour(rng)))
    style = rng.integers(3)
    if style == 0:  # arms of two colours
        return [*(arm.with_paint("single_colour", own) for arm, own in zip(arms, others, strict=True)), join(pads),
                pivot]  # fmt: skip
    if style == 1:  # pads of two colours
        own = [pad.with_paint("single_colour", paint) for pad, paint in zip(pads, others, strict=True)]
        return [join(arms).with_paint("single_colour", material_palette(rng)), *own, pivot]
    arms[0] = arms[0].with_paint("single_colour", first).with_marks({0: random_marks(rng, first[0], arms[0].charts[0])})
    return [arms[0], arms[1].with_paint("single_colour", first), join(pads), pivot]


def _rounded_rod(radius: float, low: float, high: float) -> Shape:
    """About z, with bevelled ends."""
    bevel = 0.2 * radius
    side = np.array([[radius, z] for z in np.linspace(low + bevel, high - bevel, 8)])
    bands: list[Band] = [
        disc(radius - bevel, low, outwards=True, rows=3),
        ("side", straight_profile((radius - bevel, low), side[0], 2)), ("side", side),
        ("side", straight_profile(side[-1], (radius - bevel, high), 2)),
        disc(radius - bevel, high, outwards=False, rows=3),
    ]  # fmt: skip
    return lathe(bands, 33)


NEAR_SYMMETRIC: dict[str, Maker] = {
    "wood_block": wood_block, "sandwich": sandwich, "can": can, "spindle": spindle, "ball": ball, "ring": ring,
    "polygon_bar": polygon_bar, "puzzle": puzzle, "die": die, "brick": brick, "marker": marker,
    "screwdriver": screwdriver, "curved_fruit": curved_fruit, "spoon": spoon, "spring_clamp": spring_clamp,
}  # fmt: skip
