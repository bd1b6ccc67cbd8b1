"""The pose errors of `pose_errors` and `visible_surface` on PyTorch tensors, many poses at once, on any device.

The same names, arguments and results; in float64 they agree to rounding. `symmetries` are (S, 4, 4) or None.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pose6d.evaluation.visible_surface import DELTA, TAUS
from pose6d.geometry.camera import backproject, project
from pose6d.geometry.transforms import rotation_angle, transform_points

_MOST_PAIRS = 20_000_000  # of points whose distances are held at once


def add(estimate: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """ADD of poses (N, 4, 4) and points (P, 3): (N,)."""
    return (transform_points(estimate, points) - transform_points(truth, points)).norm(dim=-1).mean(dim=-1)


def add_s(estimate: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """ADD-S of poses (N, 4, 4) and points (P, 3): (N,). Every pair of points is compared, in portions."""
    truth_in_estimate = torch.linalg.inv(estimate) @ truth
    rows = max(1, _MOST_PAIRS // len(points))
    errors = []
    for moved in transform_points(truth_in_estimate, points):
        nearest = [
            torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=-1)
            for part in moved.split(rows)
        ]
        errors.append(torch.cat(nearest).mean())
    return torch.stack(errors) if errors else estimate.new_empty(0)


def mssd(estimate: Tensor, truth: Tensor, points: Tensor, symmetries: Tensor | None = None) -> Tensor:
    """MSSD of poses (N, 4, 4) and points (P, 3): (N,)."""
    seen = transform_points(estimate, points)
    wanted = (transform_points(truth @ S, points) for S in _with_identity(symmetries, truth))
    return torch.stack([(seen - there).norm(dim=-1).amax(dim=-1) for there in wanted]).amin(dim=0)


def mspd(estimate: Tensor, truth: Tensor, points: Tensor, K: Tensor, symmetries: Tensor | None = None) -> Tensor:
    """MSPD of poses (N, 4, 4), points (P, 3) and intrinsics (3, 3): (N,) pixels."""
    seen = project(transform_points(estimate, points), K)
    wanted = (project(transform_points(truth @ S, points), K) for S in _with_identity(symmetries, truth))
    return torch.stack([(seen - there).norm(dim=-1).amax(dim=-1) for there in wanted]).amin(dim=0)


def rotation_error(estimate: Tensor, truth: Tensor, symmetries: Tensor | None = None) -> Tensor:
    """Geodesic angle of poses (N, 4, 4), the least over the symmetries: (N,) radians."""
    return _angles(estimate, truth, symmetries)[0].amin(dim=0)


def translation_error(estimate: Tensor, truth: Tensor, symmetries: Tensor | None = None) -> Tensor:
    """Distance of translations of poses (N, 4, 4), for the symmetry whose rotation is nearest: (N,)."""
    angles, candidates = _angles(estimate, truth, symmetries)
    distances = (estimate[..., :3, 3] - candidates[..., :3, 3]).norm(dim=-1)
    return distances.gather(0, angles.argmin(dim=0, keepdim=True))[0]


def vsd(
    estimated_depth: Tensor,
    true_depth: Tensor,
    scene_depth: Tensor,
    K: Tensor,
    diameter: float | Tensor,
    taus: Tensor | None = None,
    delta: float = DELTA,
) -> Tensor:
    """VSD of N estimates in one image; see `visible_surface.vsd`.

    Args:
        estimated_depth: (N, H, W).
        true_depth: (N, H, W).
        scene_depth: (H, W).
        K: (3, 3).
        diameter: one, or (N,).
        taus: (T,) fractions of the diameter; those of the BOP Challenge if omitted.
        delta: in the unit of the depth.

    Returns:
        (N, T).
    """
    taus = torch.as_tensor(TAUS if taus is None else taus, dtype=scene_depth.dtype, device=scene_depth.device)
    ray = backproject(torch.ones_like(scene_depth), K).norm(dim=-1)
    scene, estimate, truth = scene_depth * ray, estimated_depth * ray, true_depth * ray
    visible_truth = _visible(truth, scene, delta)
    visible_estimate = _visible(estimate, scene, delta) | (visible_truth & (estimate > 0))
    both, either = visible_truth & visible_estimate, visible_truth | visible_estimate
    scale = torch.as_tensor(diameter, dtype=scene.dtype, device=scene.device).reshape(-1, 1, 1)
    apart = torch.where(both, (truth - estimate).abs() / scale, 0)
    wrong = torch.stack([(both & (apart >= tau)).sum(dim=(-2, -1)) for tau in taus], dim=-1)
    pixels = either.sum(dim=(-2, -1))[:, None]
    one_sided = pixels - both.sum(dim=(-2, -1))[:, None]
    errors = (wrong + one_sided).to(scene.dtype) / pixels.clamp(min=1)
    return torch.where(pixels == 0, torch.ones_like(errors), errors)


def _visible(surface: Tensor, scene: Tensor, delta: float) -> Tensor:
    return (surface > 0) & ((scene == 0) | (surface - scene <= delta))


def _with_identity(symmetries: Tensor | None, like: Tensor) -> Tensor:
    """(S, 4, 4) in the type and on the device of `like`."""
    if symmetries is None:
        return torch.eye(4, dtype=like.dtype, device=like.device)[None]
    return symmetries.to(like)


def _angles(estimate: Tensor, truth: Tensor, symmetries: Tensor | None) -> tuple[Tensor, Tensor]:
    """(S, N) angles to every symmetric truth, and these truths (S, N, 4, 4)."""
    candidates = truth @ _with_identity(symmetries, truth)[:, None]
    return rotation_angle(estimate[..., :3, :3].expand_as(candidates[..., :3, :3]), candidates[..., :3, :3]), candidates
