"""Losses: known answers, and that the perfect answer is the minimum."""

from __future__ import annotations

import torch

from learning.training.losses import add_error, add_s_error, confidence_loss, refiner_loss, scorer_loss


def _pose(x: float = 0.0) -> torch.Tensor:
    pose = torch.eye(4)
    pose[0, 3] = x
    return pose


def test_add_of_a_shift_is_its_length() -> None:
    points = torch.rand(2, 20, 3)
    estimate, truth = torch.stack([_pose(0.3), _pose(0.0)]), torch.stack([_pose(0.0), _pose(0.0)])
    torch.testing.assert_close(add_error(estimate, truth, points), torch.tensor([0.3, 0.0]))


def test_add_s_ignores_a_symmetry() -> None:
    square = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    turned = torch.eye(4)
    turned[:2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    assert add_s_error(turned, torch.eye(4), square) < 1e-6
    assert add_error(turned, torch.eye(4), square) > 1.0


def test_refiner_loss_is_zero_for_the_truth_and_ignores_unseen_samples() -> None:
    truth = torch.eye(4).repeat(2, 1, 1)
    target, wrong = torch.zeros(2, 3), torch.tensor([[0.0, 0, 0], [1.0, 1, 1]])
    points = torch.rand(2, 64, 3)
    perfect = refiner_loss(target, target, target, target, truth, truth, points, torch.ones(2), 0.1)
    unseen = refiner_loss(wrong, wrong, target, target, truth, truth, points, torch.tensor([1.0, 0.0]), 0.1)
    assert float(perfect["loss"]) == 0.0
    assert float(unseen["loss"]) == 0.0
    seen = refiner_loss(wrong, wrong, target, target, truth, truth, points, torch.ones(2), 0.1)
    assert float(seen["loss"]) > 0.5


def test_scorer_loss_prefers_the_right_order() -> None:
    error = torch.tensor([[0.01, 0.2, 0.5]])
    right = scorer_loss(torch.tensor([[5.0, 0.0, -5.0]]), error, torch.ones(1))
    wrong = scorer_loss(torch.tensor([[-5.0, 0.0, 5.0]]), error, torch.ones(1))
    assert float(right["loss"]) < 0.5 < float(wrong["loss"])
    assert float(right["regret"]) == 0.0
    assert abs(float(wrong["regret"]) - 0.49) < 1e-6


def test_scorer_loss_does_not_rank_equal_hypotheses() -> None:
    error = torch.full((1, 3), 0.1)
    loss = scorer_loss(torch.tensor([[1.0, 2.0, 3.0]]), error, torch.ones(1))
    assert float(loss["pairs"]) == 0.0


def test_scorer_loss_pulls_the_common_part_of_the_scores_to_zero() -> None:
    error = torch.tensor([[0.01, 0.2, 0.5]])
    logits = torch.tensor([[105.0, 100.0, 95.0]], requires_grad=True)
    scorer_loss(logits, error, torch.ones(1))["loss"].backward()
    assert logits.grad is not None
    assert float(logits.grad.sum()) > 0.1
    moved = scorer_loss(torch.tensor([[5.0, 0.0, -5.0]]), error, torch.ones(1))
    assert float(moved["loss"]) < float(scorer_loss(logits.detach(), error, torch.ones(1))["loss"])


def test_confidence_pays_for_wrong_certainty_in_the_scenes_that_count() -> None:
    right = torch.tensor([[True, False], [True, False]])
    sure = torch.tensor([[4.0, -4.0], [-4.0, 4.0]])  # the second scene has it the wrong way round
    both = confidence_loss(sure, right, torch.ones(2))
    first = confidence_loss(sure, right, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(first, torch.tensor(0.01815), atol=1e-4, rtol=0)  # -log(sigmoid(4))
    torch.testing.assert_close(both, torch.tensor((0.01815 + 4.01815) / 2), atol=1e-4, rtol=0)
    assert float(confidence_loss(sure, right, torch.zeros(2))) == 0.0
