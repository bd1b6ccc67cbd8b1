"""What reference views say of an object: where its surface was measured, and which rays prove space empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.reference_views.pose_evidence import ViewSurface, object_core
from mesh_creation.reference_views.view import ReferenceView, object_window
from mesh_creation.registration.depth_cleaning import clean_depth, pixels_of
from pose6d.errors import SceneError
from pose6d.pieces import run_pieces

_RIM = 1  # pixels inside the mask's edge that count as background: masks bleed
_BESIDE = 3  # pixels outside of the mask's edge about which nothing is known
_THIN = 9  # pixels; of parts of a mask that are thinner, every measurement counts, or nothing would be left of them
_THIN_COSINE = 0.3  # weight of those measurements, as if seen at a grazing angle
_FAR = 10.0  # metres; a ray beside the mask without measured depth is empty until there
_BEHIND = 0.01  # metres in front of what is beside the object from which on space is empty
_WITHIN_SHARE = 0.5  # of the other views in which a point of the object lies within the mask at least
_STEP = 0.03  # of the distance between neighbouring pixels at which a surface ends
_SLOPE = 1.5  # tangent of the angle at which a surface may go on across a gap
_NEAREST = 8  # pixels that a surface is continued over first
_FEWEST = 200  # pixels of surface in all views
_SPARSE = 7  # every so many points are enough to compare poses
_AROUND = 12  # pixels around the mask that say something of the depth in it
_AWAY = 0.001  # share of the points that lie farther from their middle than a view shows the object to be long
_ALONE = 3.0  # times the median distance of neighbours


@dataclass
class ViewEvidence:
    """One view, as the volume wants it.

    Attributes:
        view: where it comes from.
        depth: (H, W) float32 metres, cleaned; of the background where that proves space empty.
        cosine: (H, W) float32 of incidence, weight of the measurement.
        support: (H, W) bool, rays that show the background.
        surface: (H, W) bool, pixels that show the object's surface.
        pose: (4, 4) camera in object, which is refined.
    """

    view: ReferenceView
    depth: np.ndarray
    cosine: np.ndarray
    support: np.ndarray
    surface: np.ndarray
    pose: np.ndarray

    @property
    def points_in_camera(self) -> np.ndarray:
        """(P, 3) float32 of the surface."""
        row, column = np.nonzero(self.surface)
        z, K = self.depth[row, column], self.view.K.astype(np.float32)
        return np.stack([(column - K[0, 2]) / K[0, 0] * z, (row - K[1, 2]) / K[1, 1] * z, z], axis=1).astype(np.float32)

    @property
    def points(self) -> np.ndarray:
        """(P, 3) float64 of the surface in the object's frame."""
        return self.points_in_camera @ self.pose[:3, :3].T + self.pose[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`pixels_of` points (P, 3) of the object's frame."""
        T = np.linalg.inv(self.pose)
        return pixels_of(points @ T[:3, :3].T + T[:3, 3], self.view.K, self.support.shape)

    def integrate(self, volume: TsdfVolume) -> None:
        """Add what was seen to a volume."""
        volume.integrate(self.depth, self.cosine, self.support, self.view.K, self.pose, _BEHIND)


def collect_evidence(views: Sequence[ReferenceView]) -> list[ViewEvidence]:
    """The evidence of every view; surface points that the other views prove wrong are left out.

    Raises:
        SceneError: hardly any depth is left on the object in all views.
    """
    found = run_pieces(_evidence, views)
    run_pieces(lambda one: _drop_background(one, found), found)
    if _has_background(found):  # views from nearly one side have the same background within their masks
        run_pieces(_drop_far, found)
    pixels = sum(int(one.surface.sum()) for one in found)
    if pixels < _FEWEST:
        others = f" and {len(views) - 1} more" if len(views) > 1 else ""
        raise SceneError(
            f"{views[0].name}{others}: only {pixels} pixels of depth inside the masks could be the object's surface, "
            f"{_FEWEST} are needed: are masks and depth of the same pictures? Come nearer if the object is small"
        )
    return found


def _evidence(view: ReferenceView) -> ViewEvidence:
    mask = view.mask.astype(np.uint8)
    depth, cosine = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    window, K = object_window(view, _AROUND)
    depth[window], cosine[window] = clean_depth(view.depth[window].astype(np.float32), K)
    inner = cv2.erode(mask, np.ones((2 * _RIM + 1,) * 2, np.uint8)) > 0
    thin = (mask > 0) & (cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_THIN,) * 2, np.uint8)) == 0)
    kept = thin & (depth == 0) & (view.depth > 0)
    depth, cosine = np.where(kept, view.depth, depth), np.where(kept, np.float32(_THIN_COSINE), cosine)
    inner |= thin
    outer = cv2.dilate(mask, np.ones((2 * _BESIDE + 1,) * 2, np.uint8)) > 0
    surface = inner & (depth > 0)
    behind = np.where(view.depth > 0, view.depth, np.float32(_FAR))
    support = ~outer
    return ViewEvidence(
        view,
        np.where(surface, depth, np.where(support, behind, 0)).astype(np.float32),
        np.where(surface, cosine, np.where(support, 0.3, 0)).astype(np.float32),
        support,
        surface,
        view.camera_in_object.copy(),
    )


