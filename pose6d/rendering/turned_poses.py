"""Poses that differ from a good one by a turn of the object, and whose texture fits the picture.

A bowl, a brick or a mug looks nearly the same after some turns about its principal axes. Hypotheses that follow the
shape end at any of these turns, often at none near the true one, and refinement does not turn them further. Where the
mesh has a texture, it tells which turns are worth a closer look.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pose6d.geometry.distinct_poses import distinct_best
from pose6d.geometry.mesh import Mesh
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.rendering.appearance import appearance
from pose6d.rendering.interface import Renderer

_STEP = 15.0  # degrees between turns about an axis
_FINE_STEPS = 5  # from half a step before a turn to half a step behind it
_APART = 20.0  # degrees between the turns that are looked at closely
_FINEST = ((4.0, 2), (1.5, 1))  # rounds: so many degrees to either side, in so many steps


def principal_axes(mesh: Mesh) -> Tensor:
    """(3, 3) float32, the principal axes of a mesh's surface as rows, that of the least extent first.

    Those of the mesh frame where there is no surface, every triangle being a line or a point.
    """
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    corners -= area @ corners.mean(axis=1) / max(float(area.sum()), 1e-30)
    # Second moment of a triangle with corners a, b, c: area / 12 (aa' + bb' + cc' + ss'), s = a + b + c.
    points = np.concatenate([corners, corners.sum(axis=1, keepdims=True)], axis=1)
    points *= np.sqrt(area)[:, None, None]
    points = points.reshape(-1, 3)
    _, vectors = np.linalg.eigh(points.T @ points)
    return torch.tensor(vectors.T, dtype=torch.float32)


def likely_turns(
    renderer: Renderer, poses: Tensor, axes: Tensor, observation: Observation, K: Tensor, diameter: float, keep: int
) -> Tensor:
    """The turns of an object about its principal axes after which its texture agrees best with the picture.

    All turns are tried in steps of 15 degrees, the best distinct ones in finer steps.

    Args:
        renderer: holds the centred mesh.
        poses: (N, 4, 4) float32, centred mesh in camera; each is turned.
        axes: (3, 3) unit vectors in the mesh frame, as rows (`principal_axes`).
        observation: one frame.
        K: (3, 3) intrinsics of the observation.
        diameter: metres.
        keep: how many to return, at most 69 for each pose.

    Returns:
        (keep, 4, 4) float32, centred mesh in camera, the likeliest first.
    """
    angles = torch.arange(_STEP, 360.0, _STEP, device=poses.device).deg2rad()
    turned = _turned(poses[:, None, None], axes[:, None] * angles[:, None]).flatten(0, 2)
    about = axes[:, None].expand(-1, len(angles), 3).flatten(0, 1).repeat(len(poses), 1)
    agreement = appearance(renderer, turned, observation, K, diameter)
    chosen = distinct_best(turned, agreement, keep, diameter, _APART)
    half = math.radians(_STEP) / 2
    angles = torch.linspace(-half, half, _FINE_STEPS, device=poses.device)
    finer = about[chosen][:, None] * angles[:, None]
    return _best_turned(renderer, turned[chosen], finer, observation, K, diameter)


def finest_turns(
    renderer: Renderer, poses: Tensor, axes: Tensor, observation: Observation, K: Tensor, diameter: float
) -> Tensor:
    """Each pose turned by the few degrees about one of the principal axes that make its texture agree best.

    Of a round object, shape does not tell these degrees, and a refiner sees less of a faint texture than this search.

    Args:
        renderer: holds the centred mesh.
        poses: (N, 4, 4) float32, centred mesh in camera.
        axes: (3, 3) unit vectors in the mesh frame, as rows (`principal_axes`).
        observation: one frame.
        K: (3, 3) intrinsics of the observation.
        diameter: metres.

    Returns:
        (N, 4, 4) float32, centred mesh in camera.
    """
    for furthest, steps in _FINEST:
        angles = torch.linspace(furthest / steps, furthest, steps, device=poses.device).deg2rad()
        turns = (axes[:, None] * angles[:, None]).flatten(0, 1)
        turns = torch.cat([torch.zeros_like(axes[:1]), turns, -turns])
        poses = _best_turned(renderer, poses, turns.expand(len(poses), -1, 3), observation, K, diameter)
    return poses


def _best_turned(
    renderer: Renderer, poses: Tensor, turns: Tensor, observation: Observation, K: Tensor, diameter: float
) -> Tensor:
    """(N, 4, 4) poses, each after that of its turns (N, T, 3) after which its texture agrees best."""
    tried = _turned(poses[:, None], turns)
    agreement = appearance(renderer, tried.flatten(0, 1), observation, K, diameter).view(turns.shape[:2])
    best = agreement.argmax(dim=1)[:, None, None, None].expand(-1, 1, 4, 4)
    return tried.gather(1, best)[:, 0]


def _turned(poses: Tensor, turns: Tensor) -> Tensor:
    """Poses (..., 4, 4) of an object that is turned by rotation vectors (..., 3) in its own frame first."""
    return make_transform(poses[..., :3, :3] @ so3_exp(turns), poses[..., :3, 3])
