"""The last fraction of a degree: the picture and the depth of a hypothesis laid onto those of the camera.

A refining network ends about a degree and a hundredth of a diameter from the truth, wherever it starts. The texture of
the object, where it has one, tells its place to a fraction of a pixel, and the depth of thousands of pixels averages
their noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from pose6d.cuda_kernels import available, blocks_for, check_inputs, load_kernels
from pose6d.geometry.camera import crop_windows
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.pieces import even_slices, run_pieces
from pose6d.rendering.interface import ALBEDO, Rendering
from pose6d.search.interfaces import ObjectModel
from pose6d.search.texture_correlation import texture_pair

_SIZE, _COARSE = 160, 96  # pixels, side of the crops
_WINDOW = 1.0  # their side over the diameter
# What the start is trusted to, standard deviations: radians; diameters across the line of sight, and along it.
_TURN, _ACROSS, _ALONG = 0.02, 0.004, 0.009
# How much a pixel's residual counts, far below 1 because neighbours err together.
_COLOR, _DEPTH = 0.04, 0.01
_STRIDE = 1.5  # of a Gauss-Newton step: weights change on the way, and a whole step ends short of the minimum
_LEAST_COLOR = 0.02  # of the logarithm's contrast
_LEAST_DEPTH = 0.002  # diameters
_LEAST_POWER = 1e-4  # mean square of the logarithm's contrast that no gain is fitted to

TRACKING_ROUNDS = {"cpu": 1, "cuda": 2}
"""steps that a tracked pose takes, by type of device; most of the way is in the first"""


def align_poses(
    poses: Tensor, object: ObjectModel, observation: Observation, rounds: int = 3, coarse: int = 0
) -> Tensor:
    """Poses moved by the few millimetres and tenths of a degree that texture and depth ask for.

    Lengthened Gauss-Newton steps on two kinds of residuals: the difference of rendered and observed texture (both
    relative to their surroundings, as in `texture_correlation`; Lucas and Kanade 1981), and the distance of
    observed points from the plane of the rendered ones (Chen and Medioni 1992). Either is weighted by its own spread,
    so that noisy depth gives way to texture and a faint texture to depth; outliers count less (Cauchy); and what
    neither tells stays as it was.

    Args:
        poses: (N, 4, 4) float32, centred object in camera, about a degree and a hundredth of a diameter off.
        object: what they are of, one or several.
        observation: one frame.
        rounds: Gauss-Newton steps.
        coarse: how many of these, the first ones, look at smaller crops, in less than half the time.

    Returns:
        (N, 4, 4) float32, centred mesh in camera.
    """
    if poses.device.type == "cpu":

        def align(rows: slice) -> Tensor:
            return _align(poses[rows], object.rows(rows), observation, rounds, coarse)

        return torch.cat(run_pieces(align, even_slices(len(poses), 1)) or [poses])
    return _align(poses, object, observation, rounds, coarse)


def _align(poses: Tensor, object: ObjectModel, observation: Observation, rounds: int, coarse: int) -> Tensor:
    diameter = object.diameter
    if not isinstance(diameter, Tensor):
        diameter = poses.new_full((len(poses),), diameter)
    step = _step_loops if poses.device.type == "cpu" else _step_kernels if available(poses.device) else _step
    starts, total = poses, poses.new_zeros(len(poses), 6)
    for done in range(rounds):
        size = _COARSE if done < coarse else _SIZE
        transforms, crop_K = crop_windows(poses, observation.K, diameter, _WINDOW, size)
        drawn = object.render(poses, crop_K, (size, size), shading=ALBEDO, normals=True)
        crops = _Crops(crop_K, drawn, *texture_pair(drawn, observation, transforms, diameter))
        poses, total = step(crops, starts, poses, total, diameter)
    return poses


class _Crops(NamedTuple):
    """What N poses look like, and what is there: their intrinsics (N, 3, 3), and what `texture_pair` gives."""

    K: Tensor
    drawn: Rendering
    expected: Tensor
    found: Tensor
    same: Tensor
    seen: Tensor


def _step(crops: _Crops, starts: Tensor, poses: Tensor, total: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor]:
    """One Gauss-Newton step, lengthened.

    Args:
        crops: of the poses.
        starts, poses: (N, 4, 4) before the first step, and before this one.
        total: (N, 6) the steps so far, rotation and translation.
        diameter: (N,) metres.

    Returns:
        New poses, and the steps with this one.
    """
    trust = _trust(starts)
    hessian, slope = _sum_tensors(crops, poses, diameter)
    hessian, slope = hessian + trust, slope + (trust @ total[..., None])[..., 0]
    step, _ = torch.linalg.solve_ex(hessian, -slope)  # never singular, and unlike solve does not wait for the device
    step = _STRIDE * step
    turn, shift = step[:, :3], step[:, 3:] * diameter[:, None]
    poses = make_transform(so3_exp(turn) @ poses[:, :3, :3], poses[:, :3, 3] + shift)
    return poses, total + step


def _sum_tensors(crops: _Crops, poses: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 6, 6) and (N, 6): the weighted sums of the derivatives' products, and of theirs with the residuals."""
    residual, weight, jacobian = _residuals(crops, poses, diameter)
    weighted = jacobian * weight[..., None]
    return jacobian.mT @ weighted, (residual[:, None] @ weighted)[:, 0]


