"""Poses of a long thing that depth and mask alone find, without networks: along the line that was seen.

Networks turn a fork of which a half is hidden out of the picture until the whole of it looks as short as the half, also
from a start that is nearly right. But of a fork, the points that were seen lie along a line. Only a few things are
left to try: which end comes first, how it is rolled about that line, and how far it has slid along it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pose6d.geometry.observation import Observation
from pose6d.geometry.rotation_grids import icosphere
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.search.distinct_poses import select_distinct
from pose6d.search.interfaces import ObjectModel
from pose6d.search.placement import NearSides, place_rotations, samples_of_mask
from pose6d.search.visible_shape import explained_share, is_long

_VIEWS = 2  # of `icosphere`: near sides are kept from 162 directions, the nearest is at most 10 degrees away
_ROLLS = 24  # about the line
_TILTS = (0.0, 8.0, -8.0, 16.0, -16.0)  # degrees out of the picture, where depth knows least
_SAME, _APART = 0.05, 0.04  # see `place_rotations`
_SAMPLES = 512  # points that were seen, of which the line is made
_LINES = 128  # through two of them each, that are tried
_WIDTH = 0.08  # diameters from a line that are near
_ROUNDS = 3  # in which the line is made better
_DRAWN = 40  # poses of either end whose drawing is compared with depth and mask
_DRAWN_DEGREES, _NMS_DEGREES = 5.0, 12.0  # between these, and between those that are returned
# Rounds of small changes of what is returned: how many, degrees, and diameters (standard deviations).
_CHANGES = ((32, 3.0, 0.015), (32, 2.0, 0.01), (32, 1.2, 0.006))


class LongBody(NamedTuple):
    """What the search for a long thing needs of it.

    Attributes:
        frame: (3, 3) columns in the object frame, the last one along the object.
        directions: (V, 3) unit vectors in the object frame, from which its near sides are seen.
        points: (V, P, 3) metres, the near sides, object frame.
        rolls: (K, 3, 3) about the last axis.
        tilts: (T, 1) radians out of the picture.
        pairs: (2, L) int64, see `fit_line`.
        changes: of each round (C, 6): rotation in radians, translation in diameters.
    """

    frame: Tensor
    directions: Tensor
    points: Tensor
    rolls: Tensor
    tilts: Tensor
    pairs: Tensor
    changes: tuple[Tensor, ...]

    @classmethod
    def of(cls, object: ObjectModel, device: torch.device) -> LongBody | None:
        """That of an object; None if it is not long."""
        if not is_long(object, device):
            return None
        thin, _, long = object.principal_axes().to(device)
        directions = torch.from_numpy(icosphere(_VIEWS)).float().to(device)
        looking = _frames(-directions).mT  # object in camera
        points = NearSides.of(object, looking).points @ looking
        angles = torch.arange(_ROLLS, device=device) * (2 * math.pi / _ROLLS)
        rolls = so3_exp(angles[:, None] * torch.tensor([0.0, 0.0, 1.0], device=device))
        frame = torch.stack([thin, torch.linalg.cross(long, thin), long], dim=1)
        tilts = torch.tensor(_TILTS, device=device).deg2rad()[:, None]
        pairs, *changes = (x.to(device) for x in _draw())
        return cls(frame, directions, points, rolls, tilts, pairs, tuple(changes))

    def propose(self, start: Tensor, object: ObjectModel, observation: Observation, mask: Tensor, top_k: int) -> Tensor:
        """The distinct poses along the line that was seen that explain depth and mask best, as many of either end.

        Args:
            start: (3,) metres, a point of what was seen (`hypotheses.initial_translation`).
            object: the long thing.
            observation: one frame.
            mask: (H, W) bool of the object.
            top_k: how many to return, an even number.

        Returns:
            (top_k, 4, 4) float32, centred object in camera.
        """
        seen = samples_of_mask(observation, mask, _SAMPLES)
        middle, line = fit_line(seen, self.pairs, _WIDTH * object.diameter)
        ray = normalize(middle, dim=0)
        out_of_picture = normalize(torch.linalg.cross(ray, line), dim=0)
        found = []
        for sign in (1.0, -1.0):
            lines = so3_exp(self.tilts * out_of_picture) @ (sign * line)
            rotations = (_frames(lines)[:, None] @ self.rolls @ self.frame.mT).flatten(0, 1)
            centers, cost = place_rotations(self._near(rotations, ray, object), start, observation, mask, _SAME, _APART)
            poses = make_transform(rotations, centers)
            poses = poses[select_distinct(poses, -cost, _DRAWN, object.diameter, _DRAWN_DEGREES)]
            explained = explained_share(poses, object, observation, mask)
            found.append(poses[select_distinct(poses, explained, top_k // 2, object.diameter, _NMS_DEGREES)])
        return self._change(torch.cat(found), object, observation, mask)

    def _near(self, rotations: Tensor, ray: Tensor, object: ObjectModel) -> NearSides:
        """Near sides of rotations (N, 3, 3) that are seen along a ray (3,)."""
        nearest = (-(ray @ rotations) @ self.directions.mT).argmax(dim=1)
        return NearSides(self.points[nearest] @ rotations.mT, object.diameter)

    def _change(self, poses: Tensor, object: ObjectModel, observation: Observation, mask: Tensor) -> Tensor:
        """Each pose changed by little, to where it explains most."""
        best = explained_share(poses, object, observation, mask)
        rows = torch.arange(len(poses), device=poses.device)
        for changes in self.changes:
            turned = so3_exp(changes[:, :3]) @ poses[:, None, :3, :3]
            tried = make_transform(turned, poses[:, None, :3, 3] + changes[:, 3:] * object.diameter)
            explained = explained_share(tried.flatten(0, 1), object, observation, mask).view(len(poses), -1)
            most, which = explained.max(dim=1)
            poses = torch.where((most > best)[:, None, None], tried[rows, which], poses)
            best = torch.maximum(most, best)
        return poses


def fit_line(points: Tensor, pairs: Tensor, width: float | Tensor) -> tuple[Tensor, Tensor]:
    """The line that most of the points lie along.

    The best of those through two points, by how many lie near it (Fischler and Bolles, Communications of the ACM 1981);
    then principal axes with weights that fall off beside the line (Cauchy's).

    Args:
        points: (M, 3) metres; some may belong to other things.
        pairs: (2, L) int64, two points each.
        width: metres from a line that are near.

    Returns:
        A point (3,) of it, and its direction (3,), either way.
    """
    first, second = points[pairs]
    lines = normalize(second - first, dim=1)
    offsets = points - first[:, None]
    beside = torch.linalg.cross(offsets, lines[:, None].expand_as(offsets)).norm(dim=2)  # (L, M)
    near = (1.0 / (1.0 + (beside / width) ** 2)).sum(dim=1) * ((second - first).norm(dim=1) > width)
    beside = beside.index_select(0, near.argmax()[None])[0]
    for _ in range(_ROUNDS):
        weight = 1.0 / (1.0 + (beside / (1.5 * beside.median() + 1e-6)) ** 2)[:, None]
        middle = (weight * points).sum(0) / weight.sum()
        offsets = points - middle
        power = (weight * offsets).mT @ offsets
        for _ in range(6):  # of the matrix: its columns turn to the largest principal axis, and no GPU is waited for
            power = power / power.diagonal().sum().clamp(min=1e-12)
            power = power @ power
        line = normalize(power.index_select(0, power.diagonal().argmax()[None])[0], dim=0)
        beside = (offsets - (offsets @ line)[:, None] * line).norm(dim=1)
    return middle, line


def _frames(along: Tensor) -> Tensor:
    """(N, 3, 3) rotations whose last column is a unit vector (N, 3)."""
    other = torch.zeros_like(along).scatter(1, along.abs().argmin(dim=1, keepdim=True), 1.0)
    first = normalize(torch.linalg.cross(other, along), dim=1)
    return torch.stack([first, torch.linalg.cross(along, first), along], dim=2)


def _draw() -> list[Tensor]:
    """`LongBody.pairs`, then each round of `LongBody.changes`; the same each time."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(_SAMPLES, (2, _LINES), generator=generator)]
    for count, degrees, shift in _CHANGES:
        spread = torch.tensor([math.radians(degrees)] * 3 + [shift] * 3)
        drawn.append(torch.randn(count, 6, generator=generator) * spread)
    return drawn
