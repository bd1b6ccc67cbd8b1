"""How a ball is turned: all rotations, compared by colour alone.

Of a ball neither shape nor silhouette tells how it is turned, so that refinement leaves hypotheses turned as they are,
and few turns about its axes are near the true one. But its colours depend on the direction from its centre alone. With
these in a table, a rotation is tried by looking up what it brings before the camera, and nothing has to be drawn.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pose6d.geometry.camera import crop_images, crop_windows
from pose6d.geometry.observation import Observation
from pose6d.geometry.rotation_grids import spiral_rotations
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.pieces import even_slices, run_pieces
from pose6d.rendering.interface import ALBEDO
from pose6d.search.distinct_poses import select_distinct
from pose6d.search.interfaces import ObjectModel
from pose6d.search.look_alike import draw_sides, is_ball

_CELLS = 40  # of the table, along each side of the cube around the ball
_ROTATIONS = 4400  # no farther than 15 degrees from the nearest, nearly everywhere
_NMS_DEGREES = 20.0  # between the rotations that are returned
_SIZE = 96  # pixels, side of the crop
_WINDOW = 1.1  # its side over the diameter
_SAME = 0.05  # diameters by which what was seen may be off the ball
_COVERED = 0.3  # of what a direction's colour is a mean of; less is not compared
_DARK = 0.05  # added to colours before their logarithm: noise in the dark
_LEAST = 1e-2  # sum of squares; it leaves the correlation of plain colours at 0
_PIECE = 400  # rotations at once on a CPU


class _Level(NamedTuple):
    """A round of the search.

    Attributes:
        blur: degrees, of colours; a rotation must be nearer than about twice that to be noticed.
        directions: that are compared.
        step: degrees, between the rotations tried around each that the last round has left; 0 is all there are.
        keep: rotations that are left.
    """

    blur: float
    directions: int
    step: float
    keep: int


_LEVELS = (_Level(8.0, 150, 0.0, 256), _Level(5.0, 300, 4.0, 96), _Level(3.0, 600, 2.5, 96))


class BallColors(NamedTuple):
    """The colours of a ball by direction from its centre.

    Attributes:
        tables: of each level (3, cells) logarithms of colours, in the cells of a cube around the ball.
        rotations: (R, 3, 3) that are tried first.
        directions: of each level (P, 3) unit vectors all over the side that faces (0, 0, -1).
        around: of each level (27, 3, 3) the small rotations that are tried around each that is left.
    """

    tables: tuple[Tensor, ...]
    rotations: Tensor
    directions: tuple[Tensor, ...]
    around: tuple[Tensor, ...]

    @classmethod
    def of(cls, object: ObjectModel, device: torch.device) -> BallColors | None:
        """Those of an object; None if it is no ball."""
        if not is_ball(object, device):
            return None
        directions, colors = (x.cpu() for x in draw_sides(object, device))
        sums = torch.zeros(_CELLS**3, 4)
        sums.index_add_(0, _cell(directions), torch.cat([_log(colors), torch.ones(len(colors), 1)], dim=1))
        tables = [_spread(sums, level.blur).to(device) for level in _LEVELS]
        steps = torch.tensor([-1.0, 0.0, 1.0], device=device)
        around = torch.cartesian_prod(steps, steps, steps)
        return cls(
            tuple(tables),
            spiral_rotations(_ROTATIONS).to(device),
            tuple(_facing(level.directions).to(device) for level in _LEVELS),
            tuple(so3_exp(math.radians(level.step) * around) for level in _LEVELS),
        )

    def propose(self, pose: Tensor, object: ObjectModel, observation: Observation, mask: Tensor, top_k: int) -> Tensor:
        """The rotations of a ball whose colours agree best with the picture, wherever it is.

        Args:
            pose: (4, 4) float32, centred object in camera; its rotation is of no meaning.
            object: the ball.
            observation: one frame.
            mask: (H, W) bool of the object.
            top_k: how many to return.

        Returns:
            (top_k, 4, 4) float32, centred object in camera, the likeliest first.
        """
        seen, colors, weight = _see(pose, object, observation, mask)
        view = torch.nn.functional.normalize(pose[:3, 3], dim=0)
        to_camera = _turn_to(view)
        rotations, agreement = self.rotations, pose.new_empty(0)
        for level, table, facing, around in zip(_LEVELS, self.tables, self.directions, self.around, strict=True):
            directions = facing @ to_camera.mT
            compared = _Compared.of(directions, *_blur(directions, seen, colors, weight, level.blur))
            if level.step:
                near = (rotations[:, None] @ around).flatten(0, 1)
                best, which = compared.agreement(near, table).view(len(rotations), -1).max(dim=1)
                first = torch.arange(len(rotations), device=pose.device) * len(around)
                agreement, rotations = best, near[first + which]
            else:
                agreement = compared.agreement(rotations, table)
            agreement, kept = agreement.topk(min(level.keep, len(agreement)))
            rotations = rotations[kept]
        poses = make_transform(rotations, pose[:3, 3].expand(len(rotations), 3))
        return poses[select_distinct(poses, agreement, top_k, object.diameter, _NMS_DEGREES)]


class _Compared(NamedTuple):
    """What a ball's visible side shows, without what light may do to it.

    Light that is smooth over directions is, in logarithms, about a plane over them: each channel of what is compared
    is what a weighted least-squares fit of (1, x, y, z) leaves.

    Attributes:
        directions: (P, 3) unit vectors from the centre, camera axes.
        weight: (P,) square roots of the weights.
        basis: (4, P) orthonormal, what light may do.
        colors: (3, P) seen, weighted and without light.
    """

    directions: Tensor
    weight: Tensor
    basis: Tensor
    colors: Tensor

    @classmethod
    def of(cls, directions: Tensor, colors: Tensor, covered: Tensor) -> _Compared:
        """Of directions (P, 3), their colours (P, 3), and how much of what these are means of was seen (P,)."""
        weight = torch.where(covered > _COVERED, covered.clamp(max=1.0), 0.0).sqrt()
        basis: list[Tensor] = []
        for shape in (torch.ones_like(weight), *directions.T):
            rest = shape * weight
            for before in basis:
                rest = rest - (rest * before).sum() * before
            basis.append(rest * torch.rsqrt((rest * rest).sum() + 1e-9))
        light = torch.stack(basis)
        return cls(directions, weight, light, _without(colors.T * weight, light))

    def agreement(self, rotations: Tensor, table: Tensor) -> Tensor:
        """(R,) correlation with the ball's colours after rotations (R, 3, 3), object in camera."""
        parts = [rotations[rows] for rows in even_slices(len(rotations), _PIECE)] if table.is_cpu else [rotations]
        return torch.cat(run_pieces(lambda part: self._agreement(part, table), parts))

    def _agreement(self, rotations: Tensor, table: Tensor) -> Tensor:
        expected = _without(table[:, _cell(self.directions @ rotations)] * self.weight, self.basis)  # (3, R, P)
        both = (expected * self.colors[:, None]).sum((0, 2))
        own = (expected * expected).sum((0, 2)) + _LEAST
        return both * torch.rsqrt(own * ((self.colors * self.colors).sum() + _LEAST))


