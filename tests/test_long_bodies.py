"""Long things of which a part is hidden: their poses are looked for along the line that was seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.hypotheses import initial_translation
from pose6d.search.interfaces import ChoiceWeights, Hypotheses
from pose6d.search.long_bodies import LongBody, fit_line
from pose6d.search.schedule import SCHEDULES
from pose6d.search.search_steps import SearchSteps
from pose6d.search.visible_shape import explained_share
from tests.estimater_scene import MatchingScorer
from tests.mesh_boxes import make_box

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
K = torch.tensor([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]])
HEIGHT, WIDTH, WALL, FRONT = 240, 320, 1.5, 0.45


def make_spatula() -> Mesh:
    """A rod of 24 cm along x with a blade at one end, around its middle."""
    handle, blade = make_box((0.18, 0.02, 0.016)), make_box((0.07, 0.07, 0.01))
    handle_at, blade_at = np.array([-0.03, 0.0, 0.0]), np.array([0.085, 0.0, 0.005])
    vertices = np.concatenate([handle.vertices + handle_at, blade.vertices + blade_at])
    faces = np.concatenate([handle.faces, blade.faces + len(handle.vertices)])
    return Mesh(vertices, faces, colors=np.full((len(vertices), 3), 180, np.uint8), name="spatula")


def scene(hidden: slice, roll: float, device: str) -> tuple[RenderedObject, Tensor, Observation, Tensor]:
    """The spatula, its pose, what is seen where something hides some of the columns, and the mask of the rest."""
    object = RenderedObject.from_mesh(make_spatula(), "cpu")
    tilted = so3_exp(torch.tensor([[0.0, 0.35, 0.0]])) @ so3_exp(torch.tensor([[0.0, 0.0, 0.4]]))
    rotation = (tilted @ so3_exp(torch.tensor([[roll, 0.0, 0.0]])))[0]
    pose = make_transform(rotation, torch.tensor([0.02, -0.01, 0.7]))
    drawn = object.render(pose[None], K[None], (HEIGHT, WIDTH))
    mask = drawn.mask[0].clone()
    depth = torch.where(mask, drawn.depth[0], WALL)
    mask[:, hidden], depth[:, hidden] = False, FRONT
    color = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    object = RenderedObject.from_mesh(make_spatula(), device)
    return object, pose.to(device), observe(color.to(device), depth.to(device), K.to(device)), mask.to(device)


def propose(object: RenderedObject, observation: Observation, mask: Tensor, count: int = 6) -> Tensor:
    body = LongBody.of(object, mask.device)
    assert body is not None
    middle = torch.tensor([150.0, 120.0], device=mask.device)
    start = initial_translation(observation.xyz[2], mask, middle, observation.K)
    return body.propose(start, object, observation, mask, count)


@DEVICES
@pytest.mark.parametrize("roll", [0.6, 2.5])
@pytest.mark.parametrize("hidden", [slice(0, 0), slice(190, None), slice(0, 130)], ids=["all", "handle", "blade"])
def test_a_long_thing_is_found_without_networks(hidden: slice, roll: float, device: str) -> None:
    object, pose, observation, mask = scene(hidden, roll, device)
    poses = propose(object, observation, mask)
    distance = (poses[:, :3, 3] - pose[:3, 3]).norm(dim=1)
    along = (poses[:, :3, 0] @ pose[:3, 0]).clamp(max=1.0).acos().rad2deg()
    assert len(poses) == 6 and ((distance < 0.015) & (along < 6)).any()
    explained = explained_share(torch.cat([poses, pose[None]]), object, observation, mask)
    assert explained[:-1].max() > explained[-1] - 0.15, "the true pose explains hardly more"
    ends = poses[:, :3, 0] @ pose[:3, 0]
    assert (ends[:3] * ends[3:] < 0).all(), "either end comes first in as many"


def test_a_line_is_fitted_to_what_lies_along_it() -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.tensor([1.0, -0.5, 0.8]), dim=0)
    middle = torch.tensor([0.1, 0.0, 0.6])
    points = middle + torch.linspace(-0.1, 0.1, 200)[:, None] * direction
    points = points + 0.003 * torch.randn(200, 3, generator=generator)
    points[::8] = torch.tensor([0.1, 0.15, 0.75])  # background that the mask lets in
    points[1::4] += torch.tensor([0.0, 0.0, 0.5])  # the wall behind it
    pairs = torch.randint(200, (2, 64), generator=generator)
    near, line = fit_line(points, pairs, 0.02)
    assert abs(float(line @ direction)) > np.cos(np.radians(2))
    assert float(torch.linalg.cross(near - middle, direction).norm()) < 0.004


def test_nothing_seen_is_no_error() -> None:
    object, _, observation, mask = scene(slice(0, 0), 0.6, "cpu")
    body = LongBody.of(object, torch.device("cpu"))
    assert body is not None
    assert body.propose(torch.ones(3), object, observation, mask & False, 6).isfinite().all()


class Tilting:
    """Turns all poses out of the picture, as networks do with what is half hidden."""

    recordable = False

    def predict(self, hypotheses: Hypotheses, *_: object) -> Tensor:
        turned = hypotheses.poses.clone()
        turned[:, :3, :3] = so3_exp(torch.tensor([[0.0, 0.9, 0.0]])) @ turned[:, :3, :3]
        return turned


@pytest.mark.parametrize("long", [True, False])
def test_a_long_thing_is_not_refined_to_where_it_explains_less(long: bool) -> None:
    object, pose, observation, mask = scene(slice(190, None), 0.6, "cpu")
    body = LongBody.of(object, torch.device("cpu")) if long else None
    parts = (object, Tilting(), MatchingScorer(), observation, mask, torch.tensor([150.0, 120.0]))
    steps = SearchSteps(*parts, DeviceRunner(torch.device("cpu"), ()), long=body)
    settled = steps.settle(Hypotheses(pose[None]), 2).poses[0]
    assert torch.equal(settled, pose) is long


def test_a_long_thing_that_explains_little_is_not_believed_and_a_mask_may_be_too_large() -> None:
    object, pose, observation, mask = scene(slice(0, 0), 0.6, "cpu")
    body = LongBody.of(object, torch.device("cpu"))

    def found(seen: Observation, mask: Tensor, long: LongBody | None) -> float:
        parts = (object, Tilting(), MatchingScorer(), seen, mask, torch.tensor([150.0, 120.0]))
        steps = SearchSteps(*parts, DeviceRunner(torch.device("cpu"), ()), long=long)
        choice = ChoiceWeights(1.0, 0.0, 0.0, 0.0, 0.0)
        plain = {"textured": False, "round_body": False, "symmetries": None}
        return float(steps.choose(Hypotheses(pose[None]), choice, **plain)[1].sum())

    large = torch.nn.functional.max_pool2d(mask[None, None].float(), 51, 1, 25)[0, 0] > 0  # by 25 pixels
    assert large.sum() > 4 * mask.sum()
    for drawn in (mask, large):
        assert found(observation, drawn, body) > 0.9 * found(observation, drawn, None) > 0.5
    board = torch.where(large, 0.74, WALL)  # something wide, a bit behind: most of the surface is not seen there
    behind = observe(torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8), board, K)
    assert found(behind, large, body) < 0.2 * found(behind, large, None)


class Choosing(MatchingScorer):
    """Decides between the last poses, too."""

    has_confidence, choice_weights = True, ChoiceWeights(1.0, 0.0, 0.0, 0.0, 1.0)


def test_an_estimator_finds_a_long_thing_that_its_networks_turn_away() -> None:
    _, pose, observation, mask = scene(slice(190, None), 0.6, "cpu")
    estimator = FoundationPose(
        make_spatula(), refiner=Tilting(), scorer=Choosing(), device="cpu", schedule=SCHEDULES["pruned"]
    )
    rgb, depth = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.where(observation.xyz[2] > 0, observation.xyz[2], 0.0)
    found = estimator.register(K.numpy(), rgb, depth.astype(np.float32), mask.numpy())
    truth = pose.numpy()
    middle = estimator.object.center
    off = np.linalg.norm((found - truth)[:3, :3] @ middle + (found - truth)[:3, 3])
    assert off < 0.015 and abs(found[:3, 0] @ truth[:3, 0]) > np.cos(np.radians(6))


def test_progress_counts_the_pairs_of_a_long_thing() -> None:
    _, _, observation, mask = scene(slice(190, None), 0.6, "cpu")
    calls: list[tuple[int, int]] = []
    estimator = FoundationPose(make_spatula(), weights="mini", device="cpu")
    rgb, depth = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), observation.xyz[2].numpy().copy()
    estimator.register(K.numpy(), rgb, depth, mask.numpy(), progress=lambda *counts: calls.append(counts))
    assert calls[-1][0] == calls[-1][1] > 0
