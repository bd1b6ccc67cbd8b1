"""Refining pose hypotheses with a trained RefineNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learning.inputs import apply_update, pair_inputs
from learning.models.refine_network import RefineNet
from learning.runtime import make_runner, record
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import Renderer

_MOST_GRAPHED = 16  # hypotheses; with more, kernels take longer than their launches and a graph gains nothing


class PoseRefinePredictor:
    """Moves hypotheses towards the observation, a few steps at a time.

    Args:
        weights: `auto`, a released set's name, a folder or a file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: float16 on CUDA; None means yes.
        quantized: a quantised variant (`learning.runtime.make_runner`): "torch" or True, "onnx", or one by name.
        network: run this network instead of loading weights.
        batch_size: hypotheses per forward pass; None chooses by the device.

    Raises:
        WeightsError: missing, corrupt, or of another architecture.
        DeviceError: the device is not there.
        MissingDependencyError: the variant needs a package that is not installed.
    """

    def __init__(
        self,
        weights: str | Path = "auto",
        device: str | torch.device = "auto",
        amp: bool | None = None,
        quantized: str | bool | None = None,
        network: RefineNet | None = None,
        batch_size: int | None = None,
    ):
        self._runner = make_runner("refiner", weights, device, amp, quantized, network, batch_size)
        self.config = self._runner.config
        self.device = self._runner.device
        self._recorded: tuple[Any, Callable[..., Tensor]] | None = None

    @torch.inference_mode()
    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float,
        iterations: int = 5,
        progress: Callable[[int], object] | None = None,
    ) -> Tensor:
        """Refine all hypotheses.

        Args:
            renderer: holds the centred mesh, on the predictor's device.
            poses: (N, 4, 4) float32, centred mesh in camera.
            observation: one frame.
            K: (3, 3) float32 intrinsics.
            diameter: of the mesh, metres.
            iterations: steps that each hypothesis takes.
            progress: called with the number of pairs done since the last call, N * iterations in all.

        Returns:
            (N, 4, 4) refined poses, in the order given.
        """
        for _ in range(iterations):
            moved = []
            for rows in self._runner.chunks(len(poses)):
                moved.append(self._move(renderer, poses[rows], observation, K, diameter))
                if progress is not None:
                    progress(len(moved[-1]))
            poses = torch.cat(moved) if len(moved) > 1 else moved[0]
        return poses

    def _move(self, renderer: Renderer, poses: Tensor, observation: Observation, K: Tensor, diameter: float) -> Tensor:
        """One step of up to batch_size hypotheses."""
        inputs = (poses, observation.rgb, observation.xyz, K)
        if self.device.type != "cuda" or len(poses) > _MOST_GRAPHED or not self._runner.recordable:
            return self._step(renderer, diameter, *inputs)
        key = (id(renderer), diameter, *(x.shape for x in inputs))
        if self._recorded is None or self._recorded[0] != key:
            # The lambda holds the renderer, so its id is not given to another while the recording lives.
            self._recorded = (key, record(lambda *tensors: self._step(renderer, diameter, *tensors), inputs))
        return self._recorded[1](*inputs)

    def _step(self, renderer: Renderer, diameter: float, poses: Tensor, rgb: Tensor, xyz: Tensor, K: Tensor) -> Tensor:
        A, B = pair_inputs(renderer, poses, Observation(rgb, xyz), K, diameter, self.config)
        trans, rot = self._runner.refine(A, B)
        return apply_update(poses, trans, rot, diameter, self.config.rotation_limit)
