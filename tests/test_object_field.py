"""Objects made from posed views: how near they come to the truth, and what bad masks and poses do to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("open3d")

from benchmarks.model_free.surface import distances, score_surface
from benchmarks.model_free.views import ViewSimulation, simulate_views
from learning.datasets.objects.random_objects import make_kind
from mesh_creation.object_field.make_object import MadeObject, ObjectOptions, make_object
from mesh_creation.object_field.pose_refinement import refine_poses
from mesh_creation.object_field.view_evidence import collect_evidence, share_beside_masks
from mesh_creation.reference_views.view import ReferenceView
from pose6d.errors import SceneError
from pose6d.geometry.transforms import look_at, so3_exp
from pose6d.mesh.mesh import Mesh
from tests import reference_view_folders

OPTIONS = ObjectOptions(device="cpu", faces=4000, texel=0.001)
Views = tuple[list[ReferenceView], np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """A third of the voxels: enough for what is asked here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mesh_creation.object_field.make_object._CELLS", 125)
        yield


@pytest.fixture(scope="module")
def carton() -> Mesh:
    return make_kind("carton", np.random.default_rng(4)).scaled(0.15)


@pytest.fixture(scope="module")
def around(carton: Mesh) -> Views:
    return simulate_views(carton, ViewSimulation(views=8), seed=1)


@pytest.fixture(scope="module")
def made(around: Views) -> MadeObject:
    return make_object(around[0], OPTIONS)


@pytest.fixture(scope="module")
def mirrored(around: Views) -> MadeObject:
    """Made from the first view alone."""
    return make_object(around[0][:1], replace(OPTIONS, completion="mirror"))


def test_the_surface_is_near_the_true_one(made: MadeObject, carton: Mesh) -> None:
    score = score_surface(made, carton)
    assert score.seen < 1.0
    assert score.complete > 95
    assert abs(score.diameter) < 4


def test_the_texture_shows_the_object_and_not_what_is_behind(made: MadeObject, around: Views, carton: Mesh) -> None:
    green = [
        replace(view, rgb=np.where(view.mask[..., None], view.rgb, [0, 255, 0]).astype(np.uint8)) for view in around[0]
    ]
    colors, texture = make_object(green, OPTIONS).colored.colors, made.mesh.texture
    assert colors is not None and texture is not None
    greenish = (colors[:, 1] > 150) & (colors[:, 0] < 80) & (colors[:, 2] < 80)
    assert greenish.mean() < 0.004
    assert texture.astype(float).std(axis=(0, 1)).mean() > 10  # a carton has print


def test_what_no_view_shows_is_marked(carton: Mesh) -> None:
    views, _ = simulate_views(carton, ViewSimulation(views=6, directions="above"), seed=2)
    found = make_object(views, OPTIONS)
    a, b, c = np.moveaxis(found.colored.vertices[found.colored.faces], 1, 0)
    normals, middles = np.cross(b - a, c - a), (a + b + c) / 3
    below = normals[:, 2] < -0.8 * np.linalg.norm(normals, axis=1)
    low, high = carton.vertices.min(axis=0), carton.vertices.max(axis=0)
    below &= (np.abs(middles[:, :2] - (low + high)[:2] / 2) < 0.35 * (high - low)[:2]).all(axis=1)
    assert below.any()
    assert found.unseen[below].mean() > 0.9
    above = normals[:, 2] > 0.8 * np.linalg.norm(normals, axis=1)
    assert found.unseen[above].mean() < 0.2


def test_background_that_masks_let_in_is_left_out(around: Views, carton: Mesh) -> None:
    kernel = np.ones((15, 15), np.uint8)
    grown = [replace(view, mask=cv2.dilate(view.mask.astype(np.uint8), kernel) > 0) for view in around[0]]
    found = make_object(grown, OPTIONS)
    assert found.colored.diameter < 1.15 * carton.diameter
    points = found.colored.sample_surface(3000, seed=0)
    assert np.quantile(distances(carton, points), 0.9) < 0.008


