"""Poses of reference views that fit each other: each view against the surface that all other views make."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.object_field.view_evidence import ViewEvidence, share_beside_masks
from pose6d.geometry.transforms import make_transform, so3_exp, so3_log
from pose6d.pieces import run_pieces

_CELLS = 56  # along the longest side of the volume
_POINTS = 3000  # of each view
_ROUNDS, _STEPS = 4, 3  # new volumes, and Gauss-Newton steps with each
_MARGIN = 0.01  # metres around the points
_EFFECTIVE = 10.0  # independent measurements in a view: errors of neighbours are alike
_NOISE = 0.0016  # metres by which half a metre of depth is off as a whole, in one place of a view
_LEAST_MISFIT = 0.0003  # metres; poses that fit better stay as they are
_LEVER = 0.15  # metres; a pose that is off by 1 mm is usually turned by a mm over this length, too
_BETTER = 0.88  # times the share of points beside the masks
_LEAST = 100  # points without which a view stays where it is


def refine_poses(evidence: Sequence[ViewEvidence], device: str | torch.device = "cpu") -> bool:
    """Move the poses so that every view lies on the surface that the others make; their mean stays.

    Levenberg-Marquardt steps on signed distances (Bylow et al., Real-time camera tracking and 3D reconstruction using
    signed distance functions, 2013), each view against a volume without its own share. The given poses hold what the
    depth does not tell, the more so the better the views fit each other already: errors of depth must not move them.
    The masks, which had no say, decide whether the new poses are better; else all stay as they were.

    Args:
        evidence: of the views; their `pose` changes.
        device: where volumes are.

    Returns:
        Whether the poses have changed.
    """
    if len(evidence) < 2:
        return False
    beside = share_beside_masks(evidence)
    given = [one.pose.copy() for one in evidence]
    rng = np.random.default_rng(0)
    clouds = []
    for one in evidence:
        points = one.points_in_camera
        clouds.append(points[rng.permutation(len(points))[:_POINTS]])
    usable = [i for i, cloud in enumerate(clouds) if len(cloud) >= _LEAST]
    off = None
    for _ in range(_ROUNDS):
        grids = _grids(evidence, device)
        if off is None:
            off = _misfit(evidence, clouds, grids)
            if off <= _LEAST_MISFIT:
                return False
        run_pieces(partial(_move_view, evidence, given, clouds, grids, off), usable)
    _keep_mean(evidence, given)
    better = share_beside_masks(evidence) < _BETTER * beside
    if not better:
        for one, pose in zip(evidence, given, strict=True):
            one.pose = pose
    return better


def _misfit(evidence: Sequence[ViewEvidence], clouds: Sequence[np.ndarray], grids: Sequence[_Grid]) -> float:
    """Metres by which the given poses seem to be off: what the distances of all points have beyond the noise."""
    distances, noise = [], []
    for one, cloud, grid in zip(evidence, clouds, grids, strict=True):
        noise.append(_depth_noise(cloud))
        points = torch.from_numpy((cloud @ one.pose[:3, :3].T + one.pose[:3, 3]).astype(np.float32))
        distance, _, known = grid.sample(points.to(grid.device))
        distances.append(distance[known].abs().cpu().numpy())
    spread = 1.48 * float(np.median(np.concatenate(distances))) if any(map(len, distances)) else 0.0
    return max(float(np.sqrt(max(spread**2 - np.nanmean(noise) ** 2, 0.0))), _LEAST_MISFIT)


def _depth_noise(cloud: np.ndarray) -> float:
    """Metres; of the depth of points (P, 3), camera axes. It grows with the distance."""
    return _NOISE * float(np.median(cloud[:, 2]) / 0.5) if len(cloud) else float("nan")


class _Grid:
    """Distances (X, Y, Z) of a volume, to be sampled with their gradient."""

    def __init__(self, volume: TsdfVolume, distance: Tensor, known: Tensor) -> None:
        metres = distance * volume.truncation
        slope = torch.stack(torch.gradient(metres, spacing=volume.voxel))
        inner = known & (distance.abs() < 0.98)
        self._values = torch.cat([metres[None], slope, inner[None].to(metres)])[None]
        self.device = metres.device
        self._origin = torch.as_tensor(volume.origin, dtype=torch.float32, device=metres.device)
        self._extent = volume.voxel * (torch.tensor(volume.shape, device=metres.device) - 1).float()

    def sample(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance (P,) in metres, gradient (P, 3), and where both are known (P,) at points (P, 3)."""
        at = (points - self._origin) / self._extent * 2 - 1
        found = grid_sample(self._values, at.flip(-1)[None, None, None], align_corners=True)[0, :, 0, 0]
        return found[0], found[1:4].T, found[4] > 0.99


