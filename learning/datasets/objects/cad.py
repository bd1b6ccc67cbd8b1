"""Parts of machines as CAD models show them: few faces, sharp edges, mostly one colour.

Every maker takes a generator and returns the parts of one object, of any size; parts overlap where they are joined.
"""

from __future__ import annotations

import numpy as np

from learning.datasets.objects.lofts import (
    Maker,
    circle,
    cylinder,
    flange,
    flat_sheet,
    hollow_tube,
    prism,
    ring_prism,
    turn,
)
from learning.datasets.objects.shapes import Band, Shape, box, disc, join, lathe
from learning.datasets.surfaces.materials import material_palette, metal_colour, palette_on


def _cad(rng: np.random.Generator, parts: list[Shape]) -> list[Shape]:
    """Mostly one grey or one colour, as models without texture are, and some with flat shading."""
    if rng.random() < 0.35:
        parts = [part.with_flat_faces() for part in parts]
    if rng.random() < 0.2:
        return parts
    ground = metal_colour(rng) if rng.random() < 0.6 else material_palette(rng)[0]
    paint, palette = "metal" if rng.random() < 0.25 else "single_colour", palette_on(rng, ground)
    return [part.with_paint(paint, palette) for part in parts]


def block(rng: np.random.Generator) -> list[Shape]:
    """Chamfered blocks and stepped prisms, some with a boss or a second block."""
    corners = int(rng.choice([4, 4, 4, 5, 6, 8]))
    outline = circle(1.0, corners, np.pi / corners) * [1.0, rng.uniform(0.4, 1.0)]
    h, c = np.exp(rng.uniform(np.log(0.15), np.log(1.5))), rng.choice([0.0, rng.uniform(0.03, 0.15)])
    levels = [(0, -h), (0, h)] if c == 0 else [(c, -h), (0, -h + min(c, h / 2)), (0, h - min(c, h / 2)), (c, h)]
    parts = [prism(outline, levels)]
    if rng.random() < 0.7:
        r = rng.uniform(0.15, 0.45)
        boss = (
            cylinder(r, 0, rng.uniform(0.2, 0.8), int(rng.choice([7, 9, 13, 25])))
            if rng.random() < 0.5
            else box(np.array([*rng.uniform(0.3, 0.9, 2), rng.uniform(0.3, 1.0)]), cells=1)
        )
        parts.append(boss.shift([*rng.uniform(-0.35, 0.35, 2), h * rng.uniform(0.7, 0.99)]))
    return _cad(rng, parts)


def gear(rng: np.random.Generator) -> list[Shape]:
    """Spur gears and pulleys with a bore, some with a hub."""
    teeth, depth = int(rng.integers(8, 25)), rng.uniform(0.08, 0.2)
    pitch = 2 * np.pi / teeth
    angle = (np.arange(teeth)[:, None] * pitch + np.array([0.0, 0.3, 0.42, 0.58, 0.7]) * pitch).ravel()
    radius = np.tile([1 - depth, 1 - depth, 1.0, 1.0, 1 - depth], teeth)
    outer = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    bore = rng.uniform(0.1, 0.6)
    inner = bore * np.stack([np.cos(angle), np.sin(angle)], 1)
    sharp = np.tile([False, True, True, True, True], teeth)
    parts = [ring_prism(outer, inner, rng.uniform(0.1, 0.8), sharp)]
    if rng.random() < 0.5:
        hub = bore + (1 - depth - bore) * rng.uniform(0.2, 0.6)
        width = rng.uniform(0.3, 1.2)
        parts.append(ring_prism(circle(hub, 32), circle(bore * 0.99, 32), width, np.zeros(32, bool)))
    return _cad(rng, parts)