def test_background_that_all_views_have_in_their_masks_is_left_out(
    carton: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras side by side, whose masks hold the wall far behind the object: no view speaks against it."""
    for name, value in (
        ("HEIGHT", 480),
        ("WIDTH", 640),
        ("K", np.array([[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])),
    ):
        monkeypatch.setattr(reference_view_folders, name, value)
    cameras = [look_at(np.array([0.03 * i, 0.1, 0.4]), np.zeros(3)) for i in range(-2, 3)]
    clean, bled = (
        collect_evidence(reference_view_folders.render_views(cameras, carton.centered(), bleed=bleed, wall=0.9))
        for bleed in (0, 6)
    )
    points = np.concatenate([one.points for one in bled])
    assert np.linalg.norm(np.ptp(points, axis=0)) < 1.1 * carton.diameter
    assert len(points) > 0.97 * sum(one.surface.sum() for one in clean)


def _shaken(views: list[ReferenceView]) -> list[ReferenceView]:
    """The views with poses that are off by more than a degree and 5 mm."""
    rng = np.random.default_rng(0)
    shaken = []
    for view in views:
        off = np.eye(4)
        off[:3, :3] = so3_exp(torch.from_numpy(rng.normal(0, np.radians(0.8), (1, 3))))[0].numpy()
        off[:3, 3] = rng.normal(0, 0.004, 3)
        shaken.append(replace(view, camera_in_object=off @ view.camera_in_object))
    return shaken


def test_poses_that_are_off_are_refined(around: Views) -> None:
    views, truth = around
    shaken = _shaken(views)
    evidence = collect_evidence(shaken)
    before = share_beside_masks(evidence)
    assert refine_poses(evidence)
    assert share_beside_masks(evidence) < before

    def spread(poses: np.ndarray) -> float:
        """Metres by which the cameras move the middle, beyond what they do so in common."""
        middle = (poses @ np.linalg.inv(truth))[:, :3, 3]
        return float(np.linalg.norm(middle - middle.mean(axis=0), axis=1).mean())

    given = np.stack([view.camera_in_object for view in shaken])
    refined = np.stack([one.pose for one in evidence])
    assert spread(refined) < 0.8 * spread(given)
    common = (refined @ np.linalg.inv(given))[:, :3, 3].mean(axis=0)
    assert np.linalg.norm(common) < 0.0003, "the object's frame is the one that was given"


def test_poses_that_the_masks_find_no_better_are_not_taken(around: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = collect_evidence(_shaken(around[0]))
    given = [one.pose for one in evidence]
    monkeypatch.setattr("mesh_creation.object_field.pose_refinement.share_beside_masks", lambda _: 0.1)
    assert not refine_poses(evidence)
    for one, pose in zip(evidence, given, strict=True):
        np.testing.assert_array_equal(one.pose, pose)


def test_good_poses_stay(carton: Mesh) -> None:
    exact = ViewSimulation(views=6, rotation_error=0.0, translation_error=0.0)
    views, truth = simulate_views(carton, exact, seed=3)
    evidence = collect_evidence(views)
    refine_poses(evidence)
    moved = np.stack([one.pose for one in evidence]) @ np.linalg.inv(truth)
    assert np.linalg.norm(moved[:, :3, 3], axis=1).max() < 0.002


def test_a_view_alone_tells_background_in_its_mask(around: Views, carton: Mesh) -> None:
    view = around[0][0]
    grown = replace(view, mask=cv2.dilate(view.mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0)
    found = make_object([grown], OPTIONS)
    assert found.colored.diameter < 1.2 * carton.diameter


def test_parts_of_a_few_pixels_keep_their_depth(around: Views) -> None:
    view = around[0][0]
    rows = np.nonzero(view.mask)[0]
    thin = np.zeros_like(view.mask)
    thin[int(np.median(rows)) - 2 : int(np.median(rows)) + 3] = True
    strip = replace(
        view,
        mask=view.mask & thin,
        depth=np.where(view.mask & thin, view.depth, np.where(view.depth > 0, np.float32(1.5), 0)).astype(np.float32),
    )
    (evidence,) = collect_evidence([strip])
    measured = strip.mask & (strip.depth > 0)
    assert evidence.surface.sum() > 0.8 * measured.sum()


def test_what_lies_behind_an_object_in_the_air_is_no_table(around: Views, mirrored: MadeObject, carton: Mesh) -> None:
    second = make_object(around[0][1:2], replace(OPTIONS, completion="mirror"))
    for found in (mirrored, second):
        assert found.colored.diameter < 1.25 * carton.diameter


def test_what_was_mirrored_has_the_colours_of_the_other_side(mirrored: MadeObject) -> None:
    found = mirrored.quality
    assert found["mirrors"]
    assert found["texture_seen_share"] > found["seen_share"] + 0.2


def test_one_view_gives_what_it_shows(around: Views, carton: Mesh) -> None:
    found = make_object(around[0][:1], OPTIONS)
    assert found.unseen.mean() > 0.2
    assert score_surface(found, carton).seen < 2.5


def test_views_without_depth_on_the_object_are_refused(around: Views) -> None:
    blind = [replace(view, depth=np.where(view.mask, 0, view.depth)) for view in around[0]]
    with pytest.raises(SceneError, match="0 pixels of depth inside the masks"):
        make_object(blind, OPTIONS)


def test_background_beyond_a_dark_part_is_no_tip_of_the_object() -> None:
    """A dark bar that leads away: depth at its near end, none in the middle, then a little, and the wall at its tip."""
    mask, depth = np.zeros((120, 320), bool), np.full((120, 320), 1.2, np.float32)
    mask[50:70, 20:300] = True
    depth[mask] = 0
    depth[50:70, 20:100] = np.linspace(0.70, 0.74, 80)
    depth[50:70, 200:250] = np.linspace(0.80, 0.83, 50)
    depth[50:70, 280:300] = 0.99  # within what a steep surface could reach from the near end, not from the piece before
    K = np.array([[600.0, 0, 160], [0, 600, 60], [0, 0, 1]])
    view = ReferenceView("dark", np.zeros((120, 320, 3), np.uint8), depth, mask, K, np.eye(4))
    (found,) = collect_evidence([view])
    assert found.surface[60, 60] and found.surface[60, 225]
    assert not found.surface[:, 275:].any()
