"""The plane that an object stands on, found in the depth around it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.registration.depth_cleaning import backproject_pixels
from pose6d.pieces import run_pieces
from pose6d.segmentation.planes import extent, large_planes
from pose6d.segmentation.small_picture import reduce_blocks, shrink_frame

_LARGER = 1.25  # times the object's length; what is less long may be another object
_RING = 0.25  # of the mask's side, the width of the ring around the mask in which the plane must show
_SHARE = 0.25  # of the ring's depth that must lie on the plane
_LOWEST, _HOVERS = 0.02, 0.75  # quantile of the heights seen; of the object's length, above which that is in the air
_BELOW = 0.008  # metres that points of the object may lie below the plane, from noise


def find_support(view: ReferenceView, points: np.ndarray) -> np.ndarray | None:
    """The plane around the object in one view, which the object stands on.

    Args:
        view: its depth outside of the mask shows the plane.
        points: (P, 3) the surface seen, metres, object frame.

    Returns:
        (4,) unit normal towards the object and offset, n . p + d = 0 on the plane, object frame; None where the depth
        shows no such plane.
    """
    picture, step = shrink_frame(view.rgb, np.where(view.mask, 0, view.depth), view.K)
    mask = reduce_blocks(np.logical_or, view.mask, step)
    ring = _grow(mask, max(3, round(_RING * np.sqrt(mask.sum())))) & ~_grow(mask, 1) & picture.known
    if not ring.any():
        return None
    best, most = None, _SHARE * ring.sum()
    for plane, where in large_planes(picture.points, picture.known & ~mask, picture.normals, _LARGER * extent(points)):
        normal = view.camera_in_object[:3, :3] @ plane[:3]
        moved = np.append(normal, plane[3] - normal @ view.camera_in_object[:3, 3])
        heights = points @ normal + moved[3]
        stands = np.quantile(heights, _LOWEST) < _HOVERS * extent(points) and (heights > -_BELOW).mean() > 0.9
        if (count := (where & ring).sum()) > most and stands:
            best, most = moved, count
    return None if best is None else _centre(best, view)


def find_supports(views: Sequence[ReferenceView], points: np.ndarray) -> list[np.ndarray | None]:
    """`find_support` of each view."""
    return run_pieces(lambda view: find_support(view, points), views)


def _centre(plane: np.ndarray, view: ReferenceView) -> np.ndarray:
    """A plane (4,), found in a picture of nearest depths, moved to the middle of the depth as measured."""
    depth = np.where(_grow(view.mask, 4), 0, view.depth)
    points = backproject_pixels(depth, view.K)[depth > 0]
    R, t = view.camera_in_object[:3, :3], view.camera_in_object[:3, 3]
    heights = points @ (R.T @ plane[:3]) + (plane[:3] @ t + plane[3])
    return plane - np.append(np.zeros(3), np.median(heights[np.abs(heights) < _BELOW]))


def _grow(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (H, W) bool that reaches so many pixels farther to all sides."""
    return cv2.dilate(np.asarray(mask, np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)) > 0
