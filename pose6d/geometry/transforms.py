"""Rotations with their exponential and logarithm, and rigid transforms, batched over any leading dimensions.

A transform is a 4x4 matrix whose name states both frames, `camera_in_world`; transforms compose with `@`, frames
cancelling from left to right. Formulas follow Sola, Deray and Atchuthan, "A micro Lie theory for state estimation in
robotics" (2018), appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch


def hat(v: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) cross-product matrix of vectors (..., 3): hat(v) @ w = v x w."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def so3_exp(v: torch.Tensor) -> torch.Tensor:
    """Rotation (..., 3, 3) by |v| radians about v (..., 3) (Rodrigues)."""
    angle = torch.linalg.vector_norm(v, dim=-1)[..., None, None]
    first = torch.sinc(angle / math.pi)
    second = 0.5 * torch.sinc(angle / (2 * math.pi)) ** 2
    W = hat(v)
    return torch.eye(3, dtype=W.dtype, device=W.device) + first * W + second * (W @ W)


def so3_log(R: torch.Tensor) -> torch.Tensor:
    """Rotation vector (..., 3) of a rotation (..., 3, 3), 0..pi radians, with full precision at 0 and pi too.

    Goes through the unit quaternion, whose vector part is well conditioned near pi and whose scalar part is near 0
    (Shepperd, "Quaternion from rotation matrix", 1978). At exactly pi both v and -v are right; one is returned.
    """
    q = quaternion(R)  # (..., 4) with w >= 0
    w, xyz = q[..., :1], q[..., 1:]
    n = torch.linalg.vector_norm(xyz, dim=-1, keepdim=True)
    small = n < 1e-4
    safe = torch.where(small, torch.ones_like(n), n)
    factor = torch.where(small, 2.0 / w.clamp(min=0.5), 2.0 * torch.atan2(safe, w) / safe)
    return factor * xyz


def make_transform(R: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Put a rotation and a translation into one matrix; their leading dimensions broadcast.

    Args:
        R: (..., 3, 3).
        t: (..., 3) metres.

    Returns:
        (..., 4, 4).
    """
    lead = np.broadcast_shapes(R.shape[:-2], t.shape[:-1])  # PyTorch's own imports sympy, a quarter of a second
    top = torch.cat([R.expand(*lead, 3, 3), t.expand(*lead, 3)[..., None]], dim=-1)
    # Built from zeros and ones on the device: a tensor made from a Python list would be a blocking copy.
    bottom = torch.cat([torch.zeros_like(top[..., :1, :3]), torch.ones_like(top[..., :1, :1])], dim=-1)
    return torch.cat([top, bottom], dim=-2)


def rigid_transform(R: np.ndarray, t: np.ndarray | Sequence[float]) -> np.ndarray:
    """(4, 4) float64 of one rotation (3, 3) and one translation (3,), which are not checked."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


def look_at(eye: np.ndarray, target: np.ndarray, up: Sequence[float] = (0, 0, 1)) -> np.ndarray:
    """Camera in world (4, 4), OpenCV axes, whose image has `up` (3,) upright; `up` must not lie along the view."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return rigid_transform(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def transform_points(T: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Move points by transforms; leading dimensions broadcast.

    Args:
        T: (..., 4, 4) target_from_source, that is source_in_target.
        points: (..., P, 3) metres, in the source frame.

    Returns:
        (..., P, 3) metres, in the target frame.
    """
    return points @ T[..., :3, :3].mT + T[..., None, :3, 3]


def rotation_angle(Ra: torch.Tensor, Rb: torch.Tensor) -> torch.Tensor:
    """Geodesic angle between rotations; leading dimensions broadcast.

    Uses both sine and cosine: the usual arccos of the trace cannot tell angles under 3e-4 rad apart in float32.

    Args:
        Ra: (..., 3, 3).
        Rb: (..., 3, 3).

    Returns:
        (...) radians, 0..pi.
    """
    R = Ra.mT @ Rb
    axis = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], dim=-1)
    trace = R[..., 0, 0] + R[..., 1, 1] + R[..., 2, 2]
    return torch.atan2(torch.linalg.vector_norm(axis, dim=-1), trace - 1)


def random_rotations(
    n: int, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Uniformly distributed rotations (normalised Gaussian quaternions).

    Args:
        n: how many.
        generator: source of randomness; drawn on its own device, so that one seed gives the same rotations everywhere.
        device: where the result lives.

    Returns:
        (n, 3, 3) float32.
    """
    source = generator.device if generator is not None else device
    q = torch.randn(n, 4, generator=generator, device=source)
    w, x, y, z = torch.nn.functional.normalize(q, dim=-1).unbind(-1)
    R = torch.stack(
        [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ],
        dim=-1,
    )
    return R.unflatten(-1, (3, 3)).to(device)


def quaternion(R: torch.Tensor) -> torch.Tensor:
    """Unit quaternion (..., 4) = w, x, y, z with w >= 0 of rotations (..., 3, 3)."""
    xx, yy, zz = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    x_w, y_w, z_w = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    x_y, x_z, y_z = R[..., 0, 1] + R[..., 1, 0], R[..., 0, 2] + R[..., 2, 0], R[..., 1, 2] + R[..., 2, 1]
    # Row i is 4 * q_i * q: each is the quaternion up to scale, and the row with the largest q_i is the exact one.
    rows = torch.stack(
        [
            *(1 + xx + yy + zz, x_w, y_w, z_w),
            *(x_w, 1 + xx - yy - zz, x_y, x_z),
            *(y_w, x_y, 1 - xx + yy - zz, y_z),
            *(z_w, x_z, y_z, 1 - xx - yy + zz),
        ],
        dim=-1,
    ).unflatten(-1, (4, 4))
    largest = rows.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]
    q = torch.take_along_dim(rows, largest, dim=-2)[..., 0, :]
    q = torch.nn.functional.normalize(q, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)