def fastener(rng: np.random.Generator) -> list[Shape]:
    """Hex bolts, screws, nuts and washers."""
    style = rng.choice(["bolt", "screw", "nut", "spacer"])
    if style in ("nut", "spacer"):
        sides = 6 if style == "nut" else int(rng.choice([4, 8, 36]))
        fill = 36 // sides
        corners = circle(1.0, sides)
        t = np.linspace(0, 1, fill, endpoint=False)[None, :, None]
        outer = (corners[:, None] * (1 - t) + np.roll(corners, -1, 0)[:, None] * t).reshape(-1, 2)
        inner = rng.uniform(0.35, 0.65) * outer / np.linalg.norm(outer, axis=1, keepdims=True)
        sharp = np.arange(len(outer)) % fill == 0 if sides < 36 else np.zeros(len(outer), bool)
        height = rng.uniform(0.3, 1.0) if style == "nut" else np.exp(rng.uniform(np.log(0.1), np.log(3)))
        return _cad(rng, [ring_prism(outer, inner, height, sharp, 0.04 * rng.integers(2) * min(height, 1))])
    length, shank = rng.uniform(1.0, 4.0), rng.uniform(0.35, 0.6)
    z = np.linspace(-length, 0, 70)
    thread = 0.05 * shank * np.sin(z * 2 * np.pi / 0.14) * (z < -length * rng.choice([0.0, 0.4]))
    side = np.stack([shank + thread, z], 1)
    if style == "screw":
        side[:, 0] *= np.clip((z + length) / (0.4 * length), 0.1, 1)
    bands: list[Band] = [
        disc(side[0, 0], -length, outwards=True),
        ("side", side),
        disc(side[-1, 0], 0.0, outwards=False),
    ]
    shaft = lathe(bands, 20)
    if style == "bolt":
        h = rng.uniform(0.4, 0.8)
        head = prism(circle(1.0, 6), [(0, -0.02), (0, h - 0.1), (0.1, h)])
    else:
        head = cylinder(shank, -0.3, 0.05, 24, top=rng.uniform(0.8, 1.1))
    return _cad(rng, [shaft, head])


def flanged_pipe(rng: np.random.Generator) -> list[Shape]:
    """Flanges with bolt holes, on a pipe or a hub, sometimes at both ends or with an elbow."""
    bore = rng.uniform(0.2, 0.6)
    disc_ = flange(bore, 1.0, rng.uniform(0.1, 0.3), int(rng.integers(3, 9)), rng.uniform(0.05, 0.13))
    length = rng.uniform(0.3, 2.0)
    t = np.linspace(0, 1, 16)[:, None]
    bend = rng.uniform(0.5, 1.6) if rng.random() < 0.35 else 0.0
    path = t * [0, 0, length]
    if bend:
        radius = length / bend + 0.6
        path = radius * np.concatenate([1 - np.cos(t * bend), 0 * t, np.sin(t * bend)], 1)
    wall = rng.uniform(0.06, 0.2)
    pipe = hollow_tube(path, bore + wall, wall * 0.97, 28)
    discs = [disc_]
    if rng.random() < 0.5:
        end = disc_.transform(turn("y", bend), path[-1])
        discs.append(end)
    return _cad(rng, [join(discs), pipe])


def machined_plate(rng: np.random.Generator) -> list[Shape]:
    """Thick plates with holes, a rib or an upright with a bearing: the base plates and mounts of machines."""
    columns, rows = rng.integers(1, 4, 2)
    width, thick = rng.uniform(0.5, 1.4), rng.uniform(0.1, 0.5)
    along, across = np.linspace(-1, 1, columns + 1), np.linspace(-width / 2, width / 2, rows + 1)
    holes = np.where(rng.random((columns, rows)) < 0.6, rng.uniform(0.08, 0.35), 0.0)
    parts = [flat_sheet(along, across, thick, holes, cells=4)]
    if rng.random() < 0.7:
        lift = rng.uniform(0.3, 0.9)
        rim = rng.uniform(0.2, 0.4)
        bearing = ring_prism(
            circle(rim, 28), circle(rim * rng.uniform(0.4, 0.8), 28), width * rng.uniform(0.2, 0.8), np.zeros(28, bool)
        )
        post = box(np.array([rim * 1.2, width * rng.uniform(0.15, 0.6), lift - rim * 0.5]), cells=1)
        post = post.shift([0, 0, thick / 2 + (lift - rim) / 2 - 0.02])
        x = rng.uniform(-0.6, 0.6)
        parts += [post.shift([x, 0, 0]), bearing.transform(turn("x", np.pi / 2), [x, 0, thick / 2 + lift])]
    return _cad(rng, parts)


def shaft(rng: np.random.Generator) -> list[Shape]:
    """Stepped shafts, fittings and knobs: cylinders and hex prisms about one axis."""
    parts, z = [], 0.0
    for _ in range(rng.integers(2, 5)):
        radius, height = rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.9)
        if rng.random() < 0.3:
            part = prism(
                circle(radius, int(rng.choice([4, 6, 8]))),
                [(0.03, z - 0.01), (0, z + 0.04), (0, z + height - 0.04), (0.03, z + height)],
            )
        else:
            part = cylinder(radius, z - 0.01, z + height, int(rng.choice([13, 25, 33])))
        parts.append(part)
        z += height
    return _cad(rng, parts)


CAD: dict[str, Maker] = {
    "block": block, "gear": gear, "fastener": fastener, "flanged_pipe": flanged_pipe,
    "machined_plate": machined_plate, "shaft": shaft,
}  # fmt: skip
