"""What the networks see, and how their answers move a pose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from learning.inference.inputs import apply_update, network_inputs, pair_inputs, update_target
from learning.models.config import NetworkConfig
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, random_rotations, rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses

SIZE = 160
K = torch.tensor([[400.0, 0.0, 158.3], [0.0, 400.0, 121.7], [0.0, 0.0, 1.0]])


def random_poses(n: int, seed: int, spread: float = 0.05) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn(n, 3, generator=generator) * spread + torch.tensor([0.0, 0.0, 0.7])
    return make_transform(random_rotations(n, generator), t)


@pytest.fixture(scope="module")
def box() -> Mesh:
    solid = trimesh.creation.box((0.10, 0.06, 0.16)).subdivide().subdivide()
    rng = np.random.default_rng(0)
    solid.visual.vertex_colors = rng.integers(40, 255, (len(solid.vertices), 3), dtype=np.uint8)
    return Mesh.from_trimesh(solid)


def test_normalisation_is_translation_over_radius_in_camera_axes() -> None:
    poses = random_poses(2, 0)
    diameter = torch.tensor([0.2, 0.4])
    offset = torch.tensor([0.03, -0.05, 0.04])
    xyz = (poses[:, :3, 3] + offset)[:, :, None, None].expand(2, 3, 4, 4)
    rgb = torch.rand(2, 3, 4, 4)
    x = network_inputs(rgb, xyz, poses, diameter)
    assert x.shape == (2, 6, 4, 4)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x[:, :3], rgb)
    for i in range(2):
        wanted = (offset / (diameter[i] / 2))[:, None, None].expand(3, 4, 4)
        torch.testing.assert_close(x[i, 3:], wanted, atol=1e-5, rtol=1e-5)


def test_far_coordinates_vanish_one_by_one_and_missing_points_altogether() -> None:
    poses = make_transform(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 0.5]]))
    xyz = torch.zeros(1, 3, 1, 4)
    xyz[0, :, 0, 0] = torch.tensor([0.19, 0.21, 0.5])  # radius 0.1: y is 2.1 radii away, x is 1.9
    xyz[0, :, 0, 1] = torch.tensor([0.2, 0.1, 0.5])  # exactly two radii
    xyz[0, :, 0, 2] = torch.tensor([0.01, 0.01, 0.0])  # missing
    xyz[0, :, 0, 3] = torch.tensor([-0.05, 0.0, 0.45])
    x = network_inputs(torch.zeros(1, 3, 1, 4), xyz, poses, 0.2)[0, 3:, 0]
    wanted = torch.tensor([[1.9, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [-0.5, 0.0, -0.5]]).T
    torch.testing.assert_close(x, wanted, atol=1e-6, rtol=0)


def test_points_nearer_than_the_limit_are_missing() -> None:
    poses = make_transform(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 0.15]]))
    xyz = torch.full((1, 3, 1, 1), 0.09)
    assert network_inputs(torch.zeros(1, 3, 1, 1), xyz, poses, 0.3)[0, 3:].abs().sum() > 0
    assert network_inputs(torch.zeros(1, 3, 1, 1), xyz, poses, 0.3, min_depth=0.1)[0, 3:].abs().sum() == 0


def test_rendered_and_observed_agree_at_the_true_pose_only(box: Mesh, device: torch.device) -> None:
    object = RenderedObject(make_renderer(box, device), float(box.diameter))
    truth, camera = random_poses(1, 3).to(device), K.to(device)
    drawn = object.render(truth, camera, (240, 320))
    observation = Observation(drawn.color[0].permute(2, 0, 1), drawn.xyz[0].permute(2, 0, 1), camera)
    config = NetworkConfig()
    A, B = pair_inputs(Hypotheses(truth), object, observation, config)
    both = ((A[:, 5:] != 0) & (B[:, 5:] != 0))[:, 0]
    assert both.sum() > 2000
    # A crop pixel sees the nearest image pixel, here up to 0.5 px away, which is 0.9 mm or 0.01 radii on the object.
    difference = (A - B).abs().permute(0, 2, 3, 1)[both]
    assert difference[:, 3:].median() < 0.01
    assert difference[:, :3].median() < 0.02
    moved = truth.clone()
    moved[:, 0, 3] += 0.02
    A, B = pair_inputs(Hypotheses(moved), object, observation, config)
    both = ((A[:, 5:] != 0) & (B[:, 5:] != 0))[:, 0]
    assert (A - B).abs().permute(0, 2, 3, 1)[both][:, :3].median() > 0.02


def test_images_per_sample_give_what_each_frame_gives_alone(box: Mesh) -> None:
    renderer = make_renderer(box, "cpu")
    poses = random_poses(2, 5)
    cameras = torch.stack([K, K * torch.tensor([[1.1], [1.1], [1.0]])])
    diameters = torch.tensor([box.diameter, 1.2 * box.diameter])
    frames = [renderer.render(poses[i : i + 1], cameras[i], (240, 320)) for i in range(2)]
    rgb = torch.cat([f.color for f in frames]).permute(0, 3, 1, 2)
    xyz = torch.cat([f.xyz for f in frames]).permute(0, 3, 1, 2)
    config = NetworkConfig(input_size=64)
    A, B = pair_inputs(Hypotheses(poses), RenderedObject(renderer, diameters), Observation(rgb, xyz, cameras), config)
    for i in range(2):
        alone = pair_inputs(
            Hypotheses(poses[i : i + 1]),
            RenderedObject(renderer, float(diameters[i])),
            Observation(rgb[i], xyz[i], cameras[i]),
            config,
        )
        torch.testing.assert_close(A[i : i + 1], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(B[i : i + 1], alone[1], atol=1e-5, rtol=0)


def test_observe_turns_a_frame_into_colours_and_points() -> None:
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[1, 2] = (255, 51, 0)
    depth = np.zeros((4, 5), np.float32)
    depth[1, 2] = 2.0
    camera = np.array([[10.0, 0, 1.0], [0, 10.0, 1.0], [0, 0, 1]])
    seen = observe(rgb, depth, camera)
    torch.testing.assert_close(seen.rgb[:, 1, 2], torch.tensor([1.0, 0.2, 0.0]))
    torch.testing.assert_close(seen.xyz[:, 1, 2], torch.tensor([0.2, 0.0, 2.0]))
    assert seen.xyz.count_nonzero() == 2


def test_update_follows_the_published_rule() -> None:
    poses = random_poses(3, 1)
    trans, rot = torch.randn(3, 3), torch.randn(3, 3)
    limit = 0.3490658503988659
    new = apply_update(poses, trans, rot, 0.3, limit)
    for i in range(3):
        delta = so3_exp(torch.tanh(rot[i]) * limit).T
        torch.testing.assert_close(new[i, :3, :3], delta @ poses[i, :3, :3], atol=1e-5, rtol=0)
        torch.testing.assert_close(new[i, :3, 3], poses[i, :3, 3] + trans[i] * 0.15, atol=1e-6, rtol=0)
    assert torch.equal(new[:, 3], torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(3, 4))


def test_a_step_never_exceeds_the_limit_per_axis() -> None:
    poses = random_poses(1, 1)
    new = apply_update(poses, torch.zeros(1, 3), torch.full((1, 3), 1e4), 0.3, 0.2)
    torch.testing.assert_close(rotation_angle(new[:, :3, :3], poses[:, :3, :3]), torch.tensor([0.2 * 3**0.5]))


def test_update_target_is_the_inverse_of_the_update() -> None:
    poses, truth = random_poses(20, 1), random_poses(20, 2)
    diameter = torch.rand(20) + 0.1
    translation, rotation = update_target(poses, truth, diameter)
    limit = 4.0  # beyond pi, so that any rotation is one step away
    new = apply_update(poses, translation, torch.atanh(rotation / limit), diameter, limit)
    torch.testing.assert_close(new, truth, atol=1e-5, rtol=0)


def test_thousands_of_updates_keep_a_rotation() -> None:
    generator = torch.Generator().manual_seed(0)
    pose = random_poses(1, 1)
    for _ in range(3000):
        pose = apply_update(pose, torch.zeros(1, 3), torch.randn(1, 3, generator=generator), 0.3, 0.3)
    R = pose[0, :3, :3]
    torch.testing.assert_close(R @ R.T, torch.eye(3), atol=1e-6, rtol=0)


def test_update_passes_gradients_to_both_outputs() -> None:
    trans, rot = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    new = apply_update(random_poses(2, 1), trans, rot, torch.tensor([0.2, 0.3]), 0.7)
    (new * torch.randn(2, 4, 4)).sum().backward()
    for x in (trans, rot):
        assert torch.isfinite(x.grad).all()
        assert (x.grad != 0).all()
