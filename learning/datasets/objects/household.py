"""Toys, appliances, fruit, and plain bodies with one telling mark.

Every maker takes a generator and returns the parts of one object, of any size; parts overlap where they are joined.
"""

from __future__ import annotations

import numpy as np

from learning.datasets.objects.lofts import Maker, cylinder, rod, spline, turn
from learning.datasets.objects.packages import labelled_bottle
from learning.datasets.objects.parts import (
    random_blob,
    random_bottle,
    random_box,
    random_can,
    random_superquadric,
    random_turning,
    smooth_profile,
)
from learning.datasets.objects.shapes import Band, Shape, box, disc, join, lathe, superquadric, tube
from learning.datasets.surfaces.materials import material_palette, one_colour, palette_on


def animal(rng: np.random.Generator) -> list[Shape]:
    """A body, a head with ears or a beak, legs and a tail, of blobs."""
    body_size = np.array([rng.uniform(0.5, 1.0), rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.6)])
    lean = turn("y", rng.choice([0.0, rng.uniform(-1.2, 0)]))
    body = superquadric(body_size, 1.0, rng.uniform(0.8, 1.0), 22, 32).rotate(lean)
    neck = lean @ [body_size[0] * 0.8, 0, 0] + np.array([0, 0, body_size[2] * 0.5])
    r = rng.uniform(0.2, 0.42)
    head_at = neck + np.array([r * 0.5, 0, r * rng.uniform(0.3, 1.2)])
    head = [_ball(r * rng.uniform(0.8, 1.2, 3), head_at)]
    head.append(_ball(r * np.array([rng.uniform(0.4, 1.0), 0.5, 0.4]), head_at + np.array([r, 0, -0.2 * r])))
    ear = np.array([rng.uniform(0.1, 0.3), rng.uniform(0.15, 0.4), rng.uniform(0.3, 1.0)]) * r
    head += [_ball(ear, head_at + np.array([-0.2 * r, side * r * 0.6, r * 0.7 + ear[2] * 0.5])) for side in (-1, 1)]
    leg = body_size[2] * rng.uniform(0.6, 2.0)
    thick = rng.uniform(0.08, 0.18)
    girth = rng.uniform(0.7, 1.2)
    hip = np.array([*(0.6 * body_size[:2]), 0.0])
    sole = np.array([hip[0] * rng.uniform(0.8, 1.3), hip[1], -body_size[2] * 0.5 - leg])
    signs = [np.array([x, y, 1.0]) for x in (-1, 1) for y in (-1, 1)]
    limbs = [rod(sign * hip, sign * sole, thick, 16, girth) for sign in signs]
    root = lean @ [-body_size[0] * 0.9, 0, 0]
    tip = root + np.array([-rng.uniform(0.1, 0.6), rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.6)])
    limbs.append(rod(root, tip, rng.uniform(0.04, 0.14), 14, rng.uniform(0.3, 1.2)))
    palette = material_palette(rng)
    fur = str(rng.choice(["near_uniform", "single_colour", "blotches", "peel", "noise"]))
    other = palette if rng.random() < 0.6 else np.roll(palette, 1, 0)
    eyes = [_ball(np.full(3, 0.12 * r), head_at + np.array([0.75 * r, side * 0.45 * r, 0.35 * r])) for side in (-1, 1)]
    dark = palette_on(rng, np.full(3, 0.04))
    return [body.with_paint(fur, palette), join(head).with_paint(fur, palette), join(limbs).with_paint(fur, other),
            join(eyes).with_paint("single_colour", dark)]  # fmt: skip


