"""What posed views say about points in space: proved empty, on the surface seen, or hidden behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.completion.support_plane import find_support
from mesh_creation.reference_views.view import ReferenceView, object_depth, object_window
from mesh_creation.registration.depth_cleaning import pixels_of, surface_normals

_SAME_WAY = 0.6  # cosine from which two normals may be of one surface
_SAME_WAY_UP = 0.985  # cosine between the normals that several views show of one support plane
_FACING = -0.3  # cosine to the ray, of a surface that a camera would see
_AROUND = 4  # pixels around a pixel that its normal depends on
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
        self._views = [_PreparedView(view) for view in views]
        self.supports = [find_support(view, points) for view in views]
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
        for view in self._views[:: 1 if most is None else -(-len(self._views) // most)]:
            front, on, behind = view.compare(points, normals, self._tolerance)
            contradiction = np.maximum(contradiction, front)
            matched |= on
            buried |= behind
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
        self._depth = depth.ravel()
        self._cosine = cosine.ravel()
        window, K = object_window(view, _AROUND)
        normal = np.zeros((*depth.shape, 3), np.float32)
        normal[window] = surface_normals(depth[window], K)
        self._normal = normal.reshape(-1, 3)
        beside = cv2.distanceTransform((~view.mask).astype(np.uint8), cv2.DIST_L2, 5)
        self._beside = beside.ravel()
        self._other = np.where(view.mask, 0, view.depth).astype(np.float32).ravel()

    def compare(
        self, points: np.ndarray, normals: np.ndarray, tolerance: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(P,) metres inside of empty space, (P,) whether on the surface seen, (P,) whether buried behind it."""
        in_camera = points @ self._R.T + self._t
        z = np.maximum(in_camera[:, 2], np.float32(1e-3))
        row, column, inside = pixels_of(in_camera, self._K, self._size)
        index = row * self._size[1] + column
        depth, beside, other = self._depth[index], self._beside[index], self._other[index]
        ahead = (depth - z) * self._cosine[index]  # metres before the surface seen
        lateral = beside * z / self._K[0, 0]
        hidden = (other > 0) & (other < z - _BEHIND)
        empty = np.where(beside > 0, np.where(hidden, 0, lateral), np.where(depth > 0, ahead, 0))
        turned = normals @ self._R.T
        near = inside & (depth > 0) & (np.abs(ahead) < tolerance)
        matched = near & ((turned * self._normal[index]).sum(axis=1) > _SAME_WAY)
        facing = (turned * in_camera).sum(axis=1) < _FACING * np.linalg.norm(in_camera, axis=1)
        buried = inside & (depth > 0) & (ahead < -tolerance) & facing
        return np.where(inside, np.maximum(empty, 0), 0).astype(np.float32), matched, buried
