"""The camera of the first published scores, kept as it was.

The one that training simulates (`learning.datasets.sensor.sensor_noise`) is meant to become better. Scores from before
and after can be compared, and the use of each of its effects can be measured, only with a camera that stays the same.
Depth noise is given in the length unit of the depth map (diameters of the target).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class PlainNoise:
    """How strong each effect may be; each scene draws its own strength below these."""

    depth_fine: float = 0.015
    """standard deviation of independent noise"""
    depth_correlated: float = 0.02
    """standard deviation of noise that varies over tens of pixels"""
    depth_bias: float = 0.012
    """standard deviation of a constant offset"""
    depth_step: float = 0.02
    """largest quantisation step"""
    holes: float = 0.5
    """probability that a scene has blob-shaped holes"""
    edge_loss: float = 0.9
    """largest probability that a pixel at a depth edge is missing"""
    dark_loss: float = 0.7
    """largest probability that a dark pixel is missing"""
    pixel_loss: float = 0.08
    """largest probability that any pixel is missing"""
    color_noise: float = 0.05
    """largest standard deviation of colour noise"""
    strength: float = 1.0
    """multiplies everything; 0 is a perfect camera"""


def _uniform(
    like: torch.Tensor, generator: torch.Generator, low: float, high: float, channels: int = 1
) -> torch.Tensor:
    shape = (len(like), channels, 1, 1)
    return low + (high - low) * torch.rand(shape, device=like.device, generator=generator)


def _smooth_noise(count: int, size: tuple[int, int], cells: int, generator: torch.Generator) -> torch.Tensor:
    """(N, 1, H, W) normal noise that varies over 1 / cells of the image."""
    coarse = torch.randn((count, 1, cells, cells), device=generator.device, generator=generator)
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)


def degrade_color(rgb: torch.Tensor, generator: torch.Generator, noise: PlainNoise) -> torch.Tensor:
    """White balance, exposure, gamma, saturation, blur and noise.

    Args:
        rgb: (N, 3, H, W) float32 in 0..1.

    Returns:
        The same shape and range.
    """
    s = noise.strength
    gain = _uniform(rgb, generator, 1 - 0.35 * s, 1 + 0.35 * s) * _uniform(
        rgb, generator, 1 - 0.12 * s, 1 + 0.12 * s, 3
    )
    out = (rgb * gain + _uniform(rgb, generator, -0.06 * s, 0.06 * s)).clamp(0, 1)
    out = (out + 1e-4) ** torch.exp(_uniform(rgb, generator, -0.35 * s, 0.35 * s))
    grey = out.mean(1, keepdim=True)
    out = grey + (out - grey) * _uniform(rgb, generator, 1 - 0.6 * s, 1 + 0.4 * s)
    for width in (3, 5):
        blurred = F.avg_pool2d(out, width, stride=1, padding=width // 2, count_include_pad=False)
        amount = _uniform(rgb, generator, -1.0, 1.0).clamp(min=0) * s
        out = out + (blurred - out) * amount
    sigma = noise.color_noise * s * _uniform(rgb, generator, 0.0, 1.0) ** 2
    out = out + sigma * torch.randn(out.shape, device=out.device, generator=generator)
    return out.clamp(0, 1)


def degrade_depth(
    depth: torch.Tensor, rgb: torch.Tensor, generator: torch.Generator, noise: PlainNoise
) -> torch.Tensor:
    """Noise, quantisation and missing pixels of a stereo or structured-light camera.

    Args:
        depth: (N, H, W) float32, 0 = missing.
        rgb: (N, 3, H, W) float32 in 0..1, the same views; dark surfaces lose depth.

    Returns:
        (N, H, W) float32, 0 = missing.
    """
    s = noise.strength
    clean = depth[:, None]
    count, _, height, width = clean.shape
    size = (height, width)

    def strength(limit: float) -> torch.Tensor:
        return limit * s * _uniform(clean, generator, 0.0, 1.0) ** 2

    out = clean + strength(noise.depth_fine) * torch.randn(clean.shape, device=clean.device, generator=generator)
    for cells in (12, 40):
        out = out + 0.7 * strength(noise.depth_correlated) * _smooth_noise(count, size, cells, generator)
    bias = torch.randn((count, 1, 1, 1), device=clean.device, generator=generator)
    out = out + noise.depth_bias * s * bias * _uniform(clean, generator, 0.0, 1.0)
    step = strength(noise.depth_step) + 1e-4
    out = torch.round(out / step) * step

    spread = F.max_pool2d(clean, 3, 1, 1) + F.max_pool2d(-clean, 3, 1, 1)
    chance = (spread > 0.08).float() * noise.edge_loss * s * _uniform(clean, generator, 0.0, 1.0)
    dark = (rgb.mean(1, keepdim=True) < 0.12).float()
    chance = torch.maximum(chance, dark * strength(noise.dark_loss))
    chance = torch.maximum(chance, strength(noise.pixel_loss))
    lost = torch.rand(clean.shape, device=clean.device, generator=generator) < chance
    has_holes = _uniform(clean, generator, 0.0, 1.0) < noise.holes * s
    blobs = _smooth_noise(count, size, 14, generator) > _uniform(clean, generator, 1.5, 2.6)
    lost = lost | (blobs & has_holes) | (clean <= 0) | (out <= 0)  # noise can carry what is near behind the camera
    return torch.where(lost, torch.zeros_like(out), out)[:, 0]
