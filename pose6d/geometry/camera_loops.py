"""The windows of `camera.py` on a CPU, and a frame as colours and points, as compiled loops: those of `camera.cu` and
`observation.cu`."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)
_BRIGHTEST = np.float32(255)


@compiled(nogil=True)
def crop_windows(poses, K, radius, size, nearest, widest, transforms, crop_K):
    """Fill transforms (N, 3, 3), those of `crop_transforms`, and crop_K (N, 3, 3), these times K.

    Args:
        poses: (N, 4, 4) float32; K: (3, 3) float32.
        radius: (N,) metres, half of the window.
        size: pixels, float32.
        nearest, widest: metres and pixels, float32.
    """
    for n in range(len(poses)):
        x, y, z = poses[n, 0, 3], poses[n, 1, 3], poses[n, 2, 3]
        z = nearest if z < nearest else z
        across = abs(K[0, 0] * radius[n] / z)
        down = max(abs(K[1, 1] * radius[n] / z), abs(K[0, 1] * radius[n] / z))
        half = min(max(across, down), widest)
        u = min(max((K[0, 0] * x + K[0, 1] * y) / z + K[0, 2], -widest), widest)
        v = min(max(K[1, 1] * y / z + K[1, 2], -widest), widest)
        left, right, top, bottom = np.rint(u - half), np.rint(u + half), np.rint(v - half), np.rint(v + half)
        scale_x, scale_y = size / max(right - left, _ONE), size / max(bottom - top, _ONE)
        transforms[n] = _ZERO
        transforms[n, 0, 0], transforms[n, 0, 2] = scale_x, -left * scale_x
        transforms[n, 1, 1], transforms[n, 1, 2] = scale_y, -top * scale_y
        transforms[n, 2, 2] = _ONE
        for column in range(3):
            crop_K[n, 0, column] = scale_x * K[0, column] + transforms[n, 0, 2] * K[2, column]
            crop_K[n, 1, column] = scale_y * K[1, column] + transforms[n, 1, 2] * K[2, column]
            crop_K[n, 2, column] = K[2, column]


@compiled(nogil=True, fastmath={"arcp"})
def observe(rgb, depth, K, color, xyz):
    """Fill color and xyz (H, W, 3) float32, the colours in 0..1 and the points that a camera saw.

    Args:
        rgb: (H, W, 3) uint8; depth: (H, W) float32 metres; K: (3, 3) float32.
    """
    height, width = depth.shape
    for v in range(height):
        y = (np.float32(v) - K[1, 2]) / K[1, 1]
        for u in range(width):
            z = depth[v, u]
            x = (np.float32(u) - K[0, 2] - K[0, 1] * y) / K[0, 0]
            xyz[v, u, 0], xyz[v, u, 1], xyz[v, u, 2] = x * z, y * z, z
            for c in range(3):
                color[v, u, c] = np.float32(rgb[v, u, c]) / _BRIGHTEST
