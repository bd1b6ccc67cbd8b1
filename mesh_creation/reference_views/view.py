"""One posed RGB-D picture of an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mesh_creation.registration.depth_cleaning import clean_depth

_AROUND = 4  # pixels, more than clean_depth looks around a pixel


@dataclass
class ReferenceView:
    """A picture that an object is made from.

    Attributes:
        name: the file that messages name.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres along the camera axis, aligned to colour, 0 where nothing was measured.
        mask: (H, W) bool, true on the object.
        K: (3, 3) float64 intrinsics.
        camera_in_object: (4, 4) float64 pose of the camera in the object's frame, metres, OpenCV axes.
    """

    name: str
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray
    K: np.ndarray
    camera_in_object: np.ndarray


def object_window(view: ReferenceView, margin: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """The rows and columns that the mask takes, with a margin in pixels, and K (3, 3) of that part of the picture.

    Most of a picture is not the object, and need not be looked at. An empty mask gives the whole picture.
    """
    rows, columns = (np.flatnonzero(view.mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return (slice(None), slice(None)), view.K
    top, left = max(int(rows[0]) - margin, 0), max(int(columns[0]) - margin, 0)
    K = np.array(view.K, np.float64)
    K[:2, 2] -= left, top
    return (slice(top, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1)), K


def object_depth(view: ReferenceView) -> tuple[np.ndarray, np.ndarray]:
    """`clean_depth` of what lies within the mask: depth (H, W) metres, and cosine of incidence (H, W)."""
    window, K = object_window(view, _AROUND)
    depth, cosine = np.zeros(view.mask.shape, np.float32), np.zeros(view.mask.shape, np.float32)
    inside = np.where(view.mask[window], view.depth[window], 0).astype(np.float32)
    depth[window], cosine[window] = clean_depth(inside, K)
    return depth, cosine
