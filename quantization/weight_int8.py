"""int8 weights with one scale per output channel."""

from __future__ import annotations

import torch
from torch import Tensor


def quantize_weight(weight: Tensor, axis: int = 0) -> tuple[Tensor, Tensor]:
    """int8 values of the weight's shape, and the scale (C,) of each slice along `axis`, symmetric around zero."""
    others = [i for i in range(weight.ndim) if i != axis]
    scale = weight.abs().amax(others).clamp(min=1e-12) / 127.0
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    return (weight / scale.view(shape)).round().clamp(-127, 127).to(torch.int8), scale
