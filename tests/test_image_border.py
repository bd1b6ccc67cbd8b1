"""An object that the image's border cuts: what is rendered ends where what is observed ends, in every comparison."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from learning.inference.inputs import pair_inputs
from learning.models.config import NetworkConfig
from many_objects import ManyObjects
from pose6d.geometry.camera import crop_coverage, crop_images, crop_transforms
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, random_rotations, rotation_angle
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.alignment import align_poses
from pose6d.search.interfaces import Hypotheses
from pose6d.search.texture_correlation import texture_correlation
from tests.rendering_scenes import box, torus

K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
CAMERA = torch.tensor(K, dtype=torch.float32)
HEIGHT, WIDTH = SIZE = (240, 320)
Z = 0.5
DIRECTIONS = [d for d in product((-1, 0, 1), repeat=2) if d != (0, 0)]


def carton() -> Mesh:
    """A box with another pattern on each side."""
    corners = np.array(list(product((-0.5, 0.5), repeat=3))) * (0.09, 0.06, 0.13)
    sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = 4 * np.arange(6)[:, None, None] + [[0, 1, 2], [0, 2, 3]]
    uv = [((i + u) / 6, v) for i in range(6) for u, v in ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98))]
    pattern = np.random.default_rng(3).integers(30, 240, (8, 48, 3), dtype=np.uint8)
    texture = pattern.repeat(8, axis=0).repeat(8, axis=1)
    return Mesh(corners[sides].reshape(-1, 3), faces.reshape(-1, 3), uv=np.array(uv), texture=texture, name="carton")


def share_inside(mesh: Mesh, pose: Tensor) -> float:
    """Share of what a picture without borders would show of the object."""
    margin = 200
    wide = CAMERA.clone()
    wide[:2, 2] += margin
    renderer = make_renderer(mesh, "cpu")
    whole = renderer.render(pose[None], wide, (HEIGHT + 2 * margin, WIDTH + 2 * margin)).mask[0]
    return float(whole[margin:-margin, margin:-margin].sum() / whole.sum())


def cut_pose(mesh: Mesh, direction: tuple[int, int], share: float, seed: int) -> Tensor:
    """(4, 4), turned anyhow, and moved towards a border or a corner until so much is left inside."""
    R = random_rotations(1, torch.Generator().manual_seed(seed))
    if direction == (0, 0):
        return make_transform(R, torch.tensor([[0, 0, Z]]))[0]
    towards = torch.tensor(direction) * torch.tensor([WIDTH / 600, HEIGHT / 600]) * Z
    low, high = 0.0, 1.0 + mesh.diameter / Z * 300 / HEIGHT
    for _ in range(12):
        middle = (low + high) / 2
        pose = make_transform(R, torch.cat([middle * towards, torch.tensor([Z])])[None])[0]
        low, high = (middle, high) if share_inside(mesh, pose) > share else (low, middle)
    return pose


def frame(mesh: Mesh, pose: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The object before a patterned wall, with a little noise: colour, depth and mask."""
    drawn = make_renderer(mesh, "cpu").render(pose[None], CAMERA, SIZE)
    rng = np.random.default_rng(0)
    mask = drawn.mask[0].numpy()
    wall = rng.integers(60, 200, (15, 20, 3)).repeat(16, axis=0).repeat(16, axis=1)
    rgb = np.where(mask[..., None], drawn.color[0].numpy() * 255, wall) + rng.normal(0, 3, (*SIZE, 3))
    depth = np.where(mask, drawn.depth[0].numpy(), 0.9)
    depth += rng.normal(0, 0.0015, SIZE) * depth**2
    return np.clip(rgb, 0, 255).astype(np.uint8), depth.astype(np.float32), mask


def add(mesh: Mesh, found: np.ndarray, truth: Tensor) -> float:
    """Mean distance of the vertices, diameters."""
    apart = found.astype(np.float64) - truth.numpy().astype(np.float64)
    return float(np.linalg.norm(mesh.vertices @ apart[:3, :3].T + apart[:3, 3], axis=1).mean() / mesh.diameter)


@functools.cache
def estimator_of(make_mesh: Callable[[], Mesh], device: torch.device) -> FoundationPose:
    return FoundationPose(make_mesh(), weights="lite", device=device)


@pytest.mark.parametrize("make_mesh", [carton, torus, box])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.5, 0.3])
def test_tracking_stays_where_the_object_is(make_mesh: Callable[[], Mesh], share: float, device: torch.device) -> None:
    """From the true pose, with nothing moving: at all borders and corners."""
    estimator, errors = estimator_of(make_mesh, device), []
    for seed, direction in enumerate(DIRECTIONS):
        truth = cut_pose(estimator.mesh, direction if share < 1 else (0, 0), share, seed)
        rgb, depth, _ = frame(estimator.mesh, truth)
        estimator.start_from(truth.numpy())
        for _ in range(3):
            pose = estimator.track_one(rgb, depth, K)
        errors.append(add(estimator.mesh, pose, truth))
    # Unless what is rendered is clipped, an object that is half inside ends 0.15 off in the median.
    assert np.median(errors) < 0.02
    assert np.max(errors) < (0.04 if share > 0.4 else 0.1)


@pytest.mark.slow
def test_registering_finds_what_the_border_cuts(device: torch.device) -> None:
    estimator = estimator_of(carton, device)
    truth = cut_pose(estimator.mesh, (-1, 0), 0.5, 0)
    rgb, depth, mask = frame(estimator.mesh, truth)
    pose = estimator.register(K, rgb, depth, mask)
    assert add(estimator.mesh, pose, truth) < 0.02
    assert estimator.confidence is not None and estimator.confidence > 0.9


