"""The sums of `alignment.py` on a CPU, as compiled loops: the steps of `alignment.cu`."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_MATH = {"contract", "reassoc", "arcp", "nsz"}
_NEAREST = np.float32(1e-3)  # diameters
_ZERO, _HALF = np.float32(0), np.float32(0.5)


@compiled(nogil=True, fastmath=_MATH)
def sum_systems(
    expected, found, same, seen, xyz, normal, K, poses, diameter,
    least_power, least_color, color_factor, least_depth, depth_factor, hessian, slope,
):  # fmt: skip
    """Fill hessian (N, 6, 6) and slope (N, 6): the weighted sums of squares and products of what `_residuals` gives.

    Args:
        expected, found: (N, 3, s, s); same, seen: (N, 1, s, s); xyz, normal: (N, s, s, 3); K: (N, 3, 3).
        poses: (N, 4, 4).
        diameter: (N,) metres.
        least_power, least_color, color_factor, least_depth, depth_factor: see `alignment.py`.
    """
    count, _, size, _ = expected.shape
    inside = np.empty((size, size), np.bool_)
    gain, residual = np.empty(3, np.float32), np.empty((4, size, size), np.float32)
    j, h, g = np.empty(6, np.float32), np.empty((6, 6), np.float32), np.empty(6, np.float32)
    for n in range(count):
        unit = diameter[n]
        pixels, measured = _find_inside(same[n, 0], seen[n, 0], inside)
        for c in range(3):
            power, both = _ZERO, _ZERO
            for y in range(size):
                for x in range(size):
                    if inside[y, x]:
                        power += expected[n, c, y, x] * expected[n, c, y, x]
                        both += expected[n, c, y, x] * found[n, c, y, x]
            gain[c] = max(both / (power + least_power), _ZERO)
        color_squares, depth_squares = _ZERO, _ZERO
        for y in range(size):
            for x in range(size):
                if inside[y, x]:
                    for c in range(3):
                        off = found[n, c, y, x] - gain[c] * expected[n, c, y, x]
                        residual[c, y, x] = off
                        color_squares += off * off
                    if seen[n, 0, y, x] > 0:
                        z = max(xyz[n, y, x, 2] / unit, _NEAREST)
                        across = _ZERO
                        for i in range(2):
                            across += normal[n, y, x, i] * (xyz[n, y, x, i] / unit)
                        off = (across + normal[n, y, x, 2] * z) * (seen[n, 0, y, x] / unit / z - 1)
                        residual[3, y, x] = off
                        depth_squares += off * off
        color_spread = max(color_squares / max(3 * pixels, 1), least_color * least_color)
        depth_spread = max(depth_squares / max(measured, 1), least_depth * least_depth)
        h[:], g[:] = _ZERO, _ZERO
        for y in range(size):
            for x in range(size):
                if not inside[y, x]:
                    continue
                px, py = xyz[n, y, x, 0] / unit, xyz[n, y, x, 1] / unit
                z = max(xyz[n, y, x, 2] / unit, _NEAREST)
                lx, ly = (xyz[n, y, x, 0] - poses[n, 0, 3]) / unit, (xyz[n, y, x, 1] - poses[n, 1, 3]) / unit
                lz = (xyz[n, y, x, 2] - poses[n, 2, 3]) / unit
                for c in range(4):
                    off = residual[c, y, x]
                    if c < 3:
                        right, down = _ZERO, _ZERO
                        if 0 < x < size - 1:
                            right = _HALF * (expected[n, c, y, x + 1] - expected[n, c, y, x - 1])
                        if 0 < y < size - 1:
                            down = _HALF * (expected[n, c, y + 1, x] - expected[n, c, y - 1, x])
                        right, down = gain[c] * right * K[n, 0, 0] / z, gain[c] * down * K[n, 1, 1] / z
                        bx, by, bz = right, down, -(right * px + down * py) / z
                        weight = color_factor / (color_spread + off * off / 4)
                    elif seen[n, 0, y, x] > 0:
                        bx, by, bz = -normal[n, y, x, 0], -normal[n, y, x, 1], -normal[n, y, x, 2]
                        weight = depth_factor / (depth_spread + off * off / 4)
                    else:
                        continue
                    j[0], j[1], j[2] = ly * bz - lz * by, lz * bx - lx * bz, lx * by - ly * bx
                    j[3], j[4], j[5] = bx, by, bz
                    for a in range(6):
                        weighted = weight * j[a]
                        g[a] += weighted * off
                        for b in range(6):
                            h[a, b] += weighted * j[b]
        hessian[n], slope[n] = h, g


@compiled(nogil=True)
def _find_inside(same, seen, inside):
    """Mark pixels whose neighbours are all seen, as far as these are in the image; how many, and how many of them have
    a measured depth."""
    size = len(same)
    pixels, measured = 0, 0
    for y in range(size):
        for x in range(size):
            whole = True
            for v in range(max(y - 1, 0), min(y + 2, size)):
                for u in range(max(x - 1, 0), min(x + 2, size)):
                    whole = whole and same[v, u] > 0
            inside[y, x] = whole
            pixels += whole
            measured += whole and seen[y, x] > 0
    return pixels, measured
