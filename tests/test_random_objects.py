"""Procedural training objects: the same for the same seed, of unit size, closed, outward, textured, cheap."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learning.datasets.__main__ import SheetOptions, main, object_sheet
from learning.datasets.objects.lofts import bent_sheet, circle, flange, flat_sheet, hollow_tube, prism, ring_prism
from learning.datasets.objects.near_symmetric import NEAR_SYMMETRIC
from learning.datasets.objects.parts import PARTS
from learning.datasets.objects.random_objects import KINDS, MADE_SHARE, make_kind, make_object, make_objects
from learning.datasets.objects.shapes import Shape, join
from learning.datasets.surfaces.materials import (
    MATERIALS,
    choose_material,
    make_materials,
    material_palette,
    paint_material,
)
from learning.datasets.surfaces.textures import PAINTERS, make_palette, make_textures, paint_texture
from pose6d.errors import OptionError
from pose6d.mesh.mesh import Mesh

SEEDS = range(60)


@pytest.fixture(scope="module")
def objects() -> list[Mesh]:
    return [make_object(seed) for seed in SEEDS]


def _agreement(part: Shape) -> float:
    """Share of the faces whose corners' normals point to the side that the face does."""
    a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
    towards = np.einsum("ij,ij->i", np.cross(b - a, c - a), part.normals()[part.faces].sum(axis=1))
    return float((towards > 0).mean())


def _euler_characteristic(part: Shape) -> int:
    """V - E + F after joining vertices at the same place: 2 - 2 * handles of a closed surface."""
    _, joined_ = np.unique(np.round(part.vertices / np.ptp(part.vertices) * 1e6), axis=0, return_inverse=True)
    corners = joined_.ravel()[part.faces]
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    return len(np.unique(corners)) - len(np.unique(edges, axis=0)) + len(corners)


def _open_edges(vertices: np.ndarray, faces: np.ndarray) -> int:
    """Directed edges without their opposite, after joining the vertices that uv seams and sharp edges duplicate."""
    _, joined = np.unique(np.round(vertices / np.ptp(vertices) * 1e6), axis=0, return_inverse=True)
    corners = joined.ravel()[faces]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).astype(np.int64)
    edges = edges[edges[:, 0] != edges[:, 1]]
    count = int(corners.max()) + 1
    forward, backward = edges[:, 0] * count + edges[:, 1], edges[:, 1] * count + edges[:, 0]
    return int((~np.isin(forward, backward)).sum())


@pytest.mark.parametrize("kind", sorted(PARTS))
def test_parts_are_closed_and_turned_outwards(kind: str) -> None:
    for seed in range(12):
        part = PARTS[kind](np.random.default_rng(seed))
        assert _open_edges(part.vertices, part.faces) == 0
        assert part.volume() > 0
        assert _agreement(part) > 0.99, "vertex normals disagree with the faces they belong to"
        assert np.ptp(part.vertices, axis=0).max() > 0.5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_made_things_are_closed_and_turned_outwards(kind: str) -> None:
    things = set()
    for seed in range(8):
        for part in KINDS[kind](np.random.default_rng(seed)):
            assert np.isfinite(part.vertices).all()
            assert _open_edges(part.vertices, part.faces) == 0
            assert part.volume() > 0
            assert _agreement(part) > 0.97, "vertex normals disagree with the faces they belong to"
            assert part.uv.min() >= -1e-9 and part.uv.max() <= 1 + 1e-9
        mesh = make_kind(kind, np.random.default_rng(seed))
        assert mesh.diameter == pytest.approx(1.0, abs=1e-5)
        assert 12 <= len(mesh.faces) <= 9000
        if seed < 2:
            np.testing.assert_array_equal(mesh.texture, make_kind(kind, np.random.default_rng(seed)).texture)
        # A cube's proportions are given: those of the nearly symmetric things differ in their looks.
        look = mesh.texture if kind in NEAR_SYMMETRIC else np.round(np.ptp(mesh.vertices, axis=0), 3)
        things.add(look.tobytes())
    assert len(things) >= 6, "things of one kind should have different proportions"


