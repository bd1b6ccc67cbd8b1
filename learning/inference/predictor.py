"""A trained network as the estimator uses it: from hypotheses and a frame, in batches that the device holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from learning.inference.runners import make_runner
from learning.inference.torch_runner import NetworkRunner
from learning.models.config import Kind
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.pieces import pieces_only, run_pieces
from pose6d.search.interfaces import Hypotheses, ObjectModel


class Predictor:
    """Base of the predictors.

    Args:
        weights, device, amp, quantized, network, batch_size: see `runners.make_runner` and `NetworkRunner`.

    Attributes:
        config: of the network.
        device: where it runs.
        recordable: whether `predict` may become part of a CUDA graph.

    Raises:
        WeightsError: missing, corrupt, or of another architecture.
        DeviceError: the device is not there.
        MissingDependencyError: the variant needs a package that is not installed.
    """

    kind: ClassVar[Kind]

    def __init__(
        self,
        weights: str | Path = "auto",
        device: str | torch.device = "auto",
        amp: bool | None = None,
        quantized: str | bool | None = None,
        network: RefineNet | ScoreNetMultiPair | None = None,
        batch_size: int | None = None,
    ):
        with pieces_only():  # beside busy processes several threads take four times as long for many small tensors
            self._runner = make_runner(self.kind, weights, device, amp, quantized, network, batch_size)
        self.config = self._runner.config
        self.device = self._runner.device
        self.recordable: bool = self._runner.recordable

    def _in_batches(
        self, work: Callable[[Hypotheses, ObjectModel], Tensor], hypotheses: Hypotheses, object: ObjectModel
    ) -> Tensor:
        """What `work` makes of parts of the hypotheses and of what they are of; on a CPU, threads share the parts."""

        parts = list(self._batches(hypotheses, object))
        shared = self.device.type == "cpu" and isinstance(self._runner, NetworkRunner)  # ONNX has its own threads
        results = run_pieces(lambda part: work(*part), parts) if shared else [work(*part) for part in parts]
        return torch.cat(results) if len(results) > 1 else results[0]

    def _batches(self, hypotheses: Hypotheses, object: ObjectModel) -> Iterator[tuple[Hypotheses, ObjectModel]]:
        """Parts of the hypotheses, and what they are of."""
        for rows in self._runner.chunks(len(hypotheses)):
            yield replace(hypotheses, poses=hypotheses.poses[rows]), object.rows(rows)
