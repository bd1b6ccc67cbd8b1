"""What stereo and structured light do to depth maps, effect by effect, on batches.

Maps are (N, 1, H, W) float32 of inverse depth, 0 = missing, in which a disparity error is the same everywhere: noise
and steps of it grow with the square of the depth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def inverse_depth(depth: torch.Tensor) -> torch.Tensor:
    """1 / depth, 0 where depth is missing; its own inverse."""
    return (depth > 0) / depth.clamp(min=1e-6)


def dilate(image: torch.Tensor) -> torch.Tensor:
    """Largest value of each pixel's 3x3 neighbourhood."""
    # Slices take a sixth of the time of max_pool2d on a CPU.
    wide = F.pad(image, (1, 1, 0, 0), mode="replicate")
    rows = torch.maximum(torch.maximum(wide[..., :-2], wide[..., 2:]), image)
    tall = F.pad(rows, (0, 0, 1, 1), mode="replicate")
    return torch.maximum(torch.maximum(tall[..., :-2, :], tall[..., 2:, :]), rows)


def fatten(inverse: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Nearer surfaces grow over farther ones, as window matching makes them do.

    Args:
        pixels: broadcastable to the map, by how much; rounded, at most 2.
    """
    once = dilate(inverse)
    out = inverse + (pixels > 0.5) * (once - inverse)
    return out + (pixels > 1.5) * (dilate(once) - out)


def displace(image: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Each pixel of (N, C, H, W) takes the value `offset` pixels to the left of and above it; borders repeat.

    Args:
        offset: whole pixels, x and y, broadcastable to (N, 2, H, W).
    """
    height, width = image.shape[-2:]
    y, x = (torch.arange(length, device=image.device) for length in (height, width))
    columns = (x - offset[:, 0]).clamp(0, width - 1).expand(-1, height, width)
    rows = (y[:, None] - offset[:, 1]).clamp(0, height - 1).expand(-1, height, width)
    source = (rows * width + columns).long().flatten(1)[:, None].expand(-1, image.shape[1], -1)
    return image.flatten(2).gather(2, source).view(image.shape)


def stereo_overlap(inverse: torch.Tensor, disparity: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """How far nearer surfaces cover each pixel in the second camera of a rectified pair.

    Args:
        disparity: (N, 1, 1, 1), focal length times baseline: the disparity in pixels where the inverse depth is 1.
        right: (N, 1, 1, 1), 1.0 where the second camera sits so that shadows fall to the right of surfaces, else 0.0.

    Returns:
        (N, 1, H, W) pixels, 0 where the second camera sees the pixel.
    """
    columns = torch.arange(inverse.shape[-1], device=inverse.device, dtype=inverse.dtype)
    seen = torch.lerp(inverse.flip(3), inverse, right)
    moved = columns + disparity * seen
    overlap = torch.cummax(moved, dim=3).values - moved
    return torch.lerp(overlap.flip(3), overlap, right)


def quantise(values: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Multiples of the step."""
    return torch.round(values / step) * step


def mix_edges(
    nearest: torch.Tensor, farthest: torch.Tensor, inverse: torch.Tensor, chance: torch.Tensor, draw: torch.Tensor
) -> torch.Tensor:
    """Flying pixels: some pixels take a value between the surfaces around them.

    Args:
        nearest, farthest: largest and smallest inverse depth around each pixel.
        chance: probability per pixel.
        draw: uniform in 0..1; decides both which pixels fly and where to.
    """
    flying = (draw < chance) & (farthest > 0)
    between = farthest + (nearest - farthest) * (draw / chance.clamp(min=1e-6)).clamp(max=1.0)
    return torch.where(flying, between, inverse)


def patchy_loss(field: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    """Bool, true with the given probability per pixel, in the patches of a field of unit normal noise."""
    return torch.sigmoid(1.702 * field) < chance  # the logistic curve nearest to the normal distribution's
