"""Ranking pose hypotheses with a trained ScoreNetMultiPair."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.inference.predictor import Predictor
from learning.inference.relight import drawn_surface, relight
from pose6d.geometry.observation import Observation
from pose6d.search.interfaces import ChoiceWeights, Hypotheses, ObjectModel, Progress, Scores


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
        return self._predict(hypotheses, object, observation, relit=False, progress=progress)

    @torch.inference_mode()
    def judge(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> Scores:
        """As `predict`, each hypothesis in the light that fits it best, if the confidence was fitted so."""
        return self._predict(hypotheses, object, observation, relit=bool(self.config.choice_weights))

    def _predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        relit: bool,
        progress: Progress | None = None,
    ) -> Scores:
        features: Tensor | None = None
        for part, of in self._batches(hypotheses, object):
            A, B = self._runner.inputs(part, of, observation)
            if relit:
                relight(A, B, *drawn_surface(part.poses, of, observation, self.config))
            features, (ranking, logit) = self._runner.score(A, B, features)
            if progress is not None:
                progress(len(part))
        ranking = ranking.float()
        if logit is None:
            return Scores(ranking, None)
        return Scores(
            ranking, torch.sigmoid(self.config.confidence_scale * logit.float() + self.config.confidence_offset)
        )
