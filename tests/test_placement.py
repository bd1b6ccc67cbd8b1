"""Where each rotation starts: against what was seen, before any network looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.hypotheses import GridSampler, initial_translation
from pose6d.search.placement import NearSides, place_rotations

HEIGHT, WIDTH = 240, 320
K = torch.tensor([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
WALL = 1.5  # metres


def box(*size: float) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.array(size) / 2
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6]]
    faces += [[0, 6, 4], [1, 5, 7], [1, 7, 3]]
    return Mesh(corners.astype(np.float32), np.array(faces))


ROD = RenderedObject.from_mesh(box(0.24, 0.03, 0.02), "cpu")
TURN = so3_exp(torch.tensor([[0.3, -0.2, 0.5]]))[0]
CENTER = torch.tensor([0.05, -0.02, 0.7])


def scene(hidden: slice = slice(0, 0), front: float = 0.4) -> tuple[Observation, Tensor]:
    """The rod before a wall, some columns of the image hidden by something nearer; and its mask."""
    drawn = ROD.render(make_transform(TURN, CENTER)[None], K[None], (HEIGHT, WIDTH))
    mask, depth = drawn.mask[0].clone(), torch.where(drawn.mask[0], drawn.depth[0], torch.tensor(WALL))
    mask[:, hidden], depth[:, hidden] = False, front
    return observe(torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8), depth, K), mask


def place(observation: Observation, mask: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
    v, u = torch.nonzero(mask, as_tuple=True)
    middle = torch.stack([(u.min() + u.max()) / 2, (v.min() + v.max()) / 2])
    start = initial_translation(observation.xyz[2], mask, middle, K)
    return place_rotations(NearSides.of(ROD, rotations), start, observation, mask)


def test_the_right_rotation_is_laid_onto_what_was_seen() -> None:
    centers, costs = place(*scene(), TURN[None])
    assert (centers[0] - CENTER).norm() < 0.005
    assert costs[0] < 0.3


@pytest.mark.parametrize("hidden", [slice(0, 170), slice(190, WIDTH)])
def test_a_hidden_end_is_where_something_hides_it(hidden: slice) -> None:
    """What is left of the rod lies 4 to 5 cm beside its middle; only the occluder tells which end it is."""
    observation, mask = scene(hidden)
    visible = observation.xyz[:2, mask].mean(dim=1)
    assert (visible - CENTER[:2]).norm() > 0.04
    centers, _ = place(observation, mask, TURN[None])
    assert (centers[0] - CENTER).norm() < 0.015


def test_rotations_that_fit_cost_less() -> None:
    rotations = rotation_hypotheses()
    _, costs = place(*scene(), rotations)
    lengthwise = torch.rad2deg(torch.arccos((rotations[:, :, 0] @ TURN[:, 0]).abs().clamp(max=1.0)))
    assert costs[lengthwise < 20].max() < costs[lengthwise > 60].min()


def test_a_sampler_gives_the_likeliest_and_all_where_nothing_is_wanted() -> None:
    observation, mask = scene()
    sampler = GridSampler(ROD, None, torch.device("cpu"))
    middle = torch.tensor([180.0, 112.0])
    assert (sampler.count(None), sampler.count(40), sampler.count(500)) == (252, 40, 252)
    some, every = (sampler.sample(observation, mask, middle, starts) for starts in (40, None))
    assert len(some) == 40 and len(every) == 252
    assert every.shared_window and not some.shared_window
    lengthwise = torch.rad2deg(torch.arccos((some.poses[:4, :3, 0] @ TURN[:, 0]).abs().clamp(max=1.0)))
    assert lengthwise.max() < 20


def test_a_mask_without_depth_gives_no_start() -> None:
    observation, mask = scene()
    observation.xyz[2][mask] = 0.0
    sampler = GridSampler(ROD, None, torch.device("cpu"))
    assert not sampler.sample(observation, mask, torch.tensor([180.0, 112.0]), 40).poses[:, :3, 3].isfinite().any()


def test_an_object_that_the_image_cuts_goes_on_outside() -> None:
    """The rod lies across the left border; half of it is outside."""
    center = torch.tensor([-160 / 300 * 0.7, 0.0, 0.7])
    drawn = ROD.render(make_transform(torch.eye(3), center)[None], K[None], (HEIGHT, WIDTH))
    depth = torch.where(drawn.mask[0], drawn.depth[0], torch.tensor(WALL))
    observation = observe(torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8), depth, K)
    centers, _ = place(observation, drawn.mask[0], torch.eye(3)[None])
    assert (centers[0] - center).norm() < 0.035
    assert math.isfinite(float(centers.sum()))