def _see(pose: Tensor, object: ObjectModel, observation: Observation, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pixel of a crop around a ball: its direction (M, 3) from the centre, the logarithm of its colour (M, 3),
    and its weight (M,), the solid angle that it would show in the middle, 0 where the ball is not seen."""
    transforms, crop_K = crop_windows(pose[None], observation.K, object.diameter, _WINDOW, _SIZE)
    drawn = object.render(pose[None], crop_K, (_SIZE, _SIZE), shading=ALBEDO)
    depth = crop_images(observation.xyz[2:], transforms, _SIZE, mode="nearest")[0, 0]
    within = crop_images(mask[None].float(), transforms, _SIZE, mode="nearest")[0, 0] > 0
    same = (depth <= 0) | ((depth - drawn.depth[0]).abs() < _SAME * float(object.diameter))
    directions = torch.nn.functional.normalize(drawn.xyz[0] - pose[:3, 3], dim=-1)
    across = 2 * _WINDOW / _SIZE  # radians that a pixel shows in the middle
    weight = across**2 * (drawn.mask[0] & within & same)
    colors = crop_images(observation.rgb, transforms, _SIZE)[0].permute(1, 2, 0)
    return directions.flatten(0, 1), _log(colors).flatten(0, 1), weight.flatten()


def _blur(at: Tensor, directions: Tensor, colors: Tensor, weight: Tensor, degrees: float) -> tuple[Tensor, Tensor]:
    """Weighted means (N, 3) of colours (M, 3) around directions `at` (N, 3), by their distance on the sphere; and (N,)
    the sums of the weights over those of a sphere that is seen from everywhere."""
    sharpness = math.radians(degrees) ** -2
    near = torch.exp(sharpness * (at @ directions.T - 1)) * weight
    total = near.sum(dim=1)
    return near @ colors / total.clamp(min=1e-9)[:, None], total * (sharpness / (2 * math.pi))


def _spread(sums: Tensor, degrees: float) -> Tensor:
    """(3, cells) means around each cell of what cells (cells, 4) hold: sums of colours, and their number."""
    place = torch.arange(_CELLS) * (2 / (_CELLS - 1) / math.radians(degrees))
    blur = torch.exp(-0.5 * (place[:, None] - place) ** 2)
    sums = sums.T.reshape(4, _CELLS, _CELLS, _CELLS)
    for _ in range(3):
        sums = (blur @ sums).permute(0, 2, 3, 1)  # one axis after the other
    return (sums[:3] / sums[3].clamp(min=1e-9)).flatten(1)


def _cell(directions: Tensor) -> Tensor:
    """(...) int64, the cell of the table in which unit vectors (..., 3) end."""
    x, y, z = ((directions + 1) * (0.5 * (_CELLS - 1)) + 0.5).long().clamp(0, _CELLS - 1).unbind(-1)
    return (x * _CELLS + y) * _CELLS + z


def _without(values: Tensor, basis: Tensor) -> Tensor:
    """Values (..., P) less their part in the space of an orthonormal basis (B, P)."""
    return values - (values @ basis.mT) @ basis


def _log(colors: Tensor) -> Tensor:
    return (colors + _DARK).log()


def _facing(count: int) -> Tensor:
    """(count, 3) unit vectors, evenly over the half of a sphere that faces (0, 0, -1): a spiral of golden angles."""
    place = torch.arange(count) + 0.5
    z = -place / count
    angle = math.pi * (1 + math.sqrt(5.0)) * place
    across = (1 - z * z).sqrt()
    return torch.stack([across * angle.cos(), across * angle.sin(), z], dim=1)


def _turn_to(view: Tensor) -> Tensor:
    """(3, 3) a rotation that takes (0, 0, 1) to a unit vector (3,) of positive z."""
    x, y, z = view.unbind()
    a = 1 / (1 + z)
    return torch.stack([1 - a * x * x, -a * x * y, x, -a * x * y, 1 - a * y * y, y, -x, -y, z]).view(3, 3)
