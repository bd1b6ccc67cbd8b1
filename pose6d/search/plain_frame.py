"""A frame to warm up with."""

from __future__ import annotations

import numpy as np

from pose6d.errors import as_whole_number


def plain_frame(height: int, width: int, distance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey wall that fills the picture.

    Args:
        height, width: pixels.
        distance: of the wall, metres.

    Returns:
        rgb (H, W, 3) uint8, depth (H, W) float32 metres, and K (3, 3) float32.

    Raises:
        OptionError: height or width is no number of pixels.
    """
    height, width = (
        as_whole_number(given, name, least=1, kind="whole number of pixels")
        for given, name in ((height, "height"), (width, "width"))
    )
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float32)
    return np.full((height, width, 3), 128, np.uint8), np.full((height, width), distance, np.float32), K
