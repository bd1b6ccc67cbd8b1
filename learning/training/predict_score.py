"""Ranking pose hypotheses with a trained ScoreNetMultiPair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from learning.inputs import pair_inputs
from learning.models.score_network import ScoreNetMultiPair
from learning.runtime import NetworkRunner
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import Renderer


class ScorePredictor:
    """Scores hypotheses of one object against each other.

    Args:
        weights: `auto`, a released set's name, a folder or a file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: float16 on CUDA; without effect on the CPU.
        quantized: name of a quantised variant. There are none yet: anything but None is refused.
        network: run this network instead of loading weights.
        batch_size: hypotheses per forward pass of the trunk; None chooses by the device.

    Raises:
        WeightsError: missing, corrupt, or of another architecture.
        DeviceError: the device is not there.
    """

    def __init__(
        self,
        weights: str | Path = "auto",
        device: str | torch.device = "auto",
        amp: bool = True,
        quantized: str | None = None,
        network: ScoreNetMultiPair | None = None,
        batch_size: int | None = None,
    ):
        self._runner = NetworkRunner("scorer", weights, device, amp, quantized, network, batch_size)
        assert isinstance(self._runner.network, ScoreNetMultiPair)
        self._network = self._runner.network
        self.config = self._runner.config
        self.device = self._runner.device

    @torch.inference_mode()
    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float,
        progress: Callable[[int], object] | None = None,
    ) -> Tensor:
        """Score hypotheses; the arguments are those of `PoseRefinePredictor.predict`.

        Returns:
            (N,) float32, higher is better. Only differences within one call mean anything: it is no confidence.
        """
        features = []
        for rows in self._runner.chunks(len(poses)):
            A, B = pair_inputs(renderer, poses[rows], observation, K, diameter, self.config)
            features.append(self._network.encode(self._runner.cast(A), self._runner.cast(B)))
            if progress is not None:
                progress(len(A))
        return self._network.compare(torch.cat(features)[None])[0].float()