def _step_loops(crops: _Crops, starts: Tensor, poses: Tensor, total: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor]:
    """`_step` on a CPU."""
    from pose6d.search import alignment_loops  # imports numba, which a GPU does not need

    system = [x.numpy() for x in _sum_loops(crops, poses, diameter)]
    out, moved = torch.empty(len(poses), 4, 4), torch.empty(len(poses), 6)
    given = (x.float().contiguous().numpy() for x in (starts, poses, total, diameter))
    limits = (np.float32(x) for x in (_TURN, _ACROSS, _ALONG, _STRIDE))
    alignment_loops.step_poses(*system, *given, *limits, out.numpy(), moved.numpy())
    return out, moved


def _sum_loops(crops: _Crops, poses: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor]:
    """`_sum_tensors` on a CPU."""
    from pose6d.search import alignment_loops

    K, drawn, *textures = crops
    assert drawn.normal is not None
    hessian, slope = torch.empty(len(poses), 6, 6), torch.empty(len(poses), 6)
    maps = (*textures, drawn.xyz, drawn.normal, K, poses, diameter.float())
    limits = (_LEAST_POWER * drawn.depth.shape[-1], _LEAST_COLOR, _COLOR, _LEAST_DEPTH, _DEPTH)
    alignment_loops.sum_systems(
        *(x.numpy() for x in maps), *(np.float32(x) for x in limits), hessian.numpy(), slope.numpy()
    )
    return hessian, slope


def _step_kernels(
    crops: _Crops, starts: Tensor, poses: Tensor, total: Tensor, diameter: Tensor
) -> tuple[Tensor, Tensor]:
    """`_step` on a GPU."""
    K, drawn, expected, _, same, seen = crops
    assert drawn.normal is not None
    count, size, device = len(poses), expected.shape[-1], poses.device
    diameter, starts, poses = (x.float().contiguous() for x in (diameter, starts, poses))
    check_inputs(device, diameter=(diameter, (count,)), K=(K, (count, 3, 3)))
    out, total = torch.empty_like(poses), total.clone()
    if not count:
        return out, total
    names = ("sum_gains", "sum_spreads", "sum_systems", "step_poses")
    sum_gains, sum_spreads, sum_systems, step_poses = load_kernels(
        "pose6d.search", "alignment.cu", names, poses.get_device()
    )
    per_image = blocks_for(size * size)
    blocks, least_power = count * per_image, _LEAST_POWER * size
    gains, spreads, systems = (torch.empty((blocks, sums), device=device) for sums in (6, 4, 27))
    # The textures expected and found lie in one tensor.
    maps = (expected, same, same.stride(0), seen, drawn.xyz.contiguous(), drawn.normal.contiguous(), size)
    sum_gains(blocks, *maps, gains)
    sum_spreads(blocks, *maps, gains, least_power, diameter, spreads)
    limits = (_LEAST_COLOR, _COLOR, _LEAST_DEPTH, _DEPTH)
    sum_systems(blocks, *maps, gains, least_power, spreads, *limits, poses, K.contiguous(), diameter, systems)
    step_poses(count, systems, per_image, starts, _TURN, _ACROSS, _ALONG, _STRIDE, diameter, total, poses, out)
    return out, total


