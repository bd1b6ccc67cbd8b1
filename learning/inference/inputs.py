"""From a hypothesis and a frame to what the networks see, and from what they say to a new hypothesis.

Inference and training both come through here. Everything is batched, runs on the device of its tensors and never waits
for it. `N` is the number of hypotheses; per-sample values have N as their first dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.models.config import NetworkConfig
from pose6d.geometry.camera import crop_coverage, crop_images, crop_windows
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, so3_exp, so3_log
from pose6d.rendering.interface import Shading
from pose6d.search.interfaces import Hypotheses, ObjectModel

PUBLISHED_SHADING = Shading()
XYZ_LIMIT = 2.0  # radii; coordinates at least this far from the hypothesis are background


def _radius(diameter: float | Tensor) -> float | Tensor:
    """Half the diameter, (N, 1) where it differs per sample."""
    return diameter.reshape(-1, 1) / 2 if isinstance(diameter, Tensor) and diameter.ndim else diameter / 2


def network_inputs(
    rgb: Tensor, xyz: Tensor, poses: Tensor, diameter: float | Tensor, min_depth: float = 0.001
) -> Tensor:
    """Colour and normalised geometry of N crops.

    Points become (xyz - translation of the hypothesis) / radius, along camera axes. A point nearer than `min_depth` is
    zero; a coordinate of 2 or more is zeroed by itself, not with the other two.

    Args:
        rgb: (N, 3, s, s) in 0..1.
        xyz: (N, 3, s, s) metres, camera axes.
        poses: (N, 4, 4) hypotheses of the centred mesh.
        diameter: metres, a number or (N,).
        min_depth: metres.

    Returns:
        (N, 6, s, s) float32 in channels_last memory.
    """
    radius = _radius(diameter)
    scale = radius[:, :, None, None] if isinstance(radius, Tensor) and radius.ndim else radius
    local = (xyz - poses[:, :3, 3, None, None]) / scale
    keep = (xyz[:, 2:3] >= min_depth) & (local.abs() < XYZ_LIMIT)
    local = torch.where(keep, local, torch.zeros_like(local))
    return torch.cat([rgb, local], dim=1).contiguous(memory_format=torch.channels_last)


def rendered_inputs(
    poses: Tensor, object: ObjectModel, observation: Observation, transforms: Tensor, config: NetworkConfig
) -> Tensor:
    """Input A: each hypothesis drawn straight into its crop (N, 3, 3) of the observation, black outside that image.

    Other arguments as in `pair_inputs`; (N, 6, s, s).
    """
    size = (config.input_size, config.input_size)
    drawn = object.render(poses, transforms @ observation.K, size, shading=PUBLISHED_SHADING)
    color, xyz = drawn.color.permute(0, 3, 1, 2), drawn.xyz.permute(0, 3, 1, 2)
    if config.clip_to_image:
        inside = crop_coverage(transforms, config.input_size, *observation.rgb.shape[-2:])[:, None]
        color, xyz = color * inside, xyz * inside
    return network_inputs(color, xyz, poses, object.diameter, config.min_depth)


def observed_inputs(
    poses: Tensor, object: ObjectModel, observation: Observation, transforms: Tensor, config: NetworkConfig
) -> Tensor:
    """Input B: the same windows of the observation. Arguments as in `rendered_inputs`; (N, 6, s, s)."""
    rgb = crop_images(observation.rgb, transforms, config.input_size, mode="bilinear")
    xyz = crop_images(observation.xyz, transforms, config.input_size, mode="nearest")
    return network_inputs(rgb, xyz, poses, object.diameter, config.min_depth)


def pair_inputs(
    hypotheses: Hypotheses, object: ObjectModel, observation: Observation, config: NetworkConfig
) -> tuple[Tensor, Tensor]:
    """Both inputs of a network.

    Args:
        hypotheses: N poses of the centred object in camera.
        object: what they are of, one or several.
        observation: one frame, or N images.
        config: crop ratio, crop size and nearest depth of the network, and whether A ends at the image's border.

    Returns:
        A (rendered) and B (observed), each (N, 6, s, s) float32, channels_last; B is (1, 6, s, s) where the hypotheses
        share their window.
    """
    poses = hypotheses.poses
    transforms, _ = crop_windows(poses, observation.K, object.diameter, config.window, config.input_size)
    A = rendered_inputs(poses, object, observation, transforms, config)
    rows = slice(1) if hypotheses.shared_window else slice(None)
    return A, observed_inputs(poses[rows], object.rows(rows), observation, transforms[rows], config)


def apply_update(poses: Tensor, trans: Tensor, rot: Tensor, diameter: float | Tensor, rotation_limit: float) -> Tensor:
    """New hypotheses from the refiner's raw outputs.

    The translation moves by trans * radius along camera axes. The rotation is multiplied from the left (camera axes) by
    the transpose of exp(hat(tanh(rot) * rotation_limit)), the convention of the published weights.

    Args:
        poses: (N, 4, 4).
        trans, rot: (N, 3) outputs of RefineNet.
        diameter: metres, a number or (N,).
        rotation_limit: radians per axis.

    Returns:
        (N, 4, 4) float32, differentiable with respect to trans and rot.
    """
    step = so3_exp(-torch.tanh(rot.float()) * rotation_limit)  # exp(v)^T = exp(-v)
    R = step @ poses[:, :3, :3]
    # One Newton step towards the nearest rotation, so that thousands of tracked frames do not add up rounding errors.
    R = 1.5 * R - 0.5 * R @ R.mT @ R
    t = poses[:, :3, 3] + trans.float() * _radius(diameter)
    return make_transform(R, t)


def update_target(poses: Tensor, truth: Tensor, diameter: float | Tensor) -> tuple[Tensor, Tensor]:
    """The step that `apply_update` would need to turn `poses` into `truth`, both (N, 4, 4).

    Returns:
        Translation (N, 3) in radii, and (N, 3) radians, what tanh(rot) * rotation_limit should be.
    """
    translation = (truth[:, :3, 3] - poses[:, :3, 3]) / _radius(diameter)
    rotation = -so3_log(truth[:, :3, :3] @ poses[:, :3, :3].mT)
    return translation, rotation
