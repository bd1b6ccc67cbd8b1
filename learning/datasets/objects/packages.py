"""Packages with print on them: cartons, tins, jars, bottles, tubes and pouches.

Every maker takes a generator and returns the parts of one object, of any size; parts overlap where they are joined.
"""

from __future__ import annotations

import numpy as np

from learning.datasets.objects.lofts import Maker, circle, cylinder, loft, turn
from learning.datasets.objects.parts import smooth_profile, straight_profile
from learning.datasets.objects.shapes import Band, Shape, box, disc, join, lathe, tube
from learning.datasets.surfaces.materials import material_palette, metal_colour, palette_on

_PRINTS = ("label", "document", "logo", "panels", "photo", "package")


def carton(rng: np.random.Generator) -> list[Shape]:
    """Printed boxes, flat, tall or with a gable top."""
    size = np.array([rng.uniform(0.4, 0.9), rng.uniform(0.15, 0.6), 1.0])
    if rng.random() < 0.3:  # gable top
        half = size[:2] / 2
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        shoulder = rng.uniform(0.15, 0.35)
        ridge = square * [1.0, 0.02]
        rows = [(square, 0), (square, 1.0), (ridge, 1.0 + shoulder), (ridge, 1.05 + shoulder)]
        body = loft(np.stack([np.column_stack([o, np.full(4, z)]) for o, z in rows]), np.ones(4, bool), range(4))
        parts = [_subdivide(body).with_paint("package", material_palette(rng))]
        if rng.random() < 0.4:
            cap = cylinder(min(half) * 0.4, 0, 0.1, 24).transform(
                turn("x", np.pi / 4), [0, -half[1] * 0.5, 1 + shoulder / 2]
            )
            parts.append(cap.with_paint("single_colour", material_palette(rng)))
        return parts
    body = box(size, rng.choice([0.0, 0.0, 0.02, 0.06]), 8).with_paint(_print(rng), material_palette(rng))
    if rng.random() < 0.2:  # an open flap
        flap = box(np.array([size[0], size[1], 0.015]), cells=6).shift([0, size[1] / 2, 0])
        return [
            body,
            flap.transform(turn("x", rng.uniform(0.4, 2.0)), [0, -size[1] / 2, 0.5]).with_paint(
                "single_colour", palette_on(rng, np.full(3, 0.75))
            ),
        ]
    return [body]


def _subdivide(part: Shape) -> Shape:
    """Every triangle cut into sixteen, for parts whose few large ones would starve close-ups of vertices."""
    for _ in range(2):
        a, b, c = (part.faces[:, k] for k in range(3))
        count, faces = len(part.vertices), len(part.faces)
        corners = np.stack([a, b, c])
        middle = [(part.vertices[p] + part.vertices[q]) / 2 for p, q in ((a, b), (b, c), (c, a))]
        middle_uv = [(part.uv[p] + part.uv[q]) / 2 for p, q in ((a, b), (b, c), (c, a))]
        ab, bc, ca = (count + k * faces + np.arange(faces) for k in range(3))
        a, b, c = corners
        quarters = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        part = Shape(
            np.concatenate([part.vertices, *middle]),
            np.concatenate([np.stack(q, 1) for q in quarters]),
            np.concatenate([part.uv, *middle_uv]),
            np.arange(count + 3 * faces),
            part.charts,
        )
    return part.with_flat_faces()


def tin(rng: np.random.Generator) -> list[Shape]:
    """Cans and tins with rims and a printed wrapper, jars with lids."""
    if rng.random() < 0.5:  # can
        h, rim = np.exp(rng.uniform(np.log(0.4), np.log(3.0))), 0.05
        lip = np.array([[0.95, 0], [1.0, 0.02], [1.0, rim], [0.965, rim + 0.02]])
        wall = straight_profile((0.965, rim + 0.02), (0.965, h - rim - 0.02), 10)
        bands: list[Band] = [disc(0.95, 0, outwards=True), ("side", lip), ("side", wall),
                             ("side", lip[::-1] * [1, -1] + [0, h]), disc(0.95, h, outwards=False)]  # fmt: skip
        flat, square = rng.choice([1.0, 1.0, rng.uniform(0.5, 1)]), rng.choice([1.0, 1.0, rng.uniform(0.15, 0.5)])
        body = lathe(bands, 49, flat, square).with_paint(_print(rng), palette_on(rng, metal_colour(rng)))
        if rng.random() < 0.3:
            tab = box(np.array([0.5, 0.2, 0.03]), 0.01, 3).shift([0.1, 0, h + 0.03])
            return [body, tab.with_paint("single_colour", palette_on(rng, metal_colour(rng)))]
        return [body]
    h, neck = rng.uniform(1.0, 2.8), rng.uniform(0.75, 0.97)
    body_profile = smooth_profile(np.array([0.9, 1.0, 1.0, neck]), h * np.array([0, 0.1, 0.8, 1.0]), 20)
    square = rng.choice([1.0, 1.0, rng.uniform(0.3, 0.7)])
    body = lathe([disc(0.9, 0, outwards=True), ("side", body_profile), disc(neck, h, outwards=False)], 49, 1.0, square)
    lid = cylinder(neck * rng.uniform(1.0, 1.12), h - 0.02, h + rng.uniform(0.15, 0.5), 40)
    return [
        body.with_paint("label", material_palette(rng)),
        lid.with_paint("single_colour" if rng.random() < 0.7 else "logo", material_palette(rng)),
    ]


