"""Poses that differ from a good one by a turn of the object, and whose texture fits the picture.

A bowl, a brick or a mug looks nearly the same after some turns about its principal axes. Hypotheses that follow the
shape end at any of these turns, often at none near the true one, and refinement does not turn them further. Where the
mesh has a texture, it tells which turns are worth a closer look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import Renderer
from pose6d.search.distinct_poses import distinct_best
from pose6d.search.texture_correlation import appearance

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


class Turns(NamedTuple):
    """Turns of an object about its principal axes, as (4, 4) transforms of the mesh frame.

    Attributes:
        all: (T, 4, 4) all around, in steps of 15 degrees.
        finer: (T, 5, 4, 4) about the same axis each, from half a step before to half a step behind.
        finest: rounds of (R, 4, 4), a few degrees about each axis to either side.
    """

    all: Tensor
    finer: Tensor
    finest: tuple[Tensor, ...]

    @classmethod
    def about(cls, axes: Tensor) -> Turns:
        """Those about the axes (3, 3), unit vectors in the mesh frame, as rows (`principal_axes`)."""
        angles = torch.arange(_STEP, 360.0, _STEP, device=axes.device).deg2rad()
        half = math.radians(_STEP) / 2
        fine = torch.linspace(-half, half, _FINE_STEPS, device=axes.device)
        finer = _turns(axes[:, None] * fine[:, None])[:, None].expand(-1, len(angles), -1, -1, -1)
        finest = []
        for furthest, steps in _FINEST:
            to_one_side = torch.linspace(furthest / steps, furthest, steps, device=axes.device).deg2rad()
            vectors = (axes[:, None] * to_one_side[:, None]).flatten(0, 1)
            finest.append(_turns(torch.cat([torch.zeros_like(axes[:1]), vectors, -vectors])))
        return cls(_turns(axes[:, None] * angles[:, None]).flatten(0, 1), finer.flatten(0, 1), tuple(finest))


def likely_turns(
    renderer: Renderer, poses: Tensor, turns: Turns, observation: Observation, K: Tensor, diameter: float, keep: int
) -> Tensor:
    """The turns of an object about its principal axes after which its texture agrees best with the picture.

    All turns are tried in steps of 15 degrees, the best distinct ones in finer steps.

    Args:
        renderer: holds the centred mesh.
        poses: (N, 4, 4) float32, centred mesh in camera; each is turned.
        turns: to be tried.
        observation: one frame.
        K: (3, 3) intrinsics of the observation.
        diameter: metres.
        keep: how many to return, at most 69 for each pose.

    Returns:
        (keep, 4, 4) float32, centred mesh in camera, the likeliest first.
    """
    turned = (poses[:, None] @ turns.all).flatten(0, 1)
    agreement = appearance(renderer, turned, observation, K, diameter)
    chosen = distinct_best(turned, agreement, keep, diameter, _APART)
    return _best_turned(renderer, turned[chosen], turns.finer[chosen % len(turns.all)], observation, K, diameter)


def finest_turns(
    renderer: Renderer, poses: Tensor, turns: Turns, observation: Observation, K: Tensor, diameter: float
) -> Tensor:
    """Each pose turned by the few degrees about one of the principal axes that make its texture agree best.

    Of a round object, shape does not tell these degrees, and a refiner sees less of a faint texture than this search.

    Args:
        renderer: holds the centred mesh.
        poses: (N, 4, 4) float32, centred mesh in camera.
        turns: to be tried.
        observation: one frame.
        K: (3, 3) intrinsics of the observation.
        diameter: metres.

    Returns:
        (N, 4, 4) float32, centred mesh in camera.
    """
    for tried in turns.finest:
        poses = _best_turned(renderer, poses, tried, observation, K, diameter)
    return poses


def _best_turned(
    renderer: Renderer, poses: Tensor, turns: Tensor, observation: Observation, K: Tensor, diameter: float
) -> Tensor:
    """(N, 4, 4) poses, each after that of the turns (T, 4, 4) or (N, T, 4, 4) after which its texture agrees best."""
    tried = poses[:, None] @ turns
    agreement = appearance(renderer, tried.flatten(0, 1), observation, K, diameter).view(tried.shape[:2])
    best = agreement.argmax(dim=1)[:, None, None, None].expand(-1, 1, 4, 4)
    return tried.gather(1, best)[:, 0]


def _turns(vectors: Tensor) -> Tensor:
    """(..., 4, 4) transforms that turn by rotation vectors (..., 3)."""
    return make_transform(so3_exp(vectors), torch.zeros_like(vectors))