def _drop_background(one: ViewEvidence, all_views: Sequence[ViewEvidence]) -> None:
    """Leave out pixels whose points too few other views have within their masks.

    A view alone tells background by its distance behind the object.
    """
    points = one.points
    if not len(points):
        return
    if len(all_views) == 1:
        _drop_far(one)
        return
    within = np.zeros(len(points), np.int64)
    for other in all_views:
        if other is one:
            continue
        row, column, inside = other.project(points)
        within += inside & ~other.support[row, column]
    background = within < _WITHIN_SHARE * (len(all_views) - 1)
    rows, columns = np.nonzero(one.surface)
    for image in (one.depth, one.cosine, one.surface):
        image[rows[background], columns[background]] = 0


def _has_background(evidence: Sequence[ViewEvidence]) -> bool:
    """Whether points lie so far from the others that the object would be twice as long as any view shows it."""
    points = np.concatenate([one.points[::_SPARSE] for one in evidence])
    if not len(points):
        return False
    length = max(ViewSurface.of(one.view).extent for one in evidence)
    return bool((np.linalg.norm(points - np.median(points, axis=0), axis=1) > length).mean() > _AWAY)


def _drop_far(one: ViewEvidence) -> None:
    """Leave out what lies farther before or behind what is surely the object than its surface can go on to there.

    The object grows from its core over the nearest pieces first. Where dark parts have no depth, the core is far from
    the tip: from there, the slope that a surface may have would let in what is far behind.
    """
    window, _ = object_window(one.view, _AROUND)
    surface, depth = one.surface[window], one.depth[window]
    main = surface & object_core(one.view.mask, one.view.depth)[window]
    if not main.any():
        return
    main, waiting = main.copy(), surface & (_misfit(main, depth, one.view.K[0, 0])[1] <= 0) & ~main
    radius = _NEAREST
    while waiting.any():
        pixels, misfit = _misfit(main, depth, one.view.K[0, 0])
        fits = waiting & (pixels <= radius) & (misfit <= 0)
        if fits.any():
            main, waiting = main | fits, waiting & ~fits
        elif (waiting & (pixels > radius)).any():
            radius *= 2
        else:
            break
    far = np.zeros_like(one.surface)
    far[window] = surface & ~main
    for image in (one.depth, one.cosine, one.surface):
        image[far] = 0


def _misfit(main: np.ndarray, depth: np.ndarray, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) pixels to the nearest of `main`, and metres by which depth is farther from its than a surface can go."""
    pixels, nearest = ndimage.distance_transform_edt(~main, return_indices=True)
    there = depth[tuple(nearest)]
    return pixels, np.abs(depth - there) - (_STEP * there + _SLOPE * pixels * there / focal)


def share_beside_masks(evidence: Sequence[ViewEvidence]) -> float:
    """Share of the surface points that other views see outside of their masks: the less, the better the poses fit."""
    shares = []
    for one in evidence:
        points = one.points[::_SPARSE]
        for other in evidence:
            row, column, inside = other.project(points)
            if other is not one and inside.any():
                shares.append(float((~other.view.mask[row, column])[inside].mean()))
    return float(np.mean(shares)) if shares else 0.0


def largest_piece(points: np.ndarray, voxel: float) -> np.ndarray:
    """(P,) bool: points (P, 3) that belong to the object, not to specks far from the rest."""
    tree = cKDTree(points)
    distance = tree.query(points, k=min(9, len(points)), workers=-1)[0][:, 1:].mean(axis=1)
    return distance < max(_ALONE * float(np.median(distance)), 2 * voxel)
