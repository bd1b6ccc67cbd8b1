"""The masks of key views, decided again by what all their neighbours say.

A pixel of one view is a vote on the same surface in another. What one view takes for the object and others look
through has not kept its place: a finger that moved, or the rim of something behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mesh_creation.markerless.key_view import KeyView, nearest_views, votes_of
from mesh_creation.markerless.picture import OBJECT, OTHER
from mesh_creation.markerless.pixel_labels import decide

_NEIGHBOURS = 6
_FARTHEST = 1.0  # radians
_OWN = 0.5  # of the vote that a view has on its own pixels
_LOOKED_THROUGH = 0.012  # metres at half a metre by which a view sees beyond a point


def revise_masks(views: Sequence[KeyView], radius: float) -> None:
    """Decide the labels of all views but the first, whose mask was given, in place.

    Args:
        views: with poses that agree.
        radius: metres, of the object.
    """
    labels = []
    for view in views[1:]:
        near = nearest_views(views, view.camera_in_object, _NEIGHBOURS + 1, _FARTHEST)
        others = [views[i] for i in near if views[i] is not view]
        votes, nearest = votes_of(others, view.picture, view.camera_in_object)
        votes += _OWN * ((view.labels == OBJECT).astype(np.float32) - (view.labels == OTHER))
        for other in others:
            votes -= looked_through(view, other)
        labels.append(decide(view.picture, view.surface, votes, nearest, radius))
    for view, revised in zip(views[1:], labels, strict=True):
        if (revised == OBJECT).any():
            view.labels = revised


def looked_through(view: KeyView, other: KeyView) -> np.ndarray:
    """(H, W) bool of the view's pixels on the object where another view sees beyond them."""
    rows, columns = np.nonzero((view.labels == OBJECT) & (view.surface.depth > 0))
    T = np.linalg.inv(other.camera_in_object) @ view.camera_in_object
    x, y, z = (view.surface.points[rows, columns] @ T[:3, :3].T + T[:3, 3]).T
    K, depth = other.picture.K, other.picture.depth
    height, width = depth.shape
    ahead = z > 0.05
    z = np.where(ahead, z, 1.0)
    u, v = np.round(K[0, 0] * x / z + K[0, 2]).astype(int), np.round(K[1, 1] * y / z + K[1, 2]).astype(int)
    inside = ahead & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    # The least depth around, and none where any is missing: rims are no proof.
    least = cv2.erode(depth, np.ones((5, 5), np.uint8))
    measured = np.where(inside, least[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)], 0.0)
    result = np.zeros(view.labels.shape, bool)
    result[rows, columns] = measured - z > _LOOKED_THROUGH * np.maximum(1.0, (z / 0.5) ** 2)
    return result
