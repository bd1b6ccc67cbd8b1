"""Procedural training objects: the same for the same seed, of unit size, closed, outward, textured, cheap."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from learning.datasets.procedural_objects import make_object, make_objects
from learning.datasets.procedural_parts import PARTS
from learning.datasets.procedural_textures import PAINTERS, make_palette, make_texture, make_textures, paint_texture
from pose6d.geometry.mesh import Mesh

SEEDS = range(60)


@pytest.fixture(scope="module")
def objects() -> list[Mesh]:
    return [make_object(seed) for seed in SEEDS]


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
        a, b, c = np.moveaxis(part.vertices[part.faces], 1, 0)
        flat = np.cross(b - a, c - a)
        towards = np.einsum("ij,ij->i", flat, part.normals()[part.faces].sum(axis=1))
        assert (towards > 0).mean() > 0.99, "vertex normals disagree with the faces they belong to"
        assert np.ptp(part.vertices, axis=0).max() > 0.5


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
    plain = [np.unique(mesh.texture.reshape(-1, 3), axis=0).shape[0] <= 5 for mesh in objects]
    assert 0.03 < np.mean(plain) < 0.35, "some objects, but few, should be without texture"


def test_a_pool_of_processes_makes_the_same_objects(objects: list[Mesh]) -> None:
    made = make_objects(range(16), workers=2, progress=False)
    assert [mesh.name for mesh in made] == [f"object_{seed}" for seed in range(16)]
    for mesh, expected in zip(made, objects, strict=False):
        np.testing.assert_array_equal(mesh.vertices, expected.vertices)
        np.testing.assert_array_equal(mesh.texture, expected.texture)


@pytest.mark.parametrize("kind", sorted(PAINTERS))
@pytest.mark.parametrize("shape", [(64, 64), (40, 200), (200, 16)])
def test_every_painter_takes_any_shape(kind: str, shape: tuple[int, int]) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        picture = paint_texture(rng, *shape, kind, make_palette(rng))
        assert picture.shape == (*shape, 3)
        assert picture.dtype == np.uint8


def test_textures_differ_and_repeat_with_the_seed() -> None:
    textures = make_textures(6, seed=4, size=64)
    assert textures.shape == (6, 64, 64, 3)
    np.testing.assert_array_equal(textures, make_textures(6, seed=4, size=64))
    np.testing.assert_array_equal(textures[:3], make_textures(3, seed=4, size=64))
    assert len({picture.tobytes() for picture in textures}) == 6
    assert make_texture(np.random.default_rng(0)).shape == (256, 256, 3)


def test_making_objects_needs_no_mesh_library() -> None:
    """Machines that only train have numpy, scipy and Pillow, but no trimesh."""
    script = (
        "import sys; sys.modules['trimesh'] = None\n"
        "from learning.datasets.procedural_objects import make_object\n"
        "print(len(make_object(0).faces))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
