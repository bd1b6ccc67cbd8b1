"""How much the networks compute, and how much the device could."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.timing import median, until_done
from learning.models.blocks import image_encoder
from learning.models.config import NetworkConfig
from learning.models.loading import build_network
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from pose6d.device import fast_dtype
from pose6d.geometry.observation import Observation
from pose6d.search.interfaces import Hypotheses, ObjectModel, Progress, Scores

_SIDE = {"cuda": 8192, "cpu": 2048}  # of the matrices that the ceiling is measured with


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of matrix products and convolutions, two for each multiplication with its addition."""
    # Attention is counted where it is spelt out as matrix products; of fused kernels, not all are known to the counter.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def network_flops(config: NetworkConfig, pairs: int) -> int:
    """Of one forward pass; nothing is computed."""
    with torch.device("meta"):
        network = build_network(config).eval().to("meta")  # the positional embedding is on the CPU
        images = torch.empty(pairs, 6, config.input_size, config.input_size)
    group = [] if config.kind == "refiner" else [pairs]
    return count_flops(lambda: network(images, images, *group))


def image_flops(config: NetworkConfig) -> int:
    """Of encoding one image of a pair by itself."""
    with torch.device("meta"):
        encoder = image_encoder(config).eval()
        image = torch.empty(1, 6, config.input_size, config.input_size)
    return count_flops(lambda: encoder(image))


def matrix_ceiling(device: torch.device) -> tuple[float, str]:
    """FLOP/s of a large square matrix product of random numbers, and what it was."""
    side, dtype = _SIDE[device.type], fast_dtype(device)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    milliseconds = median(until_done(lambda: a @ b, device), repeats=7)
    return 2 * side**3 / (1e-3 * milliseconds), f"{side}x{side} matrix product, {str(dtype).removeprefix('torch.')}"


class CountingRefiner:
    """A refiner that keeps count of the pairs it has seen, and of the images that it needed not encode."""

    def __init__(self, refiner: PoseRefinePredictor):
        self._refiner, self.pairs, self.shared, self.recordable = refiner, 0, 0, False

    @property
    def flops(self) -> float:
        """Of what it has seen."""
        config = self._refiner.config
        return self.pairs * network_flops(config, 1) - self.shared * image_flops(config)

    def predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        steps: int = 5,
        progress: Progress | None = None,
    ) -> Tensor:
        self.pairs += len(hypotheses) * steps
        self.shared += len(hypotheses) - 1 if hypotheses.shared_window else 0
        return self._refiner.predict(hypotheses, object, observation, steps, progress)


class CountingScorer:
    """A scorer that keeps count of the pairs it has seen."""

    def __init__(self, scorer: ScorePredictor):
        self._scorer, self.pairs = scorer, 0
        self.has_confidence, self.texture_weight = scorer.has_confidence, scorer.texture_weight
        self.choice_weights, self.recordable = scorer.choice_weights, False

    @property
    def flops(self) -> float:
        """Of what it has seen, as if it had been compared in sets of 252."""
        return self.pairs * network_flops(self._scorer.config, 252) / 252

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        self.pairs += len(hypotheses) - (0 if hypotheses.features is None else len(hypotheses.features))
        return self._scorer.predict(hypotheses, object, observation, progress)

    def judge(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> Scores:
        self.pairs += len(hypotheses)
        return self._scorer.judge(hypotheses, object, observation)
