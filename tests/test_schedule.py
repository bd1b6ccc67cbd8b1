"""How a registration spends its steps, and which hypotheses go on."""

from __future__ import annotations

import pytest
import torch

from pose6d.errors import Pose6DError
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.search.distinct_poses import select_distinct
from pose6d.search.schedule import SCHEDULES, Schedule


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_the_result_has_taken_all_steps_whatever_the_schedule(schedule: object, steps: int) -> None:
    plan = list(schedule.plan(steps))
    assert sum(stage.steps for stage in plan) == steps
    assert all(stage.steps > 0 for stage in plan)
    assert plan[-1].top_k is None
    assert all(stage.top_k for stage in plan[:-1])


def test_pruned_shows_the_networks_less_than_a_seventh_of_what_full_does() -> None:
    full, pruned = SCHEDULES["full"], SCHEDULES["pruned"]
    # Five turns that texture favours and four quarter turns, refined once, compete with six hypotheses; five of all
    # are refined twice again.
    turns = 9 + 9 + 6 + 5 * 3
    assert (full.pairs(5, 252), pruned.pairs(5, 60)) == (1512 + turns, 60 * 2 + 12 * 5 + turns)
    # Texture turns nothing where there is none.
    assert full.without_texture(rotations=False).pairs(5, 252) == 1512
    assert pruned.without_texture(rotations=False).pairs(5, 60) == 60 * 2 + 12 * 5
    assert pruned.without_texture(rotations=False).pairs(5, 30) == 30 * 2 + 12 * 5
    # Where more than texture decides, quarter turns compete nevertheless.
    assert pruned.without_texture(rotations=True).pairs(5, 60) == 60 * 2 + 12 * 5 + 9 + 9 + 6 + 5 * 3


def poses_at(*degrees: float, shift: float = 0.0) -> torch.Tensor:
    turns = so3_exp(torch.deg2rad(torch.tensor([[0.0, 0.0, d] for d in degrees])))
    return make_transform(turns, torch.tensor([0.0, 0.0, 1.0]) + shift)


def test_repeated_hypotheses_wait_behind_distinct_ones() -> None:
    poses = poses_at(0.0, 3.0, 90.0, 94.0, 180.0)
    ranking = torch.tensor([5.0, 6.0, 3.0, 2.0, 1.0])
    assert select_distinct(poses, ranking, 3, diameter=0.2).tolist() == [1, 2, 4]
    assert select_distinct(poses, ranking, 9, diameter=0.2).tolist() == [1, 2, 4, 0, 3]


def test_the_same_turn_elsewhere_is_another_hypothesis() -> None:
    poses = torch.cat([poses_at(0.0), poses_at(0.0, shift=0.02)])
    ranking = torch.tensor([1.0, 2.0])
    assert select_distinct(poses, ranking, 1, diameter=0.2).tolist() == [1]
    far, near = torch.cat([poses, poses_at(90.0)]), torch.tensor([2.0, 3.0, 1.0])
    assert select_distinct(far, near, 2, diameter=0.2).tolist() == [1, 0]  # 35 mm apart, 10 mm is the same
    assert select_distinct(far, near, 2, diameter=2.0).tolist() == [1, 2]


def test_what_counts_as_the_same_may_be_set() -> None:
    poses, ranking = poses_at(0.0, 20.0, 90.0), torch.tensor([3.0, 2.0, 1.0])
    assert select_distinct(poses, ranking, 2, diameter=0.2).tolist() == [0, 1]
    assert select_distinct(poses, ranking, 2, diameter=0.2, nms_degrees=25.0).tolist() == [0, 2]


@pytest.mark.parametrize("starts", [0, -3, 2.5, "covering_120"])
def test_a_search_starts_from_a_number_of_rotations_or_from_all(starts: object) -> None:
    with pytest.raises(Pose6DError, match=r"schedule 'mine': starts is .*; give a number from 1, or None for all"):
        Schedule("mine", starts)
    assert Schedule("mine").starts is None
