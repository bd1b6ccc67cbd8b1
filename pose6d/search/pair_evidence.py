"""Evidence between two poses that both fit: what the colours say, and what the shape says.

A scorer compares each pose with the frame. Two sides of a nearly symmetric object then get nearly the same rank. Here
poses are compared with each other, pixel by pixel, where they differ.

Colours are compared in the light that fits each pose best: what remains is the wrong print.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from pose6d.cuda_kernels import available, load_kernels
from pose6d.geometry.camera import crop_coverage, crop_images, crop_windows
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import ALBEDO
from pose6d.rendering.light import fit_light, lit_colors
from pose6d.search.interfaces import ObjectModel

_SIZE = 192  # pixels, side of the crops
_WINDOW = 1.2  # their side over the diameter
_STRIDE = 2  # pixels between those that are compared; blurred neighbours say the same
_SAME = 0.05  # diameters by which observed depth may be off where a pose's surface is compared
_SIGMA = 1.2  # pixels; drawn and observed colours are blurred alike
_REACH = 6  # pixels, beyond which the blur on a CPU ends: 4e-6 of its middle
_EDGE = 2  # pixels from the edge of what is seen that do not count
_PART = 0.5  # of the mask that one pose explains; another one that explains less than this is of another thing
_ELSEWHERE = 1e5  # standard scores: certain
_LEAST = 1e-3  # sum of the squares of what colours say; it leaves the score of two equal poses at 0
# What a pixel of the surface beside the mask costs; see `cost_beside`.
_SEEN_THROUGH = 1.0  # something farther away was seen
_BESIDE = 0.5  # at its depth
_HIDDEN = 0.1  # something nearer was seen
_LARGEST = 0.2  # of a residual; more is a highlight or another thing


class PairEvidence(NamedTuple):
    """What a frame says between each two of N poses.

    Attributes:
        color: (N, N) standard scores of how much better the colours of pose i fit than those of pose j, where both have
            surface; antisymmetric.
        shape: (N, N) the same of depth and mask; very large where one explains much less of the mask than another.
    """

    color: Tensor
    shape: Tensor


def compare_poses(
    poses: Tensor, object: ObjectModel, observation: Observation, mask: Tensor | None = None
) -> PairEvidence:
    """Compare each pose with each other one.

    Args:
        poses: (N, 4, 4) float32, centred object in camera, all near the first.
        object: what they are of; or several of which each pose has one, all the same.
        observation: one frame.
        mask: (H, W) bool of the object; where None, whatever is seen may be its.
    """
    count, diameter = len(poses), object.diameter
    if isinstance(diameter, Tensor):
        diameter = diameter[:1]
    transforms, crop_K = crop_windows(poses[:1], observation.K, diameter, _WINDOW, _SIZE)
    drawn = object.render(poses, crop_K.expand(count, 3, 3).contiguous(), (_SIZE, _SIZE), shading=ALBEDO, normals=True)
    seen = crop_images(observation.xyz[2:], transforms, _SIZE, mode="nearest")[:, 0]  # (1, s, s)
    inside = crop_coverage(transforms, _SIZE, *observation.xyz.shape[-2:])
    within = inside if mask is None else crop_images(mask[None].float(), transforms, _SIZE, mode="nearest")[:, 0] > 0
    off = (seen - drawn.depth) / (_SAME * diameter)
    shape = _shape_costs(drawn.mask, off, within) * (inside & (seen > 0))
    on_mask = (drawn.mask & within).float().sum((1, 2))
    less = (on_mask[:, None] < _PART * on_mask).float()
    elsewhere = _ELSEWHERE * (less.mT - less)
    counts = (drawn.mask & inside & ((seen <= 0) | (off.abs() < 1))).float()

    weight = _blur(counts).clamp(min=1e-6)[:, None]
    assert drawn.normal is not None
    albedo = _blur(drawn.color.permute(0, 3, 1, 2) * counts[:, None]) / weight
    color = _blur(crop_images(observation.rgb, transforms, _SIZE) * counts[:, None]) / weight
    core = (_count_around(counts) > (2 * _EDGE + 1) ** 2 - 0.5).float()
    normal = drawn.normal.permute(0, 3, 1, 2)
    some = slice(_STRIDE // 2, None, _STRIDE)
    albedo, color, normal, core, shape = (x[..., some, some].flatten(-2) for x in (albedo, color, normal, core, shape))
    return PairEvidence(_color_scores(albedo, color, normal, core), _standard_scores(shape) + elsewhere)


def _shape_costs(surface: Tensor, off: Tensor, within: Tensor) -> Tensor:
    """(N, s, s) how badly each pose explains a pixel's depth and mask, 0..1.

    Args:
        surface: (N, s, s) bool, where the pose has surface.
        off: (N, s, s) how far behind it something was seen, 1 is another surface.
        within: (1, s, s) bool, the mask.
    """
    on_mask = torch.where(surface, off.abs().clamp(max=1.0), 1.0)
    return torch.where(within, on_mask, cost_beside(off) * surface)


def cost_beside(off: Tensor) -> Tensor:
    """What a pixel of the surface costs beside the mask, 0..1, by how far behind it something was seen; 1 is another
    surface. Hidden ones cost little, or a half hidden thing would lose to one that is tilted until it looks short."""
    return torch.where(off > 1, _SEEN_THROUGH, torch.where(off < -1, _HIDDEN, _BESIDE))


def _color_scores(albedo: Tensor, color: Tensor, normal: Tensor, core: Tensor) -> Tensor:
    """(N, N) of albedo and observed colours (N, 3, P), normals (N, 3, P) and what counts (N, P), 1.0 or 0.0."""
    both = core[:, None] * core  # (N, N, P)
    light = fit_light(albedo, normal, color, both)  # of pose i, that fits pixels (i, j)
    if available(albedo.device):
        return _color_scores_kernel(albedo, color, normal, both, light)
    lit = lit_colors(albedo, normal, light)  # (N, N, 3, P)
    error = (lit - color[:, None]).abs().clamp(max=_LARGEST).sum(2)
    better = (error.transpose(0, 1) - error) * both
    return better.sum(-1) * torch.rsqrt((better**2).sum(-1) + _LEAST)


def _color_scores_kernel(albedo: Tensor, color: Tensor, normal: Tensor, both: Tensor, light: Tensor) -> Tensor:
    """`_color_scores` on a GPU, with the light (N, N, 3, 8) that fits pose i in the pixels of i and j."""
    count, _, pixels = albedo.shape
    (color_scores,) = load_kernels("pose6d.search", "pair_evidence.cu", ("color_scores",), albedo.get_device())
    scores = torch.empty((count, count), device=albedo.device)
    maps = (x.contiguous() for x in (albedo, color, normal, both, light))
    color_scores(count * count, *maps, count, pixels, _LARGEST, _LEAST, scores)
    return scores


def _standard_scores(cost: Tensor) -> Tensor:
    """(N, N) how much lower the cost (N, P) of i is than that of j, summed, over the root of its squares' sum."""
    better = cost[None] - cost[:, None]
    return better.sum(-1) * torch.rsqrt((better**2).sum(-1) + 1.0)


