"""Whether what lies around an object keeps its place to it, as a table does under a camera that goes round."""

from __future__ import annotations

import numpy as np

from mesh_creation.markerless.key_view import KeyView
from mesh_creation.registration.depth_cleaning import pixel_rays
from pose6d.scenes.frame import Frame

_STRIDE = 8  # pixels
_SAME = 0.03  # of the distance, by which depths of one place differ at most
_STATIC = 0.8  # share of the points that agree
_CLEARLY = 0.04  # by which the better explanation leads


def surroundings_are_static(view: KeyView, frame: Frame, camera_in_object: np.ndarray) -> bool | None:
    """Whether the rest of the picture moved with the object between a key view and a frame, or stood before a camera
    that stands still, or moved by itself; None where that cannot be told.

    Args:
        view: another view of the object.
        frame: the frame.
        camera_in_object: (4, 4) its camera.
    """
    with_object = _agreement(view, frame, np.linalg.inv(camera_in_object) @ view.camera_in_object)
    with_camera = _agreement(view, frame, np.eye(4))
    if with_object < _STATIC - _CLEARLY or with_camera > with_object + _CLEARLY:
        return False
    if with_object > _STATIC and with_object > with_camera + _CLEARLY:
        return True
    return None


def _agreement(view: KeyView, frame: Frame, motion: np.ndarray) -> float:
    """Share of the view's points off the object that have the frame's depth after a motion (4, 4) of the axes."""
    part = (slice(None, None, _STRIDE),) * 2
    depth = view.frame.depth[part]
    wanted = (depth > 0) & ~view.mask[part]
    points = pixel_rays(view.frame.depth.shape, view.frame.K)[part][wanted] * depth[wanted, None]
    x, y, z = (points @ motion[:3, :3].T + motion[:3, 3]).T
    ahead = z > 0.05
    z = np.where(ahead, z, 1.0)
    K = frame.K
    column = np.round(K[0, 0] * x / z + K[0, 2]).astype(int)
    row = np.round(K[1, 1] * y / z + K[1, 2]).astype(int)
    height, width = frame.depth.shape
    inside = ahead & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    measured = frame.depth[row[inside], column[inside]]
    known = measured > 0
    if known.sum() < 100:
        return 0.0
    return float((np.abs(measured - z[inside])[known] < _SAME * z[inside][known]).mean())
