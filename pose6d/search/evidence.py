"""What a frame says of a pose: which part of the object is seen where it should be, hidden, or seen through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from pose6d.cuda_kernels import available, check_inputs, load_kernels
from pose6d.geometry.camera import crop_coverage, crop_images, crop_windows, nearest_pixels, source_pixels
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import ALBEDO, Rendering
from pose6d.search.interfaces import ObjectModel
from pose6d.search.texture_correlation import texture_pair

_SIZE = 64  # pixels, side of the crops
_WINDOW = 1.2  # their side over the diameter
_SAME = 0.05  # diameters by which observed depth may be off where it is still the object's surface
_SAME_FAR = 0.004  # metres at one metre, added to it: noise of depth cameras grows with the square of the distance
_RING = 3  # pixels around the silhouette in which the same depth goes on or ends
_DARK = 0.01  # brightness added to mean colours: in the dark there is no colour
_LEAST_CONTRAST = 1e-5  # mean square of the logarithm's contrast: without texture nothing correlates


class PoseEvidence(NamedTuple):
    """What one frame says of N poses. Shares are of the silhouette inside the picture, by pixels, 0..1.

    Attributes:
        visible: (N,) share where the measured depth is that of the object.
        hidden: (N,) share with something in front.
        through: (N,) share where the camera sees what lies behind: the object is not there.
        inside: (N,) share of the whole silhouette that lies inside the picture.
        spread: (N,) how far the measured depth is off where the object is visible, mean, as a share of what counts as
            visible.
        beyond: (N,) share of the ring around the silhouette where the depth of the silhouette goes on: what is there
            is larger than the object, or the object stands on something.
        offset: (N,) metres, by how much what is seen within half a diameter lies farther away than the pose, mean.
        texture: (N,) correlation of drawn and seen texture where the object is visible, -1..1; 0 without texture.
        contrast: (N,) of the texture seen, as a share of that of the drawn one; about 1 where nothing is drawn, either.
        red, green, blue: (N,) logarithms of how much brighter the mean colour of what is visible is than the drawn one.
    """

    visible: Tensor
    hidden: Tensor
    through: Tensor
    inside: Tensor
    spread: Tensor
    beyond: Tensor
    offset: Tensor
    texture: Tensor
    contrast: Tensor
    red: Tensor
    green: Tensor
    blue: Tensor


def measure_evidence(poses: Tensor, object: ObjectModel, observation: Observation) -> PoseEvidence:
    """Compare a small drawing of each pose with the frame; no device is waited for.

    Args:
        poses: (N, 4, 4) float32, centred object in camera.
        object: what they are of, one or several.
        observation: one frame.
    """
    diameter = object.diameter
    if not isinstance(diameter, Tensor):
        diameter = poses.new_full((len(poses),), diameter)
    transforms, crop_K = crop_windows(poses, observation.K, diameter, _WINDOW, _SIZE)
    drawn = object.render(poses, crop_K, (_SIZE, _SIZE), shading=ALBEDO)
    textures = texture_pair(drawn, observation, transforms, diameter)[:3]
    crops = _Crops(poses, diameter, observation, transforms, drawn, *textures)
    if poses.device.type == "cpu":
        return _measure_loops(crops)
    return (_measure_kernel if available(poses.device) else _measure_tensors)(crops)


class _Crops(NamedTuple):
    """N poses (N, 4, 4), the diameters (N,) of what they are of, the frame, the transforms (N, 3, 3) from its pixels to
    those of the crops, their drawings, and the first three that `texture_pair` gives of these."""

    poses: Tensor
    diameter: Tensor
    observation: Observation
    transforms: Tensor
    drawn: Rendering
    expected: Tensor
    found: Tensor
    same: Tensor


def _limits(poses: Tensor, diameter: Tensor) -> Tensor:
    """(N,) metres by which observed depth may be off where it is still the object's surface."""
    return _SAME * diameter + _SAME_FAR * poses[:, 2, 3].clamp(min=0.0) ** 2


