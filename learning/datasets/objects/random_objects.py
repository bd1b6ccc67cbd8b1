"""Random textured objects to train on: everything a network of this project ever learned from is made here.

An object is of one of three families. A free form is one to four random parts (parts), sometimes tapered,
twisted, bent or warped as a whole. A made thing is of a kind that people make or grow (KINDS): thin, hollow,
articulated, a CAD part, a package, a toy, an appliance, a fruit, or a plain body with one telling mark. A
marked thing (near_symmetric) is nearly symmetric by shape, and some mark of any size and contrast may tell its sides
apart. Each has one texture in which every part has a cell and every chart of a part its own rectangle.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image
from tqdm import tqdm

from learning.datasets.objects.cad import CAD
from learning.datasets.objects.hollow import HOLLOW
from learning.datasets.objects.household import APPLIANCES, FRUIT, MARKED, TOYS
from learning.datasets.objects.lofts import Maker
from learning.datasets.objects.near_symmetric import NEAR_SYMMETRIC
from learning.datasets.objects.object_processes import ObjectProcesses
from learning.datasets.objects.packages import PACKAGES
from learning.datasets.objects.parts import arc_handle, random_box, random_part, vessel, vessel_profile
from learning.datasets.objects.shapes import Chart, Shape, join
from learning.datasets.objects.sheets_and_tools import ARTICULATED, THIN
from learning.datasets.surfaces.marks import draw_mark
from learning.datasets.surfaces.materials import choose_material, material_palette, paint_material
from learning.datasets.surfaces.textures import PLAIN_SHARE, choose_kind, make_palette
from pose6d.errors import as_whole_number
from pose6d.mesh.mesh import Mesh

TEXTURE_SIZE = 256
MADE_SHARE = 0.45
"""Share of made things among mixed objects."""

Family = Literal["mixed", "free", "made", "marked"]

KINDS: dict[str, Maker] = {
    **THIN, **HOLLOW, **ARTICULATED, **CAD, **PACKAGES, **TOYS, **APPLIANCES, **FRUIT, **MARKED, **NEAR_SYMMETRIC
}  # fmt: skip
"""Makers of made and marked things by name."""

_GROUPS = (  # kinds and their share of the made things
    (THIN, 0.12), (HOLLOW, 0.13), (ARTICULATED, 0.10), (CAD, 0.17), (PACKAGES, 0.17), (TOYS, 0.07), (APPLIANCES, 0.07),
    (FRUIT, 0.04), (MARKED, 0.13),
)  # fmt: skip
_MATERIALS_SHARE = 0.35  # share of free forms in a mix whose surface is of surfaces.materials

_CELLS = {  # (u0, v0, u1, v1) of each part's cell in the texture
    1: [(0.0, 0.0, 1.0, 1.0)],
    2: [(0.0, 0.4, 1.0, 1.0), (0.0, 0.0, 1.0, 0.4)],
    3: [(0.0, 0.5, 1.0, 1.0), (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5)],
    4: [(0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0), (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5)],
}
_COMPOSITIONS = {"single": 0.52, "cluster": 0.20, "tool": 0.10, "mug": 0.09, "case": 0.05, "stack": 0.04}
_ATTACHMENTS = {
    "superquadric": 0.25,
    "can": 0.2,
    "extrusion": 0.15,
    "box": 0.2,
    "tube": 0.1,
    "ring": 0.05,
    "blob": 0.05,
}


@dataclass(frozen=True)
class Surfaces:
    """Where the surfaces of parts come from that do not ask for one."""

    choose: Callable[[np.random.Generator], str]
    palette: Callable[[np.random.Generator], np.ndarray]


_TEXTURES = Surfaces(choose_kind, make_palette)
_MATERIALS = Surfaces(choose_material, material_palette)


def make_object(seed: int, size: float = 1.0, family: Family = "mixed", marked_share: float = 0.0) -> Mesh:
    """One random object, the same for the same seed.

    Args:
        seed: 0 or more.
        size: metres, the object's diameter.
        family: "free" forms, "made" or "marked" things or, "mixed", one of the first two.
        marked_share: share of seeds that give a marked thing in place of one of `family`; the others give what they
            give without it.

    Returns:
        Closed surfaces of at most 9,000 faces together (CAD parts: a few dozen, others 400 or more), their bounding box
        centred on the origin, normals outwards, with uv and a 256 x 256 texture.

    Raises:
        OptionError: the seed is no whole number, or less than 0.
    """
    rng = np.random.default_rng([as_whole_number(seed, "seed", least=0), 0x6D])
    choice = np.random.default_rng([seed, 0xFA])  # of its own, so that a family's objects are the same in a mix
    # Drawn only where it is asked for, from a generator of its own: all other seeds keep their objects.
    if family == "marked" or np.random.default_rng([seed, 0x3A]).random() < marked_share:
        return make_kind(str(rng.choice(list(NEAR_SYMMETRIC))), rng, size, name=f"object_{seed}")
    made = family == "made" or (family == "mixed" and choice.random() < MADE_SHARE)
    if made:
        return make_kind(_choose_kind(rng), rng, size, name=f"object_{seed}")
    from_materials = family == "mixed" and choice.random() < _MATERIALS_SHARE
    parts = _compose(rng)
    if rng.random() < (0.12 if len(parts) == 1 and len(parts[0].charts) == 6 else 0.3):
        parts = _deform(rng, parts)
    return paint_and_join(parts, rng, size, f"object_{seed}", _MATERIALS if from_materials else _TEXTURES)


def make_kind(kind: str, rng: np.random.Generator, size: float = 1.0, name: str = "object") -> Mesh:
    """A thing of one of KINDS, as make_object returns it."""
    stretch = rng.uniform(0.85, 1.18, 3) if rng.random() < 0.5 else np.ones(3)
    if kind in NEAR_SYMMETRIC:  # a stretch would tell sides apart
        stretch = np.ones(3)
    parts = [part.scale(stretch) for part in KINDS[kind](rng)]
    return paint_and_join(parts, rng, size, name)


def paint_and_join(
    parts: list[Shape],
    rng: np.random.Generator,
    size: float = 1.0,
    name: str = "object",
    surfaces: Surfaces = _MATERIALS,
) -> Mesh:
    """One centred mesh of the given diameter; its parts are painted as they ask to be, or at random."""
    texture, uv = _paint(rng, parts, surfaces)
    whole = join(parts)
    used, faces = np.unique(whole.faces, return_inverse=True)
    faces = faces.reshape(whole.faces.shape)
    mesh = Mesh(whole.vertices[used], faces, whole.normals()[used], uv[used], texture, name=name)
    return mesh.centered().scaled(size / mesh.diameter)


def _choose_kind(rng: np.random.Generator) -> str:
    group = _GROUPS[rng.choice(len(_GROUPS), p=[share for _, share in _GROUPS])][0]
    return str(rng.choice(list(group)))


def make_objects(
    seeds: Sequence[int],
    workers: int | None = None,
    progress: bool = True,
    family: Family = "mixed",
    marked_share: float = 0.0,
) -> list[Mesh]:
    """make_object for each seed, in that order, on `workers` processes (all cores if None; 0 or 1: this process).

    As with all multiprocessing, a script that calls this does so under `if __name__ == "__main__":`.
    """
    make = partial(make_object, family=family, marked_share=marked_share)
    return spread_over_processes(make, seeds, workers, progress, "making objects")


def usable_cores() -> int:
    """The cores this process may use; systems without affinity tell only how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread_over_processes(
    make: Callable[[int], Mesh], seeds: Sequence[int], workers: int | None, progress: bool, what: str
) -> list[Mesh]:
    """`make` for each seed, in that order; see make_objects."""
    seeds = [int(seed) for seed in seeds]
    workers = usable_cores() if workers is None else workers
    workers = min(workers, max(1, len(seeds) // 8))
    bar = {"total": len(seeds), "desc": what, "unit": "mesh", "disable": not progress}
    if workers <= 1:
        return list(tqdm(map(make, seeds), **bar))
    with ObjectProcesses(make, workers) as processes:
        made = [processes.submit(seed) for seed in seeds]
        return [mesh.result() for mesh in tqdm(made, **bar)]


def _compose(rng: np.random.Generator) -> list[Shape]:
    names = list(_COMPOSITIONS)
    kind = str(rng.choice(names, p=list(_COMPOSITIONS.values())))
    if kind == "mug":
        return _mug(rng)
    if kind == "case":
        return _case(rng)
    if kind == "tool":
        return _tool(rng)
    if kind == "stack":
        return _stack(rng)
    parts = [random_part(rng)]
    if kind == "cluster":
        for _ in range(rng.integers(1, 4)):
            parts.append(_attach(rng, parts[rng.integers(len(parts))]))
    return parts


def _mug(rng: np.random.Generator) -> list[Shape]:
    """A vessel with one or two handles."""
    outer = vessel_profile(rng)
    body = vessel(rng, outer)
    low, high = sorted(rng.uniform(0.1, 0.95, 2))
    low, high = (low, high) if high - low > 0.35 else (0.25, 0.8)
    height = outer[-1, 1]
    ends = [np.array([np.interp(f * height, outer[:, 1], outer[:, 0]) * 0.98, 0.0, f * height]) for f in (low, high)]
    thickness = rng.uniform(0.06, 0.16)
    handle = arc_handle(ends[0], ends[1], reach=rng.uniform(0.4, 0.9), radius=thickness, flatness=rng.uniform(0.8, 1.8))
    handles = [handle]
    if rng.random() < 0.2:
        handles.append(handle.rotate(np.diag([-1.0, -1.0, 1.0])))
    return [body, *handles]


def _case(rng: np.random.Generator) -> list[Shape]:
    """A box with a handle or a knob."""
    body = random_box(rng)
    extent = body.vertices.max(0)
    if rng.random() < 0.6:
        span = extent[1] * rng.uniform(0.4, 0.9)
        ends = np.array([[extent[0] * 0.98, -span, 0.0], [extent[0] * 0.98, span, 0.0]])
        return [
            body,
            arc_handle(ends[0], ends[1], rng.uniform(0.25, 0.6), rng.uniform(0.05, 0.12), rng.uniform(0.8, 2.0)),
        ]
    return [body, _attach(rng, body, upright=True)]


def _tool(rng: np.random.Generator) -> list[Shape]:
    """A grip with a head, and sometimes something on the head: hammers, drills, brushes, lamps."""
    grip = random_part(rng, {"can": 1, "superquadric": 1, "box": 1, "tube": 0.5, "turning": 1})
    width = np.sort(np.ptp(grip.vertices, axis=0))[1]
    slim = np.array([rng.uniform(0.25, 0.6) / width, rng.uniform(0.25, 0.6) / width, 1.0])
    grip = grip.scale(slim)
    head = random_part(rng, {"can": 1, "superquadric": 1, "box": 1, "extrusion": 1, "plate": 0.5, "ring": 0.5})
    head = head.transform(_quarter_turn(rng), np.zeros(3), rng.uniform(0.4, 0.8))
    top = grip.vertices[:, 2].max() + rng.uniform(-0.2, 0.9) * -head.vertices[:, 2].min()
    head = head.shift([rng.uniform(-0.3, 0.3), 0.0, top])
    return [grip, head] if rng.random() < 0.6 else [grip, head, _attach(rng, head)]


def _stack(rng: np.random.Generator) -> list[Shape]:
    """Two to four parts on top of one another, about one axis."""
    parts: list[Shape] = []
    top = 0.0
    for _ in range(rng.integers(2, 5)):
        part = random_part(rng, {"can": 2, "box": 1, "superquadric": 1, "extrusion": 1, "turning": 1})
        part = part.scale(rng.uniform(0.3, 1.0, 3) * [1, 1, 0.7])
        part = part.shift([0.0, 0.0, top - 0.97 * part.vertices[:, 2].min()])
        top = part.vertices[:, 2].max()
        parts.append(part)
    return parts


def _attach(rng: np.random.Generator, base: Shape, upright: bool = False) -> Shape:
    """A smaller part that sits on a random place of the base, sunk into it by some share of its own size."""
    part = random_part(rng, _ATTACHMENTS)
    turn = np.eye(3) if upright else _quarter_turn(rng) if rng.random() < 0.7 else _rotation(rng)
    extent = np.ptp(base.vertices, axis=0).max() / 2
    part = part.transform(turn, np.zeros(3), extent * rng.uniform(0.2, 0.7) * rng.uniform(0.6, 1.0, 3))
    place = rng.integers(len(base.vertices))
    normal = np.array([0.0, 0.0, 1.0]) if upright else base.normals()[place]
    reach = (part.vertices @ normal).max() * rng.uniform(0.0, 0.8)
    return part.shift(base.vertices[place] + normal * reach)


def _rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(0, 1, (3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def _quarter_turn(rng: np.random.Generator) -> np.ndarray:
    turn = np.eye(3)[rng.permutation(3)]
    return turn * np.sign(np.linalg.det(turn))


def _deform(rng: np.random.Generator, parts: list[Shape]) -> list[Shape]:
    """Taper, twist, bend or warp all parts together, along z."""
    vertices = np.concatenate([part.vertices for part in parts])
    centre, extent = (vertices.max(0) + vertices.min(0)) / 2, np.ptp(vertices, axis=0).max() / 2
    kind = rng.choice(["taper", "twist", "bend", "warp", "warp"])
    strength = rng.uniform(-1, 1)
    wave, phase = rng.uniform(1.5, 6.0, 3), rng.uniform(0, 2 * np.pi, 3)
    amplitude = rng.uniform(0.02, 0.3, 3) / wave

    def bent(p: np.ndarray) -> np.ndarray:
        x, y, z = p.T
        if kind == "taper":
            return np.stack([x * (1 + 0.5 * strength * z), y * (1 + 0.5 * strength * z), z], 1)
        if kind == "twist":
            c, s = np.cos(0.9 * strength * z), np.sin(0.9 * strength * z)
            return np.stack([c * x - s * y, s * x + c * y, z], 1)
        if kind == "bend":
            curvature = 0.6 * strength + np.copysign(1e-3, strength)
            radius = 1 / curvature - x
            return np.stack([1 / curvature - radius * np.cos(curvature * z), y, radius * np.sin(curvature * z)], 1)
        return p + amplitude * np.sin(wave * p[:, [1, 2, 0]] + phase)

    return [replace(p, vertices=bent((p.vertices - centre) / extent)) for p in parts]


def _paint(rng: np.random.Generator, parts: list[Shape], surfaces: Surfaces) -> tuple[np.ndarray, np.ndarray]:
    """Texture (256, 256, 3) uint8 and the uv of all vertices in it, v up."""
    texture = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE, 3), np.uint8)
    cells = _CELLS[len(parts)]
    plain = rng.random() < PLAIN_SHARE
    palette = surfaces.palette(rng)
    uv = []
    for part, cell in zip(parts, cells, strict=True):
        if not plain and rng.random() < 0.4:
            palette = surfaces.palette(rng)
        elif len(parts) > 1 and rng.random() < 0.6:
            palette = np.roll(palette, 1, axis=0)
        boxlike = len(part.charts) == 6
        kind = "plain" if plain else surfaces.choose(rng)
        if not plain and rng.random() < (0.4 if boxlike else 0.2):
            kind = "package"
        kind, colours = part.paint or kind, palette if part.palette is None else part.palette
        quiet = rng.random() < 0.5
        per_face = rng.random() < 0.15
        low, span = np.array(cell[:2]), np.array(cell[2:]) - cell[:2]
        for chart in part.charts:
            kind_here = kind
            if chart.role == "end" and kind not in ("plain", "single_colour") and quiet:
                kind_here = str(rng.choice(["plain", "near_uniform"]))
            elif per_face and not plain and part.paint is None:
                kind_here = surfaces.choose(rng)
            # Ends lie apart in the cell: a margin keeps what is between them out of bilinear look-ups.
            margin = np.array(2.0 / TEXTURE_SIZE if chart.role == "end" else 0.0)
            c0, r0, c1, r1 = _pixels(low + span * chart.box[:2] - margin, low + span * chart.box[2:] + margin)
            texture[r0:r1, c0:c1] = _paint_chart(rng, r1 - r0, c1 - c0, chart, kind_here, colours)
        placed = low + span * part.uv
        inset = 1.5 / TEXTURE_SIZE  # bilinear look-ups must not reach into the neighbour's cell
        uv.append(np.clip(placed, low + inset, low + span - inset))
    return texture, np.concatenate(uv)


def _pixels(low: np.ndarray, high: np.ndarray) -> tuple[int, int, int, int]:
    """Columns and rows (c0, r0, c1, r1) that a uv rectangle touches."""
    c0, r1 = np.floor(low[0] * TEXTURE_SIZE), np.ceil((1 - low[1]) * TEXTURE_SIZE)
    c1, r0 = np.ceil(high[0] * TEXTURE_SIZE), np.floor((1 - high[1]) * TEXTURE_SIZE)
    return tuple(int(edge) for edge in np.clip([c0, r0, c1, r1], 0, TEXTURE_SIZE))  # type: ignore[return-value]


def _paint_chart(
    rng: np.random.Generator, height: int, width: int, chart: Chart, kind: str, palette: np.ndarray
) -> np.ndarray:
    """Painted at the proportions that the chart has on the surface, then fitted into its pixels."""
    aspect = float(np.clip(chart.aspect, 0.2, 5.0))
    area = min(height * width, 200 * 200)
    w, h = max(16, round(np.sqrt(area * aspect))), max(16, round(np.sqrt(area / aspect)))
    if kind in ("plain", "single_colour") and not chart.marks:
        w, h = width, height
    picture = paint_material(rng, h, w, kind, palette)
    for mark in chart.marks:
        picture = draw_mark(picture, mark)
    if (h, w) == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