def vehicle(rng: np.random.Generator) -> list[Shape]:
    """Toy cars and trucks: a body, a cabin, wheels."""
    size = np.array([1.0, rng.uniform(0.35, 0.5), rng.uniform(0.15, 0.35)])
    body = box(size, rng.uniform(0, 0.07), 6).with_paint(None, material_palette(rng))
    cabin_size = size * [rng.uniform(0.25, 0.65), rng.uniform(0.8, 0.98), rng.uniform(0.7, 1.6)]
    cabin = box(cabin_size, rng.uniform(0.0, 0.08), 5).shift(
        [rng.uniform(-0.2, 0.25), 0, size[2] / 2 + cabin_size[2] * 0.4]
    )
    radius, width = rng.uniform(0.1, 0.2), rng.uniform(0.06, 0.12)
    wheel = cylinder(radius, -width / 2, width / 2, 24).rotate(turn("x", np.pi / 2))
    axles = np.array([-0.32, 0.32]) if rng.random() < 0.7 else np.array([-0.35, -0.05, 0.33])
    wheels = [wheel.shift([x, y, -size[2] / 2]) for x in axles for y in (-size[1] / 2, size[1] / 2)]
    return [
        body,
        cabin.with_paint("single_colour", material_palette(rng)),
        join(wheels).with_paint("single_colour", palette_on(rng, np.full(3, 0.06))),
    ]


def drill(rng: np.random.Generator) -> list[Shape]:
    """Cordless drills, hair dryers, glue guns: a barrel, a slanting grip, a nose and sometimes a battery."""
    length, fat = rng.uniform(0.9, 1.6), rng.uniform(0.16, 0.32)
    profile = smooth_profile(
        fat * np.array([0.6, 1.0, rng.uniform(0.9, 1.1), rng.uniform(0.5, 1.0)]),
        length * np.array([0, 0.15, 0.7, 1.0]),
        20,
    )
    bands: list[Band] = [
        disc(profile[0, 0], 0, outwards=True),
        ("side", profile),
        disc(profile[-1, 0], length, outwards=False),
    ]
    barrel = lathe(bands, 33).rotate(turn("y", np.pi / 2))
    nose = cylinder(
        profile[-1, 0] * 0.8,
        length - 0.02,
        length + rng.uniform(0.1, 0.5),
        24,
        top=profile[-1, 0] * rng.uniform(0.2, 1.1),
    )
    foot = np.array([length * rng.uniform(-0.1, 0.4), 0, -rng.uniform(0.8, 1.4)])
    start = np.array([length * rng.uniform(0.15, 0.5), 0, 0.0])
    grip = tube(
        spline(np.stack([start, (start + foot) / 2 + [0.05, 0, 0], foot]), 16),
        np.full(16, rng.uniform(0.13, 0.2)),
        18,
        rng.uniform(0.7, 1.0),
    )
    extra = [rod(start + np.array([0.18, 0, -0.2]), start + np.array([0.22, 0, -0.5]), 0.06)]  # trigger
    if rng.random() < 0.6:
        extra.append(
            box(np.array([rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.45), rng.uniform(0.15, 0.4)]), 0.04, 4).shift(foot)
        )
    main, dark = material_palette(rng), palette_on(rng, rng.uniform(0.03, 0.3) * np.ones(3))
    return [
        barrel.with_paint("logo" if rng.random() < 0.5 else "single_colour", main),
        nose.rotate(turn("y", np.pi / 2)).with_paint("metal", main),
        grip.with_paint("single_colour", main if rng.random() < 0.5 else dark),
        join(extra).with_paint("single_colour", dark),
    ]