def _measure_tensors(crops: _Crops) -> PoseEvidence:
    """The evidence as tensor expressions, for a GPU without CuPy."""
    poses, diameter, observation, transforms, drawn, expected, found, same = crops
    seen = crop_images(observation.xyz[2:], transforms, _SIZE, mode="nearest")[:, 0]  # (N, s, s)
    picture = crop_coverage(transforms, _SIZE, *observation.xyz.shape[-2:])
    surface = drawn.mask & picture
    limit = _limits(poses, diameter)[:, None, None]
    off = seen - drawn.depth
    measured = surface & (seen > 0)
    near = measured & (off.abs() < limit)
    around_it = measured & (off.abs() < 0.5 * diameter[:, None, None])

    def share(part: Tensor, whole: Tensor) -> Tensor:
        return part.sum((1, 2)) / whole.sum((1, 2)).clamp(min=1)

    # The ring: pixels near the silhouette, with the depth of the nearest surface that reaches them.
    side = 2 * _RING + 1
    around = max_pool2d(torch.where(surface, -drawn.depth, -torch.inf)[:, None], side, 1, _RING)[:, 0]
    ring = picture & ~drawn.mask & around.isfinite() & (seen > 0)
    goes_on = ring & ((seen + around.nan_to_num(0.0, 0.0, 0.0)).abs() < limit)

    pixels = 3.0 * same.sum((1, 2, 3)).clamp(min=1.0)
    power = [(x**2).sum((1, 2, 3)) / pixels + _LEAST_CONTRAST for x in (expected, found)]
    texture = (expected * found).sum((1, 2, 3)) / pixels * torch.rsqrt(power[0] * power[1])

    colors = crop_images(observation.rgb, transforms, _SIZE), drawn.color.permute(0, 3, 1, 2)
    count = near.sum((1, 2)).clamp(min=1)[:, None]
    seen_color, drawn_color = (((color * near[:, None]).sum((2, 3)) / count + _DARK).log() for color in colors)
    red, green, blue = (seen_color - drawn_color).unbind(dim=1)
    return PoseEvidence(
        visible=share(near, measured),
        hidden=share(measured & (off <= -limit), measured),
        through=share(measured & (off >= limit), measured),
        inside=share(surface, drawn.mask),
        spread=(off.abs() / limit * near).sum((1, 2)) / near.sum((1, 2)).clamp(min=1),
        beyond=share(goes_on, ring),
        offset=torch.where(around_it, off, 0.0).sum((1, 2)) / around_it.sum((1, 2)).clamp(min=1),
        texture=texture,
        contrast=(power[1] / power[0]).sqrt(),
        red=red,
        green=green,
        blue=blue,
    )


def _measure_loops(crops: _Crops) -> PoseEvidence:
    """`_measure_tensors` on a CPU."""
    from pose6d.search import evidence_loops  # imports numba, which a GPU does not need

    poses, diameter, observation, transforms, drawn, expected, found, same = crops
    cues = torch.empty(len(PoseEvidence._fields), len(poses))
    u, v = source_pixels(transforms, _SIZE)
    limits = _limits(poses, diameter), 0.5 * diameter
    frame = observation.rgb.float(), observation.xyz[2].float()
    given = (
        drawn.instance,
        drawn.color,
        drawn.xyz,
        *frame,
        u,
        v,
        *nearest_pixels(u, v),
        *limits,
        expected,
        found,
        same,
    )
    constants = _RING, np.float32(_DARK), np.float32(_LEAST_CONTRAST)
    evidence_loops.measure(*(x.numpy() for x in given), *constants, cues.numpy())
    return PoseEvidence(*cues.unbind())


def _measure_kernel(crops: _Crops) -> PoseEvidence:
    """`_measure_tensors` on a GPU, where they would be two hundred small kernels."""
    poses, diameter, observation, transforms, drawn, expected, found, same = crops
    count, device = len(poses), poses.device
    rgb, depth = observation.rgb.float(), observation.xyz[2].float()
    check_inputs(device, rgb=(rgb, (3, *depth.shape)), diameter=(diameter, (count,)))
    cues = torch.empty((len(PoseEvidence._fields), count), device=device)
    if count:
        constants = ("SAME_SURFACE", _SAME), ("SAME_FAR", _SAME_FAR), ("RING", _RING), ("DARK", _DARK)
        (measure,) = load_kernels(
            "pose6d.search",
            "evidence.cu",
            ("measure",),
            poses.get_device(),
            ("--fmad=false",),
            (*constants, ("LEAST_CONTRAST", _LEAST_CONTRAST)),
        )
        diameter = diameter.float()
        measure(
            count,
            *(drawn.instance.int().contiguous(), drawn.color.contiguous(), drawn.xyz.contiguous()),
            *(rgb, *rgb.stride(), depth, *depth.stride(), *depth.shape, transforms.contiguous()),
            *(poses.float().contiguous(), diameter, diameter.stride(0), expected, found, expected.stride(0)),
            *(same, same.stride(0), _SIZE, count, cues),
            shared_bytes=4 * _SIZE**2,
        )
    return PoseEvidence(*cues.unbind())


def fitting_share(seen: Mapping[str, Any]) -> Any:
    """Of what is not hidden, the share that is seen where it should be; of the shape of the evidence by name."""
    return seen["visible"] / np.maximum(seen["visible"] + seen["through"], 1e-3)
