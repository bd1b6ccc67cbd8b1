"""The depth filters of `depth.py` on a CPU, as compiled loops.

They run over a row for each offset in the window, innermost over its pixels: that order vectorises. Their constants
are arguments, as those of the kernels in `depth.cu` are.
"""

from __future__ import annotations

import math

import numpy as np

from pose6d.compiled import compiled


@compiled(nogil=True)
def _pad(depth: np.ndarray, radius: int, near: float, far: float) -> np.ndarray:
    """The map with a border, holding a value that agrees with nothing wherever no depth is known.

    NaN fails both comparisons.
    """
    height, width = depth.shape
    out = np.full((height + 2 * radius, width + 2 * radius), np.float32(-1e6), np.float32)
    for v in range(height):
        for u in range(width):
            if depth[v, u] >= near and depth[v, u] < far:
                out[v + radius, u + radius] = depth[v, u]
    return out


@compiled(nogil=True)
def _pixels_inside(i: int, n: int, radius: int) -> int:
    return min(i + radius, n - 1) - max(i - radius, 0) + 1


@compiled(nogil=True)
def erode(depth: np.ndarray, radius: int, constants: tuple[float, ...]) -> np.ndarray:
    """`erode_depth` of one (H, W) map; the constants are those of the kernel `erode`, in its order."""
    near, far, floor, growth, share, rounding = constants
    height, width = depth.shape
    known = _pad(depth, radius, near, far)
    out = np.zeros((height, width), np.float32)
    agree, tolerance = np.empty(width, np.float32), np.empty(width, np.float32)
    for v in range(height):
        centre = known[v + radius, radius : radius + width]
        agree[:] = 0
        for u in range(width):
            tolerance[u] = np.float32(floor) + np.float32(growth) * centre[u] * centre[u]
        for j in range(2 * radius + 1):
            for i in range(2 * radius + 1):
                other = known[v + j, i : i + width]
                for u in range(width):
                    agree[u] += np.float32(1) if abs(other[u] - centre[u]) <= tolerance[u] else np.float32(0)
        rows = _pixels_inside(v, height, radius)
        for u in range(width):
            needed = share * rows * _pixels_inside(u, width, radius) - rounding
            if centre[u] > 0 and agree[u] >= needed:
                out[v, u] = centre[u]
    return out


@compiled(nogil=True)
def smooth(depth: np.ndarray, radius: int, constants: tuple[float, ...]) -> np.ndarray:
    """`smooth_depth` of one (H, W) map; the constants are those of the kernel `smooth`, in its order."""
    near, far, floor, growth, share, rounding, falloff = constants
    height, width = depth.shape
    side = 2 * radius + 1
    known = _pad(depth, radius, near, far)
    out = np.zeros((height, width), np.float32)
    reference, tolerance = np.empty(width, np.float32), np.empty(width, np.float32)
    agree, total, offset = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for v in range(height):
        centre = known[v + radius, radius : radius + width]
        rows = _pixels_inside(v, height, radius)
        for u in range(width):
            reference[u] = centre[u]
            if centre[u] <= 0:
                reference[u] = _hole_mean(known, v, u, side, share * rows * _pixels_inside(u, width, radius) - rounding)
            tolerance[u] = np.float32(floor) + np.float32(growth) * reference[u] * reference[u]
        agree[:], total[:], offset[:] = 0, 0, 0
        for j in range(side):
            for i in range(side):
                other = known[v + j, i : i + width]
                weight = np.float32(math.exp(((j - radius) ** 2 + (i - radius) ** 2) * falloff))
                for u in range(width):
                    difference = other[u] - reference[u]
                    same = np.float32(1) if abs(difference) <= tolerance[u] else np.float32(0)
                    agree[u] += same
                    total[u] += same * weight
                    offset[u] += same * weight * difference
        for u in range(width):
            needed = share * rows * _pixels_inside(u, width, radius) - rounding
            if centre[u] > 0 or (reference[u] > 0 and agree[u] >= needed):
                out[v, u] = reference[u] + offset[u] / max(total[u], np.float32(1e-6))
    return out


@compiled(nogil=True)
def _hole_mean(known: np.ndarray, v: int, u: int, side: int, needed: float) -> np.floating:
    """Mean of the known depths in a window, 0 where fewer than `needed`."""
    total, count = np.float32(0), 0
    for j in range(side):
        for i in range(side):
            if known[v + j, u + i] > 0:
                total += known[v + j, u + i]
                count += 1
    return total / np.float32(max(count, 1)) if count >= needed else np.float32(0)
