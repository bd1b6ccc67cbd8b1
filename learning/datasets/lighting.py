"""Random light on the surfaces of a batch of renderings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from learning.datasets.random_draws import Draw
from pose6d.rendering.interface import Rendering


@dataclass(frozen=True)
class Lighting:
    """How varied light and materials are."""


def light_surfaces(rendering: Rendering, draw: Draw, light: Lighting) -> torch.Tensor:
    """Light the surfaces of a rendering with a random key light, ambient light and highlights.

    Returns:
        (N, 3, H, W) float32 in 0..1.
    """
    assert rendering.normal is not None
    count = len(rendering.color)
    shape = (count, 1, 1, 1)
    direction = draw.normal((count, 1, 1, 3))
    direction = F.normalize(direction - 1.2 * torch.tensor([0.0, 0.4, 1.0], device=draw.device), dim=-1)
    ambient, key = draw.uniform(shape, 0.25, 0.9), draw.uniform(shape, 0.1, 0.9)
    tint = draw.uniform((count, 1, 1, 3), 0.85, 1.15)
    # Backgrounds that nothing hit would be black in every scene; a random flat colour is as likely as any.
    empty = draw.uniform((count, 1, 1, 3))
    facing = (rendering.normal * direction).sum(-1, keepdim=True)
    view = -F.normalize(rendering.xyz, dim=-1, eps=1e-6)
    half = F.normalize(direction + view, dim=-1)
    highlight = (rendering.normal * half).sum(-1, keepdim=True).clamp(min=0) ** torch.exp(draw.uniform(shape, 1.6, 4.5))
    shine = draw.uniform(shape, -0.4, 0.5).clamp(min=0)
    lit = rendering.color * (ambient + key * facing.clamp(min=0)) * tint + shine * highlight
    lit = torch.where(rendering.mask[..., None], lit, empty)
    return lit.clamp(0, 1).permute(0, 3, 1, 2).contiguous()
