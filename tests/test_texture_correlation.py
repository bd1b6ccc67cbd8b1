"""Agreement of texture: it tells which side of a can is seen, in any light, and says nothing where there is none;
and it finds the turn of an object that no hypothesis has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from estimater import FoundationPose
from learning.models.score_network import Scores
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Shading
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.axis_rotations import AxisRotations, propose_rotations, refine_rotations
from pose6d.search.interfaces import Hypotheses
from pose6d.search.texture_correlation import texture_correlation
from tests.estimater_scene import K

SIZE = (240, 320)


def can(contrast: float) -> Mesh:
    """About z, grey with blotches of some contrast."""
    solid = trimesh.creation.cylinder(radius=0.03, height=0.08, sections=64).subdivide().subdivide()
    rng = np.random.default_rng(3)
    blotches = np.sign(np.sin(solid.vertices @ rng.normal(0, 150, (3, 4)) + rng.uniform(0, 6, 4)).sum(1))
    colors = np.repeat(120 * (1 + contrast * blotches)[:, None], 3, axis=1)
    return Mesh(solid.vertices, solid.faces, solid.vertex_normals, colors=colors.astype(np.uint8), name="can")


TURNS = (0.0, 0.7, 1.6, 2.2)


def poses() -> Tensor:
    upright = so3_exp(torch.tensor([1.3, 0.0, 0.0]))
    turned = torch.stack([upright @ so3_exp(torch.tensor([0.0, 0.0, angle])) for angle in TURNS])
    return make_transform(turned, torch.tensor([0.01, -0.02, 0.5]))


def seen(mesh: Mesh, change: Callable[[Tensor], Tensor] = lambda rgb: rgb) -> Observation:
    """The can in the first pose in front of a wall, in light from the camera, with noise."""
    drawn = make_renderer(mesh, "cpu").render(poses()[:1], torch.tensor(K).float(), SIZE, shading=Shading(0.4, 0.6))
    rgb = torch.where(drawn.mask[0][..., None], drawn.color[0], torch.tensor(0.4))
    rgb = change(rgb) + 0.02 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(0))
    depth = torch.where(drawn.mask[0], drawn.depth[0], torch.tensor(0.9))
    return observe((rgb.clamp(0, 1) * 255).round().to(torch.uint8), depth, torch.tensor(K).float())


def frame() -> tuple[np.ndarray, ...]:
    """Of the can, as `register` takes it: K, colour, depth and mask."""
    observation = seen(can(0.5))
    rgb, depth = (observation.rgb.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy(), observation.xyz[2].numpy()
    return K, rgb, depth, depth < 0.8


def agreement(mesh: Mesh, observation: Observation) -> Tensor:
    return texture_correlation(poses(), RenderedObject.from_mesh(mesh, "cpu"), observation)


@pytest.mark.parametrize("contrast", [0.5, 0.08])
def test_the_true_turn_agrees_best_even_where_the_texture_is_faint(contrast: float) -> None:
    found = agreement(can(contrast), seen(can(contrast)))
    assert found.argmax() == 0
    assert found[0] > found[1:].max() + 0.15
    assert found.abs().max() <= 1


@pytest.mark.parametrize(
    "change", [lambda x: 0.3 * x, lambda x: x**1.5, lambda x: 1.4 * x], ids=["dark", "gamma", "bright"]
)
def test_light_and_exposure_change_little(change: Callable[[Tensor], Tensor]) -> None:
    plain, changed = (agreement(can(0.4), seen(can(0.4), how)) for how in (lambda x: x, change))
    assert (plain - changed).abs().max() < 0.15


def test_a_mesh_without_texture_agrees_with_nothing() -> None:
    """Neither the shade of its surface nor what lies beside it counts."""
    grey = replace(can(0.0), colors=None)
    assert agreement(grey, seen(can(0.5))).abs().max() < 0.01


def test_what_is_hidden_does_not_count() -> None:
    mesh, observation = can(0.5), seen(can(0.5))
    hidden = observation.rgb.clone(), observation.xyz.clone()
    left = slice(0, 165)  # a card over the left half, nearer than the can
    hidden[0][:, :, left] = torch.rand(hidden[0][:, :, left].shape, generator=torch.Generator().manual_seed(1))
    hidden[1][2, :, left] = 0.3
    found = agreement(mesh, Observation(*hidden, observation.K))
    assert found.argmax() == 0 and found[0] > 0.5


def test_a_surface_that_is_elsewhere_counts_against_a_pose() -> None:
    mesh, observation = can(0.5), seen(can(0.5))
    xyz = observation.xyz.clone()
    xyz[2, :, 166:] += 0.03  # the right half lies behind the hypothesis
    whole, half = (
        float(agreement(mesh, each)[0]) for each in (observation, Observation(observation.rgb, xyz, observation.K))
    )
    assert half == pytest.approx(0.5 * whole, abs=0.1)


class UndecidedScorer:
    """Finds all hypotheses equally good."""

    has_confidence, choice_weights, recordable = False, None, False

    def __init__(self, weight: float):
        self.texture_weight = weight

    def predict(self, hypotheses: Hypotheses, *_: object) -> Scores:
        return Scores(torch.zeros(len(hypotheses)), None)

    judge = predict


class TurningRefiner:
    """Leaves the four turns of the can, the true one last."""

    recordable = False

    def predict(self, *_: object) -> Tensor:
        return poses().flip(0)


@pytest.mark.parametrize(("weight", "right"), [(0.0, False), (2.0, True)])
def test_register_asks_the_texture_if_the_weights_say_so(weight: float, right: bool) -> None:
    estimator = FoundationPose(
        can(0.5), refiner=TurningRefiner(), scorer=UndecidedScorer(weight), device="cpu", schedule="full"
    )
    pose = estimator.register(*frame())
    assert np.allclose(pose, poses()[0].numpy(), atol=0.01) == right


def degrees_off(found: Tensor) -> Tensor:
    """(N,) of poses (N, 4, 4) from the true one."""
    return rotation_angle(found[:, :3, :3], poses()[0, :3, :3]).rad2deg()


def test_principal_axes_are_those_of_the_shape() -> None:
    axes = RenderedObject.from_mesh(can(0.5), "cpu").principal_axes()
    torch.testing.assert_close(axes @ axes.T, torch.eye(3), atol=1e-5, rtol=0)
    assert axes[2].abs().argmax() == 2 and axes[2, 2].abs() > 0.999  # longest along z


def test_a_mesh_without_surface_has_axes_all_the_same() -> None:
    line = Mesh(vertices=np.linspace(0, 0.1, 9).reshape(3, 3), faces=np.array([[0, 1, 1]]), name="line")
    axes = RenderedObject.from_mesh(line, "cpu").principal_axes()
    torch.testing.assert_close(axes @ axes.T, torch.eye(3))


@pytest.mark.parametrize("contrast", [0.5, 0.08])
def test_the_texture_finds_the_turn_that_the_hypotheses_lack(contrast: float) -> None:
    object, observation = RenderedObject.from_mesh(can(contrast), "cpu"), seen(can(contrast))
    wrong = poses()[[1, 3]]  # 40 and 126 degrees off, 5 and 6 degrees from a multiple of 15
    wrong[1, 0, 3] += 1e-4  # so that the results tell which they come from
    rotations = AxisRotations.about(object.principal_axes())
    found, origins = propose_rotations(wrong, rotations, object, observation, top_k=5)
    torch.testing.assert_close(found[:, :3, 3], wrong[origins][:, :3, 3])
    assert found.shape == (5, 4, 4) and degrees_off(found)[0] < 2.5


def test_of_quarter_turns_those_of_the_first_pose_come_whose_texture_agrees_best() -> None:
    object, observation = RenderedObject.from_mesh(can(0.5), "cpu"), seen(can(0.5))
    wrong = poses()[[0, 2]]
    wrong[0, :3, :3] = wrong[0, :3, :3] @ so3_exp(torch.tensor([0.0, 0.0, math.pi / 2]))
    wrong[1, 0, 3] += 1e-4
    rotations = AxisRotations.about(object.principal_axes())
    found, origins = propose_rotations(wrong, rotations, object, observation, top_k=2, quarter_turns=3)
    assert found.shape == (5, 4, 4) and origins[2:].tolist() == [0, 0, 0]
    torch.testing.assert_close(found[:, :3, 3], wrong[origins][:, :3, 3])
    assert degrees_off(found[2:])[0] < 0.1


@pytest.mark.parametrize(("contrast", "within"), [(0.5, 1.1), (0.08, 2.2)])
def test_the_last_degrees_are_found_about_any_axis(contrast: float, within: float) -> None:
    object, observation = RenderedObject.from_mesh(can(contrast), "cpu"), seen(can(contrast))
    off = torch.deg2rad(torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, -3.0], [3.5, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    near = poses()[:1].expand(4, 4, 4).clone()
    near[:, :3, :3] = near[:, :3, :3] @ so3_exp(off)
    found = refine_rotations(near, AxisRotations.about(object.principal_axes()), object, observation)
    assert (degrees_off(found) < within).all()
    torch.testing.assert_close(found[:, :3, 3], near[:, :3, 3])  # turned in place


class Unturning:
    """Leaves one wrong turn of the can for every hypothesis, and everything else as it is."""

    recordable = False

    def __init__(self, hypotheses: int):
        self.hypotheses, self.calls = hypotheses, 0

    def predict(self, given: Hypotheses, *_: object) -> Tensor:
        self.calls += 1
        return poses()[[2]].expand_as(given.poses) if len(given) == self.hypotheses else given.poses


@pytest.mark.parametrize("colored", [True, False])
def test_register_tries_turns_where_there_is_a_texture(colored: bool) -> None:
    given = can(0.5) if colored else replace(can(0.5), colors=None)
    refiner = Unturning(252)
    estimator = FoundationPose(given, refiner=refiner, scorer=UndecidedScorer(2.0), device="cpu", schedule="full")
    pose = torch.as_tensor(estimator.register(*frame()))[None]
    assert given.colored == colored
    assert refiner.calls == (3 if colored else 1)
    # Turns come in steps of 3.75 degrees; the last ones are found by the finalists.
    assert float(degrees_off(pose)) == pytest.approx(0 if colored else math.degrees(1.6), abs=1 if colored else 4)
