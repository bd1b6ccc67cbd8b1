"""Random parts: what a superquadric, lathe, extrusion, box or tube of everyday proportions looks like.

Every function takes a generator and returns a closed Shape about 2 units large, z up, centred near the origin.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from learning.datasets.objects.shapes import Band, Shape, box, disc, extrusion, lathe, superquadric, tube


def random_part(rng: np.random.Generator, kinds: dict[str, float] | None = None) -> Shape:
    """One part; `kinds` gives names of PARTS with relative weights."""
    weights = kinds or DEFAULT_WEIGHTS
    names = list(weights)
    share = np.array([weights[name] for name in names])
    return PARTS[str(rng.choice(names, p=share / share.sum()))](rng)


def random_superquadric(rng: np.random.Generator) -> Shape:
    size = np.exp(rng.uniform(np.log(0.3), 0.0, 3))
    return superquadric(size, *np.exp(rng.uniform(np.log(0.18), np.log(1.6), 2)))


def random_blob(rng: np.random.Generator) -> Shape:
    """Fruit, stones, soft toys: an ellipsoid swollen by a few smooth waves."""
    part = superquadric(np.exp(rng.uniform(np.log(0.45), 0.0, 3)), 1.0, rng.uniform(0.8, 1.2), rows=32)
    swelling = np.ones(len(part.vertices))
    for _ in range(rng.integers(1, 6)):
        wave = rng.normal(0, 1, 3) * rng.uniform(0.8, 3.5)
        swelling += rng.uniform(0.03, 0.13) * np.sin(part.vertices @ wave + rng.uniform(0, 2 * np.pi))
    part.vertices = part.vertices * swelling[:, None]
    return part


def random_can(rng: np.random.Generator) -> Shape:
    """Cylinders, cones, pucks and rolls, some with a chamfer."""
    height, top = np.exp(rng.uniform(np.log(0.15), np.log(4.0))), rng.choice([1.0, 1.0, rng.uniform(0.3, 1.0)])
    chamfer = rng.choice([0.0, rng.uniform(0.03, 0.15)]) * min(height, top, 1.0)
    side = straight_profile((1.0, -height / 2 + chamfer), (top, height / 2 - chamfer), 8)
    bands: list[Band] = [disc(1.0 - chamfer, -height / 2, outwards=True), ("side", side)]
    if chamfer > 0:
        bands.insert(1, ("side", straight_profile((1.0 - chamfer, -height / 2), side[0], 2)))
        bands.append(("side", straight_profile(side[-1], (top - chamfer, height / 2), 2)))
    bands.append(disc(top - chamfer, height / 2, outwards=False, dome=rng.choice([0.0, rng.uniform(-0.1, 0.2)])))
    return _normalise(lathe(bands, flatness=rng.choice([1.0, 1.0, rng.uniform(0.4, 1.0)])))


def random_bottle(rng: np.random.Generator) -> Shape:
    height, neck, shoulder = rng.uniform(2.0, 5.0), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.8)
    z = height * np.array([0.0, 0.06, shoulder * 0.5, shoulder, rng.uniform(shoulder + 0.05, 0.88), 0.93, 1.0])
    waist = rng.choice([1.0, rng.uniform(0.75, 1.05)])
    r = np.array([0.92, 1.0, waist, rng.uniform(0.85, 1.0), neck * rng.uniform(1.0, 1.3), neck, neck])
    body = smooth_profile(r, z, 22)
    cap_r, cap_h = neck * rng.uniform(1.0, 1.35), height * rng.uniform(0.04, 0.15)
    cap = straight_profile((cap_r, height), (cap_r * rng.uniform(0.6, 1.0), height + cap_h), 3)
    bands: list[Band] = [
        disc(0.92, 0.0, outwards=True, dome=rng.uniform(0, 0.1)), ("side", body),
        ("side", straight_profile((neck, height), (cap_r, height), 2)), ("side", cap),
        disc(cap[-1, 0], cap[-1, 1], outwards=False),
    ]  # fmt: skip
    flatness, squareness = rng.choice([1.0, rng.uniform(0.4, 0.9)]), rng.choice([1.0, 1.0, rng.uniform(0.25, 0.8)])
    return _normalise(lathe(bands, 40, flatness, squareness))


def vessel_profile(rng: np.random.Generator) -> np.ndarray:
    """(n, 2) outer wall of a cup, bowl, pot or plate, from base to rim."""
    if rng.random() < 0.5:  # cup
        height, base = rng.uniform(1.2, 3.0), rng.uniform(0.6, 1.1)
        belly = (1 + base) / 2 * rng.choice([1.0, rng.uniform(0.85, 1.2)])
    else:  # bowl, down to plate
        height, base = np.exp(rng.uniform(np.log(0.2), np.log(1.2))), rng.uniform(0.3, 0.7)
        belly = base + (1 - base) * rng.uniform(0.5, 0.85)
    return smooth_profile(np.array([base, belly, 1.0]), np.array([0.0, 0.45, 1.0]) * height, 12)


def vessel(rng: np.random.Generator, outer: np.ndarray) -> Shape:
    """A hollow vessel with the given outer wall; not normalised, so that a handle finds the wall."""
    wall = min(rng.uniform(0.04, 0.14), 0.3 * outer[-1, 1])
    inner = outer[::-1] - np.array([wall, 0.0])
    inner[:, 1] = wall + (inner[:, 1] - inner[-1, 1]) * (outer[-1, 1] - wall) / outer[-1, 1]
    bands: list[Band] = [
        disc(outer[0, 0], 0.0, outwards=True, dome=0.0), ("side", outer),
        ("side", np.stack([outer[-1], inner[0]])), ("inside", inner),
        disc(inner[-1, 0], inner[-1, 1], outwards=False),
    ]  # fmt: skip
    return lathe(bands, 44)


def random_vessel(rng: np.random.Generator) -> Shape:
    return _normalise(vessel(rng, vessel_profile(rng)))


def random_turning(rng: np.random.Generator) -> Shape:
    """Turned wood: chess pieces, knobs, vases, spinning tops."""
    knots = rng.integers(4, 8)
    z = np.sort(rng.uniform(0, 1, knots)) * 3
    r = rng.uniform(0.25, 1.0, knots)
    profile = smooth_profile(r, np.linspace(0, rng.uniform(1, 4), knots) + 0.1 * z, 28)
    bands = [disc(profile[0, 0], profile[0, 1], outwards=True), ("side", profile)]
    bands.append(disc(profile[-1, 0], profile[-1, 1], outwards=False, dome=rng.uniform(0, 0.5) * profile[-1, 0]))
    return _normalise(lathe(bands, 40))


def random_extrusion(rng: np.random.Generator) -> Shape:
    outline, corners = _outline(rng)
    height = np.exp(rng.uniform(np.log(0.08), np.log(3.0)))
    return _normalise(extrusion(outline, corners, height, rng.choice([1.0, 1.0, rng.uniform(0.5, 1.0)])))


def random_plate(rng: np.random.Generator) -> Shape:
    """Thin things: cards, coasters, blades, cut-outs."""
    if rng.random() < 0.5:
        return box(np.array([2.0, 2.0 * rng.uniform(0.2, 1.0), rng.uniform(0.02, 0.12)]), cells=10)
    outline, corners = _outline(rng)
    return _normalise(extrusion(outline, corners, rng.uniform(0.03, 0.12), rows=3))


def random_box(rng: np.random.Generator) -> Shape:
    """From dice through cartons and bars to boards, sharp or rounded."""
    style = rng.integers(4)
    if style == 0:  # carton
        size = np.array([rng.uniform(0.5, 0.9), rng.uniform(0.12, 0.45), 1.0])
    elif style == 1:  # bar
        size = np.array([rng.uniform(0.15, 0.4), rng.uniform(0.1, 0.4), 1.0])
    elif style == 2:  # block
        size = rng.uniform(0.6, 1.0, 3)
    else:
        size = np.exp(rng.uniform(np.log(0.15), 0.0, 3))
    radius = 0.0 if rng.random() < 0.55 else rng.uniform(0.04, 0.45) * size.min()
    return box(2 * size / size.max(), 2 * radius / size.max(), cells=8 if radius == 0 else 6)


def random_ring(rng: np.random.Generator) -> Shape:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    path = np.stack([np.cos(angle), rng.choice([1.0, rng.uniform(0.5, 1)]) * np.sin(angle), np.zeros(48)], 1)
    radii = rng.uniform(0.1, 0.45) * (1 + rng.choice([0, 0.3]) * np.sin(rng.integers(1, 6) * angle))
    return tube(path, radii, 20, rng.choice([1.0, rng.uniform(0.4, 2.0)]), closed=True)


def random_tube(rng: np.random.Generator) -> Shape:
    """Handles, hooks, bananas, springs, cranks: a thick curve through a few random points."""
    if rng.random() < 0.2:  # spring
        t = np.linspace(0, 2 * np.pi * rng.uniform(1.5, 4), 90)
        path = np.stack([np.cos(t), np.sin(t), t * rng.uniform(0.08, 0.3)], 1)
        return _normalise(tube(path, np.full(len(t), rng.uniform(0.08, 0.25)), 12))
    climb = np.array([0.0, 0.0, rng.uniform(0.7, 1.2)])
    knots = np.cumsum(rng.normal(0, 0.4, (rng.integers(3, 6), 3)) + climb, axis=0)
    path = CubicSpline(np.arange(len(knots)), knots)(np.linspace(0, len(knots) - 1, 36))
    step = np.linalg.norm(np.diff(path, axis=0), axis=1)
    tangent = np.diff(path, axis=0) / step[:, None]
    sharpest = (np.linalg.norm(np.diff(tangent, axis=0), axis=1) / step[1:]).max()
    # A tube wider than its path's radius of curvature would fold into itself.
    thickness = min(step.sum() * rng.uniform(0.05, 0.2), 0.7 / sharpest)
    thinning = 1 - rng.choice([0.0, rng.uniform(0.2, 0.7)]) * np.linspace(-1, 1, 36) ** 2
    return _normalise(tube(path, thickness * thinning, 18, rng.choice([1.0, rng.uniform(0.4, 1.0)])))


def arc_handle(foot: np.ndarray, head: np.ndarray, reach: float, radius: float, flatness: float) -> Shape:
    """A handle from `foot` to `head` (3,), bulging by `reach` along +x."""
    t = np.linspace(0, np.pi, 24)[:, None]
    path = (foot + head) / 2 + (foot - head) / 2 * np.cos(t) + reach * np.sqrt(np.sin(t)) * [1.0, 0.0, 0.0]
    return tube(path, np.full(len(t), radius), 14, flatness)


def _outline(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An outline that is star-shaped about the origin, (n, 2), and which of its points are sharp corners."""
    kind = rng.choice(["polygon", "star", "flower", "letter", "superellipse"])
    if kind in ("flower", "superellipse"):
        angle = np.linspace(0, 2 * np.pi, 56, endpoint=False)
        if kind == "flower":
            radius = 1 + rng.uniform(0.05, 0.3) * np.sin(rng.integers(1, 8) * angle + rng.uniform(0, 6))
            radius += rng.uniform(0, 0.15) * np.sin(rng.integers(1, 4) * angle + rng.uniform(0, 6))
        else:
            e = rng.uniform(0.2, 1.5)
            radius = (np.abs(np.cos(angle)) ** (2 / e) + np.abs(np.sin(angle)) ** (2 / e)) ** (-e / 2)
        points = radius[:, None] * np.stack([np.cos(angle), rng.uniform(0.4, 1) * np.sin(angle)], 1)
        return points, np.zeros(56, bool)
    if kind == "letter":  # L, T and plus shapes around a common core
        arm = rng.uniform(0.2, 0.45)
        arms = np.where(rng.random(4) < 0.7, rng.uniform(0.6, 1.4, 4), arm)
        right, up, left, down = arms
        vertices = np.array([
            [right, -arm], [right, arm], [arm, arm], [arm, up], [-arm, up], [-arm, arm], [-left, arm], [-left, -arm],
            [-arm, -arm], [-arm, -down], [arm, -down], [arm, -arm],
        ])  # fmt: skip
        keep = np.linalg.norm(np.roll(vertices, -1, 0) - vertices, axis=1) > 1e-6
        vertices = vertices[keep]
    else:
        count = int(rng.integers(3, 9))
        angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.2, 0.2, count)
        radius = rng.uniform(0.7, 1.0, count) if rng.random() < 0.5 else np.ones(count)
        if kind == "star":
            angle = np.linspace(0, 2 * np.pi, 2 * count, endpoint=False)
            radius = np.where(np.arange(2 * count) % 2, rng.uniform(0.35, 0.8), 1.0)
        vertices = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    fill = max(2, 48 // len(vertices))
    t = np.linspace(0, 1, fill, endpoint=False)[None, :, None]
    points = (vertices[:, None] * (1 - t) + np.roll(vertices, -1, 0)[:, None] * t).reshape(-1, 2)
    return points, np.arange(len(points)) % fill == 0


def straight_profile(a: tuple[float, float] | np.ndarray, b: tuple[float, float] | np.ndarray, rows: int) -> np.ndarray:
    return np.linspace(np.asarray(a, float), np.asarray(b, float), rows)


def smooth_profile(r: np.ndarray, z: np.ndarray, rows: int) -> np.ndarray:
    """(rows, 2) profile through the knots, without overshoot."""
    t = np.linspace(0, len(r) - 1, rows)
    knots = np.arange(len(r))
    return np.stack([PchipInterpolator(knots, r)(t), PchipInterpolator(knots, z)(t)], 1)


def _normalise(part: Shape) -> Shape:
    low, high = part.vertices.min(0), part.vertices.max(0)
    return part.transform(np.eye(3), -(low + high) / 2 * 2 / np.ptp(part.vertices, 0).max(), 2 / (high - low).max())


PARTS: dict[str, Callable[[np.random.Generator], Shape]] = {
    "superquadric": random_superquadric,
    "blob": random_blob,
    "can": random_can,
    "bottle": random_bottle,
    "vessel": random_vessel,
    "turning": random_turning,
    "extrusion": random_extrusion,
    "plate": random_plate,
    "box": random_box,
    "ring": random_ring,
    "tube": random_tube,
}

DEFAULT_WEIGHTS = {
    "superquadric": 0.12, "blob": 0.10, "can": 0.14, "bottle": 0.10, "vessel": 0.08, "turning": 0.06,
    "extrusion": 0.10, "plate": 0.04, "box": 0.18, "ring": 0.03, "tube": 0.05,
}  # fmt: skip