def spray(rng: np.random.Generator) -> list[Shape]:
    """Trigger sprayers: a bottle, a head with nozzle and lever."""
    body, top = labelled_bottle(rng)[0], 0.0
    top = float(body.vertices[:, 2].max())
    head = box(np.array([rng.uniform(0.9, 1.5), 0.45, 0.4]), 0.1, 4).shift([rng.uniform(0.0, 0.3), 0, top + 0.55])
    collar = cylinder(0.38, top - 0.15, top + 0.4, 26)
    ahead = float(head.vertices[:, 0].max())
    nozzle = cylinder(0.17, 0, 0.25, 20).transform(turn("y", np.pi / 2), [ahead - 0.03, 0, top + 0.6])
    lever = spline(
        np.array(
            [
                [ahead * 0.6, 0, top + 0.4],
                [ahead * 0.75, 0, top + 0.05],
                [ahead * 0.6 + rng.uniform(0, 0.5), 0, top - 0.45],
            ]
        ),
        14,
    )
    palette = material_palette(rng)
    moving = join([tube(lever, np.linspace(0.09, 0.06, 14), 12, 2.0), nozzle])
    return [body, join([head]).with_paint("single_colour", palette), collar.with_paint("single_colour", palette),
            moving.with_paint("single_colour", material_palette(rng))]  # fmt: skip


def camera(rng: np.random.Generator) -> list[Shape]:
    """Cameras, radios, routers: a box with a lens or dials on one face and buttons on top."""
    size = np.array([rng.uniform(0.8, 1.2), rng.uniform(0.25, 0.6), rng.uniform(0.5, 0.8)])
    body = box(size, rng.uniform(0.0, 0.12), 6)
    r = rng.uniform(0.15, 0.32)
    lens = cylinder(r, 0, rng.uniform(0.1, 0.6), 32, top=r * rng.uniform(0.7, 1.05))
    lens = lens.transform(turn("x", np.pi / 2), [rng.uniform(-0.25, 0.25), -size[1] * 0.49, rng.uniform(-0.1, 0.1)])
    knobs = [cylinder(rng.uniform(0.04, 0.1), 0, rng.uniform(0.05, 0.2), 18).shift([x, 0, size[2] * 0.49])
             for x in rng.uniform(-0.4, 0.4, rng.integers(1, 4))]  # fmt: skip
    return [body.with_paint("single_colour" if rng.random() < 0.4 else None, material_palette(rng)), lens, join(knobs)]


