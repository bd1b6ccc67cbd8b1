"""Where an object may be, given how it is turned: by depth and mask alone, before any network looks.

The middle of a mask at its median depth is up to a radius in front of an object's centre, and up to half a length
beside it where something hides one end. Here each rotation is laid against what was seen: its near side onto the
observed surface, and along its longer side to where its hidden part has something in front of it. How badly it fits
even there tells which rotations are worth refining.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pose6d.cuda_kernels import available, check_inputs, length, load_kernels
from pose6d.geometry.camera import distant_camera, nearest_pixels
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform
from pose6d.rendering.interface import ALBEDO
from pose6d.search.interfaces import ObjectModel

_SIZE = 32  # pixels, side of the pictures that give the near sides
_AWAY = 4.0  # diameters to their camera
_WINDOW = 1.15  # their side over the diameter
_POINTS = 96  # of each near side
_SAMPLES = 64  # of the mask
_BEYOND = 2  # samples of the mask at either end that may lie outside the object: masks bleed
_PLACES = 5  # along the longer side
_ROUNDS = 2  # in which the depth is found, since the place of the points depends on it
_NEAREST = 1e-3  # metres to the camera
_SAME = 0.1  # diameters by which a surface may be off where the nearest rotation is up to 36 degrees away
_APART = 0.08  # diameters between a sample of the mask and the nearest point that leave it unexplained
# What a point of the near side costs.
_SEEN_THROUGH = 1.0  # something farther away was seen
_HIDDEN = 0.35  # something nearer was seen beside the mask, or it is outside the image
_BESIDE = 0.7  # at its depth, but beside the mask
_UNKNOWN = (0.25, 0.5)  # no depth, on the mask and beside it
# The same for the kernel.
_DEFINED = (
    ("POINTS", _POINTS),
    ("SAMPLES", _SAMPLES),
    ("PLACES", _PLACES),
    ("ROUNDS", _ROUNDS),
    ("SEEN_THROUGH", _SEEN_THROUGH),
    ("HIDDEN", _HIDDEN),
    ("BESIDE", _BESIDE),
    ("UNKNOWN_ON_MASK", _UNKNOWN[0]),
    ("UNKNOWN_BESIDE", _UNKNOWN[1]),
)


class NearSides(NamedTuple):
    """What a camera in front of an object sees of its surface, for N rotations.

    Attributes:
        points: (N, P, 3) metres, from the object's centre, in camera axes.
        diameter: metres; a tensor without dimensions where one recorded graph is for objects of any size.
    """

    points: Tensor
    diameter: float | Tensor

    @classmethod
    def of(cls, object: ObjectModel, rotations: Tensor) -> NearSides:
        """Those of rotations (N, 3, 3), object in camera, on the object's device; the same each time."""
        count, device, diameter = len(rotations), rotations.device, float(object.diameter)
        center = torch.tensor([0.0, 0.0, _AWAY * diameter], device=device)
        K = distant_camera(_SIZE, _AWAY, _WINDOW, device)
        poses = make_transform(rotations, center.expand(count, 3))
        drawn = object.render(poses, K.expand(count, 3, 3).contiguous(), (_SIZE, _SIZE), shading=ALBEDO)
        there = drawn.depth.flatten(1) > 0
        # The first few of a fixed random order; over again where a thin thing has fewer.
        order = torch.rand(_SIZE**2, generator=torch.Generator().manual_seed(0)).to(device)
        rows = torch.where(there, order, order + 2).argsort(dim=1)
        turn = torch.arange(_POINTS, device=device) % there.sum(1, keepdim=True).clamp(min=1)
        points = drawn.xyz.flatten(1, 2).gather(1, rows.gather(1, turn)[..., None].expand(-1, -1, 3))
        return cls(points - center, diameter)


def place_rotations(
    near: NearSides, start: Tensor, observation: Observation, mask: Tensor, same: float = _SAME, apart: float = _APART
) -> tuple[Tensor, Tensor]:
    """The place where each rotation fits best, and how badly it fits there.

    Nothing waits for the device.

    Args:
        near: of N rotations.
        start: (3,) metres, a point of what was seen (`hypotheses.initial_translation`).
        observation: one frame, with its depth filtered.
        mask: (H, W) bool of the object.
        same: diameters by which a surface may be off, the less the nearer the rotations are to the true one.
        apart: diameters between a sample of the mask and the nearest point that leave it unexplained.

    Returns:
        (N, 3) metres, the object's centre in camera axes, and (N,) costs, lower is better; those of `start` and of no
        meaning where that is not finite.
    """
    if available(near.points.device):
        return _place_kernel(near, start, observation, mask, same, apart)
    seen, usable = samples_of_mask(observation, mask), start.isfinite().all()
    away = torch.where(usable, start[2], 1.0)
    image = torch.where(usable, seen[:, :2] / seen[:, 2:] * away, 0.0)  # (M, 2) metres, as far away as the start
    centers = _centers(near.points[..., :2], image)  # (N, S, 2)
    centers = torch.cat([centers, away.expand(*centers.shape[:2], 1)], dim=-1)
    points = near.points[:, None]
    for _ in range(_ROUNDS):
        depth, on_mask, z = _look(points + centers[:, :, None], observation, mask)[:3]
        surface = (centers[..., 2] + _lower_median(depth - z, on_mask & (depth > 0))).clamp(min=_NEAREST)
        centers = torch.cat([centers[..., :2] * (surface / centers[..., 2])[..., None], surface[..., None]], dim=-1)
    placed = points + centers[:, :, None]
    depth, on_mask, z, inside = _look(placed, observation, mask)
    off = (depth - z) / (same * near.diameter)
    beside = torch.where(off > 1, _SEEN_THROUGH, torch.where(off < -1, _HIDDEN, _BESIDE))
    known = torch.where(on_mask, off.abs().clamp(max=1.0), beside)
    unknown = torch.where(on_mask, _UNKNOWN[0], torch.where(inside, _UNKNOWN[1], _HIDDEN))
    cost = torch.where(depth > 0, known, unknown).mean(dim=-1)
    drawn = placed[..., :2] / z[..., None] * away
    beyond = torch.cdist(image.expand(*drawn.shape[:2], -1, -1), drawn).amin(dim=-1)
    cost = cost + (beyond / (apart * near.diameter)).clamp(max=1.0).mean(dim=-1)
    cost, best = cost.min(dim=1)
    center = centers.gather(1, best[:, None, None].expand(-1, 1, 3))[:, 0]
    return torch.where(usable, center, start), cost


