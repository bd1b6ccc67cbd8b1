"""Random tensors for batches of scenes, all from one generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pose6d.geometry.transforms import random_rotations


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

    def rotations(self, count: int) -> torch.Tensor:
        return random_rotations(count, generator=self.generator, device=self.device)

    def smooth(self, count: int, channels: int, size: tuple[int, int], cells: int) -> torch.Tensor:
        """(N, C, H, W) normal noise that varies over 1 / cells of the image."""
        coarse = self.normal((count, channels, cells, cells))
        return F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
