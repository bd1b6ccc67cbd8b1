"""Whether the depth of two views of one object fits together as their poses say.

A masked depth point of one view is a point of the object. Seen from another view it must not lie far in front of what
was measured there on the object, nor beside the mask where nothing hides it (the silhouette). Points that another view
cannot see, because the object's other side or a hand is in front of them, say nothing: views of opposite sides agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.registration.depth_cleaning import backproject_pixels, pixels_of

_POINTS = 500
_SLACK = 0.007, 0.014  # metres, and metres per metre of distance: poses are off, few points by more than this
_BLEED = 3  # pixels that a mask may reach beyond the object
_LEAST_INNER = 0.3  # share of the object's pixels that its middle must have to stand for it
_GAP = 0.02  # metres between neighbouring pixels from which on they are of different things


@dataclass(frozen=True)
class ViewSurface:
    """What one view says about where the object is.

    Attributes:
        points: (P, 3) metres, of the object, in camera axes.
        depth: (H, W) metres as measured.
        beside: (H, W) pixels of distance from the mask, 0 on it.
        core: (H, W) bool, pixels that are surely of the object.
        whole: whether the object lies inside the picture, so that points beside the picture are not of it.
        K: (3, 3).
        distance: metres, median of the points' depth.
        extent: metres, diagonal of the box around the points.
    """

    points: np.ndarray
    depth: np.ndarray
    beside: np.ndarray
    core: np.ndarray
    whole: bool
    K: np.ndarray
    distance: float
    extent: float

    @classmethod
    def of(cls, view: ReferenceView) -> ViewSurface:
        """The evidence of a view that has depth under its mask."""
        core = object_core(view.mask, view.depth)
        rows, columns = np.nonzero(core)
        chosen = np.random.default_rng(0).permutation(len(rows))[:_POINTS]
        points = backproject_pixels(view.depth, view.K)[rows[chosen], columns[chosen]].astype(np.float64)
        low, high = np.quantile(points, [0.02, 0.98], axis=0)
        distance = float(np.median(points[:, 2]))
        whole = not (view.mask[[0, -1]].any() or view.mask[:, [0, -1]].any())
        extent = float(np.linalg.norm(high - low))
        beside = cv2.distanceTransform((~view.mask).astype(np.uint8), cv2.DIST_L2, 5)
        return cls(points, view.depth, beside, core, whole, view.K, distance, extent)


@dataclass(frozen=True)
class PairFits:
    """How the points of each two of N views fit together, as shares of the two views' points.

    Attributes:
        against: (N, N) that lie where the other view shows that the object is not; the diagonal is 0.
        met: (N, N) that lie within the other's silhouette, on what was measured there or behind it; the diagonal is 0.
    """

    against: np.ndarray
    met: np.ndarray


def fit_pairs(evidence: Sequence[ViewSurface], camera_in_object: np.ndarray) -> PairFits:
    """How each two views fit together with these poses (N, 4, 4), metres."""
    size = 0.1 + 3 * max(view.extent for view in evidence)  # surely more than the object's diameter
    object_in_camera = np.linalg.inv(camera_in_object)
    counts = np.zeros((len(evidence), len(evidence), 3))
    for i, one in enumerate(evidence):
        points = one.points @ camera_in_object[i, :3, :3].T + camera_in_object[i, :3, 3]
        for j, other in enumerate(evidence):
            if i != j:
                pose = object_in_camera[j]
                counts[i, j] = _judge(points @ pose[:3, :3].T + pose[:3, 3], other, size)
    counts += counts.transpose(1, 0, 2)
    shares = counts[..., :2] / np.maximum(counts[..., 2:], 1)
    return PairFits(shares[..., 0], shares[..., 1])


def _judge(points: np.ndarray, view: ViewSurface, size: float) -> np.ndarray:
    """Numbers (3,) of points (P, 3), camera axes, that speak against the poses, that are met, and of all."""
    row, column, inside = pixels_of(points, view.K, view.depth.shape)
    z = points[:, 2]
    against = ~inside & (view.whole | (z <= 0.01))
    pixel = row[inside], column[inside]
    apart = _SLACK[0] + _SLACK[1] * view.distance
    near = view.beside[pixel] <= _BLEED + view.K[0, 0] * apart / view.distance
    measured, core = view.depth[pixel], view.core[pixel]
    known = measured > 0
    in_front = known & (z[inside] < measured - apart)
    too_far = z[inside] > view.distance + size
    against[inside] = (core & in_front) | (near & too_far) | (~near & (~known | in_front))
    met = near & ~against[inside]
    return np.array([against.sum(), met.sum(), len(points)], np.float64)


def object_core(mask: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: measured pixels of the object, away from the mask's edge unless the object is thin.

    Masks bleed: what they show of the background beside the object is another piece between jumps in depth. The piece
    that is the object lies in the middle of the mask, the others along its edge.
    """
    known = mask & (depth > 0)
    kernel = np.ones((3, 3), np.uint8)
    nearest = cv2.erode(np.where(known, depth, np.float32(1e6)).astype(np.float32), kernel)
    # The farther side of every jump belongs to no piece, so that pieces do not touch.
    labels = ndimage.label(known & (depth - nearest < _GAP), structure=kernel)[0]
    if labels.max() == 0:
        return known
    inwards = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    piece = labels == 1 + int(np.argmax(np.bincount(labels.ravel(), np.square(inwards).ravel())[1:]))
    inner = piece & (inwards > _BLEED)
    return inner if inner.sum() >= _LEAST_INNER * piece.sum() else piece