def _blur(images: Tensor) -> Tensor:
    """Images (..., s, s), black beyond their borders, blurred by a Gaussian whose middle is 1."""
    if images.device.type == "cpu":
        return _filter_rows_and_columns(images, np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _SIGMA) ** 2))
    place = torch.arange(images.shape[-1], device=images.device, dtype=torch.float32)
    matrix = torch.exp(-0.5 * ((place[:, None] - place) / _SIGMA) ** 2)
    return matrix @ images @ matrix


def _count_around(images: Tensor) -> Tensor:
    """The sum of the pixels up to `_EDGE` away from each of images (..., s, s)."""
    if images.device.type == "cpu":
        return _filter_rows_and_columns(images, np.ones(2 * _EDGE + 1))
    place = torch.arange(images.shape[-1], device=images.device)
    matrix = ((place[:, None] - place).abs() <= _EDGE).float()
    return matrix @ images @ matrix


def _filter_rows_and_columns(images: Tensor, kernel: np.ndarray) -> Tensor:
    """The same on a CPU, a sixth of the time of products of matrices."""
    given, kernel = images.contiguous(), kernel.astype(np.float32)
    filtered = torch.empty_like(given)
    for image, out in zip(*(x.flatten(0, -3).numpy() for x in (given, filtered)), strict=True):
        cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, dst=out, borderType=cv2.BORDER_CONSTANT)
    return filtered
