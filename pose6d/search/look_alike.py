"""Poses of an object that nobody could tell apart, whatever side they are seen from."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from pose6d.geometry.camera import distant_camera
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.rendering.interface import ALBEDO, Rendering
from pose6d.search.interfaces import ObjectModel

_NEAR = 0.1  # diameters of ADD: poses nearer than that are one, as evaluation has it
_SIZE = 48  # pixels, side of the pictures
_FINE_SIZE = 128  # of those that show its colours
_AWAY = 4.0  # diameters to the camera
_WINDOW = 1.15  # their side over the diameter
_DEPTH, _COLOR = 0.01, 0.03  # mean differences that noise hides: diameters; of full scale, summed over channels
# A round body is turned at will, as ADD-S has it, unless its print is strong.
_ROUND_DEPTH, _ROUND_COLOR = 0.05, 0.3
_LARGEST = 0.1  # diameters that one pixel's depth may differ by in the mean
_STEP = 6  # pixels between the points whose distance is measured
_TURNS = (37.0, 71.0, 143.0)  # degrees; what keeps its shape under these is round
_OFF = 0.06  # diameters by which the surface of a round body may change
_AROUND = 5  # pixels, side of the neighbourhood in which a silhouette may end elsewhere
_ROUGH = 0.1  # share of its pixels that may be off nevertheless
_BALL = 0.3  # the same of a body that is about as round about each of its axes: a lemon is 0.28 off, a cube 0.37
_THIN = 0.2  # share of the pictures that it fills; of thin things the tolerances would hide the shape


def is_round(object: ObjectModel, device: torch.device) -> bool:
    """Whether an object keeps its shape under any turn about one of its principal axes; colours do not count."""
    changed = _changed_by_turns(object, device)
    return bool((changed < _ROUGH).any() | (changed < _BALL).all())


def is_ball(object: ObjectModel, device: torch.device) -> bool:
    """Whether it keeps its shape under any turn about each of them."""
    return bool((_changed_by_turns(object, device) < _BALL).all())


def _changed_by_turns(object: ObjectModel, device: torch.device) -> Tensor:
    """(3,) the share of its pictures that turns about each of its principal axes change at most; 1 for thin things."""
    axes = object.principal_axes()
    angles = torch.tensor(_TURNS).deg2rad()
    turns = make_transform(so3_exp((axes[:, None] * angles[:, None]).flatten(0, 1)), torch.zeros(9, 3))
    poses = torch.cat([torch.eye(4)[None], turns])
    drawn = _draw_sides(poses.to(device), object)
    depth = drawn.depth.view(-1, len(poses), _SIZE, _SIZE)
    there = (depth > 0).float()
    wide = max_pool2d(there, _AROUND, stride=1, padding=_AROUND // 2)
    own, own_wide = there[:, :1], wide[:, :1]
    off = (depth - depth[:, :1]).abs() > _OFF * float(object.diameter)
    off = torch.where((there * own) > 0, off, (there > own_wide) | (own > wide))
    if float(own.mean()) < _THIN:
        return torch.ones(3)
    share = off.float().sum((0, 2, 3)) / torch.maximum(there, own).sum((0, 2, 3)).clamp(min=1.0)
    return share[1:].view(3, len(_TURNS)).amax(dim=1)


def draw_sides(object: ObjectModel, device: torch.device) -> tuple[Tensor, Tensor]:
    """What cameras all around an object see of it: directions (M, 3) from its centre, unit vectors in its own axes, and
    the colours (M, 3) of the surface there, without light."""
    drawn = _draw_sides(torch.eye(4, device=device)[None], object, _FINE_SIZE)
    sides = _side_rotations(device)
    from_center = drawn.xyz - _AWAY * float(object.diameter) * torch.eye(3, device=device)[2]
    directions = from_center.flatten(1, 2) @ sides
    there = drawn.depth.flatten(1) > 0
    return torch.nn.functional.normalize(directions[there]), drawn.color.flatten(1, 2)[there]


def look_alike(poses: Tensor, object: ObjectModel, round_body: bool, symmetries: Tensor | None = None) -> Tensor:
    """Which of the poses count as one.

    Two poses do if all of the surface is near (ADD below 0.1 diameters), also after one of the stated symmetries, or if
    the object in one of them looks like the object in the other from all sides.

    Args:
        poses: (N, 4, 4) float32, centred object in camera.
        object: what they are of.
        round_body: from `is_round`.
        symmetries: (S, 4, 4) transforms of the centred object that are stated to make no difference, a group.

    Returns:
        (N, N) bool, symmetric.
    """
    count, diameter = len(poses), float(object.diameter)
    drawn = _draw_sides(poses, object)
    depth, color = drawn.depth.view(-1, count, _SIZE**2), drawn.color.view(-1, count, _SIZE**2, 3)
    there = depth > 0
    either, both = there[:, :, None] | there[:, None], there[:, :, None] & there[:, None]
    deeper = torch.where(both, (depth[:, :, None] - depth[:, None]).abs() / diameter, _LARGEST).clamp(max=_LARGEST)
    deeper = (deeper * either).sum((0, 3)) / either.sum((0, 3)).clamp(min=1)
    other = (color[:, :, None] - color[:, None]).abs().sum(-1) * both
    other = other.sum((0, 3)) / both.sum((0, 3)).clamp(min=1)
    most_depth, most_color = (_ROUND_DEPTH, _ROUND_COLOR) if round_body else (_DEPTH, _COLOR)
    return _near(poses, drawn, diameter, symmetries) | ((deeper < most_depth) & (other < most_color))


def _near(poses: Tensor, drawn: Rendering, diameter: float, symmetries: Tensor | None) -> Tensor:
    """(N, N) bool, by the points of the surface that the first pose shows."""
    points = drawn.xyz.view(-1, len(poses), _SIZE, _SIZE, 3)[:, 0, ::_STEP, ::_STEP]
    counts = (points[..., 2] > 0).flatten().float()
    sides = _side_rotations(poses.device)
    own = (points.flatten(1, 2) @ sides - _AWAY * diameter * sides[:, 2:]) @ poses[0, :3, :3]  # in the object's axes
    own = own.flatten(0, 1)  # (P, 3)
    placed = own @ poses[:, :3, :3].mT + poses[:, None, :3, 3]  # (N, P, 3)
    turned = placed[:, None]
    if symmetries is not None:
        others = poses[:, None] @ symmetries
        turned = own @ others[..., :3, :3].mT + others[..., None, :3, 3]  # (N, S, P, 3)
    distance = (turned[:, None] - placed[None, :, None]).norm(dim=-1)  # (N, N, S, P)
    distance = ((distance * counts).sum(-1) / counts.sum().clamp(min=1.0)).amin(dim=-1)
    return torch.minimum(distance, distance.mT) < _NEAR * diameter


def _draw_sides(poses: Tensor, object: ObjectModel, size: int = _SIZE) -> Rendering:
    """8 N pictures of the object in N poses, from the corners of a cube around the first one."""
    sides, diameter = _side_rotations(poses.device), float(object.diameter)
    R = (sides[:, None] @ poses[:, :3, :3]).flatten(0, 1)
    t = ((poses[:, :3, 3] - poses[0, :3, 3]) @ sides.mT).flatten(0, 1)
    t[:, 2] += _AWAY * diameter
    K = _camera(poses.device, size).expand(len(t), 3, 3).contiguous()
    return object.render(make_transform(R, t), K, (size, size), shading=ALBEDO)


@functools.cache  # a CUDA graph cannot make it
def _camera(device: torch.device, size: int) -> Tensor:
    """(3, 3) intrinsics of the pictures."""
    return distant_camera(size, _AWAY, _WINDOW, device)


@functools.cache
def _side_rotations(device: torch.device) -> Tensor:
    """(8, 3, 3) rotations that turn one corner of a cube after the other away from the camera."""
    sign = torch.tensor([-1.0, 1.0], device=device)
    forward = torch.cartesian_prod(sign, sign, sign) / math.sqrt(3.0)
    right = torch.linalg.cross(torch.eye(3, device=device)[1].expand(8, 3), forward)
    right = right / right.norm(dim=1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
