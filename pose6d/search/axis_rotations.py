"""Poses that differ from a good one by a rotation of the object, and whose texture fits the picture.

A bowl, a brick or a mug looks nearly the same after some turns about its principal axes. Hypotheses that follow the
shape end at any of these turns, often at none near the true one, and refinement does not turn them further. Where the
mesh has a texture, it tells which turns are worth a closer look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.search.distinct_poses import select_distinct
from pose6d.search.interfaces import ObjectModel
from pose6d.search.texture_correlation import texture_correlation

QUARTER_TURNS = 9
"""quarter and half turns about three axes"""
_STEP = 15.0  # degrees between rotations about an axis
_FINE_STEPS = 5  # from half a step before a rotation to half a step behind it
_NMS_DEGREES = 20.0  # between the rotations that are looked at closely
_FINEST = ((4.0, 2), (1.5, 1))  # rounds: so many degrees to either side, in so many steps


class AxisRotations(NamedTuple):
    """Rotations of an object about its principal axes, as (4, 4) transforms of the mesh frame.

    Attributes:
        coarse: (T, 4, 4) all around, in steps of 15 degrees.
        fine: (T, 5, 4, 4) about the same axis each, from half a step before to half a step behind.
        finest: rounds of (R, 4, 4), a few degrees about each axis to either side.
        quarter_rows: (9,) int64, which of `coarse` are quarter and half turns.
    """

    coarse: Tensor
    fine: Tensor
    finest: tuple[Tensor, ...]
    quarter_rows: Tensor

    @classmethod
    def about(cls, axes: Tensor) -> AxisRotations:
        """Those about the axes (3, 3), unit vectors in the object frame, as rows (`ObjectModel.principal_axes`)."""
        angles = torch.arange(_STEP, 360.0, _STEP, device=axes.device).deg2rad()
        half = math.radians(_STEP) / 2
        offsets = torch.linspace(-half, half, _FINE_STEPS, device=axes.device)
        fine_around = _rotations(axes[:, None] * offsets[:, None])[:, None].expand(-1, len(angles), -1, -1, -1)
        finest = []
        for furthest, steps in _FINEST:
            to_one_side = torch.linspace(furthest / steps, furthest, steps, device=axes.device).deg2rad()
            vectors = (axes[:, None] * to_one_side[:, None]).flatten(0, 1)
            finest.append(_rotations(torch.cat([torch.zeros_like(axes[:1]), vectors, -vectors])))
        coarse = _rotations(axes[:, None] * angles[:, None])
        rows = torch.arange(3 * len(angles), device=axes.device).view(3, -1)
        quarter_rows = rows[:, round(90 / _STEP) - 1 :: round(90 / _STEP)].flatten()
        return cls(coarse.flatten(0, 1), fine_around.flatten(0, 1), tuple(finest), quarter_rows)

    def quarter_turns(self, pose: Tensor) -> Tensor:
        """(9, 4, 4) a pose (4, 4) after each quarter and half turn."""
        return pose @ self.coarse[self.quarter_rows]


def propose_rotations(
    poses: Tensor,
    rotations: AxisRotations,
    object: ObjectModel,
    observation: Observation,
    top_k: int,
    quarter_turns: int = 0,
) -> tuple[Tensor, Tensor]:
    """The rotations of an object about its principal axes after which its texture agrees best with the picture.

    All are tried in steps of 15 degrees, the best distinct ones in finer steps.

    Args:
        poses: (N, 4, 4) float32, centred object in camera; each is rotated.
        rotations: to be tried.
        object: what the poses are of.
        observation: one frame.
        top_k: how many to return, at most 69 for each pose.
        quarter_turns: how many quarter and half turns of the first pose to return as well, at most 9.

    Returns:
        (top_k + quarter_turns, 4, 4) float32, centred object in camera, of either kind the likeliest first; and
        (top_k + quarter_turns,) int64, the pose that each comes from.
    """
    rotated = (poses[:, None] @ rotations.coarse).flatten(0, 1)
    agreement = texture_correlation(rotated, object, observation)
    chosen = select_distinct(rotated, agreement, top_k, object.diameter, _NMS_DEGREES)
    count = len(rotations.coarse)
    best = _best_rotated(rotated[chosen], rotations.fine[chosen % count], object, observation)
    likely = agreement[rotations.quarter_rows].topk(quarter_turns).indices  # of the first pose
    turned = rotated[rotations.quarter_rows[likely]]
    origins = torch.cat([torch.div(chosen, count, rounding_mode="floor"), likely.new_zeros(quarter_turns)])
    return torch.cat([best, turned]), origins


def refine_rotations(poses: Tensor, rotations: AxisRotations, object: ObjectModel, observation: Observation) -> Tensor:
    """Each pose rotated by the few degrees about one of the principal axes that make its texture agree best.

    Of a round object, shape does not tell these degrees, and a refiner sees less of a faint texture than this search.

    Args:
        poses: (N, 4, 4) float32, centred object in camera.
        rotations: to be tried.
        object: what the poses are of.
        observation: one frame.

    Returns:
        (N, 4, 4) float32, centred object in camera.
    """
    for tried in rotations.finest:
        poses = _best_rotated(poses, tried, object, observation)
    return poses


def _best_rotated(poses: Tensor, rotations: Tensor, object: ObjectModel, observation: Observation) -> Tensor:
    """(N, 4, 4) poses, each after that of the rotations (T, 4, 4) or (N, T, 4, 4) whose texture agrees best."""
    tried = poses[:, None] @ rotations
    agreement = texture_correlation(tried.flatten(0, 1), object, observation).view(tried.shape[:2])
    best = agreement.argmax(dim=1)[:, None, None, None].expand(-1, 1, 4, 4)
    return tried.gather(1, best)[:, 0]


def _rotations(vectors: Tensor) -> Tensor:
    """(..., 4, 4) transforms that rotate by rotation vectors (..., 3)."""
    return make_transform(so3_exp(vectors), torch.zeros_like(vectors))
