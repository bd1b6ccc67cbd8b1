"""Where an object may be that was out of sight: turned any way, in any region of the frame.

Image features find printed things again; this finds the others. The surface points of all key views are a model of what
is known so far. Rotations from all around are laid against the regions of the frame that have the object's size and
colours (`pose6d.search.placement`), and those that fit best are compared with the key views' grey values.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from mesh_creation.markerless.key_view import KeyView, nearest_views
from mesh_creation.markerless.picture import Picture, Surface
from mesh_creation.markerless.pixel_labels import color_belief, color_counts
from mesh_creation.registration.depth_cleaning import pixels_of
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import observe
from pose6d.geometry.rotation_grids import spiral_rotations
from pose6d.geometry.transforms import rigid_transform
from pose6d.scenes.frame import Frame
from pose6d.search.placement import NearSides, place_rotations
from pose6d.segmentation.depth_regions import depth_regions

_ROTATIONS = 600  # about 30 degrees apart
_SEEN_FROM = 0.9  # radians between a rotation and the nearest key view
_MODEL = 4000  # points
_SIDE = 96  # points of what a rotation shows
_CELLS = 24  # along a picture of that, in which nearer points hide others
_BEHIND = 0.1  # diameters by which hidden points are farther off than what hides them
_REGIONS, _COLORED = 4, 0.4  # that are looked at, and how likely their colours must be
_WITHIN = 1.2  # radii from its middle, where colours vote
_ITS_COLORS = 0.6  # the same, of a pose
_OF_REGION = 24  # poses, at most


class KnownSurface:
    """What the key views show of the object, as all rotations show it to a camera.

    Args:
        views: the key views; kept, and looked at again when there are more.
        radius: metres, of the object.
    """

    def __init__(self, views: Sequence[KeyView], radius: float) -> None:
        self._views, self._radius = views, radius
        self._known = 0
        self._rotations = spiral_rotations(_ROTATIONS)
        self._near: NearSides
        self._colors: np.ndarray
        self._likely: np.ndarray
        self._K: np.ndarray
        self._shown: torch.Tensor

    def find(self, frame: Frame, most: int) -> list[np.ndarray]:
        """Poses (4, 4) of the object in the camera that may be, likeliest first."""
        self._look_at_views()
        self._K = frame.K
        regions = depth_regions(frame.rgb, frame.depth, frame.K, 2 * self._radius)
        self._likely = likely = color_belief(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2LAB), *self._colors)
        by_color = sorted(((float(likely[region].mean()), i) for i, region in enumerate(regions)), reverse=True)
        regions = [regions[i] for belief, i in by_color[:_REGIONS] if belief > _COLORED]
        rgb, depth = (np.ascontiguousarray(image) for image in (frame.rgb, frame.depth))
        observation = observe(rgb, filter_depth(torch.from_numpy(depth)), frame.K)
        poses: list[np.ndarray] = []
        costs: list[np.ndarray] = []
        for region in regions:
            start = _front(region, observation.xyz)
            if start is not None:
                centers, cost = place_rotations(self._near, start, observation, torch.from_numpy(region))
                fitting = cost.argsort()[:_OF_REGION]
                turns, places = (part[fitting].numpy().astype(np.float64) for part in (self._shown, centers))
                poses += [rigid_transform(turn, place) for turn, place in zip(turns, places, strict=True)]
                costs.append(cost[fitting].numpy())
        if not poses:
            return []
        return [poses[i] for i in np.argsort(np.concatenate(costs))[:most]]

    def has_its_colors(self, pose: np.ndarray) -> bool:
        """Whether the last frame that was looked at has the object's colours where this pose (4, 4) has its points."""
        view = self._views[nearest_views(self._views, np.linalg.inv(pose), 1, 10.0)[0]]
        T = pose @ view.camera_in_object
        rows, columns, inside = pixels_of(view.own.points @ T[:3, :3].T + T[:3, 3], self._K, self._likely.shape)
        return bool(self._likely[rows, columns][inside].mean() > _ITS_COLORS) if inside.any() else False

    def votes_by_color(self, picture: Picture, surface: Surface, camera_in_object: np.ndarray) -> np.ndarray:
        """(H, W) votes on the pixels of a window that lie where the object may be: 1 for its colours, -1 for others."""
        self._look_at_views()
        likely = color_belief(cv2.cvtColor(cv2.medianBlur(picture.rgb, 3), cv2.COLOR_RGB2LAB), *self._colors)
        off = surface.points - np.linalg.inv(camera_in_object)[:3, 3]
        near = (picture.depth > 0) & (np.einsum("hwi,hwi->hw", off, off) < (_WITHIN * self._radius) ** 2)
        return np.where(near, 2 * likely - 1, 0)

    def _look_at_views(self) -> None:
        if len(self._views) == self._known:
            return
        self._known = len(self._views)
        points, normals = (
            np.concatenate(
                [
                    part @ view.camera_in_object[:3, :3].T + offset * view.camera_in_object[:3, 3]
                    for view in self._views
                    for part in [getattr(view.own, name)]
                ]
            )
            for name, offset in (("points", 1), ("normals", 0))
        )
        chosen = np.random.default_rng(0).permutation(len(points))[:_MODEL]
        cameras = np.stack([view.camera_in_object for view in self._views])
        seen_from = cameras[:, :3, 3] / np.linalg.norm(cameras[:, :3, 3], axis=1, keepdims=True)
        looks = -self._rotations.numpy()[:, 2]  # towards the camera, in the object
        wanted = (looks @ seen_from.T).max(axis=1) > np.cos(_SEEN_FROM)
        self._shown = self._rotations[torch.from_numpy(wanted)]
        known, sloped = (torch.from_numpy(part[chosen]).float() for part in (points, normals))
        self._near = near_sides(known, sloped, self._shown, 2 * self._radius)
        counts = [color_counts(cv2.cvtColor(view.picture.rgb, cv2.COLOR_RGB2LAB), view.labels) for view in self._views]
        self._colors = np.sum(counts, axis=0)


def near_sides(points: torch.Tensor, normals: torch.Tensor, rotations: torch.Tensor, diameter: float) -> NearSides:
    """What a camera far away sees of surface points (P, 3) with normals (P, 3), for N rotations (N, 3, 3), object in
    camera; metres, from the object's middle."""
    turned, facing = points @ rotations.mT, (normals @ rotations.mT)[..., 2] < 0  # (N, P, 3)
    cell = ((turned[..., :2] / diameter + 1.0) * (_CELLS / 2)).long().clamp(0, _CELLS - 1)
    cell = cell[..., 1] * _CELLS + cell[..., 0]
    z = torch.where(facing, turned[..., 2], torch.inf)
    nearest = torch.full((len(rotations), _CELLS**2), torch.inf).scatter_reduce(1, cell, z, "amin")
    seen = z < nearest.gather(1, cell) + _BEHIND * diameter
    order = torch.where(seen, 0.0, 2.0) + torch.rand(len(points), generator=torch.Generator().manual_seed(0))
    rows = order.argsort(dim=1)
    turn = torch.arange(_SIDE) % seen.sum(1, keepdim=True).clamp(min=1)
    return NearSides(turned.gather(1, rows.gather(1, turn)[..., None].expand(-1, -1, 3)), diameter)


def _front(region: np.ndarray, xyz: torch.Tensor) -> torch.Tensor | None:
    """The point (3,) of what was seen (3, H, W) that lies in the middle of a region; None where there is no depth."""
    seen = xyz[:, torch.from_numpy(region) & (xyz[2] > 0)]
    return seen.median(dim=1).values if seen.shape[1] else None