def labelled_bottle(rng: np.random.Generator) -> list[Shape]:
    """Bottles with a wrapped label and a cap of another colour; some with a pump or a nozzle."""
    h, neck, shoulder = rng.uniform(2.2, 4.5), rng.uniform(0.22, 0.45), rng.uniform(0.55, 0.82)
    r = np.array([0.93, 1.0, rng.choice([1.0, rng.uniform(0.8, 1.0)]), rng.uniform(0.9, 1.0), neck * 1.05, neck])
    z = h * np.array([0, 0.05, shoulder / 2, shoulder, min(shoulder + rng.uniform(0.08, 0.2), 0.95), 1.0])
    flat, square = rng.choice([1.0, rng.uniform(0.4, 0.85)]), rng.choice([1.0, rng.uniform(0.4, 0.9)])
    body = lathe(
        [disc(0.93, 0, outwards=True), ("side", smooth_profile(r, z, 30)), disc(neck, h, outwards=False)],
        45,
        flat,
        square,
    )
    body = body.with_paint("label" if rng.random() < 0.75 else _print(rng), material_palette(rng))
    colour = material_palette(rng)
    top = h + rng.uniform(0.15, 0.6)
    cap = cylinder(neck * rng.uniform(1.05, 1.5), h - 0.1, top, 28, top=neck * rng.uniform(0.5, 1.3))
    caps = [cap]
    if rng.random() < 0.35:  # pump
        caps.append(cylinder(0.07, top - 0.05, top + 0.35, 16))
        caps.append(
            tube(
                np.array([[-0.15, 0, top + 0.38], [0.2, 0, top + 0.4], [0.5, 0, top + 0.38], [0.62, 0, top + 0.28]]),
                np.array([0.13, 0.12, 0.08, 0.06]),
                14,
            )
        )
    return [body, join(caps).with_paint("single_colour", colour)]


def squeeze_tube(rng: np.random.Generator) -> list[Shape]:
    """Tubes of paste: round at the cap, flat at the other end."""
    h, width = rng.uniform(2.0, 4.5), rng.uniform(1.0, 1.35)
    rows = []
    for t in np.linspace(0, 1, 16):
        rows.append(
            np.column_stack(
                [circle(1.0, 36) * [0.8 + (width - 0.8) * t, 0.8 * (1 - t) ** 0.8 + 0.03], np.full(36, h * t)]
            )
        )
    body = loft(np.stack(rows)).with_paint(_print(rng), material_palette(rng))
    cap = cylinder(rng.uniform(0.5, 0.85), -rng.uniform(0.3, 0.8), 0.05, 28, top=0.8)
    return [body, cap.with_paint("single_colour", material_palette(rng))]


def pouch(rng: np.random.Generator) -> list[Shape]:
    """Bags, sachets and cushions: swollen in the middle, with flat seams."""
    width, fat, power = rng.uniform(0.5, 1.0), rng.uniform(0.12, 0.4), rng.uniform(0.3, 0.7)
    rows = []
    for t in np.linspace(-1, 1, 22):
        swell = fat * (1 - t**2) ** power + 0.012
        a = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = np.sign(np.cos(a)) * np.abs(np.cos(a)) ** 0.6, np.sin(a) * np.abs(np.sin(a)) ** 0.4
        crease = 1 + 0.08 * np.sin(5 * a + 7 * t) * rng.random()
        rows.append(np.stack([x * width, y * swell * crease, np.full(40, t)], 1))
    return [loft(np.stack(rows)).with_paint(_print(rng), material_palette(rng))]


def _print(rng: np.random.Generator) -> str:
    return str(rng.choice(_PRINTS, p=[0.35, 0.1, 0.1, 0.1, 0.05, 0.3]))


PACKAGES: dict[str, Maker] = {
    "carton": carton, "tin": tin, "labelled_bottle": labelled_bottle, "squeeze_tube": squeeze_tube, "pouch": pouch,
}  # fmt: skip
