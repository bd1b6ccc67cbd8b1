"""What is done to every voxel of a grid, as compiled loops."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_NEAREST = np.float32(0.01)  # metres from the camera; what is nearer is not in its picture


@compiled(nogil=True)
def add_depth(total, weight, x, y, z, pixels, size, clearance, truncation):
    """Add one depth image to a slab of voxels, as `TsdfVolume.integrate` has it.

    Args:
        total, weight: (X, Y, Z) float32, changed.
        x, y, z: (3, X), (3, Y) and (3, Z) float32 of `projected_axes`.
        pixels: (H * W, 2) float32 of depth, 0 where unknown, and cosine of incidence, negative on the support.
        size: H and W.
        clearance, truncation: float32 metres.
    """
    height, width = size
    half, two, one = np.float32(0.5), np.float32(2), np.float32(1)
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            a, b, c = x[0, i] + y[0, j], x[1, i] + y[1, j], x[2, i] + y[2, j]
            for k in range(total.shape[2]):
                w = c + z[2, k]
                if w <= _NEAREST:
                    continue
                column, row = np.rint((a + z[0, k]) / w), np.rint((b + z[1, k]) / w)
                if not (column >= 0 and column < width and row >= 0 and row < height):
                    continue
                at = np.int64(row) * width + np.int64(column)
                measured, slope = pixels[at, 0], pixels[at, 1]
                # Distance to the tangent plane of the pixel, not along the ray, which is longer by 1 / cosine.
                distance = (measured - w) * abs(slope)
                if measured <= 0 or distance <= (clearance if slope < 0 else -truncation):
                    continue
                value = one if slope < 0 else min(distance / truncation, one)
                # Far behind the surface the measurement says less: otherwise thin walls would swallow their other side.
                # Near it the weight must not depend on the sign, or noise would move the surface.
                nearness = half / w
                share = min((value + one) * two, one) * abs(slope) * (nearness * nearness)
                weight[i, j, k] += share
                total[i, j, k] += share * value


@compiled(nogil=True)
def mark_between(marks, x, y, z, limits, size):
    """Set those of a slab of voxels whose depth is between the two limits of their pixel.

    Args:
        marks: (X, Y, Z) bool, changed.
        x, y, z: as of `add_depth`.
        limits: (H * W, 2) float32 metres.
        size: H and W.
    """
    height, width = size
    for i in range(marks.shape[0]):
        for j in range(marks.shape[1]):
            a, b, c = x[0, i] + y[0, j], x[1, i] + y[1, j], x[2, i] + y[2, j]
            for k in range(marks.shape[2]):
                w = c + z[2, k]
                if marks[i, j, k] or w <= _NEAREST:
                    continue
                column, row = np.rint((a + z[0, k]) / w), np.rint((b + z[1, k]) / w)
                if column >= 0 and column < width and row >= 0 and row < height:
                    at = np.int64(row) * width + np.int64(column)
                    marks[i, j, k] = limits[at, 0] < w < limits[at, 1]
