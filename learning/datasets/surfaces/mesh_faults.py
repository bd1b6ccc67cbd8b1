"""What is wrong with the meshes that people have: no colours, wrong colours, soft textures, melted shapes.

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
    coarse: float = 0.0
    """probability of one colour per vertex, taken by another camera: much blurred, with wrong colours"""
    plain: float = 0.0
    """probability of one colour all over, as CAD models have"""
    made: float = 0.0
    """probability of a mesh made from depth images: soft texture, rounded edges, outlines that bulge"""


TRAINING_FAULTS = MeshFaults(coarse=0.12, plain=0.06, made=0.12)
"""what the trainers draw from"""


@dataclass
class SampledFaults:
    """The faults of N meshes, each field (N, 1, 1, 1) but `gain` and `color` (N, 3, 1, 1).

    `coarse` and `melted` are strengths in 0..1; of `grey` and `plain` meshes all texture is gone.
    """

    grey: torch.Tensor
    gain: torch.Tensor
    gamma: torch.Tensor
    saturation: torch.Tensor
    softness: torch.Tensor
    coarse: torch.Tensor
    plain: torch.Tensor
    color: torch.Tensor
    melted: torch.Tensor

    @property
    def colored(self) -> torch.Tensor:
        """(N,) bool, true where colours may tell sides apart."""
        return ~(self.grey | self.plain).flatten()

    def repeat(self, times: int) -> SampledFaults:
        """Each mesh's faults `times` times in a row."""
        return SampledFaults(*(value.repeat_interleave(times, 0) for value in vars(self).values()))


def sample_faults(draw: Draw, count: int, faults: MeshFaults) -> SampledFaults:
    """The faults of `count` meshes."""
    one = (count, 1, 1, 1)
    recolored = (draw.uniform(one) < faults.recolored).float()
    soft = (draw.uniform(one) < faults.soft).float()
    brightness, balance = draw.uniform(one, -0.4, 0.4), draw.uniform((count, 3, 1, 1), -0.15, 0.15)
    grey = draw.uniform(one) < faults.grey
    gamma, saturation, softness = draw.uniform(one, -0.4, 0.4), draw.uniform(one, -0.6, 0.4), soft * draw.uniform(one)
    # What is 0 draws nothing: the faults from before it stay what they are.
    none = torch.zeros(one, device=draw.device)
    coarse = draw.happens(one, faults.coarse) if faults.coarse > 0 else none
    plain = draw.happens(one, faults.plain) if faults.plain > 0 else none
    made = draw.happens(one, faults.made) if faults.made > 0 else none
    recolored = torch.maximum(recolored, coarse)
    return SampledFaults(
        grey=grey,
        gain=torch.exp(recolored * (brightness + balance)),
        gamma=torch.exp(recolored * gamma),
        saturation=1.0 + recolored * saturation,
        softness=torch.maximum(softness, made),
        coarse=coarse * draw.uniform(one, 0.5, 1.0) if faults.coarse > 0 else none,
        plain=plain > 0,
        color=draw.uniform((count, 3, 1, 1)) if faults.plain > 0 else none.expand(-1, 3, -1, -1),
        melted=made * draw.uniform(one) if faults.made > 0 else none,
    )


def apply_faults(A: torch.Tensor, faults: SampledFaults) -> torch.Tensor:
    """Rendered sides (N, 6, s, s) as faulty meshes would look; points change where the mesh is `melted` alone.

    The shade of a mesh without texture comes from the slope of the xyz map.
    """
    A = _melt(A, faults.melted)
    rgb, xyz = A[:, :3], A[:, 3:]
    shown = (xyz.abs().sum(1, keepdim=True) > 0).to(rgb.dtype)
    rgb = rgb + faults.softness * (_mean_around(rgb, shown, 5) - rgb)
    rgb = rgb + faults.coarse * (_mean_around(_mean_around(rgb, shown, 9), shown, 9) - rgb)
    rgb = (rgb * faults.gain + 1e-4).clamp(0, 1) ** faults.gamma
    mean = rgb.mean(1, keepdim=True)
    rgb = (mean + (rgb - mean) * faults.saturation).clamp(0, 1)

    slope_x, slope_y = torch.roll(xyz, -1, 3) - xyz, torch.roll(xyz, -1, 2) - xyz
    normal = torch.linalg.cross(slope_x, slope_y, dim=1)
    facing = normal[:, 2:].abs() / normal.norm(dim=1, keepdim=True).clamp(min=1e-9)
    shade = 0.8 + 0.5 * facing
    rgb = torch.where(faults.plain, (faults.color * shade).clamp(0, 1), rgb)
    rgb = torch.where(faults.grey, (0.5 * shade).clamp(0, 1), rgb) * shown
    return torch.cat([rgb, xyz], dim=1).contiguous(memory_format=torch.channels_last)


def _mean_around(values: torch.Tensor, shown: torch.Tensor, pixels: int) -> torch.Tensor:
    """Mean over the shown pixels of a square window about each; 0 far from all of them."""
    near = F.avg_pool2d(shown, pixels, 1, pixels // 2)
    return F.avg_pool2d(values * shown, pixels, 1, pixels // 2) / near.clamp(min=1.0 / pixels**2)


def _melt(A: torch.Tensor, melted: torch.Tensor) -> torch.Tensor:
    """Edges are rounded, and outlines grow by up to two pixels, of (N, 6, s, s)."""
    shown = (A[:, 3:].abs().sum(1, keepdim=True) > 0).to(A.dtype)
    around = _mean_around(A, shown, 5)
    grown = (F.avg_pool2d(shown, 5, 1, 2) > 0.5 - 0.46 * melted).to(A.dtype) * (melted > 0)
    smooth = A + melted * (around - A)
    return torch.where(shown > 0, smooth, around * grown)