def fruit(rng: np.random.Generator) -> list[Shape]:
    """Apples, pears, citrus, bananas, roots: slightly lopsided, with a stem."""
    style = str(rng.choice(["apple", "pear", "citrus", "banana", "root"]))
    hue = {
        "apple": [0.0, 0.25],
        "pear": [0.13, 0.3],
        "citrus": [0.06, 0.18],
        "banana": [0.12, 0.2],
        "root": [0.03, 0.12],
    }
    palette = material_palette(rng)
    for k in range(2):
        value = one_colour(rng, (0.6, 0.95), (0.5, 0.98))
        h = rng.uniform(hue[style][0], hue[style][1])
        grey, peak = value.min(), value.max()
        palette[k] = grey + (peak - grey) * np.clip(np.abs((h * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    stem_colour = palette_on(rng, np.array([0.3, 0.22, 0.1]) * rng.uniform(0.5, 1.3))
    if style in ("banana", "root"):
        t = np.linspace(0, 1, 30)
        curve = rng.uniform(0.3, 1.8) if style == "banana" else rng.uniform(0, 0.4)
        path = (
            np.stack([1 - np.cos(curve * t), 0 * t, np.sin(curve * t)], 1) * 2 / curve
            if curve > 0.05
            else t[:, None] * [0, 0, 2]
        )
        fat = rng.uniform(0.17, 0.3)
        radii = fat * (
            np.sin(np.pi * np.clip(t * 0.94 + 0.03, 0, 1)) ** 0.4 if style == "banana" else 1.1 - 0.9 * t**1.5
        )
        body = tube(path, radii, 18)
        stem = rod(path[0] + [0, 0, 0.05], path[0] - [rng.uniform(-0.1, 0.1), 0, rng.uniform(0.15, 0.5)], 0.06)
        return [body.with_paint("peel", palette), stem.with_paint("single_colour", stem_colour)]
    v = np.linspace(0, np.pi, 30)
    r, z = np.sin(v), -np.cos(v)
    if style == "apple":  # dimples at both ends
        z = z - 0.35 * np.exp(-((r / 0.35) ** 2)) * np.sign(z) * np.array([0.7 if s > 0 else 0.4 for s in z])
    elif style == "pear":
        z = z * rng.uniform(1.2, 1.6)
        r = r * (1 - rng.uniform(0.25, 0.5) * (1 + np.tanh(2.2 * (z - 0.2))) / 2)
    else:
        z = np.sign(z) * np.abs(z) ** rng.uniform(0.9, 1.3) * rng.uniform(0.9, 1.4)
    r[[0, -1]] = 0.0
    body = lathe([("side", np.stack([r, z], 1))], 40)
    wave = rng.normal(0, 1.6, (3, 3))
    body.vertices = body.vertices * (
        1 + 0.05 * np.sin(body.vertices @ wave.T + rng.uniform(0, 6, 3)).sum(1, keepdims=True) * rng.random()
    )
    top = float(body.vertices[np.argmin(np.hypot(*body.vertices[:, :2].T) - body.vertices[:, 2] * 0.01), 2])
    stem = rod(np.array([0, 0, top - 0.1]), np.array([*rng.uniform(-0.12, 0.12, 2), top + rng.uniform(0.1, 0.4)]), 0.05)
    return [body.with_paint("peel", palette), stem.with_paint("single_colour", stem_colour)]


def body_with_mark(rng: np.random.Generator) -> list[Shape]:
    """A round or square body, nearly uniform, with one thing that tells its sides apart."""
    makers = [random_can, random_superquadric, random_bottle, random_box, random_turning, random_blob]
    body = makers[rng.choice(6, p=[0.3, 0.2, 0.15, 0.2, 0.1, 0.05])](rng)
    palette = material_palette(rng)
    style = rng.choice(["print", "knob", "dent", "stripe"])
    if style == "print":
        return [body.with_paint("mark", palette)]
    body = body.with_paint("single_colour" if rng.random() < 0.7 else "near_uniform", palette)
    extent = np.ptp(body.vertices, axis=0)
    normals = body.normals()
    sideways = np.flatnonzero(np.hypot(normals[:, 0], normals[:, 1]) > 0.8)
    place = int(rng.choice(sideways)) if len(sideways) else 0
    spot, normal = body.vertices[place], normals[place]
    reach = rng.uniform(0.08, 0.18) * extent.max() / 2
    if style == "dent":  # the vertices of a seam move alike, so the surface stays closed
        far = ((body.vertices - spot) ** 2).sum(1)
        push = np.exp(-far / (2 * (1.6 * reach) ** 2))[:, None] * normal * reach
        body.vertices = body.vertices + push * rng.choice([-1.0, 1.0])
        return [body]
    if style == "knob":
        knob = superquadric(
            np.full(3, reach) * rng.uniform(0.6, 1.4, 3), rng.uniform(0.2, 1.0), rng.uniform(0.2, 1.0), 16, 24
        )
    else:  # a rib or a seam along the axis
        knob = box(np.array([reach, reach, extent[2] * rng.uniform(0.3, 0.9)]) * rng.uniform(0.5, 1.0), 0.2 * reach, 5)
    own = palette if rng.random() < 0.4 else material_palette(rng)
    return [body, knob.shift(spot + normal * reach * 0.2).with_paint("single_colour", own)]


def _ball(
    size: tuple[float, float, float] | np.ndarray, place: tuple[float, float, float] | np.ndarray = (0, 0, 0)
) -> Shape:
    return superquadric(np.asarray(size, float), 1.0, 1.0, 18, 26).shift(np.asarray(place, float))


TOYS: dict[str, Maker] = {"animal": animal, "vehicle": vehicle}
APPLIANCES: dict[str, Maker] = {"drill": drill, "spray": spray, "camera": camera}
FRUIT: dict[str, Maker] = {"fruit": fruit}
MARKED: dict[str, Maker] = {"body_with_mark": body_with_mark}