def _trust(poses: Tensor) -> Tensor:
    """(N, 6, 6) inverse covariance of the poses' errors: rotation in camera axes, then translation in diameters."""
    ray = normalize(poses[:, :3, 3], dim=1)
    along = ray[:, :, None] * ray[:, None]
    eye = torch.eye(3, device=poses.device)
    trust = poses.new_zeros(len(poses), 6, 6)
    trust[:, :3, :3] = eye / _TURN**2
    trust[:, 3:, 3:] = (eye - along) / _ACROSS**2 + along / _ALONG**2
    return trust


def _residuals(crops: _Crops, poses: Tensor, diameter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals (N, R), their weights, and their derivatives (N, R, 6) by rotation (radians, about the object's
    middle) and translation (diameters); three of colour and one of depth for each pixel."""
    K, drawn, expected, found, same, seen = crops
    assert drawn.normal is not None
    inside = -max_pool2d(-same, 3, stride=1, padding=1)  # differences reach one pixel further

    unit = diameter[:, None, None, None]
    x, y, z = (drawn.xyz / unit).unbind(-1)
    z = z.clamp(min=1e-3)
    power = (expected**2 * inside).sum((2, 3), keepdim=True)
    gain = (expected * found * inside).sum((2, 3), keepdim=True) / (power + _LEAST_POWER * expected.shape[-1])
    expected = gain.clamp(min=0.0) * expected
    right, down = _gradient(expected)
    right, down = right * (K[:, 0, 0, None, None] / z)[:, None], down * (K[:, 1, 1, None, None] / z)[:, None]
    color = found - expected
    # How a residual changes as the point of the surface moves: through the gradient of the texture, or off the plane.
    by_color = torch.stack([right, down, -(right * (x / z)[:, None] + down * (y / z)[:, None])], dim=-1)

    depth = seen[:, 0] / unit[..., 0]
    normal = drawn.normal
    plane = (normal[..., 0] * x + normal[..., 1] * y + normal[..., 2] * z) * (depth / z - 1.0)

    by_point = torch.cat([by_color, -normal[:, None]], dim=1)
    lever = (drawn.xyz - poses[:, None, None, :3, 3]) / unit
    jacobian = torch.cat([torch.linalg.cross(lever[:, None].expand_as(by_point), by_point), by_point], dim=-1)
    weight = torch.cat(
        [
            _weights(color, inside, _LEAST_COLOR, _COLOR),
            _weights(plane[:, None], inside * (seen > 0), _LEAST_DEPTH, _DEPTH),
        ],
        dim=1,
    )
    residual = torch.cat([color, plane[:, None]], dim=1)
    return residual.flatten(1), weight.flatten(1), jacobian.flatten(1, 3)


def _weights(residual: Tensor, counts: Tensor, least: float, factor: float) -> Tensor:
    """What each of (N, C, s, s) residuals counts: less the more they spread, and than the spread a single one is off.

    Args:
        counts: (N, 1, s, s) 1.0 where there is a residual, else 0.0.
        least: a spread that noise always has.
        factor: what one residual counts.
    """
    pixels = residual.shape[1] * counts.sum((1, 2, 3), keepdim=True).clamp(min=1.0)
    variance = ((residual**2 * counts).sum((1, 2, 3), keepdim=True) / pixels).clamp(min=least**2)
    return factor * counts / (variance + residual**2 / 4)


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of (N, C, s, s), to the right and downwards, 0 at the borders."""
    right, down = torch.zeros_like(images), torch.zeros_like(images)
    right[..., 1:-1] = (images[..., 2:] - images[..., :-2]) / 2
    down[..., 1:-1, :] = (images[..., 2:, :] - images[..., :-2, :]) / 2
    return right, down
