"""Depth of one camera as another camera beside it would have measured it."""

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_MARGIN = 0.25  # pixels of the colour image


def align_depth(
    depth: np.ndarray, K_depth: np.ndarray, K_color: np.ndarray, depth_in_color: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Depth seen from the colour camera; what only the colour camera sees stays 0.

    Each pixel of the depth image is a square that faces the depth camera at the measured distance. It covers the pixels
    of the colour image whose centres it is projected on, or a quarter of a pixel beside it: neighbours at different
    distances move apart, and would leave gaps on slopes. The nearest wins.

    Args:
        depth: (h, w) float32 metres, 0 where missing, without lens distortion.
        K_depth: (3, 3) intrinsics of the depth camera, pixels.
        K_color: (3, 3) of the colour camera.
        depth_in_color: (4, 4) takes points of the depth camera's frame into the colour camera's, metres.
        size: (height, width) of the colour pictures.

    Returns:
        (H, W) float32 metres along the colour camera's axis.
    """
    aligned = np.zeros(size, np.float32)
    to_ray = np.linalg.inv(K_depth.astype(np.float64))
    _splat(depth, K_color @ depth_in_color[:3, :3] @ to_ray, K_color @ depth_in_color[:3, 3], aligned)
    return aligned


@compiled(nogil=True)
def _splat(depth: np.ndarray, H: np.ndarray, t: np.ndarray, aligned: np.ndarray) -> None:
    """Paint depth[v, u] where H (u, v, 1) z + t lies in `aligned`."""
    height, width = aligned.shape
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            z = depth[v, u]
            if not z > 0:
                continue
            left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
            for corner in (-0.5, 0.5):
                a, b = u + corner, v + corner
                w = (H[2, 0] * a + H[2, 1] * b + H[2, 2]) * z + t[2]
                if w <= 0:
                    left = np.inf
                    break
                x = ((H[0, 0] * a + H[0, 1] * b + H[0, 2]) * z + t[0]) / w
                y = ((H[1, 0] * a + H[1, 1] * b + H[1, 2]) * z + t[1]) / w
                left, right = min(left, x), max(right, x)
                top, bottom = min(top, y), max(bottom, y)
            left, right, top, bottom = left - _MARGIN, right + _MARGIN, top - _MARGIN, bottom + _MARGIN
            if not (left < width and top < height and right > -1 and bottom > -1):
                continue
            seen = (H[2, 0] * u + H[2, 1] * v + H[2, 2]) * z + t[2]
            for row in range(max(int(np.ceil(top)), 0), min(int(np.ceil(bottom)), height)):
                for column in range(max(int(np.ceil(left)), 0), min(int(np.ceil(right)), width)):
                    if aligned[row, column] == 0 or seen < aligned[row, column]:
                        aligned[row, column] = seen
