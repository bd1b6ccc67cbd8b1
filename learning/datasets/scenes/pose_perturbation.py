"""Wrong poses to train on: small errors as often as large ones, and the mistakes a scorer must see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from pose6d.geometry.transforms import make_transform, random_rotations, so3_exp

_RANDOM, _HALF_TURNED, _TURNED = 0.30, 0.15, 0.15  # shares of the hypotheses that a scorer sees; the others are near


@dataclass(frozen=True)
class Perturbation:
    """The distribution of pose errors; lengths in diameters, angles in radians."""

    max_angle: float = 0.8
    translation: tuple[float, float, float] = (0.21, 0.21, 0.35)
    """standard deviation along the camera's x, y, z at full strength"""
    weakest: float = 0.02
    """strength is log-uniform from here to 1"""


def perturb_poses(
    poses: torch.Tensor, diameter: torch.Tensor, generator: torch.Generator, config: Perturbation
) -> torch.Tensor:
    """Move (N, 4, 4) poses by random errors, both of one strength per pose; `diameter` (N,) is in their unit."""
    count, device = len(poses), poses.device
    strength = torch.exp(math.log(config.weakest) * torch.rand((count, 1), device=device, generator=generator))
    axis = F.normalize(torch.randn((count, 3), device=device, generator=generator), dim=1)
    angle = strength * config.max_angle * torch.sqrt(torch.rand((count, 1), device=device, generator=generator))
    sigma = torch.tensor(config.translation, device=device) * strength
    shift = sigma * torch.randn((count, 3), device=device, generator=generator) * diameter[:, None]
    rotation = so3_exp(axis * angle) @ poses[:, :3, :3]
    translation = poses[:, :3, 3] + shift
    # A pose behind the camera cannot be rendered; large errors on near objects must not produce one.
    nearest = 0.6 * diameter
    translation = torch.cat([translation[:, :2], torch.maximum(translation[:, 2], nearest)[:, None]], dim=1)
    return make_transform(rotation, translation)


def scoring_hypotheses(
    poses: torch.Tensor,
    diameter: torch.Tensor,
    per_scene: int,
    generator: torch.Generator,
    config: Perturbation,
) -> torch.Tensor:
    """(N, L, 4, 4) hypotheses of each of N true poses: small errors, random rotations, and turns of the object.

    The random rotations and the turns about a random object axis, half a turn or any angle, keep the small error's
    translation.
    """
    count, device = len(poses), poses.device
    repeated = poses.repeat_interleave(per_scene, 0)
    near = perturb_poses(repeated, diameter.repeat_interleave(per_scene), generator, config)
    rotation = near[:, :3, :3]
    anywhere = random_rotations(len(near), generator=generator, device=device)
    axis = torch.eye(3, device=device)[torch.randint(3, (len(near),), device=device, generator=generator)]
    share = torch.rand((len(near), 1), device=device, generator=generator)
    half = share < _RANDOM + _HALF_TURNED
    angle = math.pi * torch.where(half, 1.0, 2.0 * torch.rand((len(near), 1), device=device, generator=generator))
    turned = rotation @ so3_exp(axis * angle)
    share = share[..., None]
    rotation = torch.where(share < _RANDOM + _HALF_TURNED + _TURNED, turned, rotation)
    rotation = torch.where(share < _RANDOM, anywhere, rotation)
    return make_transform(rotation, near[:, :3, 3]).view(count, per_scene, 4, 4)
