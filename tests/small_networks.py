"""Networks small enough for tests that quantise or export them, and images for them."""

from __future__ import annotations

from pathlib import Path

import torch

from learning.models.config import Kind, NetworkConfig
from learning.models.loading import build_network
from pose6d.weights import save_weights
from quantization.calibration_pairs import Pairs


def small_network(kind: Kind = "refiner", width: int = 16, seed: int = 0) -> torch.nn.Module:
    """Random, with normalisation statistics of random images, so that folding has something to do."""
    torch.manual_seed(seed)
    network = build_network(NetworkConfig(kind=kind, width=width, input_size=64, confidence=kind == "scorer"))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(*torch.rand(2, 8, 6, 64, 64), *([8] if kind == "scorer" else []))
    return network.eval()


def save_network(folder: Path, network: torch.nn.Module, half: bool = False) -> Path:
    """The path of its weights, beside which lies its config."""
    return save_weights(folder, network.config.kind, network.state_dict(), network.config.to_dict(), half=half)


def random_pairs(count: int = 64) -> Pairs:
    A, B = torch.rand(2, count, 6, 64, 64, generator=torch.Generator().manual_seed(3))
    return Pairs(torch.eye(4).expand(count, 4, 4), A, B)