@pytest.mark.parametrize(
    ("part", "handles", "volume"),
    [
        (flat_sheet(np.array([0.0, 2, 4, 6]), np.array([0.0, 2]), 0.5, np.array([[0.5], [0.0], [0.5]])), 2, None),
        (flat_sheet(np.array([0.0, 1]), np.array([0.0, 2]), 0.5, np.zeros((1, 1))), 0, 1.0),
        (bent_sheet(np.array([[0.0, 1], [0, 0], [1, 0]]), np.array([0.0, 2]), 0.1), 0, 0.4),
        (bent_sheet(circle(1.0, 4), np.array([0.0, 1]), 0.1, closed=True), 1, 4 * np.sqrt(2) * 0.1),
        (flange(0.4, 1.0, 0.1, 6, 0.1), 7, None),
        (ring_prism(circle(1, 64), circle(0.5, 64), 2.0, np.zeros(64, bool), 0.05), 1, None),
        (hollow_tube(np.linspace([0, 0, 0], [0, 0, 1], 6), 1.0, 0.5, 400), 1, 0.75 * np.pi),
        (prism(np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), [(0, 0), (0, 3)]), 0, 12.0),
        (prism(np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]), [(0.5, 0), (0.5, 1)]), 0, 1.0),
    ],
    ids=["two holes", "plate", "L", "frame", "flange", "nut", "pipe", "block", "inset"],
)
def test_solids_have_the_holes_and_the_volume_that_they_should(part: Shape, handles: int, volume: float | None) -> None:
    assert _open_edges(part.vertices, part.faces) == 0
    assert _euler_characteristic(part) == 2 - 2 * handles
    assert part.volume() > 0
    if volume is not None:
        assert part.volume() == pytest.approx(volume, rel=2e-3)


def test_flat_shading_gives_every_face_its_own_normal() -> None:
    part = prism(circle(1.0, 6), [(0, 0), (0, 1)]).with_flat_faces()
    a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
    flat = np.cross(b - a, c - a)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    for corner in range(3):
        np.testing.assert_allclose(part.normals()[part.faces[:, corner]], flat, atol=1e-9)


def test_joined_parts_keep_their_normals_apart() -> None:
    block = prism(circle(1.0, 4), [(0, 0), (0, 1)])
    pair = join([block, block.shift([5.0, 0, 0])])
    assert pair.volume() == pytest.approx(2 * block.volume())
    np.testing.assert_allclose(pair.normals(), np.tile(block.normals(), (2, 1)))


def test_a_mix_holds_both_families_and_all_kinds_of_looks() -> None:
    free = {seed: make_object(seed, family="free") for seed in range(40)}
    mixed = {seed: make_object(seed) for seed in range(40)}
    same = [np.array_equal(mixed[seed].vertices, free[seed].vertices) for seed in range(40)]
    assert abs(np.mean(same) - (1 - MADE_SHARE)) < 0.25
    made = make_object(same.index(False), family="made")
    np.testing.assert_array_equal(made.vertices, mixed[same.index(False)].vertices)
    brightness = [float(mesh.texture.mean()) for mesh in mixed.values()]
    assert min(brightness) < 60 and max(brightness) > 190


