"""Pictures laid on each other by their colours, and how near a made texture comes to the true one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("open3d")

from benchmarks.model_free.texture import score_texture
from benchmarks.model_free.views import ViewSimulation, simulate_views
from learning.datasets.objects.random_objects import make_kind
from mesh_creation.fusion.closed_surface import _keep_one_piece
from mesh_creation.fusion.color_alignment import aligned_views
from mesh_creation.fusion.uv_atlas import _texels
from mesh_creation.fusion.view_blending import TextureView
from mesh_creation.reference_views.view import object_window
from mesh_creation.reference_views.view_quality import mean_motion
from pose6d.mesh.mesh import Mesh


@pytest.fixture(scope="module")
def carton() -> Mesh:
    return make_kind("carton", np.random.default_rng(4)).scaled(0.15)


def _views(mesh: Mesh) -> tuple[list[TextureView], np.ndarray]:
    """Pictures of a mesh under poses that are off by half a degree and 2 mm, and the true poses (N, 4, 4)."""
    views, truth = simulate_views(mesh, ViewSimulation(views=8, rotation_error=0.5, translation_error=0.002), seed=1)
    found = []
    for view in views:
        window, K = object_window(view, 8)
        rgb, mask = np.ascontiguousarray(view.rgb[window]), view.mask[window]
        found.append(TextureView(rgb, view.depth[window], K, view.camera_in_object, mask=mask))
    return found, truth


def _pixels_off(mesh: Mesh, views: list[TextureView], truth: np.ndarray) -> float:
    """Mean distance of the surface in the pictures from where it should be, but for what all are off in common."""
    poses = np.stack([view.camera_in_object for view in views])
    points = mesh.sample_surface(500, seed=0).astype(np.float64)
    off = []
    for view, pose, true in zip(views, mean_motion(poses, truth) @ poses, truth, strict=True):
        places = []
        for camera in (pose, true):
            T = np.linalg.inv(camera)
            at = (points @ T[:3, :3].T + T[:3, 3]) @ view.K.T
            places.append(at[:, :2] / at[:, 2:])
        off.append(np.linalg.norm(places[0] - places[1], axis=1).mean())
    return float(np.mean(off))


def test_pictures_are_laid_on_each_other_by_what_they_show(carton: Mesh) -> None:
    views, truth = _views(carton)
    aligned = aligned_views(carton, views)
    assert _pixels_off(carton, aligned, truth) < 0.85 * _pixels_off(carton, views, truth)
    moved = np.stack([view.camera_in_object for view in aligned]) - [view.camera_in_object for view in views]
    assert np.abs(moved[:, :3, 3].mean(axis=0)).max() < 0.002, "the object's frame is the one that was given"


def test_pictures_of_a_plain_thing_stay_where_they_are(carton: Mesh) -> None:
    plain = Mesh(vertices=carton.vertices, faces=carton.faces, colors=np.full((len(carton.vertices), 3), 140, np.uint8))
    views, truth = _views(plain)
    assert _pixels_off(plain, aligned_views(plain, views), truth) <= 1.01 * _pixels_off(plain, views, truth)


def test_one_picture_agrees_with_itself(carton: Mesh) -> None:
    views, _ = _views(carton)
    (alone,) = aligned_views(carton, views[:1])
    np.testing.assert_allclose(alone.camera_in_object, views[0].camera_in_object)


def test_a_texture_is_scored_by_what_is_lost_of_it(carton: Mesh) -> None:
    assert carton.texture is not None
    same = score_texture(carton, carton)
    assert same.psnr > 50
    assert same.sharpness == pytest.approx(1, abs=0.02)
    assert same.alike == pytest.approx(1, abs=0.01)
    darker = score_texture(replace(carton, texture=(0.8 * carton.texture).astype(np.uint8)), carton)
    assert darker.psnr > 40, "exposure is no fault of a texture"
    blurred = score_texture(replace(carton, texture=cv2.GaussianBlur(carton.texture, (0, 0), 9)), carton)
    assert blurred.sharpness < 0.7
    assert blurred.psnr < darker.psnr
    assert blurred.alike < same.alike


def test_large_pieces_across_a_narrow_gap_are_one_and_specks_are_left_out() -> None:
    values = np.ones((60, 20, 20), np.float32)
    values[5:25, 5:15, 5:15] = -1
    values[28:50, 5:15, 5:15] = -1  # beyond a gap of three voxels
    values[55:57, 5:7, 5:7] = -1  # a speck
    kept = _keep_one_piece(values) < 0
    assert kept[10, 10, 10] and kept[40, 10, 10]
    assert kept[25:28].any(axis=(1, 2)).all()
    assert not kept[55:57].any()
    values[25:33] = 1  # farther apart
    assert not (_keep_one_piece(values) < 0)[10, 10, 10] or not (_keep_one_piece(values) < 0)[40, 10, 10]


def test_texels_know_where_on_the_surface_they_are() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    mesh = Mesh(vertices=corners, faces=np.array([[0, 1, 2], [0, 2, 3]]), uv=corners[:, :2].astype(np.float64))
    points, normals, row, column = _texels(mesh, 16)
    assert len(points) == 256 == len(np.unique(16 * row + column))
    np.testing.assert_allclose(points[:, 0], (column + 0.5) / 16, atol=1e-6)
    np.testing.assert_allclose(points[:, 1], 1 - (row + 0.5) / 16, atol=1e-6)
    np.testing.assert_allclose(normals, [[0, 0, 1]] * 256, atol=1e-6)
