"""Thin things of sheet metal and wire, and tools of two or more parts that turn about each other.

Every maker takes a generator and returns the parts of one object, of any size; parts overlap where they are joined.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from learning.datasets.objects.lofts import (
    Maker,
    bent_sheet,
    circle,
    cylinder,
    flat_sheet,
    loft,
    prism,
    rod,
    spline,
    torus,
    turn,
)
from learning.datasets.objects.shapes import Band, Shape, box, disc, join, lathe, superquadric, tube
from learning.datasets.surfaces.materials import material_palette, metal_colour, palette_on


def sheet(rng: np.random.Generator) -> list[Shape]:
    """Cards, plates, flyers, curved metal: flat, folded once or twice, or rolled a little; some with holes."""
    width = rng.uniform(0.4, 1.6)
    style = rng.choice(["flat", "folded", "curved"], p=[0.4, 0.25, 0.35])
    thickness = rng.uniform(0.015, 0.06)
    if style == "flat":
        columns, rows = rng.integers(1, 5, 2)
        holes = np.where(
            rng.random((columns, rows)) < rng.choice([0.0, 0.5, 1.0]), 0.3 * min(2 / columns, width / rows), 0
        )
        holes *= rng.uniform(0.3, 1.2)
        along, across = np.linspace(-1, 1, columns + 1), np.linspace(-width / 2, width / 2, rows + 1)
        return [flat_sheet(along, across, thickness, holes, cells=6)]
    across = np.linspace(-width / 2, width / 2, 9)
    if style == "folded":
        steps = np.concatenate([[0.0], np.cumsum(rng.uniform(-1.4, 1.4, rng.integers(1, 3)))])
        lengths = rng.uniform(0.4, 1.0, len(steps))[:, None]
        corners = np.cumsum(np.concatenate([[[0, 0]], lengths * np.stack([np.cos(steps), np.sin(steps)], 1)]), axis=0)
        return [bent_sheet(corners, across, thickness, cells=4)]
    t = np.linspace(-1, 1, 30)
    height = rng.uniform(0.05, 0.6) * np.cos(np.pi * t * rng.choice([0.5, 1.0, 1.5])) + rng.uniform(-0.2, 0.2) * t**3
    return [bent_sheet(np.stack([t, height], 1), across, thickness, smooth=True, cells=1)]


def frame(rng: np.random.Generator) -> list[Shape]:
    """Picture frames, rings, squares and grilles."""
    if rng.random() < 0.3:  # grille
        columns, rows = rng.integers(2, 6, 2)
        along, across = np.linspace(-1, 1, columns + 1), np.linspace(-1, 1, rows + 1) * rng.uniform(0.4, 1.0)
        return [flat_sheet(along, across, rng.uniform(0.03, 0.15), np.full((columns, rows), 1.0), cells=6)]
    sides = int(rng.choice([3, 4, 4, 4, 6, 40]))
    outline = circle(1.0, sides, np.pi / 4) * [1.0, rng.uniform(0.5, 1.0)]
    depth, width = rng.uniform(0.05, 0.4), rng.uniform(0.06, 0.3)
    smooth = sides == 40
    ring = bent_sheet(
        outline, np.linspace(-depth / 2, depth / 2, 4), width, closed=True, smooth=smooth, cells=1 if smooth else 6
    )
    if rng.random() < 0.4 and sides == 4:  # with a back or a pane
        low, high = ring.vertices.min(0), ring.vertices.max(0)
        pane = box(np.array([high[0] - low[0] - width, 0.03, high[2] - low[2] - width]), cells=6)
        return [pane.shift([0, depth * rng.uniform(-0.4, 0.4), 0]), ring]
    return [ring]


def wire(rng: np.random.Generator) -> list[Shape]:
    """Hooks, hangers, rods, clips and wire stands."""
    radius = rng.uniform(0.035, 0.09)
    style = rng.choice(["rod", "bent", "zigzag", "stand"])
    if style == "rod":
        tip = rng.choice(["none", "ball", "eye"])
        bar = rod(np.array([0, 0, -1.0]), np.array([0, 0, 1.0]), radius, thinner=rng.uniform(0.5, 1.0))
        if tip == "none":
            reach, t = rng.uniform(0.15, 0.35), np.linspace(0, np.pi * rng.uniform(0.5, 1.3), 24)
            hook = np.stack([reach * (1 - np.cos(t)), 0 * t, 0.99 + reach * np.sin(t)], 1)
            return [bar, tube(hook, np.full(24, radius), 12)]
        if tip == "ball":
            return [
                bar,
                superquadric(np.full(3, radius * rng.uniform(2, 5)), 1, 1, 16, 24).shift([0, 0, 1.0]),
            ]
        return [bar, torus(rng.uniform(0.12, 0.3), radius).transform(turn("x", np.pi / 2), [0, 0, 1.1])]
    if style == "bent":
        knots = np.column_stack([rng.uniform(-0.35, 0.35, 6), rng.uniform(-0.15, 0.15, 6), np.linspace(-1.5, 1.5, 6)])
        return [tube(spline(knots, 60), np.full(60, radius), 12)]
    if style == "zigzag":
        turns = int(rng.integers(3, 7))
        t = np.linspace(0, 1, 22 * turns)
        path = np.column_stack([0.5 * np.sin(2 * np.pi * turns * t), 0 * t, 2.0 * t])
        return [tube(path, np.full(len(t), min(radius, 0.16 / turns)), 10)]
    legs = int(rng.integers(3, 6))
    feet = np.column_stack([circle(rng.uniform(0.4, 0.9), legs), np.full(legs, -1.0)])
    bars = join([rod(foot, np.array([0, 0, 0.4]), radius) for foot in feet])
    return [bars, torus(rng.uniform(0.2, 0.6), radius * 1.3).shift([0, 0, rng.uniform(-0.3, 0.4)])]


def bracket(rng: np.random.Generator) -> list[Shape]:
    """L, U, Z and T brackets of sheet metal or thick bar, with screw holes and sometimes a gusset."""
    shapes = {
        "L": [[0, 1], [0, 0], [1, 0]],
        "U": [[-0.6, 1], [-0.6, 0], [0.6, 0], [0.6, 1]],
        "Z": [[-0.9, 0.6], [0, 0.6], [0, 0], [0.9, 0]],
        "hat": [[-1.1, 0], [-0.5, 0], [-0.5, 0.6], [0.5, 0.6], [0.5, 0], [1.1, 0]],
    }
    name = str(rng.choice(list(shapes), p=[0.4, 0.3, 0.2, 0.1]))
    path = np.array(shapes[name], float) * rng.uniform(0.6, 1.4, 2)
    if rng.random() < 0.5:  # two holes per leg
        path = np.concatenate([np.linspace(a, b, 2, endpoint=False) for a, b in pairwise(path)] + [path[-1:]])
    width, rows = rng.uniform(0.3, 1.2), int(rng.integers(1, 3))
    holes = np.where(rng.random((len(path) - 1, rows)) < rng.choice([0.0, 0.6, 1.0]), rng.uniform(0.05, 0.14), 0.0)
    parts = [bent_sheet(path, np.linspace(-width / 2, width / 2, rows + 1), rng.uniform(0.04, 0.2), holes, cells=4)]
    if name == "L" and rng.random() < 0.4:
        reach = path.max(0) * rng.uniform(0.5, 0.9)
        triangle = np.array([[0.0, 0.0], [reach[0], 0.0], [0.0, reach[1]]])
        gusset = prism(triangle, [(0, -0.04), (0, 0.04)])
        parts.append(gusset.transform(turn("x", np.pi / 2), [0, width * rng.uniform(-0.3, 0.3), 0]))
    return parts


def scissors(rng: np.random.Generator) -> list[Shape]:
    """Two mirrored blades about a pivot, with ring handles; open by a random angle."""
    opening, blade, back = rng.uniform(0.03, 0.7), rng.uniform(0.7, 1.3), rng.uniform(0.4, 0.9)
    thick = rng.uniform(0.03, 0.07)
    outline = np.array([[-0.09, -0.2], [0.05, -0.2], [0.1, 0.1], [0.0, blade], [-0.07, 0.1]])
    ring = np.column_stack([circle(1, 36), np.zeros(36)]) * [rng.uniform(0.16, 0.26), rng.uniform(0.2, 0.38), 1]
    handle = tube(ring, np.full(36, rng.uniform(0.035, 0.07)), 12, closed=True)
    blades, arms, rings = [], [], []
    for side in (-1.0, 1.0):
        swing = turn("z", side * opening / 2)
        flip = turn("y", np.pi) if side < 0 else np.eye(3)
        blades.append(prism(outline, [(0, 0), (0, thick)]).rotate(swing @ flip))
        elbow = np.array([[0, -0.1, 0], [side * 0.06, -0.3, 0], [side * 0.15, -back, 0]])
        arms.append(tube(spline(elbow, 12), np.linspace(0.06, 0.05, 12), 12).rotate(swing))
        rings.append(handle.transform(swing, swing @ [side * 0.22, -back - 0.25, 0]))
    metal = palette_on(rng, metal_colour(rng))
    plastic = material_palette(rng)
    pivot = cylinder(0.06, -thick - 0.03, thick + 0.03, 20)
    return [
        join(blades).with_paint("metal" if rng.random() < 0.7 else "single_colour", metal),
        join(arms + rings).with_paint("single_colour" if rng.random() < 0.7 else None, plastic),
        pivot.with_paint("single_colour", metal),
    ]


def pliers(rng: np.random.Generator) -> list[Shape]:
    """Pliers, tongs and spring clamps: two jaws, a pivot, two curved grips."""
    opening, jaw, grip = rng.uniform(0.0, 0.8), rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.5)
    bow, width = rng.uniform(0.1, 0.35), rng.uniform(0.08, 0.16)
    jaws, grips = [], []
    for side in (-1.0, 1.0):
        swing = turn("z", side * opening / 2)
        tip = rng.uniform(0.2, 0.6) * width if side < 0 else 0.3 * width
        section = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
        rows = []
        for y, half in ((jaw, tip), (0.3 * jaw, width * 0.8), (0.0, width), (-0.2, width * 0.7)):
            rows.append(
                np.column_stack([section[:, 0] * half + side * -half * 0.5, np.full(4, y), section[:, 1] * width * 0.7])
            )
        jaws.append(loft(np.stack(rows), np.ones(4, bool)).rotate(swing))
        knots = np.array(
            [
                [0, -0.1, 0],
                [side * bow * 0.8, -0.3, 0],
                [side * bow, -0.3 - grip / 2, 0],
                [side * bow * 0.6, -0.3 - grip, 0],
            ]
        )
        grips.append(tube(spline(knots, 24), np.linspace(0.07, 0.1, 24), 14, rng.uniform(0.6, 1.0)).rotate(swing))
    steel = palette_on(rng, metal_colour(rng))
    pivot = cylinder(width * 1.1, -width, width, 24).with_paint("single_colour", steel)
    return [
        join(jaws).with_paint("metal", steel),
        join(grips).with_paint("single_colour", material_palette(rng)),
        pivot,
    ]


def clamp(rng: np.random.Generator) -> list[Shape]:
    """A C-clamp: bow, threaded spindle, pad and crossbar at a random position."""
    reach, height, thick = rng.uniform(0.5, 1.2), rng.uniform(0.8, 1.6), rng.uniform(0.08, 0.2)
    path = np.array([[reach, 0], [0, 0], [0, height], [reach, height]], float)
    bow = bent_sheet(path, np.linspace(-0.5, 0.5, 4) * rng.uniform(0.12, 0.35), thick, cells=4)
    travel = rng.uniform(0.1, 0.8) * height
    z = np.linspace(travel, height + rng.uniform(0.3, 0.7), 50)
    side = np.stack([0.07 + 0.012 * np.sin(z * 60), z], 1)
    bands: list[Band] = [
        disc(side[0, 0], z[0], outwards=True),
        ("side", side),
        disc(side[-1, 0], z[-1], outwards=False),
    ]
    spindle = lathe(bands, 18).shift([reach * 0.85, 0, 0])
    pad = cylinder(rng.uniform(0.1, 0.2), travel - 0.06, travel + 0.02, 24).shift([reach * 0.85, 0, 0])
    half = rng.uniform(0.2, 0.4)
    bar = rod(np.array([-half, 0, 0]), np.array([half, 0, 0]), 0.04)
    bar = bar.transform(turn("z", rng.uniform(0, np.pi)), [reach * 0.85, 0, z[-1] - 0.06])
    steel = palette_on(rng, metal_colour(rng))
    return [
        bow.with_paint("single_colour", material_palette(rng)),
        join([spindle, pad]).with_paint("metal", steel),
        bar,
    ]


def linkage(rng: np.random.Generator) -> list[Shape]:
    """Robot arms, lamps, folding rules, hinges: two to four links with joints between them at random angles."""
    flat = rng.random() < 0.5
    place, heading = np.zeros(3), np.eye(3)
    links, joints = [], []
    for _ in range(rng.integers(2, 5)):
        length, width = rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.28)
        if flat:
            link = box(np.array([length + width, width, width * rng.uniform(0.25, 0.9)]), 0.0, 4)
            link = link.shift([length / 2, 0, 0])
        else:
            link = rod(np.zeros(3), np.array([length, 0, 0]), width / 2, thinner=rng.uniform(0.6, 1.0))
        links.append(link.transform(heading, place))
        joints.append(cylinder(width * rng.uniform(0.55, 0.9), -width * 0.7, width * 0.7, 20).transform(heading, place))
        place = place + heading @ [length, 0, 0]
        heading = (
            heading @ turn("z", rng.uniform(-2.2, 2.2)) @ (np.eye(3) if flat else turn("x", rng.choice([0, np.pi / 2])))
        )
    parts = [join(links), join(joints)]
    if rng.random() < 0.5:
        parts.append(cylinder(rng.uniform(0.25, 0.6), -0.25, -0.12, 28))
    return parts


def hinged_panels(rng: np.random.Generator) -> list[Shape]:
    """Two panels at an angle: laptops, books, cases, folders."""
    depth, width, angle = rng.uniform(0.6, 0.9), rng.uniform(0.7, 1.2), rng.uniform(0.4, 2.6)
    thick = rng.uniform(0.03, 0.25, 2)
    base = box(np.array([depth, width, thick[0]]), rng.choice([0.0, 0.3]) * thick[0], 6).shift(
        [depth / 2, 0, -thick[0] / 2]
    )
    lid = box(np.array([depth, width, thick[1]]), rng.choice([0.0, 0.3]) * thick[1], 6).shift(
        [depth / 2, 0, thick[1] / 2]
    )
    hinge = rod(np.array([0, -width * 0.45, 0]), np.array([0, width * 0.45, 0]), min(thick) * 0.5 + 0.01)
    return [
        base,
        lid.rotate(turn("y", -angle)),
        hinge.with_paint("single_colour", palette_on(rng, metal_colour(rng))),
    ]


THIN: dict[str, Maker] = {"sheet": sheet, "frame": frame, "wire": wire, "bracket": bracket}
ARTICULATED: dict[str, Maker] = {
    "scissors": scissors, "pliers": pliers, "clamp": clamp, "linkage": linkage, "hinged_panels": hinged_panels,
}  # fmt: skip