def test_objects_are_centred_and_of_unit_diameter(objects: list[Mesh]) -> None:
    for mesh in objects:
        assert mesh.diameter == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(mesh.center, 0.0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
        assert 12 <= len(mesh.faces) <= 9000
    assert make_object(3, size=0.2).diameter == pytest.approx(0.2, rel=1e-5)


def test_the_seed_decides_everything(objects: list[Mesh]) -> None:
    again = make_object(7)
    np.testing.assert_array_equal(again.vertices, objects[7].vertices)
    np.testing.assert_array_equal(again.texture, objects[7].texture)
    sizes = {len(mesh.vertices) for mesh in objects}
    assert len(sizes) > len(objects) // 2, "different seeds should make different shapes"


def test_uv_and_texture_are_usable(objects: list[Mesh]) -> None:
    for mesh in objects:
        assert mesh.texture is not None
        assert mesh.uv is not None
        assert mesh.texture.shape == (256, 256, 3)
        assert mesh.texture.dtype == np.uint8
        assert mesh.uv.min() >= 0
        assert mesh.uv.max() <= 1
    plain = [len(np.unique(mesh.texture @ np.array([1, 256, 65536]))) <= 5 for mesh in objects]
    assert 0.03 < np.mean(plain) < 0.35, "some objects, but few, should be without texture"


def test_a_pool_of_processes_makes_the_same_objects(objects: list[Mesh]) -> None:
    made = make_objects(range(16), workers=2, progress=False)
    assert [mesh.name for mesh in made] == [f"object_{seed}" for seed in range(16)]
    for mesh, expected in zip(made, objects, strict=False):
        np.testing.assert_array_equal(mesh.vertices, expected.vertices)
        np.testing.assert_array_equal(mesh.texture, expected.texture)


@pytest.mark.parametrize("kind", [*sorted(PAINTERS), *sorted(MATERIALS)])
@pytest.mark.parametrize("shape", [(64, 64), (40, 200), (200, 16), (16, 16)])
def test_every_painter_and_material_takes_any_shape(kind: str, shape: tuple[int, int]) -> None:
    paint, palette = (paint_texture, make_palette) if kind in PAINTERS else (paint_material, material_palette)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        picture = paint(rng, *shape, kind, palette(rng))
        assert picture.shape == (*shape, 3)
        assert picture.dtype == np.uint8
        if kind == "single_colour":
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("make", [make_textures, make_materials])
def test_surfaces_differ_and_repeat_with_the_seed(make: Callable[..., np.ndarray]) -> None:
    surfaces = make(6, seed=4, size=64)
    assert np.shape(surfaces) == (6, 64, 64, 3)
    np.testing.assert_array_equal(surfaces[:3], make(3, seed=4, size=64))
    assert len({picture.tobytes() for picture in surfaces}) == 6


def test_materials_come_in_all_kinds() -> None:
    rng = np.random.default_rng(0)
    chosen = {choose_material(rng) for _ in range(600)}
    assert {kind for kind, (_, weight) in MATERIALS.items() if weight > 0} <= chosen
    assert chosen & set(PAINTERS)


def test_print_on_lofts_and_sheets_reads_from_left_to_right() -> None:
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    sheet = flat_sheet(np.array([0.0, 1]), np.array([0.0, 1]), 0.1, np.zeros((1, 1)))
    for part in (prism(square, [(0, 0), (0, 1)]), sheet, flange(0.4, 1.0, 0.1, 6, 0.1)):
        charts = part.charts[:2] if part.charts[1].role == "side" else part.charts
        for u0, v0, u1, v1 in (chart.box for chart in charts):
            uv = part.uv[part.faces]
            middle = uv.mean(axis=1)
            here = (middle > [u0, v0]).all(axis=1) & (middle < [u1, v1]).all(axis=1)
            a, b = uv[here, 1] - uv[here, 0], uv[here, 2] - uv[here, 0]
            assert here.any()
            assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > -1e-9).all(), "a mirrored chart"


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("count", 0), ("columns", 0), ("size", 0)])
def test_a_sheet_of_nothing_is_refused(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(OptionError, match=f"--{name} is {value}: a whole number is needed"):
        main(SheetOptions(out=tmp_path / "sheet.png", **{name: value}))


def test_the_sheet_shows_every_object(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    main(SheetOptions(out=out, show="made", count=6, columns=3, size=48))
    with Image.open(out) as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (2 * 52 + 4, 3 * 52 + 4, 3)
    cells = [sheet[4 + 52 * r : 52 + 52 * r, 4 + 52 * c : 52 + 52 * c] for r in range(2) for c in range(3)]
    assert all(len(np.unique(cell.reshape(-1, 3), axis=0)) > 1 for cell in cells)
    mesh = make_object(0)
    assert object_sheet([mesh, mesh], columns=2, size=32).shape == (40, 76, 3)


def test_making_objects_needs_no_mesh_library() -> None:
    """Machines that only train have numpy, scipy and Pillow, but no trimesh."""
    script = (
        "import sys; sys.modules['trimesh'] = None\n"
        "from learning.datasets.objects.random_objects import make_object\n"
        "print(len(make_object(0).faces))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
