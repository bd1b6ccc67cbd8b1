"""Hands and single fingers of random pose and skin, which hide parts of objects in training scenes.

They are occluders, never targets: a mesh pool keeps them behind its objects and planes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learning.datasets.objects.lofts import turn
from learning.datasets.objects.random_objects import paint_and_join, spread_over_processes
from learning.datasets.objects.shapes import Shape, join, superquadric
from learning.datasets.surfaces.materials import palette_on
from pose6d.errors import as_whole_number
from pose6d.mesh.mesh import Mesh

_LENGTHS = (0.95, 1.05, 1.0, 0.8)
"""Index to little finger, relative to the palm's length."""
_PHALANGES = np.array([0.46, 0.30, 0.24])
"""Shares of a finger's length, from the knuckle on."""


def make_hand(seed: int) -> Mesh:
    """A hand with bent fingers, a fist or grip, or one to four fingers alone; unit diameter, the same for a seed."""
    rng = np.random.default_rng([as_whole_number(seed, "seed", least=0), 0x4A])
    curl = rng.uniform(0.05, 1.0)
    thickness = rng.uniform(0.85, 1.2)
    whole = rng.random() < 0.6
    first, last = (0, 4) if whole else _some_fingers(rng)
    side = rng.choice([-1.0, 1.0])
    fingers = []
    for k in range(first, last):
        spread = (k - 1.5) * rng.uniform(0.02, 0.16)
        base = np.array([side * (1.5 - k) * 0.23, 0.0, 0.0])
        bends = np.clip(curl + rng.normal(0, 0.12, 3), 0, 1.1) * np.array([1.2, 1.5, 1.0])
        heading = turn("y", -side * spread)
        fingers.append(_finger(base, heading, _LENGTHS[k] * rng.uniform(0.9, 1.1), 0.105 * thickness, bends))
    parts = [join(fingers)]
    if whole or rng.random() < 0.3:
        heading = turn("z", rng.uniform(-0.5, 0.3) * side) @ turn("y", side * rng.uniform(0.4, 1.1))
        bends = np.clip(curl * 0.6 + rng.normal(0, 0.15, 3), 0, 1) * np.array([0.8, 0.8, 0.9])
        base = np.array([side * 0.38, -0.1, -0.72])
        parts[0] = join([parts[0], _finger(base, heading, 0.9, 0.125 * thickness, bends)])
    if whole:
        palm = superquadric(np.array([0.47, 0.17 * thickness, 0.56]), 0.75, 0.7, 20, 30)
        parts.append(palm.shift([0, -0.03, -0.5]))
        if rng.random() < 0.7:
            wrist = superquadric(np.array([0.30, 0.22, rng.uniform(0.4, 0.9)]), 0.9, 0.4, 16, 26)
            parts.append(wrist.transform(turn("x", rng.uniform(-0.4, 0.4)), [0, -0.04, -1.3]))
    return paint_and_join(_paint_skin(rng, parts), rng, name=f"hand_{seed}")


def make_hands(seeds: Sequence[int], workers: int | None = None, progress: bool = True) -> list[Mesh]:
    """make_hand for each seed, in that order; `workers` as in random_objects.make_objects."""
    return spread_over_processes(make_hand, seeds, workers, progress, "making hands")


def _some_fingers(rng: np.random.Generator) -> tuple[int, int]:
    count = int(rng.integers(1, 5))
    first = int(rng.integers(0, 5 - count))
    return first, first + count


def _finger(base: np.ndarray, heading: np.ndarray, length: float, radius: float, bends: np.ndarray) -> Shape:
    """Three phalanges as ellipsoid-capped limbs that overlap in the joints, bending towards +y."""
    limbs, place = [], base
    for share, bend in zip(_PHALANGES, bends, strict=True):
        heading = heading @ turn("x", -bend)
        bone = share * length
        limb = superquadric(np.array([radius, radius * 0.95, bone / 2 + 0.75 * radius]), 1.0, 0.55, 14, 18)
        limbs.append(limb.transform(heading, place + heading @ [0, 0, bone / 2]))
        place = place + heading @ [0, 0, bone]
        radius *= 0.91
    return join(limbs)


def _paint_skin(rng: np.random.Generator, parts: list[Shape]) -> list[Shape]:
    """Skin from very light to very dark; some hands wear a glove and some arms a sleeve."""
    tone = rng.random()
    skin = (1 - tone) * np.array([0.95, 0.78, 0.68]) + tone * np.array([0.26, 0.16, 0.11])
    skin = np.clip(skin * rng.uniform(0.85, 1.1) + rng.normal(0, 0.02, 3), 0, 1)
    palette = palette_on(rng, skin)
    palette[1] = np.clip(skin * [0.92, 0.78, 0.76], 0, 1)  # blood shows where the skin is thin
    if rng.random() < 0.1:
        palette = palette_on(rng, rng.random(3))
    dressed = [part.with_paint("skin", palette) for part in parts]
    if len(dressed) == 3 and rng.random() < 0.6:
        dressed[2] = dressed[2].with_paint(None)
    return dressed
