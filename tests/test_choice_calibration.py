"""What the search leaves is weighed by numbers that are fitted: they are found again, and written where they belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy import calibrate
from benchmarks.accuracy.calibrate import Choices, Options, fit, loss, main
from pose6d.errors import ResultsError
from pose6d.search.alternatives import weigh
from pose6d.search.interfaces import ChoiceWeights, Hypotheses
from pose6d.search.pair_evidence import PairEvidence

TRUE = ChoiceWeights(0.5, 3.0, 0.8, 1.2, 0.4)


def searches(count: int = 3000, scale: float = 1.6, offset: float = -0.5) -> Choices:
    """Searches whose right pose is drawn with the probabilities that the true numbers give."""
    generator = torch.Generator().manual_seed(0)
    ranking, texture = torch.randn(count, 4, generator=generator), 0.3 * torch.randn(count, 4, generator=generator)
    logit = 1.5 + torch.randn(count, 4, generator=generator)
    color, shape = 8 * torch.randn(2, count, 4, 4, generator=generator)
    color, shape = color - color.mT, shape - shape.mT
    judged = logit + 0.5 * torch.randn(count, 4, generator=generator)
    hypotheses = Hypotheses(torch.empty(count, 4, 0), ranking, torch.sigmoid(scale * logit + offset))
    _, probability = weigh(
        hypotheses, torch.sigmoid(scale * judged + offset), texture, PairEvidence(color, shape), TRUE
    )
    none = (1 - probability.sum(dim=1, keepdim=True)).clamp(min=0)
    drawn = torch.multinomial(torch.cat([probability, none], dim=1), 1, generator=generator)
    right = torch.arange(4) == drawn
    return Choices(ranking, texture, logit, judged, color, shape, right, torch.ones(count, dtype=torch.bool))


def test_the_numbers_that_searches_were_made_with_are_found_again() -> None:
    choices = searches()
    scale, offset, weights = fit(choices, absent=0.2)
    assert scale == pytest.approx(1.6, abs=0.25) and offset == pytest.approx(-0.5, abs=0.25)
    assert weights == pytest.approx(TRUE, rel=0.4)
    found = float(loss(choices, scale, offset, weights, 0.2))
    assert found < float(loss(choices, 1.0, 0.0, (0.5, 1.0, 1.0, 1.0, 1.0), 0.2)) - 0.02


def test_scenes_without_the_object_count_as_little_as_asked() -> None:
    choices = searches(200)
    absent = choices._replace(right=torch.zeros_like(choices.right), present=torch.zeros_like(choices.present))
    both = Choices(*(torch.cat(parts) for parts in zip(choices, absent, strict=True)))
    assert fit(both, absent=1.0)[1] < fit(both, absent=0.05)[1] - 0.2


def test_weights_get_the_numbers_and_keep_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "scorer.json"
    file.write_text(json.dumps({"kind": "scorer", "confidence": True}))
    monkeypatch.setattr(calibrate, "collect", lambda options: searches(300))
    main(Options(tmp_path))
    config = json.loads(file.read_text())
    assert config["kind"] == "scorer" and len(config["choice_weights"]) == 5 and config["confidence_scale"] > 1
    all_right = searches(3)._replace(right=torch.ones(3, 4, dtype=torch.bool))
    monkeypatch.setattr(calibrate, "collect", lambda options: all_right)
    with pytest.raises(ResultsError, match="3 scenes, and in none a right and a wrong pose are left: raise --scenes"):
        main(Options(tmp_path))
