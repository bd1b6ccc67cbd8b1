"""Refining pose hypotheses with a trained RefineNet."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.inference.predictor import Predictor
from pose6d.geometry.observation import Observation
from pose6d.search.interfaces import Hypotheses, ObjectModel, Progress


class PoseRefinePredictor(Predictor):
    """Moves hypotheses towards the observation, a few steps at a time. Arguments and attributes as of `Predictor`."""

    kind = "refiner"

    @torch.inference_mode()
    def predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        steps: int = 5,
        progress: Progress | None = None,
    ) -> Tensor:
        """Refine all hypotheses.

        Args:
            hypotheses: N poses, float32, centred object in camera. Where they share their window, what they see in
                their first step is encoded once.
            object: what they are of, one or several, on the predictor's device.
            observation: one frame.
            steps: that each hypothesis takes.
            progress: called with the number of pairs done since the last call, N * steps in all.

        Returns:
            (N, 4, 4) refined poses, in the order given.
        """

        def refine(part: Hypotheses, of: ObjectModel) -> Tensor:
            for _ in range(steps):
                A, B = self._runner.inputs(part, of, observation)
                part = Hypotheses(self._runner.move(part.poses, *self._runner.refine(A, B), of.diameter))
                if progress is not None:
                    progress(len(part))
            return part.poses

        return self._in_batches(refine, hypotheses, object)
