"""What the search leaves is weighed by numbers that are fitted: they are found again, and written where they belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy import calibrate
from benchmarks.accuracy.calibrate import Calibration, Choices, Options, choice_loss, confidence_loss, fit, main
from learning.training.predict_score import JudgeWeights
from pose6d.errors import ResultsError
from pose6d.search.alternatives import weigh
from pose6d.search.interfaces import ChoiceWeights, Hypotheses
from pose6d.search.pair_evidence import PairEvidence

TRUE = ChoiceWeights(0.5, 3.0, 0.8, 1.2, 0.4)
JUDGE = JudgeWeights(1.6, 6.0, -0.5)  # the weight of texture is given, not fitted


def searches(count: int = 2000) -> Choices:
    """Searches whose right pose is drawn with the probabilities that the true numbers give."""
    generator = torch.Generator().manual_seed(0)
    ranking, texture = torch.randn(count, 4, generator=generator), 0.3 * torch.randn(count, 4, generator=generator)
    logit = 1.5 + torch.randn(count, 4, generator=generator)
    color, shape = 8 * torch.randn(2, count, 4, 4, generator=generator)
    color, shape = color - color.mT, shape - shape.mT
    judged = logit + 0.5 * torch.randn(count, 4, generator=generator)
    hypotheses = Hypotheses(torch.empty(count, 4, 0), ranking, torch.sigmoid(logit))
    certain = torch.sigmoid(JUDGE.log_odds(judged, texture))
    _, probability = weigh(hypotheses, certain, texture, PairEvidence(color, shape), TRUE)
    none = (1 - probability.sum(dim=1, keepdim=True)).clamp(min=0)
    drawn = torch.multinomial(torch.cat([probability, none], dim=1), 1, generator=generator)
    right = torch.arange(4) == drawn
    return Choices(ranking, logit, judged, texture, color, shape, right, torch.ones(count, dtype=torch.bool))


def test_the_numbers_that_searches_were_made_with_are_found_again() -> None:
    choices = searches()
    found = fit(choices, absent=0.2)
    assert found.judge_weights == pytest.approx(JUDGE, abs=0.3)
    logit_of_predict = found.confidence_scale * found.choice_weights[2]
    assert logit_of_predict == pytest.approx(TRUE.confidence, rel=0.4)
    assert [*found.choice_weights[:2], *found.choice_weights[3:]] == pytest.approx([*TRUE[:2], *TRUE[3:]], rel=0.4)
    before = Calibration(1.0, 0.0, JudgeWeights(1.0, 0.0, 0.0), (0.5, 1.0, 1.0, 1.0, 1.0))
    assert float(choice_loss(choices, found, 0.2)) < float(choice_loss(choices, before, 0.2)) - 0.02


def test_the_confidence_of_predict_is_that_of_the_pose_that_ranks_highest() -> None:
    choices = searches(500)
    best = choices.ranking.argmax(dim=1, keepdim=True)
    drawn = torch.rand(choices.logit.shape, generator=torch.Generator().manual_seed(1))
    only_best = torch.zeros_like(choices.right).scatter(1, best, True) & (drawn < torch.sigmoid(2 * choices.logit - 1))
    choices = choices._replace(right=only_best)
    tried = ((2, -1), (1, -1), (2, 0), (3, -1))
    assert min(tried, key=lambda numbers: float(confidence_loss(choices, *numbers, 0.2))) == (2, -1)


def test_scenes_without_the_object_count_as_little_as_asked() -> None:
    choices = searches(200)
    absent = choices._replace(right=torch.zeros_like(choices.right), present=torch.zeros_like(choices.present))
    both = Choices(*(torch.cat(parts) for parts in zip(choices, absent, strict=True)))
    often, seldom = (fit(both, absent=share) for share in (1.0, 0.05))
    assert often.confidence_offset < seldom.confidence_offset - 0.2
    assert often.judge_weights[-1] < seldom.judge_weights[-1] - 0.2


def test_weights_get_the_numbers_and_keep_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scorer.json"
    file.write_text(json.dumps({"kind": "scorer", "confidence": True}))
    monkeypatch.setattr(calibrate, "collect", lambda options: searches(300))
    main(Options(tmp_path))
    config = json.loads(file.read_text())
    assert config["kind"] == "scorer" and len(config["choice_weights"]) == 5
    assert config["judge_weights"][0] > 1 and config["confidence_scale"] != 1
    all_right = searches(3)._replace(right=torch.ones(3, 4, dtype=torch.bool))
    monkeypatch.setattr(calibrate, "collect", lambda options: all_right)
    with pytest.raises(ResultsError, match="3 scenes, and in none a right and a wrong pose are left: raise --scenes"):
        main(Options(tmp_path))
