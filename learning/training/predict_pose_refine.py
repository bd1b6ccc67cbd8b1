"""Refining pose hypotheses with a trained RefineNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from learning.inference.runners import make_runner
from learning.models.refine_network import RefineNet
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import Renderer


class Refiner(Protocol):
    """What the estimator asks of a refiner; `PoseRefinePredictor` is the one it makes itself."""

    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float,
        iterations: int = 5,
        progress: Callable[[int], object] | None = None,
        one_window: bool = False,
    ) -> Tensor: ...


class PoseRefinePredictor:
    """Moves hypotheses towards the observation, a few steps at a time.

    Args:
        weights: `auto`, a released set's name, a folder or a file.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: the fastest number format, float16 on CUDA (`NetworkRunner`); None means yes, False float32.
        quantized: a quantised variant (`make_runner`): "torch" or True, "onnx", or one by name.
        network: run this network instead of loading weights.
        batch_size: hypotheses per forward pass; None chooses by the device.

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
        amp: bool | None = None,
        quantized: str | bool | None = None,
        network: RefineNet | None = None,
        batch_size: int | None = None,
    ):
        self._runner = make_runner("refiner", weights, device, amp, quantized, network, batch_size)
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
        iterations: int = 5,
        progress: Callable[[int], object] | None = None,
        one_window: bool = False,
        mesh_index: Tensor | None = None,
    ) -> Tensor:
        """Refine all hypotheses.

        Args:
            renderer: holds the centred mesh, or several, on the predictor's device.
            poses: (N, 4, 4) float32, centred mesh in camera.
            observation: one frame.
            K: (3, 3) float32 intrinsics.
            diameter: of the mesh, metres; (N,) for hypotheses of several meshes.
            iterations: steps that each hypothesis takes.
            progress: called with the number of pairs done since the last call, N * iterations in all.
            one_window: the hypotheses share one translation, so that in their first step what they see is encoded once.
            mesh_index: (N,) int64, which of the renderer's meshes each hypothesis is of; the first where omitted.

        Returns:
            (N, 4, 4) refined poses, in the order given.
        """
        runner, moved = self._runner, []
        for rows in runner.chunks(len(poses)):
            part, index = poses[rows], None if mesh_index is None else mesh_index[rows]
            size = diameter[rows] if isinstance(diameter, Tensor) and diameter.ndim else diameter
            for step in range(iterations):
                A, B = runner.inputs(renderer, part, observation, K, size, index, one_window and step == 0)
                part = runner.move(part, *runner.refine(A, B), size)
                if progress is not None:
                    progress(len(part))
            moved.append(part)
        return torch.cat(moved) if len(moved) > 1 else moved[0]
