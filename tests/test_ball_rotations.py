"""How a ball is turned is found from its colours, in any light, also where a part of it is hidden."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from estimater import FoundationPose
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Shading
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.ball_rotations import BallColors
from tests.estimater_scene import K
from tests.rendering_scenes import box

SIZE = (240, 320)
RADIUS = 0.04
TURNS = ((0.3, -2.0, 1.0), (2.5, 0.4, 0.1), (-0.2, 0.3, -2.8))


def ball(contrast: float = 0.3, squeezed: float = 1.0) -> Mesh:
    """Grey, with blotches of some contrast."""
    solid = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    rng = np.random.default_rng(5)
    waves = np.sin(solid.vertices @ rng.normal(0, 60, (3, 3, 4)) + rng.uniform(0, 6, (3, 1, 4))).sum(2).T
    colors = (130 * (1 + contrast * np.sign(waves))).clip(0, 255).astype(np.uint8)
    vertices = solid.vertices * [1.0, 1.0, squeezed]
    return Mesh(vertices, solid.faces, solid.vertex_normals, colors=colors, name="ball")


def truth(turn: tuple[float, float, float], device: torch.device) -> Tensor:
    return make_transform(so3_exp(torch.tensor(turn)), torch.tensor([0.03, -0.02, 0.45])).to(device)


def picture(mesh: Mesh, pose: Tensor, hidden: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, depth and mask of the ball before a wall, its left part behind a board that shines, so that only the mask
    tells what is the ball's; light grows to the right."""
    camera = torch.tensor(K).float()
    drawn = make_renderer(mesh, "cpu").render(pose.cpu()[None], camera, SIZE, shading=Shading(0.4, 0.6))
    mask, columns = drawn.mask[0], torch.arange(SIZE[1])
    left, right = mask.any(0).nonzero()[[0, -1], 0]
    board = (columns < left + hidden * (right - left)).expand(SIZE) & (columns > left - 20)
    board &= hidden > 0
    rgb = torch.where(mask[..., None], drawn.color[0] * torch.linspace(0.6, 1.4, SIZE[1])[:, None], torch.tensor(0.4))
    rgb = torch.where(board[..., None], torch.tensor([0.2, 0.5, 0.3]), rgb)
    rgb = rgb + 0.02 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(0))
    depth = torch.where(board, 0.0, torch.where(mask, drawn.depth[0], 0.9))
    return (rgb.clamp(0, 1) * 255).round().to(torch.uint8).numpy(), depth.numpy(), (mask & ~board).numpy()


def seen(mesh: Mesh, pose: Tensor, hidden: float = 0.0) -> tuple[Observation, Tensor]:
    """The same as the search has it, on the pose's device; and the mask."""
    rgb, depth, mask = (torch.as_tensor(x).to(pose.device) for x in picture(mesh, pose, hidden))
    return observe(rgb, depth, torch.tensor(K).float().to(pose.device)), mask


@pytest.mark.parametrize(("turn", "hidden"), [(TURNS[0], 0.0), (TURNS[1], 0.45), (TURNS[2], 0.45)])
def test_the_likeliest_rotation_is_the_true_one(
    turn: tuple[float, float, float], hidden: float, device: torch.device
) -> None:
    mesh = ball()
    object = RenderedObject.from_mesh(mesh, device)
    colors = BallColors.of(object, device)
    assert colors is not None
    pose = truth(turn, device)
    observation, mask = seen(mesh, pose, hidden)
    start = make_transform(torch.eye(3, device=device), pose[:3, 3] + 0.001)
    found = colors.propose(start, object, observation, mask, top_k=4)
    assert found.shape == (4, 4, 4)
    assert float(rotation_angle(found[0, :3, :3], pose[:3, :3]).rad2deg()) < 8
    assert torch.equal(found[:, :3, 3], start[:3, 3].expand(4, 3))
    between = rotation_angle(found[:1, :3, :3], found[1:, :3, :3]).rad2deg()
    assert float(between.min()) > 15


def test_register_finds_how_a_ball_is_turned(device: torch.device) -> None:
    """With released weights: neither they nor turns about three axes get there from most rotations."""
    mesh = ball()
    estimator = FoundationPose(mesh, device=device, weights="mini")
    for turn in TURNS[:2]:
        pose = truth(turn, torch.device("cpu"))
        pose[:3, 3] -= pose[:3, :3] @ torch.as_tensor(estimator.object.center)
        rgb, depth, mask = picture(mesh, pose)
        found = torch.as_tensor(estimator.register(np.asarray(K, dtype=np.float32), rgb, depth, mask))
        assert float(rotation_angle(found[:3, :3], pose[:3, :3]).rad2deg()) < 3
        assert float((found[:3, 3] - pose[:3, 3]).norm()) < 0.002
        assert estimator.confidence is not None and estimator.confidence > 0.5


def test_rotations_are_the_same_each_time(device: torch.device) -> None:
    object = RenderedObject.from_mesh(ball(), device)
    pose = truth(TURNS[0], device)
    scene = seen(ball(), pose)
    first, second = (BallColors.of(object, device) for _ in range(2))
    assert first is not None and second is not None
    assert torch.equal(*(colors.propose(pose, object, *scene, 9) for colors in (first, second)))


def test_a_ball_without_print_and_a_hidden_one_give_rotations_nevertheless(device: torch.device) -> None:
    mesh = ball(contrast=0.0)
    object = RenderedObject.from_mesh(mesh, device)
    colors = BallColors.of(object, device)
    assert colors is not None
    pose = truth(TURNS[0], device)
    observation, mask = seen(mesh, pose)
    for shown in (mask, torch.zeros_like(mask)):
        found = colors.propose(pose, object, observation, shown, 9)
        assert found.shape == (9, 4, 4) and bool(found.isfinite().all())
        assert torch.allclose(found[:, :3, :3] @ found[:, :3, :3].mT, torch.eye(3, device=device), atol=1e-5)


def test_only_balls_have_colours_by_direction(device: torch.device) -> None:
    cylinder = trimesh.creation.cylinder(radius=0.03, height=0.06, sections=64)
    can = Mesh(cylinder.vertices, cylinder.faces, cylinder.vertex_normals, name="can")
    for mesh in (box((0.06, 0.06, 0.06)), can, ball(squeezed=0.6)):
        assert BallColors.of(RenderedObject.from_mesh(mesh, device), device) is None
    for mesh in (ball(squeezed=0.95), ball(squeezed=0.86)):  # fruit
        assert BallColors.of(RenderedObject.from_mesh(mesh, device), device) is not None
