"""Long things of which a part is hidden: selected by what explains depth and mask, not by what looks complete."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pose6d.search.search_steps as steps_module
from estimater import FoundationPose
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.interfaces import Hypotheses
from pose6d.search.long_bodies import LongBody
from pose6d.search.pair_evidence import compare_poses
from pose6d.search.search_steps import SearchSteps
from pose6d.search.visible_shape import explained_share, is_long
from tests.estimater_scene import MatchingScorer, PlantingRefiner
from tests.mesh_boxes import make_box

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
K = torch.tensor([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
HEIGHT, WIDTH, WALL, FRONT = 240, 320, 1.5, 0.4
ROD = make_box((0.24, 0.03, 0.02))
POSE = make_transform(torch.eye(3), torch.tensor([0.0, 0.0, 0.7]))
BOXES = [(0.24, 0.03, 0.02), (0.03, 0.02, 0.24), (0.1, 0.06, 0.04), (0.1, 0.1, 0.1), (0.1, 0.1, 0.01)]


def half_hidden(device: str) -> tuple[Observation, Tensor]:
    """The rod along the image's rows before a wall, its right half behind something; and the mask of the rest."""
    drawn = RenderedObject.from_mesh(ROD, "cpu").render(POSE[None], K[None], (HEIGHT, WIDTH))
    mask = drawn.mask[0].clone()
    depth = torch.where(mask, drawn.depth[0], WALL)
    mask[:, 160:], depth[:, 160:] = False, FRONT
    color = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    return observe(color.to(device), depth.to(device), K.to(device)), mask.to(device)


def rival_poses() -> Tensor:
    """(3, 4, 4): tilted until all of the rod looks like the half that is seen, either way; and the true pose."""
    tilted = so3_exp(torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]))
    return torch.cat([make_transform(tilted, torch.tensor([-0.06, 0.0, 0.7]).expand(2, 3)), POSE[None]])


@DEVICES
def test_the_hidden_end_of_a_long_thing_speaks_less_against_it_than_wrong_depth(device: str) -> None:
    observation, mask = half_hidden(device)
    share = explained_share(rival_poses().to(device), RenderedObject.from_mesh(ROD, device), observation, mask)
    tilted, other_way, true = share.tolist()
    assert 0.75 < true <= 1.05
    assert max(tilted, other_way) < true - 0.3
    beside = POSE.clone()
    beside[1, 3] += 0.1  # all of it is seen through, or hidden
    assert float(explained_share(beside[None].to(device), RenderedObject.from_mesh(ROD, device), observation, mask)) < 0


@DEVICES
def test_between_two_poses_hidden_surface_hardly_counts(device: str) -> None:
    """Of a tilted rod nothing is hidden; if that counted half as much as wrong depth, its score would be 11."""
    observation, mask = half_hidden(device)
    evidence = compare_poses(rival_poses().to(device), RenderedObject.from_mesh(ROD, device), observation, mask)
    assert float(evidence.shape[2, :2].min()) > 15


@pytest.mark.cuda
def test_both_devices_find_the_same() -> None:
    shares = []
    for device in ("cpu", "cuda"):
        observation, mask = half_hidden(device)
        object = RenderedObject.from_mesh(ROD, device)
        shares.append(explained_share(rival_poses().to(device), object, observation, mask).cpu())
    torch.testing.assert_close(*shares, rtol=0, atol=0.02)  # pixels at the rim


def test_nothing_seen_and_no_poses() -> None:
    observation, mask = half_hidden("cpu")
    object = RenderedObject.from_mesh(ROD, "cpu")
    assert explained_share(rival_poses(), object, observation, mask & False).isfinite().all()
    assert explained_share(rival_poses()[:0], object, observation, mask).shape == (0,)


@DEVICES
def test_what_is_long(device: str) -> None:
    found = [is_long(RenderedObject.from_mesh(make_box(s), device), torch.device(device)) for s in BOXES]
    assert found == [True, True, False, False, False]


def search_steps(long: bool) -> SearchSteps:
    observation, mask = half_hidden("cpu")
    parts = (RenderedObject.from_mesh(ROD, "cpu"), PlantingRefiner(POSE.numpy(), ROD.center), MatchingScorer())
    runner = DeviceRunner(torch.device("cpu"), ())
    body = LongBody.of(parts[0], torch.device("cpu")) if long else None
    return SearchSteps(*parts, observation, mask, torch.tensor([134.0, 120.0]), runner, long=body)


def test_a_long_body_half_hidden_goes_on_where_the_scorer_prefers_a_tilted_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranked = Hypotheses(rival_poses(), ranking=torch.tensor([2.0, 1.0, 0.0]))
    chosen = search_steps(long=True).select(ranked, 1, 20.0)
    torch.testing.assert_close(chosen.poses[0], POSE)
    assert chosen.ranking is not None and float(chosen.ranking[0]) == 0.0  # the scorer's own

    def refuse(*_: object) -> None:
        raise AssertionError("what is not long pays nothing")

    monkeypatch.setattr(steps_module, "explained_share", refuse)
    chosen = search_steps(long=False).select(ranked, 1, 20.0)
    torch.testing.assert_close(chosen.poses[0], ranked.poses[0])


@pytest.mark.parametrize(("sides", "expected"), [(BOXES[0], True), (BOXES[2], False)])
def test_an_estimator_knows_whether_its_object_is_long(sides: tuple[float, ...], expected: bool) -> None:
    estimator = FoundationPose(make_box(sides), weights="mini", device="cpu")
    assert (estimator._long is not None) is expected
