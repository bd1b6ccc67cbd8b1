"""PyTorch's dynamic quantisation, kept to show what it does here: it knows linear layers only, and so leaves every
convolution, which are nine tenths of the work, as it was."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Replaced:
    """How many layers of each kind a dynamically quantised network has, and how many were replaced."""

    linear: int
    linear_replaced: int
    convolutions: int
    convolutions_replaced: int


def count_replaced(original: nn.Module, quantized: nn.Module) -> Replaced:
    """Compare a network with its quantised copy module by module."""
    after = dict(quantized.named_modules())
    counts = {nn.Linear: [0, 0], nn.Conv2d: [0, 0]}
    for name, module in original.named_modules():
        for kind, count in counts.items():
            if type(module) is kind:
                count[0] += 1
                count[1] += type(after[name]) is not kind
    return Replaced(*counts[nn.Linear], *counts[nn.Conv2d])
