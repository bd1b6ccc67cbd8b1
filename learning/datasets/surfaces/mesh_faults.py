"""What is wrong with the meshes that people have: no colours, wrong colours, soft textures.

The faults are put on the rendered side of a pair, in the crop, so that the renderer need not draw twice. Wrong shapes
are made in the scenes (`SceneConfig.shape_error`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from pose6d.random_draws import Draw


@dataclass(frozen=True)
class MeshFaults:
    """How likely each fault is."""

    grey: float = 0.12
    """probability that the mesh has no colours"""
    recolored: float = 0.5
    """probability of another white balance, brightness, contrast and saturation than the object has"""
    soft: float = 0.3
    """probability of a texture without its fine detail"""


@dataclass
class SampledFaults:
    """The faults of N meshes, each field (N, 1, 1, 1) but `gain` (N, 3, 1, 1)."""

    grey: torch.Tensor
    gain: torch.Tensor
    gamma: torch.Tensor
    saturation: torch.Tensor
    softness: torch.Tensor

    def repeat(self, times: int) -> SampledFaults:
        """Each mesh's faults `times` times in a row."""
        return SampledFaults(*(value.repeat_interleave(times, 0) for value in vars(self).values()))


def sample_faults(draw: Draw, count: int, faults: MeshFaults) -> SampledFaults:
    """The faults of `count` meshes."""
    one = (count, 1, 1, 1)
    recolored = (draw.uniform(one) < faults.recolored).float()
    soft = (draw.uniform(one) < faults.soft).float()
    brightness, balance = draw.uniform(one, -0.4, 0.4), draw.uniform((count, 3, 1, 1), -0.15, 0.15)
    return SampledFaults(
        grey=draw.uniform(one) < faults.grey,
        gain=torch.exp(recolored * (brightness + balance)),
        gamma=torch.exp(recolored * draw.uniform(one, -0.4, 0.4)),
        saturation=1.0 + recolored * draw.uniform(one, -0.6, 0.4),
        softness=soft * draw.uniform(one),
    )


def apply_faults(A: torch.Tensor, faults: SampledFaults) -> torch.Tensor:
    """Rendered sides (N, 6, s, s) as faulty meshes would look; colours change, points stay.

    The shade of a mesh without colours comes from the slope of the xyz map.
    """
    rgb, xyz = A[:, :3], A[:, 3:]
    shown = (xyz.abs().sum(1, keepdim=True) > 0).to(rgb.dtype)
    softer = F.avg_pool2d(rgb, 5, 1, 2) / F.avg_pool2d(shown, 5, 1, 2).clamp(min=0.04)
    rgb = rgb + faults.softness * (softer - rgb)
    rgb = (rgb * faults.gain + 1e-4).clamp(0, 1) ** faults.gamma
    mean = rgb.mean(1, keepdim=True)
    rgb = (mean + (rgb - mean) * faults.saturation).clamp(0, 1)

    slope_x, slope_y = torch.roll(xyz, -1, 3) - xyz, torch.roll(xyz, -1, 2) - xyz
    normal = torch.linalg.cross(slope_x, slope_y, dim=1)
    facing = normal[:, 2:].abs() / normal.norm(dim=1, keepdim=True).clamp(min=1e-9)
    shade = (0.5 * (0.8 + 0.5 * facing)).clamp(0, 1)
    rgb = torch.where(faults.grey, shade, rgb) * shown
    return torch.cat([rgb, xyz], dim=1).contiguous(memory_format=torch.channels_last)
