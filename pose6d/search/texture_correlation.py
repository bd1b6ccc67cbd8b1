"""How well the texture of a hypothesis fits the picture, whatever the light.

A scoring network trained on everything at once looks at shape first: of two poses that differ in a faint texture alone,
such as a bowl turned about its axis, it often prefers the wrong one. This measure sees nothing but texture.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from pose6d.cuda_kernels import Kernel, available, blocks_for, check_inputs, length, load_kernels
from pose6d.geometry.camera import crop_coverage, crop_images, crop_windows, nearest_pixels, source_pixels
from pose6d.geometry.observation import Observation
from pose6d.pieces import even_slices, run_pieces
from pose6d.rendering.interface import ALBEDO, Rendering
from pose6d.search.interfaces import ObjectModel

_PIECE = 12  # hypotheses at once on a CPU
_SIZE = 96  # pixels, side of the crops
_WINDOW = 1.1  # their side over the diameter
_FINE = 3  # pixels; hypotheses are hardly better than that
_AROUND = 0.19  # of the crop, side of the neighbourhood that a pixel is compared with; light varies more slowly
_DARK = 0.03  # brightness below which noise drowns the texture
_HIDDEN = 0.04  # diameters by which a surface in front of or behind the hypothesis is another one
_OUTSIDE = -1.0  # the depth of a pixel outside the image
_TILE = 4  # rows of a crop that a block of the kernel compares with their surroundings
_LEAST = 1e-5  # mean square of the logarithm's contrast: without texture nothing correlates


def texture_correlation(poses: Tensor, object: ObjectModel, observation: Observation) -> Tensor:
    """Correlation of rendered and observed texture where the hypothesis' surface is seen.

    Both colours are taken as logarithms, so that light is a sum, and relative to their surroundings on the object, so
    that only what varies quickly is left: zero-mean normalised cross-correlation (Lewis, "Fast Normalized
    Cross-Correlation", 1995) with a local mean. The mesh is drawn without light. The correlation is multiplied by the
    share of the hypothesis' pixels in the image that count, or a pose that fits in a corner alone would do as well as
    the true one.

    Args:
        poses: (N, 4, 4) float32, hypotheses of the centred object in camera.
        object: what they are of.
        observation: one frame.

    Returns:
        (N,) float32 in -1..1; 0 for an object without texture, or where nothing of the hypothesis is seen.
    """
    if poses.device.type == "cpu":
        rows = even_slices(len(poses), _PIECE)
        parts = run_pieces(lambda part: _agreement(poses[part], object.rows(part), observation), rows)
        return torch.cat(parts) if parts else poses.new_empty(0)
    return _agreement(poses, object, observation)


def _agreement(poses: Tensor, object: ObjectModel, observation: Observation) -> Tensor:
    transforms, crop_K = crop_windows(poses, observation.K, object.diameter, _WINDOW, _SIZE)
    drawn = object.render(poses, crop_K, (_SIZE, _SIZE), shading=ALBEDO)
    textures = texture_pair(drawn, observation, transforms, object.diameter)
    correlate = _correlate_loops if poses.device.type == "cpu" else _correlate
    return (_correlate_kernel if available(transforms.device) else correlate)(drawn, *textures)


def _correlate(drawn: Rendering, expected: Tensor, found: Tensor, same: Tensor, seen: Tensor) -> Tensor:
    """(N,) correlation of what `texture_pair` gives, times the share of the drawn pixels that count."""
    pixels = same.sum((1, 2, 3)).clamp(min=1.0)
    share = pixels / (drawn.mask & (seen[:, 0] >= 0)).sum((1, 2)).clamp(min=1.0)

    def mean(product: Tensor) -> Tensor:
        return product.sum((1, 2, 3)) / (3.0 * pixels)

    power = (mean(expected**2) + _LEAST) * (mean(found**2) + _LEAST)
    return share * mean(expected * found) * torch.rsqrt(power)


def _correlate_kernel(drawn: Rendering, expected: Tensor, found: Tensor, same: Tensor, seen: Tensor) -> Tensor:
    """`_correlate` on a GPU; the textures expected and found lie in one tensor."""
    agreement = torch.empty(len(expected), device=expected.device)
    if len(expected):
        _, _, correlate = _kernels(expected.device)
        instance = drawn.instance.int().contiguous()
        size = expected.shape[-1]
        correlate(len(expected), expected, same, same.stride(0), seen, instance, size, _LEAST, agreement)
    return agreement


def _correlate_loops(drawn: Rendering, expected: Tensor, found: Tensor, same: Tensor, seen: Tensor) -> Tensor:
    """`_correlate` on a CPU; the textures expected and found lie in one tensor."""
    from pose6d.search import texture_loops  # imports numba, which a GPU does not need

    agreement = torch.empty(len(expected))
    textures = expected.as_strided((len(expected), texture_loops.CHANNELS, *expected.shape[2:]), expected.stride())
    maps = (textures, same, seen, drawn.instance)
    texture_loops.correlate(*(x.numpy() for x in maps), np.float32(_LEAST), agreement.numpy())
    return agreement


def texture_pair(
    drawn: Rendering, observation: Observation, transforms: Tensor, diameter: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a hypothesis should look like and what is there, whatever the light.

    Args:
        drawn: N square crops without light.
        observation: one frame.
        transforms: (N, 3, 3) from its pixels to those of the crops.
        diameter: metres; (N,) for crops of several meshes.

    Returns:
        Textures (N, 3, s, s), expected and found: logarithms relative to the mean around, 0 where the surface is not
        seen; (N, 1, s, s) 1.0 where it is seen, else 0.0; and the depth (N, 1, s, s) observed, metres, 0 = missing,
        negative outside the image.
    """
    if available(transforms.device):
        return _texture_kernels(drawn, observation, transforms, diameter)
    if transforms.device.type == "cpu":
        return _texture_loops(drawn, observation, transforms, diameter)
    return _texture_tensors(drawn, observation, transforms, diameter)


def _texture_tensors(
    drawn: Rendering, observation: Observation, transforms: Tensor, diameter: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`texture_pair` as tensor expressions, for a GPU without CuPy."""
    size = drawn.color.shape[1]
    seen = crop_images(observation.xyz[2:], transforms, size, mode="nearest")
    inside = crop_coverage(transforms, size, *observation.xyz.shape[-2:])[:, None]
    seen = torch.where(inside, seen.clamp(min=0.0), _OUTSIDE)
    depth = drawn.depth[:, None]
    limit = _HIDDEN * (diameter.view(-1, 1, 1, 1) if isinstance(diameter, Tensor) else diameter)
    same = ((depth > 0) & ((seen == 0) | ((seen - depth).abs() < limit))).float()
    around = _around(size)
    fine, coarse = (_box(same, side).clamp(min=1e-6) for side in (_FINE, around))

    def texture(color: Tensor) -> Tensor:
        values = (color.contiguous() + _DARK).log() * same
        # What is beside the object must not leak in.
        return (_box(values, _FINE) / fine - _box(values, around) / coarse) * same

    return (
        texture(drawn.color.permute(0, 3, 1, 2)),
        texture(crop_images(observation.rgb, transforms, size)),
        same,
        seen,
    )


def _texture_loops(
    drawn: Rendering, observation: Observation, transforms: Tensor, diameter: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`texture_pair` on a CPU."""
    from pose6d.search import texture_loops  # imports numba, which a GPU does not need

    count, size = len(transforms), drawn.color.shape[1]
    textures = torch.empty((count, texture_loops.CHANNELS, size, size))
    same, seen = torch.empty((2, count, 1, size, size)).unbind()
    u, v = source_pixels(transforms, size)
    limit = _HIDDEN * torch.as_tensor(diameter, dtype=torch.float32).expand(count)
    seen_there = (observation.rgb.float(), observation.xyz[2].float())
    inputs = (drawn.color, drawn.depth, *seen_there, u, v, *nearest_pixels(u, v), limit)
    outputs = (textures, same, seen)
    levels = np.float32(_OUTSIDE), np.float32(_DARK)
    texture_loops.sample(*(x.numpy() for x in inputs), *levels, *(x.numpy() for x in outputs))
    texture_loops.compare_surroundings(textures.numpy(), same.numpy(), _FINE, _around(size))
    return textures[:, :3], textures[:, 3:], same, seen


def _texture_kernels(
    drawn: Rendering, observation: Observation, transforms: Tensor, diameter: float | Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`texture_pair` on a GPU."""
    count, size, device = len(transforms), drawn.color.shape[1], transforms.device
    rgb, depth = observation.rgb.float(), observation.xyz[2].float()
    check_inputs(device, rgb=(rgb, (3, *depth.shape)), depth=(depth, depth.shape))
    planes, seen = torch.empty((count, 7, size, size), device=device), torch.empty((count, size, size), device=device)
    textures = torch.empty((count, 6, size, size), device=device)
    if count:
        sample, compare, _ = _kernels(device)
        sample(
            count * blocks_for(size * size),
            *(drawn.color.contiguous(), drawn.xyz.contiguous()),
            *(rgb, *rgb.stride(), depth, *depth.stride(), *depth.shape, transforms.contiguous()),
            *(*length(diameter, _HIDDEN, transforms), _DARK, _OUTSIDE, size, planes, seen),
        )
        shared = 2 * 4 * (planes.shape[1] + 1) * _TILE * size
        blocks = count * -(-size // _TILE)
        compare(blocks, planes, size, _FINE // 2, _around(size) // 2, textures, shared_bytes=shared)
    return textures[:, :3], textures[:, 3:], planes[:, 6:], seen[:, None]


def _kernels(device: torch.device) -> tuple[Kernel, ...]:
    names = ("sample_textures", "compare_surroundings", "correlate")
    tile = (("TILE", _TILE),)
    return load_kernels("pose6d.search", "texture_correlation.cu", names, device.index, ("--fmad=false",), tile)


def _around(size: int) -> int:
    """Pixels, odd: the side of the neighbourhood in crops of this size."""
    return 2 * round(_AROUND * size / 2) + 1


def _box(images: Tensor, side: int) -> Tensor:
    """Means of (N, C, s, s) over squares of `side` pixels, 0 outside the image."""
    band = _band(images.shape[-1], side, images.device)
    return band @ images @ band  # ten times as fast as average pooling on a CPU


@functools.cache
def _band(size: int, side: int, device: torch.device) -> Tensor:
    place = torch.arange(size, device=device)
    return ((place[:, None] - place).abs() <= side // 2).float() / side
