"""Things that one can look into: trays, bowls, pipes, pots and shelves.

Every maker takes a generator and returns the parts of one object, of any size; parts overlap where they are joined.
"""

from __future__ import annotations

import numpy as np

from learning.datasets.objects.lofts import Maker, bent_sheet, flat_sheet, hollow_tube, rod, spline, turn
from learning.datasets.objects.parts import arc_handle, smooth_profile, vessel, vessel_profile
from learning.datasets.objects.shapes import Band, Shape, box, disc, join, lathe, tube
from learning.datasets.surfaces.materials import material_palette


def tray(rng: np.random.Generator) -> list[Shape]:
    """Open boxes, trays, tubs and crates: four walls on a floor, some walls with holes, some with dividers."""
    size = np.array([1.0, rng.uniform(0.4, 1.0), np.exp(rng.uniform(np.log(0.1), np.log(0.9)))])
    wall = rng.uniform(0.02, 0.07)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size[:2] / 2
    path = np.concatenate(
        [np.linspace(a, b, 3, endpoint=False) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    )
    rows = int(rng.integers(1, 4))
    holes = np.full((12, rows), rng.uniform(0.03, 0.2) if rng.random() < 0.25 else 0.0)
    walls = bent_sheet(path, np.linspace(0, size[2], rows + 1), wall, holes, closed=True, cells=4)
    walls = walls.rotate(turn("x", np.pi / 2))
    floor = box(np.array([size[0], size[1], wall]), cells=6).shift([0, 0, wall / 2 + 0.001])
    parts = [walls, floor]
    if rng.random() < 0.35:
        across = [box(np.array([wall, size[1], size[2] * 0.8]), cells=4).shift([x, 0, size[2] * 0.4]) for x in
                  np.linspace(-0.5, 0.5, int(rng.integers(3, 5)))[1:-1]]  # fmt: skip
        parts.append(join(across))
    paint = None if rng.random() < 0.5 else "single_colour"
    palette = material_palette(rng)
    return [part.with_paint(paint, palette) for part in parts]


def bowl(rng: np.random.Generator) -> list[Shape]:
    """Bowls, tubs and boxes with rounded corners and real walls, round, oval or squarish; some with a lid or a foot."""
    height, base, wall = rng.uniform(0.2, 1.8), rng.uniform(0.4, 1.0), rng.uniform(0.04, 0.12)
    outer = smooth_profile(
        np.array([base, (1 + base) / 2 * rng.uniform(0.95, 1.1), 1.0]), np.array([0, 0.5, 1.0]) * height, 14
    )
    inner = np.stack([outer[::-1, 0] - wall, wall + outer[::-1, 1] * (height - wall) / height], 1)
    bands: list[Band] = [
        disc(base, 0.0, outwards=True), ("side", outer), ("side", np.stack([outer[-1], inner[0]])), ("inside", inner),
        disc(inner[-1, 0], inner[-1, 1], outwards=False),
    ]  # fmt: skip
    flat, square = rng.uniform(0.45, 1.0), rng.choice([1.0, rng.uniform(0.12, 0.5)])
    parts = [lathe(bands, 41, flat, square)]
    if rng.random() < 0.25:
        edge = np.array([[1.03, height], [1.03, height + 0.08]])
        dome = disc(1.03, height + 0.08, outwards=False, dome=rng.uniform(0, 0.25))
        lid = lathe([disc(1.03, height, outwards=True), ("side", edge), dome], 41, flat, square)
        parts.append(lid if rng.random() < 0.6 else lid.transform(turn("y", 0.5), [rng.uniform(0.3, 0.8), 0, 0.1]))
    return parts


def pipe(rng: np.random.Generator) -> list[Shape]:
    """Pipes, hoses, rolls and elbows that one can look through, some with a second branch."""
    radius = rng.uniform(0.15, 0.7)
    wall = radius * rng.uniform(0.08, 0.6)
    bend = rng.choice([0.0, rng.uniform(0.3, 1.9)])
    t = np.linspace(0, 1, 20)[:, None]
    path = t * [0, 0, rng.uniform(0.2, 2.5)]
    if bend:
        arc = radius * rng.uniform(1.4, 3.0)
        path = arc * np.concatenate([1 - np.cos(t * bend), 0 * t, np.sin(t * bend)], 1)
    parts = [hollow_tube(path, radius, wall, 30)]
    if rng.random() < 0.3 and not bend:
        branch = np.linspace(
            [radius * 0.9, 0, path[-1, 2] / 2], [radius + rng.uniform(0.2, 0.8), 0, path[-1, 2] / 2], 8
        )
        thin = radius * rng.uniform(0.5, 0.9)
        parts.append(hollow_tube(branch, thin, thin * 0.25, 24))
    return parts


def pot(rng: np.random.Generator) -> list[Shape]:
    """Pans, pots, buckets and jugs: a vessel with a long handle, two ears or a bail, and sometimes a spout."""
    outer = vessel_profile(rng)
    body, height = vessel(rng, outer), float(outer[-1, 1])
    style = rng.choice(["pan", "pot", "bucket", "jug"])
    if style == "pan":
        path = np.array(
            [
                [0.95, 0, height * 0.8],
                [1.4, 0, height * 0.9],
                [rng.uniform(2.0, 2.8), 0, height + rng.uniform(-0.1, 0.4)],
            ]
        )
        return [body, tube(spline(path, 16), np.linspace(0.07, 0.11, 16), 14, rng.uniform(0.5, 1.5))]
    if style == "bucket":
        t = np.linspace(0, np.pi, 30)
        bail = np.stack([np.cos(t), 0 * t, np.sin(t) * rng.uniform(0.6, 1.2)], 1) * 1.0
        tilt = turn("x", rng.uniform(-1.3, 1.3))
        return [body, tube(bail, np.full(30, 0.03), 10).transform(tilt, [0, 0, height * 0.95])]
    z = height * 0.75
    reach = float(np.interp(z, outer[:, 1], outer[:, 0]))
    ear = arc_handle(
        np.array([reach * 0.97, -0.25, z]), np.array([reach * 0.97, 0.25, z]), rng.uniform(0.2, 0.5), 0.06, 1.0
    )
    if style == "pot":
        return [body, join([ear, ear.rotate(turn("z", np.pi))])]
    spout = tube(np.linspace([-reach * 0.9, 0, height * 0.4], [-reach - 0.6, 0, height * rng.uniform(0.9, 1.3)], 10),
                 np.linspace(0.2, 0.08, 10), 16)  # fmt: skip
    grip = arc_handle(
        np.array([reach * 0.95, 0, height * 0.2]), np.array([reach * 0.95, 0, height * 0.9]), 0.6, 0.08, 1.3
    )
    return [body, spout, grip]


def shelf(rng: np.random.Generator) -> list[Shape]:
    """Stools, shelves and racks: boards on legs or between uprights."""
    size = np.array([1.0, rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.3)])
    thick, levels = rng.uniform(0.03, 0.09), int(rng.integers(1, 4))
    boards = [
        box(np.array([size[0], size[1], thick]), cells=6).shift([0, 0, z])
        for z in np.linspace(size[2], 0.25 * size[2], levels)
    ]
    inset = rng.uniform(0.35, 0.47)
    if rng.random() < 0.6:
        feet = [rod(np.array([x, y, -0.05]), np.array([x * 0.98, y * 0.98, size[2]]), thick * 0.8)
                for x in (-inset, inset) for y in (-inset * size[1], inset * size[1])]  # fmt: skip
    else:
        sides = flat_sheet(np.array([-0.5, 0.5]) * size[1], np.array([0, size[2]]), thick, np.zeros((1, 1)), cells=8)
        sides = sides.rotate(turn("z", np.pi / 2) @ turn("x", np.pi / 2))
        feet = [sides.shift([x, 0, 0]) for x in (-inset, inset)]
    return [join(boards), join(feet)]


HOLLOW: dict[str, Maker] = {"tray": tray, "bowl": bowl, "pipe": pipe, "pot": pot, "shelf": shelf}
