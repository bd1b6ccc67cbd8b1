"""What posed views say about points in space: proved empty, on the surface seen, or hidden behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.completion.seen_space_loops import compare_points
from mesh_creation.completion.support_plane import find_supports
from mesh_creation.reference_views.view import ReferenceView, object_depth, object_window
from mesh_creation.registration.depth_cleaning import surface_normals
from mesh_creation.side_by_side import parts_of, side_by_side

_SAME_WAY = 0.6  # cosine from which two normals may be of one surface
_SAME_WAY_UP = 0.985  # cosine between the normals that several views show of one support plane
_FACING = -0.3  # cosine to the ray, of a surface that a camera would see
_AROUND = 4  # pixels around a pixel that its normal depends on
_PIECE = 20_000  # points looked up by a thread at least
_BEHIND = 0.01  # metres behind something else's depth from which on a point is hidden by it


@dataclass
class Verdict:
    """What the views say about points.

    Attributes:
        contradiction: (...) float32 metres that a point lies inside of space that is proved empty, 0 where it may be.
        matched: (...) bool, a view saw a surface there, turned the same way.
        buried: (...) bool, turned towards a camera, and hidden from it by the object itself.
    """

    contradiction: np.ndarray
    matched: np.ndarray
    buried: np.ndarray


class SeenSpace:
    """The space around an object as its views prove it.

    Rays prove the space before the measured surface empty, and the space beside the mask unless something else hides
    it. Nothing is below the plane that the object stands on.

    Args:
        views: posed pictures.
        points: (P, 3) the surface seen, metres, object frame.
        tolerance: metres within which a point counts as on the surface seen.

    Attributes:
        supports: for each view (4,) of `find_support`, or None.
    """

    def __init__(self, views: Sequence[ReferenceView], points: np.ndarray, tolerance: float) -> None:
        self._views = side_by_side(_PreparedView, views)
        self.supports = find_supports(views, points)
        self._tolerance = tolerance

    @property
    def up(self) -> np.ndarray | None:
        """(3,) the normal of the plane that the object stands on, the same in all views that show one; else None."""
        normals = np.array([plane[:3] for plane in self.supports if plane is not None])
        if not len(normals) or (normals @ normals[0]).min() < _SAME_WAY_UP:
            return None
        mean = normals.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def judge(self, points: np.ndarray, normals: np.ndarray, most: int | None = None) -> Verdict:
        """Look up points (..., 3) with unit normals (..., 3), both in the object's frame.

        At `most` so many of the views are asked, if given.
        """
        shape = points.shape[:-1]
        points, normals = points.reshape(-1, 3).astype(np.float32), normals.reshape(-1, 3).astype(np.float32)
        contradiction = np.zeros(len(points), np.float32)
        matched, buried = np.zeros(len(points), bool), np.zeros(len(points), bool)
        for plane in (plane for plane in self.supports if plane is not None):
            below = -(points @ plane[:3].astype(np.float32) + np.float32(plane[3]))
            contradiction = np.maximum(contradiction, below)
        asked = self._views[:: 1 if most is None else -(-len(self._views) // most)]

        def look_up(part: slice) -> None:
            for view in asked:
                view.compare(
                    points[part], normals[part], self._tolerance, contradiction[part], matched[part], buried[part]
                )

        side_by_side(look_up, parts_of(len(points), _PIECE))
        return Verdict(contradiction.reshape(shape), matched.reshape(shape), (buried & ~matched).reshape(shape))


class _PreparedView:
    """The pictures of a view that points are looked up in."""

    def __init__(self, view: ReferenceView) -> None:
        object_in_camera = np.linalg.inv(view.camera_in_object)
        self._R = object_in_camera[:3, :3].astype(np.float32)
        self._t = object_in_camera[:3, 3].astype(np.float32)
        self._K = view.K.astype(np.float32)
        self._size = view.mask.shape
        depth, cosine = object_depth(view)
        window, K = object_window(view, _AROUND)
        normal = np.zeros((*depth.shape, 3), np.float32)
        normal[window] = surface_normals(depth[window], K)
        beside = cv2.distanceTransform((~view.mask).astype(np.uint8), cv2.DIST_L2, 5)
        other = np.where(view.mask, 0, view.depth)
        # All that is said of a pixel lies side by side, since pixels are looked up in any order.
        pixels = np.dstack([depth, cosine, beside, other, normal]).astype(np.float32)
        self._pixels = pixels.reshape(-1, pixels.shape[2])

    def compare(
        self,
        points: np.ndarray,
        normals: np.ndarray,
        tolerance: float,
        contradiction: np.ndarray,
        matched: np.ndarray,
        buried: np.ndarray,
    ) -> None:
        """Add what the view says of points (P, 3) to (P,) each; see `compare_points`."""
        limits = np.array([tolerance, _BEHIND, _SAME_WAY, _FACING], np.float32)
        compare_points(
            points,
            normals,
            self._pixels,
            self._size,
            self._R,
            self._t,
            self._K,
            *limits,
            contradiction,
            matched,
            buried,
        )
