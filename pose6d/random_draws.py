"""Random tensors for simulated batches, all from one generator."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F


class Draw:
    """Short names for random tensors of one device and generator; none of them waits for the device."""

    def __init__(self, device: torch.device, generator: torch.Generator):
        self.device, self.generator = device, generator

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, device=self.device, generator=self.generator)

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, device=self.device, generator=self.generator)

    def index(self, shape: tuple[int, ...], high: int) -> torch.Tensor:
        return torch.randint(high, shape, device=self.device, generator=self.generator)

    def happens(self, shape: tuple[int, ...], probability: float | torch.Tensor) -> torch.Tensor:
        """1.0 with the probability, else 0.0."""
        return (self.uniform(shape) < probability).float()

    def smooth(
        self, count: int, channels: int, size: tuple[int, int], cells: int, deviation: float | torch.Tensor = 1.0
    ) -> torch.Tensor:
        """(N, C, H, W) normal noise that varies over 1 / cells of the image; `deviation` broadcasts to (N, C, 1, 1)."""
        coarse = deviation * self.normal((count, channels, cells, cells))
        # Two small matrix products: a tenth of the time of F.interpolate.
        rows, columns = (_interpolation(cells, length, self.device) for length in size)
        return rows @ coarse @ columns.T


@lru_cache(maxsize=64)
def _interpolation(cells: int, length: int, device: torch.device) -> torch.Tensor:
    """(length, cells) bicubic weights, scaled so that normal noise keeps its variance on average."""
    eye = torch.eye(cells, device=device)[None]
    weights = F.interpolate(eye[:, None], size=(length, cells), mode="bicubic", align_corners=False)[0, 0]
    return weights / (weights * weights).sum(1).mean().sqrt()
