"""One posed RGB-D picture of an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
