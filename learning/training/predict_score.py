"""Ranking pose hypotheses with a trained ScoreNetMultiPair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from learning.inference.runners import make_runner
from learning.models.score_network import ScoreNetMultiPair, Scores
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import Renderer


class Scorer(Protocol):
    """What the estimator asks of a scorer; `ScorePredictor` is the one it makes itself."""

    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float,
        progress: Callable[[int], object] | None = None,
    ) -> Scores: ...


class ScorePredictor:
    """Scores hypotheses of one object against each other.

    Args:
        weights: `auto`, a released set's name, a folder or a file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: the fastest number format, float16 on CUDA (`NetworkRunner`); False is float32.
        quantized: a quantised variant (`make_runner`): "torch" or True, "onnx", or one by name.
        network: run this network instead of loading weights.
        batch_size: hypotheses per forward pass of the trunk; None chooses by the device.

    Attributes:
        config: of the network.
        device: where it runs.
        recordable: whether `predict` may become part of a CUDA graph.

    Raises:
        WeightsError: missing, corrupt, or of another architecture.
        DeviceError: the device is not there.
        MissingDependencyError: the variant needs a package that is not installed.
    """

    def __init__(
        self,
        weights: str | Path = "auto",
        device: str | torch.device = "auto",
        amp: bool = True,
        quantized: str | bool | None = None,
        network: ScoreNetMultiPair | None = None,
        batch_size: int | None = None,
    ):
        self._runner = make_runner("scorer", weights, device, amp, quantized, network, batch_size)
        self.config = self._runner.config
        self.device = self._runner.device
        self.recordable = self._runner.recordable

    @torch.inference_mode()
    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float | Tensor,
        progress: Callable[[int], object] | None = None,
        mesh_index: Tensor | None = None,
    ) -> Scores:
        """Score hypotheses; the arguments are those of `PoseRefinePredictor.predict`.

        Returns:
            ranking (N,) float32, higher is better, of which only differences within one call and one object mean
            anything; and
            confidence (N,) float32, the probability that a pose is within 0.1 diameter, None for weights without it.
        """
        features: Tensor | None = None
        for rows in self._runner.chunks(len(poses)):
            size = diameter[rows] if isinstance(diameter, Tensor) and diameter.ndim else diameter
            index = None if mesh_index is None else mesh_index[rows]
            A, B = self._runner.inputs(renderer, poses[rows], observation, K, size, index)
            features, (ranking, logit) = self._runner.score(A, B, features)
            if progress is not None:
                progress(len(A))
        ranking = ranking.float()
        if logit is None:
            return Scores(ranking, None)
        return Scores(
            ranking, torch.sigmoid(self.config.confidence_scale * logit.float() + self.config.confidence_offset)
        )
