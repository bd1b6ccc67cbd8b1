"""The sums of `alignment.py` on a CPU, as compiled loops: the steps of `alignment.cu`."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import math

import numpy as np

from pose6d.compiled import compiled

_MATH = {"contract", "reassoc", "arcp", "nsz"}
_NEAREST = np.float32(1e-3)  # diameters
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


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
                        for b in range(a, 6):
                            h[a, b] += weighted * j[b]
        slope[n] = g
        for a in range(6):
            for b in range(a, 6):
                hessian[n, a, b] = hessian[n, b, a] = h[a, b]


@compiled(nogil=True)
def step_poses(hessian, slope, starts, poses, total, diameter, turn, across, along, stride, out, moved):
    """Fill out (N, 4, 4) and moved (N, 6): poses after a step of that stride, and how far they are from their starts.

    Args:
        hessian, slope: (N, 6, 6) and (N, 6), of `sum_systems`; hessian is overwritten.
        starts, poses: (N, 4, 4) before the first step, and before this one.
        total: (N, 6) the steps so far.
        diameter: (N,) metres.
        turn, across, along, stride: see `alignment.py`.
    """
    for n in range(len(poses)):
        system, step = hessian[n], -slope[n]
        ray = starts[n, :3, 3]
        squared = max(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2], np.float32(1e-24))
        for a in range(3):
            system[a, a] += _ONE / (turn * turn)
            step[a] -= total[n, a] / (turn * turn)
            for b in range(3):
                share = ray[a] * ray[b] / squared
                trust = ((_ONE if a == b else _ZERO) - share) / (across * across) + share / (along * along)
                system[3 + a, 3 + b] += trust
                step[3 + a] -= trust * total[n, 3 + b]
        _solve(system, step)
        for a in range(6):
            step[a] *= stride
            moved[n, a] = total[n, a] + step[a]
        angle = math.sqrt(step[0] * step[0] + step[1] * step[1] + step[2] * step[2])
        first, second = np.float32(1.0), np.float32(0.5)
        if angle > 1e-6:
            first, second = np.float32(math.sin(angle) / angle), np.float32(2.0 * (math.sin(angle / 2) / angle) ** 2)
        x, y, z = step[0], step[1], step[2]
        for column in range(3):
            a, b, c = poses[n, 0, column], poses[n, 1, column], poses[n, 2, column]
            # v + first * (w x v) + second * (w x (w x v))
            i, j, k = y * c - z * b, z * a - x * c, x * b - y * a
            out[n, 0, column] = a + first * i + second * (y * k - z * j)
            out[n, 1, column] = b + first * j + second * (z * i - x * k)
            out[n, 2, column] = c + first * k + second * (x * j - y * i)
        for a in range(3):
            out[n, a, 3] = poses[n, a, 3] + step[3 + a] * diameter[n]
            out[n, 3, a] = _ZERO
        out[n, 3, 3] = _ONE


@compiled(nogil=True)
def _solve(system, right):
    """Replace right (6,) by the solution of a positive definite system (6, 6), which is overwritten (Cholesky)."""
    for a in range(6):
        for b in range(a + 1):
            value = system[a, b]
            for c in range(b):
                value -= system[a, c] * system[b, c]
            system[a, b] = np.sqrt(value) if a == b else value / system[b, b]
        for c in range(a):
            right[a] -= system[a, c] * right[c]
        right[a] /= system[a, a]
    for a in range(5, -1, -1):
        for c in range(a + 1, 6):
            right[a] -= system[c, a] * right[c]
        right[a] /= system[a, a]


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
