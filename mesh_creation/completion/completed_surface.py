"""A closed surface of an object that few views show, completed across its mirror planes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.spatial import cKDTree

from mesh_creation.completion.guessed_space import behind_narrow_parts, below_supports, beside_masks
from mesh_creation.completion.mirrors import Mirror, combined_mirrors, reflect
from mesh_creation.completion.support_plane import find_supports
from mesh_creation.fusion.closed_surface import ClosedSurface, close_surface, least_weight
from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.reference_views.view import ReferenceView
from pose6d.errors import SceneError

Colors = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Points (P, 3) and unit normals (P, 3) to colours (P, 3) and trust (P,), as `ViewBlender.colors`."""

_SLAB_VOXELS = 500_000
_LOST = 0.02  # share of the points seen that a completed surface may miss more than the hull does
_NEAR = 3.0  # voxels between the surface and the points that it shows
_CHECKED = 5000  # points
_GUESSED_TRUST = 0.25  # of a colour from across a mirror plane, for that of one that is seen


@dataclass
class CompletedSurface:
    """A closed surface, and how what nobody saw was guessed.

    Attributes:
        surface: `filled` are the faces that no camera has seen: those of the hull, and those from across a mirror.
        mirrors: the planes that it was completed across; [] where the hull closes it.
    """

    surface: ClosedSurface
    mirrors: list[Mirror]


def complete_volume(volume: TsdfVolume, mirrors: Sequence[Mirror]) -> TsdfVolume:
    """The volume with what is not known of it taken from across mirrors; what is seen stays as it is.

    Args:
        volume: distances; not changed, on any device.
        mirrors: about perpendicular to one another, in the volume's frame.
    """
    least = least_weight(volume)
    seen = volume.weight >= least
    fields = torch.stack([volume.total * seen, volume.weight * seen])[None]
    total, weight = torch.zeros_like(volume.total), torch.zeros_like(volume.weight)
    x, y, z = (torch.from_numpy(volume.axis(i)).to(volume.total) for i in range(3))
    last = torch.tensor(volume.shape).to(x) - 1
    step = max(1, _SLAB_VOXELS // (len(y) * len(z)))
    for transform in combined_mirrors(mirrors):
        R = torch.from_numpy(transform[:3, :3]).to(x)
        t = torch.from_numpy(transform[:3, 3] - volume.origin).to(x)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            index = (torch.stack(torch.meshgrid(x[part], y, z, indexing="ij"), dim=-1) @ R.T + t) / volume.voxel
            position = (2 * index / last - 1).flip(-1)[None]  # grid_sample counts axes from the last
            sampled = torch.nn.functional.grid_sample(fields, position, align_corners=True)[0]
            total[part] += sampled[0]
            weight[part] += sampled[1]
    guessed = ~seen & (weight >= least)
    return TsdfVolume(
        volume.origin,
        volume.voxel,
        volume.truncation,
        torch.where(guessed, total, volume.total),
        torch.where(guessed, weight, volume.weight),
    )


def complete_surface(
    volume: TsdfVolume,
    points: np.ndarray,
    views: Sequence[ReferenceView],
    mirrors: Sequence[Mirror],
    supports: Sequence[np.ndarray | None] | None = None,
) -> CompletedSurface:
    """Close the surface of a volume: across mirrors, behind narrow parts, and by the hull of all that.

    Nothing is left below the plane that the object stands on. A completion that loses more of what was seen than the
    hull does is not used: then fewer mirrors are tried.

    Args:
        volume: distances, with room for `reflect(points, mirrors)`.
        points: (P, 3) the surface seen, metres.
        views: the pictures that the volume was filled from.
        mirrors: of `find_mirrors`.
        supports: of `find_supports`; looked for if omitted.

    Raises:
        SceneError: the volume has no surface.
    """
    hollow = behind_narrow_parts(volume, views) | beside_masks(volume, views)
    below = below_supports(volume, find_supports(views, points) if supports is None else supports)
    near = _NEAR * volume.voxel
    plain = close_surface(volume, points, None)
    limit = _missed(plain, points, near) + _LOST
    for used in _subsets(mirrors):
        mirrored, hull = complete_volume(volume, used), reflect(points, used)
        unknown = mirrored.weight < least_weight(volume)
        for empty in ((hollow & unknown) | below, below):
            try:
                surface = close_surface(_with_empty(mirrored, empty), hull, None)
            except SceneError:  # too much is empty: no surface is left
                continue
            if _missed(surface, points, near) <= limit:
                return CompletedSurface(_mark_unseen(surface, points, views, near), used)
    return CompletedSurface(_mark_unseen(plain, points, views, near), [])


def mirror_colors(colors: Colors, mirrors: Sequence[Mirror]) -> Colors:
    """A lookup of colours that asks across mirrors where no view sees a point; those count less."""

    def look_up(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, trust = (array.copy() for array in colors(points, normals))
        for T in combined_mirrors(mirrors):
            unknown = np.flatnonzero(trust == 0)
            guessed, sure = colors(points[unknown] @ T[:3, :3].T + T[:3, 3], normals[unknown] @ T[:3, :3].T)
            found[unknown], trust[unknown] = guessed, _GUESSED_TRUST * sure
        return found, trust

    return look_up


def _with_empty(volume: TsdfVolume, empty: torch.Tensor) -> TsdfVolume:
    """The volume with the voxels (X, Y, Z) of a mask empty, as if they had just been seen to be."""
    least = least_weight(volume)
    total, weight = (torch.where(empty, least, values) for values in (volume.total, volume.weight))
    return TsdfVolume(volume.origin, volume.voxel, volume.truncation, total, weight)


def _subsets(mirrors: Sequence[Mirror]) -> Iterator[list[Mirror]]:
    """All mirrors, all but one, and so on to none; those with the better scores first."""
    for count in range(len(mirrors), -1, -1):
        chosen = [list(subset) for subset in combinations(mirrors, count)]
        yield from sorted(chosen, key=lambda subset: -sum(mirror.score for mirror in subset))


def _missed(surface: ClosedSurface, points: np.ndarray, near: float) -> float:
    """Share of points (P, 3) that are farther from the surface than `near` metres."""
    checked = points[:: max(1, len(points) // _CHECKED)]
    return float((cKDTree(surface.vertices).query(checked)[0] > near).mean())


def _mark_unseen(
    surface: ClosedSurface, points: np.ndarray, views: Sequence[ReferenceView], near: float
) -> ClosedSurface:
    """The surface with those faces marked that are not near points seen, or turned towards no camera."""
    corners = surface.vertices[surface.faces]
    centres = corners.mean(axis=1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.zeros(len(centres), bool)
    for view in views:
        facing |= ((view.camera_in_object[:3, 3] - centres) * normals).sum(axis=1) > 0
    seen = facing & (cKDTree(points).query(centres, distance_upper_bound=near)[0] < near)
    return ClosedSurface(surface.vertices, surface.faces, ~seen)
