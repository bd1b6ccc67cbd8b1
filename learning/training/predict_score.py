"""Ranking pose hypotheses with a trained ScoreNetMultiPair."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from learning.inference.predictor import Predictor
from learning.inference.relight import drawn_surface, relight
from learning.inference.torch_runner import NetworkRunner
from pose6d.geometry.observation import Observation
from pose6d.search.cuda_graphs import side_by_side
from pose6d.search.interfaces import ChoiceWeights, Hypotheses, ObjectModel, Progress, Scores
from pose6d.search.texture_correlation import texture_correlation


class JudgeWeights(NamedTuple):
    """What each piece of evidence counts when a pose is judged by itself, as logarithms of odds.

    Attributes:
        network: of the logit.
        texture: of `texture_correlation`. A scorer looks at shape first: of a side with another print it is as sure as
            of the right one.
        offset: added to their sum.
    """

    network: float
    texture: float
    offset: float

    def log_odds(self, logit: Tensor, texture: Tensor) -> Tensor:
        """That poses are right, of tensors of one shape."""
        return self.network * logit + self.texture * texture + self.offset


class ScorePredictor(Predictor):
    """Scores hypotheses of one object against each other. Arguments and attributes as of `Predictor`."""

    kind = "scorer"

    @property
    def has_confidence(self) -> bool:
        """Whether the network judges each pose by itself."""
        return self.config.confidence

    @property
    def texture_weight(self) -> float:
        """What a texture that agrees entirely adds to the ranking."""
        return self.config.appearance_weight

    @property
    def choice_weights(self) -> ChoiceWeights | None:
        """How the last hypotheses are weighed against each other."""
        return ChoiceWeights(*self.config.choice_weights) if self.config.choice_weights else None

    @torch.inference_mode()
    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        """Score hypotheses; the arguments are those of `PoseRefinePredictor.predict`.

        Returns:
            ranking (N,) float32, higher is better, of which only differences within one call and one object mean
            anything; and
            confidence (N,) float32, the probability that a pose is within 0.1 diameter, None for weights without it.
        """
        return self._predict(hypotheses, object, observation, progress=progress)

    @torch.inference_mode()
    def judge(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> Scores:
        """As `predict`, but each hypothesis in the light that fits it best, and with its texture as further evidence of
        the confidence, if that was fitted so."""
        weights = JudgeWeights(*self.config.judge_weights) if self.config.judge_weights else None
        return self._predict(hypotheses, object, observation, weights)

    def _predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        weights: JudgeWeights | None = None,
        progress: Progress | None = None,
    ) -> Scores:

        def look(part: Hypotheses, of: ObjectModel) -> tuple[Tensor, Tensor]:
            A, B = self._runner.inputs(part, of, observation)
            if weights is not None:
                relight(A, B, *drawn_surface(part.poses, of, observation, self.config))
            if progress is not None:
                progress(len(part))
            return A, B

        def rank() -> Scores:
            if isinstance(self._runner, NetworkRunner):
                encode, known = self._runner.encode, hypotheses.features if weights is None else None
                features = [] if known is None else [known]
                first = sum(map(len, features))
                if first < len(hypotheses):
                    rows = slice(first, None)
                    new = replace(hypotheses, poses=hypotheses.poses[rows], features=None)
                    features.append(self._in_batches(lambda *part: encode(*look(*part)), new, object.rows(rows)))
                if progress is not None:
                    progress(first)
                together = torch.cat(features)
                return self._runner.compare(together)._replace(features=together)
            earlier: Tensor | None = None
            for part, of in self._batches(hypotheses, object):
                earlier, results = self._runner.score(*look(part, of), earlier)
            return results

        if weights is None:
            ranking, logit, features = rank()
        else:
            (ranking, logit, features), texture = side_by_side(
                rank, lambda: texture_correlation(hypotheses.poses, object, observation)
            )
        ranking = ranking.float()
        if logit is None:
            return Scores(ranking, None, features)
        if weights is None:
            odds = self.config.confidence_scale * logit.float() + self.config.confidence_offset
        else:
            odds = weights.log_odds(logit.float(), texture)
        return Scores(ranking, torch.sigmoid(odds), features)