def test_many_objects_stay_where_they_are(device: torch.device) -> None:
    """One cut by the left border, one by the right."""
    first = estimator_of(carton, device)
    other = FoundationPose(torus(), refiner=first.refiner, scorer=first.scorer, device=device)
    estimators = [first, other]
    meshes = [estimator.mesh for estimator in estimators]
    truths = [cut_pose(mesh, direction, 0.5, 1) for mesh, direction in zip(meshes, ((-1, 0), (1, 0)), strict=True)]
    (rgb, depth, left), (other_rgb, other_depth, _) = (frame(*pair) for pair in zip(meshes, truths, strict=True))
    rgb, depth = np.where(left[..., None], rgb, other_rgb), np.where(left, depth, other_depth)
    objects = ManyObjects(estimators)
    objects.start_from(np.stack([truth.numpy() for truth in truths]))
    for _ in range(3):
        poses = objects.track_many(rgb, depth, K)
    for mesh, pose, truth in zip(meshes, poses, truths, strict=True):
        assert add(mesh, pose, truth) < 0.03


def hypotheses() -> Tensor:
    """(12, 4, 4): inside, cut by each border and corner, wholly outside twice, and behind the camera."""
    cut = [(0.25 * u, 0.19 * v, Z) for u, v in DIRECTIONS]
    places = torch.tensor([(0, 0, Z), *cut, (2.0, 0, Z), (0, -2.0, Z), (0, 0, -Z)])
    return make_transform(random_rotations(1, torch.Generator().manual_seed(5)), places)


def test_coverage_is_where_nearest_crops_show_the_image(device: torch.device) -> None:
    poses = hypotheses().to(device)
    transforms = crop_transforms(poses, CAMERA.to(device), 0.2, 1.2, 64)
    shown = crop_images(torch.ones(1, *SIZE, device=device), transforms, 64, mode="nearest")[:, 0]
    covered = crop_coverage(transforms, 64, *SIZE)
    assert torch.equal(covered, shown > 0)
    shares = covered.float().mean((1, 2))
    assert shares[0] == 1 and shares[9] == shares[10] == 0 and ((shares[1:9] > 0.1) & (shares[1:9] < 0.9)).all()


@pytest.mark.parametrize("clip", [True, False])
def test_what_is_rendered_ends_with_the_image_if_the_network_asks_for_it(clip: bool) -> None:
    object, poses = RenderedObject.from_mesh(carton(), "cpu"), hypotheses()
    observation = Observation(torch.ones(3, *SIZE), torch.ones(3, *SIZE), CAMERA)
    config = NetworkConfig(input_size=64, clip_to_image=clip)
    A, B = pair_inputs(Hypotheses(poses), object, observation, config)
    outside = (B[:, :3] == 0).all(1)
    drawn_outside = (A.abs().sum(1) > 0) & outside
    assert drawn_outside.any() != clip
    assert (A[0].abs().sum(0) > 0).any() and torch.isfinite(A).all()
    # What lies inside is not touched.
    whole, _ = pair_inputs(Hypotheses(poses), object, observation, config.replace(clip_to_image=False))
    assert torch.equal(A.permute(0, 2, 3, 1)[~outside], whole.permute(0, 2, 3, 1)[~outside])


def test_published_networks_see_what_they_were_trained_on() -> None:
    assert not NetworkConfig.from_dict({"input_resize": [160, 160], "c_in": 6, "normalize_xyz": True}).clip_to_image
    assert NetworkConfig.from_dict({"kind": "scorer"}).clip_to_image  # also files from before there was a choice


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_texture_agrees_as_well_where_the_border_cuts_the_object(
    direction: tuple[int, int], device: torch.device
) -> None:
    mesh = carton()
    object = RenderedObject.from_mesh(mesh, device)

    def agreement(truth: Tensor) -> float:
        rgb, depth, _ = frame(mesh, truth)
        seen = observe(rgb, torch.as_tensor(depth).to(device), K)
        return float(texture_correlation(truth[None].to(device), object, seen))

    whole, half = (agreement(cut_pose(mesh, way, share, 2)) for way, share in (((0, 0), 1.0), (direction, 0.5)))
    assert whole > 0.8
    assert half > whole - 0.1


def test_texture_says_nothing_about_what_lies_outside() -> None:
    outside = hypotheses()[9]
    seen = Observation(torch.rand(3, *SIZE), torch.zeros(3, *SIZE), CAMERA)
    assert float(texture_correlation(outside[None], RenderedObject.from_mesh(carton(), "cpu"), seen)) == 0


@pytest.mark.parametrize("direction", [(-1, 0), (0, 1), (1, 1)], ids=str)
def test_alignment_uses_what_is_inside(direction: tuple[int, int], device: torch.device) -> None:
    mesh = carton()
    truth = cut_pose(mesh, direction, 0.5, 4)
    rgb, depth, _ = frame(mesh, truth)
    near = truth.clone()
    near[:3, 3] += torch.tensor([0.001, -0.001, 0.001])
    near[:3, :3] = torch.linalg.qr(
        near[:3, :3] + 0.006 * torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    )[0]
    near[:3, :3] *= torch.sign((near[:3, :3] * truth[:3, :3]).sum(0))
    seen = observe(rgb, torch.as_tensor(depth).to(device), K)
    found = align_poses(near[None].to(device), RenderedObject.from_mesh(mesh, device), seen)[0].cpu()
    before, after = (rotation_angle(pose[None, :3, :3], truth[:3, :3]).rad2deg() for pose in (near, found))
    assert before > 0.4 and after < before / 2
    assert (found[:3, 3] - truth[:3, 3]).norm() < 0.0007
