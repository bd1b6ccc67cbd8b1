"""Completion: mirror planes are found where they are and nowhere else, and what is made of them keeps to the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from mesh_creation.completion import mirrors as mirrors_module
from mesh_creation.completion.completed_surface import (
    CompletedSurface,
    complete_surface,
    complete_volume,
    mirror_colors,
)
from mesh_creation.completion.guessed_space import behind_narrow_parts, beside_masks, local_width
from mesh_creation.completion.mirrors import Mirror, combined_mirrors, find_mirrors, reflect
from mesh_creation.completion.seen_space import SeenSpace
from mesh_creation.completion.support_plane import find_support
from mesh_creation.completion.surface_samples import sample_surface
from mesh_creation.fusion.closed_surface import ClosedSurface, close_surface, least_weight
from mesh_creation.fusion.tsdf_volume import TsdfVolume, project_grid, projected_axes
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.registration.depth_cleaning import backproject_pixels, clean_depth, pixel_rays, pixels_of
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from tests.mesh_creation_scans import camera

K = np.array([[450.0, 0, 159.5], [0, 450, 119.5], [0, 0, 1]])
SIZE = (240, 320)
NOISE = 0.0005


def boxes(*sizes_and_centres: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Mesh:
    """Boxes of these sizes around these centres, metres, as one mesh."""
    parts = [
        trimesh.creation.box(size, transform=trimesh.transformations.translation_matrix(centre))
        for size, centre in sizes_and_centres
    ]
    return Mesh.from_trimesh(trimesh.util.concatenate(parts))


def package() -> Mesh:
    return boxes(((0.11, 0.07, 0.05), (0.01, -0.005, 0.025)))


def house() -> Mesh:
    """On a table; like itself only across y = 0."""
    return boxes(
        ((0.12, 0.06, 0.03), (0, 0, 0.015)),
        ((0.03, 0.06, 0.05), (0.04, 0, 0.055)),
        ((0.02, 0.02, 0.03), (-0.05, 0, 0.04)),
    )


def crooked() -> Mesh:
    """On a table; like itself in no mirror."""
    return boxes(
        ((0.13, 0.03, 0.02), (0, 0, 0.01)),
        ((0.03, 0.08, 0.03), (0.05, 0.05, 0.015)),
        ((0.02, 0.02, 0.09), (-0.05, 0, 0.06)),
    )


def picture(mesh: Mesh, camera_in_object: np.ndarray, table: bool = True, seed: int = 0) -> ReferenceView:
    """A view of the mesh on the table z = 0, or before nothing, with a little noise."""
    pose = torch.from_numpy(np.linalg.inv(camera_in_object)).float()[None]
    drawn = make_renderer(mesh, "cpu").render(pose, torch.from_numpy(K).float(), SIZE)
    depth, mask = drawn.depth[0].numpy().copy(), drawn.mask[0].numpy()
    if table:
        falling = pixel_rays(SIZE, K) @ camera_in_object[2, :3]
        ground = np.where(falling < -0.1, -camera_in_object[2, 3] / np.minimum(falling, -0.1), 0)
        depth = np.where(mask, depth, ground)
    noise = np.random.default_rng(seed).normal(0, NOISE, SIZE)
    depth = np.where(depth > 0, depth + noise, 0).astype(np.float32)
    rgb = (255 * drawn.color[0].numpy()).astype(np.uint8)
    return ReferenceView("view", rgb, depth, mask, K, camera_in_object)


def points_of(views: Sequence[ReferenceView]) -> np.ndarray:
    parts = []
    for view in views:
        depth, _ = clean_depth(np.where(view.mask, view.depth, 0), view.K)
        points = backproject_pixels(depth, view.K)[depth > 0]
        parts.append(points @ view.camera_in_object[:3, :3].T + view.camera_in_object[:3, 3])
    return np.concatenate(parts)


def fill(views: Sequence[ReferenceView], around: np.ndarray, voxel: float = 0.002) -> TsdfVolume:
    volume = TsdfVolume.around(around.min(axis=0) - 0.008, around.max(axis=0) + 0.008, voxel)
    for view in views:
        depth, cosine = clean_depth(np.where(view.mask, view.depth, 0), view.K)
        beside = ~view.mask & (view.depth > 0)
        depth, cosine = np.where(beside, view.depth, depth), np.where(beside, 1, cosine)
        volume.integrate(depth, cosine.astype(np.float32), beside, view.K, view.camera_in_object, 0.004)
    return volume


def made(views: Sequence[ReferenceView]) -> tuple[CompletedSurface, ClosedSurface]:
    """The completed surface, and the one that the hull alone closes."""
    points = points_of(views)
    mirrors = find_mirrors(views, points)
    volume = fill(views, reflect(points, mirrors))
    return complete_surface(volume, points, views, mirrors), close_surface(volume, points, None)


def chamfer(surface: ClosedSurface, mesh: Mesh) -> float:
    """Mean distance, metres, both ways."""
    a = mesh.sample_surface(8000).astype(np.float64)
    b = Mesh(surface.vertices, surface.faces).sample_surface(8000).astype(np.float64)
    return float((cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean()) / 2)


def off(mirror: Mirror, normal: Sequence[float], point: Sequence[float]) -> tuple[float, float]:
    """Degrees and metres by which a plane misses the one through `point` with this normal."""
    angle = np.degrees(np.arccos(min(1.0, abs(float(mirror.normal @ np.array(normal))))))
    return angle, abs(float(mirror.normal @ np.array(point)) - mirror.offset)


@pytest.mark.parametrize("azimuth", [-70.0, 25.0, 110.0])
def test_the_plane_of_a_symmetric_thing_is_found_in_one_view(azimuth: float) -> None:
    view = picture(house(), camera(azimuth, 40))
    mirrors = find_mirrors([view], points_of([view]))
    angles, shifts = zip(*(off(mirror, (0, 1, 0), (0, 0, 0.03)) for mirror in mirrors), strict=True)
    assert min(angles) < 4 and shifts[int(np.argmin(angles))] < 0.003
    # The house has no other; none is made up.
    assert len(mirrors) == 1


def test_all_three_planes_of_a_package_are_found_in_one_view() -> None:
    view = picture(package(), camera(30, 45))
    mirrors = find_mirrors([view], points_of([view]))
    for axis in np.eye(3):
        angle, shift = min(off(mirror, axis, (0.01, -0.005, 0.025)) for mirror in mirrors)
        assert angle < 5 and shift < 0.005
    assert [mirror.score for mirror in mirrors] == sorted((mirror.score for mirror in mirrors), reverse=True)


@pytest.mark.parametrize("azimuths", [(20.0,), (20.0, 140.0)])
def test_a_crooked_thing_has_no_plane_and_is_closed_by_its_hull(azimuths: tuple[float, ...]) -> None:
    views = [picture(crooked(), camera(azimuth, 45)) for azimuth in azimuths]
    completed, plain = made(views)
    assert completed.mirrors == []
    assert chamfer(completed.surface, crooked()) < 1.1 * chamfer(plain, crooked())


def test_planes_are_compared_by_all_that_many_views_saw() -> None:
    """A few views and points choose what is looked at; between two planes they would decide wrongly."""
    views = [picture(house(), camera(azimuth, 40), seed=int(azimuth)) for azimuth in range(0, 360, 45)]
    points = points_of(views)
    search = mirrors_module._PlaneSearch(views, points, *sample_surface(views, points, 500))
    normals, offsets = search.likely_planes(np.eye(3))
    normal, offset = search.best_plane(normals, offsets)
    costs = search._costs(normals[:, None], offsets[:, None])[:, 0]
    best = int(costs.argmin())
    np.testing.assert_array_equal(normal, normals[best])
    assert offset == offsets[best]
    assert normal[1] == 1 and abs(offset) < 0.003


def test_planes_that_cannot_be_the_best_are_left_and_others_are_not() -> None:
    views = [picture(house(), camera(azimuth, 40), seed=int(azimuth)) for azimuth in (0, 130)]
    points = points_of(views)
    search = mirrors_module._PlaneSearch(views, points, *sample_surface(views, points, 500))
    normals = np.random.default_rng(0).normal(size=(4, 40, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    offsets = normals @ points.mean(axis=0)
    all_costs = search._costs(normals, offsets, keep=40)
    costs = search._costs(normals, offsets, keep=5)
    assert np.isfinite(all_costs).all() and np.isinf(costs).any()
    for group, alone in zip(costs, all_costs, strict=True):
        np.testing.assert_allclose(np.sort(group)[:5], np.sort(alone)[:5], atol=1e-6)
    middle = float(np.median(all_costs))
    np.testing.assert_array_equal(
        np.isfinite(search._costs(normals, offsets, keep=40, limit=middle)), all_costs <= middle
    )


def test_points_are_judged_as_the_pictures_say_one_by_one() -> None:
    """The compiled loop against the same in numpy."""
    views = [picture(house(), camera(azimuth, 40), seed=int(azimuth)) for azimuth in (0.0, 130.0)]
    space = SeenSpace(views, points_of(views), 0.003, supports=[])
    rng = np.random.default_rng(0)
    points, normals = rng.uniform(-0.15, 0.15, (5000, 3)).astype(np.float32), rng.normal(size=(5000, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    verdict = space.judge(points, normals)
    empty, matched, buried = np.zeros(5000), np.zeros(5000, bool), np.zeros(5000, bool)
    pixels, surface, _, frames = space._pictures
    for view, (start, height, width) in zip(views, frames, strict=True):
        T = np.linalg.inv(view.camera_in_object)
        seen, turned = points @ T[:3, :3].T + T[:3, 3], normals @ T[:3, :3].T
        row, column, inside = pixels_of(seen, view.K, SIZE)
        assert (height, width) == SIZE
        at = start + row * width + column
        normal, on = surface[at].T, pixels[at, 0] >= 0
        depth, cosine = np.where(on, pixels[at].T, 0)
        beside, other = np.where(on, 0, [-pixels[at, 0], pixels[at, 1]])
        z, ahead = seen[:, 2], (depth - seen[:, 2]) * cosine
        hidden = (other > 0) & (other < z - 0.01)
        open_air = np.where(beside > 0, np.where(hidden, 0, beside * z / K[0, 0]), np.where(depth > 0, ahead, 0))
        empty = np.maximum(empty, np.where(inside, open_air, 0))
        known = inside & (depth > 0)
        matched |= known & (np.abs(ahead) < 0.003) & ((turned.T * normal).sum(axis=0) > 0.6)
        facing = (turned * seen).sum(axis=1) < -0.3 * np.linalg.norm(seen, axis=1)
        buried |= known & (ahead < -0.003) & facing
    np.testing.assert_allclose(verdict.contradiction, empty, atol=1e-4)
    assert np.mean(verdict.matched == matched) > 0.999 and matched.any()
    assert np.mean(verdict.buried == (buried & ~matched)) > 0.999 and buried.any()


def test_planes_are_found_without_depth_around_the_object() -> None:
    view = picture(house(), camera(25, 40), table=False)
    mirrors = find_mirrors([view], points_of([view]))
    angle, shift = min(off(mirror, (0, 1, 0), (0, 0, 0.03)) for mirror in mirrors)
    assert angle < 5 and shift < 0.004


def test_a_few_pixels_have_no_plane() -> None:
    view = picture(house(), camera(25, 40))
    mask = np.zeros_like(view.mask)
    mask[118:123, 158:163] = True
    assert find_mirrors([replace(view, mask=mask)], points_of([view])) == []


def test_one_view_completed_is_nearer_to_the_truth_than_its_hull() -> None:
    completed, plain = made([picture(package(), camera(30, 40))])
    assert chamfer(completed.surface, package()) < min(0.004, 0.5 * chamfer(plain, package()))
    completed, plain = made([picture(house(), camera(60, 40))])
    assert chamfer(completed.surface, house()) < 0.9 * chamfer(plain, house())


def test_what_rays_proved_empty_stays_empty() -> None:
    views = [picture(house(), camera(30, 40)), picture(house(), camera(100, 50), seed=1)]
    completed, _ = made(views)
    vertices = completed.surface.vertices
    vertices = vertices[vertices[:, 2] > 0.008]  # lower, the table's own noise keeps rays from proving anything
    space = SeenSpace(views, points_of(views), 0.003)
    contradiction = space.judge(vertices, np.tile([0.0, 0, 1], (len(vertices), 1))).contradiction
    assert np.percentile(contradiction, 98) < 0.004


def test_faces_that_no_camera_saw_are_marked() -> None:
    view = picture(package(), camera(90, 40))
    surface = made([view])[0].surface
    a, b, c = np.moveaxis(surface.vertices[surface.faces], 1, 0)
    normals = np.cross(b - a, c - a)
    rays = a - view.camera_in_object[:3, 3]
    away = (normals * rays).sum(axis=1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(rays, axis=1)
    assert surface.filled[away > 0.2].mean() > 0.95
    assert surface.filled[away < -0.5].mean() < 0.1


@pytest.mark.parametrize("elevation", [35.0, 60.0])
def test_a_flat_thing_stays_flat(elevation: float) -> None:
    card = boxes(((0.086, 0.054, 0.002), (0, 0, 0.001)))
    surface = made([picture(card, camera(35, elevation))])[0].surface
    assert np.ptp(surface.vertices[:, 2]) < 0.006


def test_space_deep_behind_a_narrow_part_is_guessed_empty() -> None:
    """Seen from above, what is below a wide block may be solid; far below the thin bar beside it, nothing is."""
    thing = boxes(((0.06, 0.06, 0.02), (-0.03, 0, 0.09)), ((0.06, 0.005, 0.005), (0.03, 0, 0.0975)))
    view = picture(thing, camera(0, 89.9))
    volume = fill([view], np.array([[-0.06, -0.03, 0], [0.06, 0.03, 0.1]]))
    behind = behind_narrow_parts(volume, [view]).numpy()

    def at(x: float, z: float) -> bool:
        return bool(behind[tuple(np.rint((np.array([x, 0, z]) - volume.origin) / volume.voxel).astype(int))])

    assert at(0.04, 0.03) and at(0.04, 0.07)
    assert not at(-0.03, 0.03) and not at(0.04, 0.097)


def test_space_beside_the_mask_is_empty_up_to_the_table() -> None:
    view = picture(package(), camera(0, 89.9))
    volume = fill([view], np.array([[-0.08, -0.06, -0.01], [0.1, 0.05, 0.06]]))
    empty = volume.origin + volume.voxel * np.argwhere(beside_masks(volume, [view]).numpy())
    assert (empty[:, 2] > -0.003).all() and empty[:, 2].min() < 0.003
    inside = (np.abs(empty[:, :2] - [0.01, -0.005]) < [0.053, 0.033]).all(axis=1)
    assert not inside.any() and len(empty) > 5000


def test_depth_is_added_by_the_compiled_loop_as_by_pytorch() -> None:
    """The one fills volumes on a CPU, the other on a GPU."""
    view = picture(house(), camera(30, 40))
    depth, cosine = clean_depth(np.where(view.mask, view.depth, 0), view.K)
    beside = ~view.mask & (view.depth > 0)
    depth, cosine = np.where(beside, view.depth, depth), np.where(beside, np.float32(1), cosine)
    one, other = (TsdfVolume.around(np.full(3, -0.09), np.full(3, 0.09), 0.004) for _ in range(2))
    one.integrate(depth, cosine, beside, view.K, view.camera_in_object, 0.004)
    pixels = np.zeros((depth.size + 1, 2), np.float32)
    pixels[:-1, 0], pixels[:-1, 1] = depth.ravel(), np.where(beside, -cosine, cosine).ravel()
    axes = projected_axes(other, view.K, view.camera_in_object)
    other._add(project_grid(axes, torch.device("cpu")), torch.from_numpy(pixels), depth.shape, 0.004)
    assert (one.weight > 0).float().mean() > 0.1
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.total, other.total, rtol=1e-4, atol=1e-5)


def test_local_width_is_that_of_the_widest_disc() -> None:
    mask = np.zeros((80, 120), bool)
    mask[20:60, 10:50] = True
    mask[36:44, 50:110] = True
    width = local_width(mask)
    assert abs(width[40, 30] - 40) <= 2 and abs(width[40, 90] - 8) <= 2
    assert (width[~mask] == 0).all() and (width[mask] > 0).all()
    assert not local_width(np.zeros((4, 5), bool)).any()


def test_the_support_plane_is_found_where_there_is_one() -> None:
    view = picture(house(), camera(30, 40))
    plane = find_support(view, points_of([view]))
    assert plane is not None
    assert np.degrees(np.arccos(plane[2])) < 1 and abs(plane[3]) < 0.003
    bare = picture(house(), camera(30, 40), table=False)
    assert find_support(bare, points_of([bare])) is None


def test_a_completed_volume_keeps_what_is_seen() -> None:
    views = [picture(house(), camera(60, 40))]
    mirror = Mirror(np.array([0.0, 1, 0]), 0.0, 1.0)
    volume = fill(views, reflect(points_of(views), [mirror]))
    before = volume.total.clone()
    completed = complete_volume(volume, [mirror])
    seen = volume.weight >= least_weight(volume)
    assert torch.equal(completed.total[seen], volume.total[seen]) and torch.equal(volume.total, before)
    assert (completed.weight >= least_weight(volume)).sum() > 1.02 * seen.sum()
    assert torch.equal(complete_volume(volume, []).total, volume.total)


def test_mirrors_combine_to_reflections_and_turns() -> None:
    mirrors = [Mirror(axis, 0.02, 1.0) for axis in np.eye(3)]
    transforms = combined_mirrors(mirrors)
    assert sorted(round(float(np.linalg.det(T[:3, :3]))) for T in transforms) == [-1] * 4 + [1] * 3
    for T in transforms:
        np.testing.assert_allclose(T @ T, np.eye(4), atol=1e-12)
    assert len(reflect(np.zeros((5, 3)), mirrors)) == 40


def test_colors_of_what_was_not_seen_come_from_across_the_plane() -> None:
    def colors(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = (points[:, 1] > 0) & (normals[:, 1] > 0)
        shade = (1000 * points[:, :1] * [1, 1, 1]).astype(np.float32)
        return np.where(seen[:, None], shade, 0), np.where(seen, 0.8, 0).astype(np.float32)

    mirror = Mirror(np.array([0.0, 1, 0]), 0.0, 1.0)
    points = np.array([[0.05, 0.02, 0], [0.07, -0.02, 0], [0.07, -0.02, 0]])
    found, trust = mirror_colors(colors, [mirror])(points, np.array([[0, 1.0, 0], [0, -1.0, 0], [0, 1.0, 0]]))
    np.testing.assert_allclose(found[:, 0], [50, 70, 0], atol=1e-4)
    assert trust[0] == pytest.approx(0.8) and 0 < trust[1] < 0.4 and trust[2] == 0