def _grids(evidence: Sequence[ViewEvidence], device: str | torch.device) -> list[_Grid]:
    """For each view, the coarse distances that the others give."""
    points = np.concatenate([one.points[::7] for one in evidence])
    low, high = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    voxel = float((high - low).max()) / _CELLS
    volumes = []
    for one in evidence:
        volume = TsdfVolume.around(low, high, voxel, device)
        one.integrate(volume)
        volumes.append(volume)
    total = torch.stack([volume.total for volume in volumes])
    weight = torch.stack([volume.weight for volume in volumes])
    others, summed = weight.sum(0) - weight, total.sum(0) - total
    return [
        _Grid(volumes[0], distance / rest.clamp(min=1e-6), rest > 1e-4)
        for distance, rest in zip(summed, others, strict=True)
    ]


def _move_view(
    evidence: Sequence[ViewEvidence],
    given: Sequence[np.ndarray],
    clouds: Sequence[np.ndarray],
    grids: Sequence[_Grid],
    off: float,
    which: int,
) -> None:
    """`_align` one of the views."""
    one, grid = evidence[which], grids[which]
    one.pose = _align(one.pose, given[which], torch.from_numpy(clouds[which]).to(grid.device), grid, off)


def _align(pose: np.ndarray, given: np.ndarray, cloud: Tensor, grid: _Grid, off: float) -> np.ndarray:
    """The pose (4, 4) that lays the points (P, 3), camera axes, on the surface, `off` metres from the given one."""
    current = torch.as_tensor(pose, dtype=torch.float64)
    start = torch.as_tensor(given, dtype=torch.float64)
    noise = _depth_noise(cloud.cpu().numpy())
    prior = torch.tensor([(_LEVER / off) ** 2] * 3 + [1 / off**2] * 3, dtype=torch.float64)
    for _ in range(_STEPS):
        moved = cloud @ current[:3, :3].to(cloud).T + current[:3, 3].to(cloud)
        middle = moved.mean(dim=0)
        distance, slope, known = grid.sample(moved)
        weight = known / (1 + (distance / (2 * noise)) ** 2)
        count = weight.sum().clamp(min=1.0)
        weight = weight * (_EFFECTIVE / count).clamp(max=1.0) / noise**2
        jacobian = torch.cat([torch.linalg.cross(moved - middle, slope), slope], dim=1)
        hessian = (jacobian.T @ (jacobian * weight[:, None])).double().cpu()
        gradient = (jacobian.T @ (distance * weight)).double().cpu()
        center = middle.double().cpu()
        so_far = _difference(current, start, center)
        step = torch.linalg.solve(hessian + torch.diag(prior), -gradient - prior * so_far)
        current = _move(current, step, center)
    return current.numpy()


def _move(pose: Tensor, step: Tensor, center: Tensor) -> Tensor:
    """The pose turned about the centre and moved by a step (6,)."""
    turn = so3_exp(step[None, :3])[0]
    return make_transform(turn @ pose[:3, :3], turn @ (pose[:3, 3] - center) + center + step[3:])


def _difference(pose: Tensor, start: Tensor, center: Tensor) -> Tensor:
    """(6,) the step that leads from the start to the pose."""
    turn = pose[:3, :3] @ start[:3, :3].T
    return torch.cat([so3_log(turn[None])[0], pose[:3, 3] - (turn @ (start[:3, 3] - center) + center)])


def _keep_mean(evidence: Sequence[ViewEvidence], given: Sequence[np.ndarray]) -> None:
    """Undo what all poses have moved in common: the object's frame is the one that was given."""
    moved = np.stack([one.pose @ np.linalg.inv(old) for one, old in zip(evidence, given, strict=True)])
    u, _, vt = np.linalg.svd(moved[:, :3, :3].mean(axis=0))
    common = np.eye(4)
    common[:3, :3] = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    center = np.concatenate([one.points[::50] for one in evidence]).mean(axis=0)
    shift = np.mean([m[:3, :3] @ center + m[:3, 3] for m in moved], axis=0)
    common[:3, 3] = shift - common[:3, :3] @ center
    back = np.linalg.inv(common)
    for one in evidence:
        one.pose = back @ one.pose