def _place_kernel(
    near: NearSides, start: Tensor, observation: Observation, mask: Tensor, same: float, apart: float
) -> tuple[Tensor, Tensor]:
    """`place_rotations` on a GPU; for each rotation a block."""
    count, xyz, device = len(near.points), observation.xyz.float(), near.points.device
    check_inputs(device, points=(near.points, (count, _POINTS, 3)), start=(start, (3,)), xyz=(xyz, (3, *mask.shape)))
    centers, costs = torch.empty((count, 3), device=device), torch.empty(count, device=device)
    if count:
        counted = (mask & (xyz[2] > 0)).flatten().cumsum(0)
        (kernel,) = load_kernels(
            "pose6d.search", "placement.cu", ("place_rotations",), near.points.get_device(), ("--fmad=false",), _DEFINED
        )
        frame = (xyz, *xyz.stride(), *mask.shape, mask.contiguous(), observation.K.float().contiguous())
        limits = (*length(near.diameter, 1.0, start), same, apart)
        kernel(count, near.points.contiguous(), start.contiguous(), counted, *frame, *limits, centers, costs)
    return centers, costs


def samples_of_mask(observation: Observation, mask: Tensor, count: int = _SAMPLES) -> Tensor:
    """(count, 3) points that were seen under the mask, metres, evenly among its rows of pixels."""
    counted = (mask & (observation.xyz[2] > 0)).flatten().cumsum(0)
    share = (torch.arange(count, device=counted.device) + 0.5) / count
    wanted = (share * counted[-1]).long() + 1
    pixels = torch.searchsorted(counted, wanted).clamp(max=len(counted) - 1)
    return observation.xyz.flatten(1)[:, pixels].T


def _centers(outline: Tensor, seen: Tensor) -> Tensor:
    """(N, S, 2) places of the centre for which a near side (N, P, 2) covers what was seen (M, 2), metres.

    Across the longer side it is in the middle. Along it, there are several if the object is longer than what was seen.
    """
    spread = outline - outline.mean(dim=1, keepdim=True)
    moments = spread.mT @ spread
    angle = 0.5 * torch.atan2(2 * moments[:, 0, 1], moments[:, 0, 0] - moments[:, 1, 1])
    along = torch.stack([angle.cos(), angle.sin()], dim=-1)
    axes = torch.stack([along, torch.stack([-angle.sin(), angle.cos()], dim=-1)], dim=1)  # (N, 2, 2)
    drawn, given = outline @ axes.mT, (seen @ axes.mT).sort(dim=1).values
    least, most = given[:, -_BEYOND] - drawn.amax(dim=1), given[:, _BEYOND - 1] - drawn.amin(dim=1)
    middle, slack = (least + most) / 2, ((most - least) / 2).clamp(min=0.0)
    places = middle[:, :1] + torch.linspace(-1.0, 1.0, _PLACES, device=seen.device) * slack[:, :1]
    return torch.stack([places, middle[:, 1:].expand_as(places)], dim=-1) @ axes


def _look(points: Tensor, observation: Observation, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of points (..., 3): the depth seen there, 0 where there is none; whether they are on the mask; their own depth,
    positive; and whether they are inside the image."""
    (height, width), K = mask.shape, observation.K
    x, y, z = points.unbind(dim=-1)
    z = z.clamp(min=_NEAREST)
    y = y / z
    u, v = nearest_pixels(K[0, 0] * (x / z) + K[0, 1] * y + K[0, 2], K[1, 1] * y + K[1, 2])
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    pixels = (v.clamp(0, height - 1) * width + u.clamp(0, width - 1)).long()
    return observation.xyz[2].flatten()[pixels] * inside, mask.flatten()[pixels] & inside, z, inside


def _lower_median(values: Tensor, counts: Tensor) -> Tensor:
    """(...) of the values (..., P) that count, 0 where none does."""
    ascending = torch.where(counts, values, torch.inf).sort(dim=-1).values
    number = counts.sum(dim=-1, keepdim=True)
    middle = ascending.gather(-1, (number - 1).clamp(min=0) // 2)
    return torch.where(number > 0, middle, 0.0)[..., 0]
