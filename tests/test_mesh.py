"""Meshes as arrays: what is refused, normals, moves, samples, and the exact diameter."""

from __future__ import annotations

import time
from unittest import mock

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from pose6d.errors import MeshError
from pose6d.mesh import diameter
from pose6d.mesh.mesh import Mesh

QUAD = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
QUAD_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def test_lookless_mesh_is_grey_and_has_area_weighted_normals():
    # Two faces share an edge: a large one in the xy plane and a small one in the xz plane.
    mesh = Mesh(np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 1.0]]), np.array([[0, 1, 2], [0, 3, 1]]))
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int32
    assert (mesh.colors == 128).all()
    np.testing.assert_allclose(mesh.normals[2], [0, 0, 1])
    np.testing.assert_allclose(mesh.normals[3], [0, 1, 0])
    np.testing.assert_allclose(mesh.normals[0], np.array([0, 1, 2]) / np.sqrt(5), atol=1e-6)


def test_move_and_scale_keep_the_original():
    mesh = Mesh.from_trimesh(trimesh.creation.box([1, 2, 4])).translated([10, 0, 0])
    np.testing.assert_allclose(mesh.center, [10, 0, 0])
    np.testing.assert_allclose(mesh.centered().bounds, [[-0.5, -1, -2], [0.5, 1, 2]])
    assert mesh.scaled(0.001).diameter == pytest.approx(np.sqrt(21) / 1000)
    assert mesh.diameter == pytest.approx(np.sqrt(21))


def test_surface_samples_are_uniform_and_repeatable():
    mesh = Mesh(np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 5], [1, 0, 5], [0, 1.0, 5]]), [[0, 1, 2], [3, 4, 5]])
    points = mesh.sample_surface(20_000, seed=3)
    assert (points == mesh.sample_surface(20_000, seed=3)).all()
    lower = points[points[:, 2] == 0]
    assert len(lower) / len(points) == pytest.approx(0.75, abs=0.01)  # by area
    np.testing.assert_allclose(lower.mean(axis=0), [1, 1 / 3, 0], atol=0.02)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"vertices": np.zeros((0, 3)), "faces": np.zeros((0, 3), int)}, "no vertices"),
        ({"vertices": QUAD, "faces": np.zeros((0, 3), int)}, "4 vertices and no faces.*point cloud"),
        ({"vertices": np.where(QUAD == 1, np.nan, QUAD), "faces": QUAD_FACES}, "3 of 4 vertices that are NaN"),
        ({"vertices": QUAD * 1e39, "faces": QUAD_FACES}, "beyond float32"),
        ({"vertices": QUAD, "faces": QUAD_FACES + 2}, r"index vertices 2\.\.5"),
        ({"vertices": QUAD, "faces": QUAD_FACES, "texture": np.zeros((2, 2, 3))}, "without uv"),
        ({"vertices": QUAD, "faces": QUAD_FACES, "colors": np.zeros((3, 3))}, "colors has shape"),
    ],
)
def test_unusable_arrays_are_refused(arrays, message):
    with pytest.raises(MeshError, match=message):
        Mesh(**arrays)


# Diameter


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 400),
    flat=st.sampled_from([(1, 1, 1), (1, 1, 0), (1, 0, 0), (1, 1, 1e-8), (1, 1e-3, 1e-3)]),
    sphere=st.booleans(),
    size=st.sampled_from([1e-6, 1.0, 1e6, 1e30]),
    few=st.sampled_from([64, 4096]),  # more points are reduced to their hull
)
def test_diameter_is_the_widest_pair(seed, count, flat, sphere, size, few):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(count, 3))
    if sphere:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    points = (points * flat) @ turn
    mesh = Mesh(points * size, np.zeros((1, 3), int))
    expected = pdist(mesh.vertices.astype(np.float64) / size).max() * size if count > 1 else 0.0
    with mock.patch.object(diameter, "_FEW", few):
        assert mesh.diameter == pytest.approx(expected, rel=1e-6)


def test_diameter_of_a_million_vertices():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(1_000_000, 3)) * [0.05, 0.05, 0.1]
    points[[17, 400_000]] = [[0, 0, -1.0], [0, 0, 1.0]]
    mesh = Mesh(points, np.arange(999_999).reshape(-1, 3))
    start = time.perf_counter()
    assert mesh.diameter == pytest.approx(2.0)
    assert time.perf_counter() - start < 5


@pytest.mark.filterwarnings("error")
def test_a_vertex_at_infinity_is_an_error_and_no_warning_of_numpy():
    with pytest.raises(MeshError, match="1 of 3 vertices"):
        Mesh.from_trimesh(trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, np.inf, 0]], [[0, 1, 2]], process=False))
