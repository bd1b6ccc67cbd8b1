"""What `texture_correlation.py` computes, on a CPU, as compiled loops: the steps of `texture_correlation.cu`."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

CHANNELS = 6
"""3 expected, 3 found"""
_NO_MEAN = np.float32(1e-6)
_ZERO, _ONE = np.float32(0), np.float32(1)
_MATH = {"contract", "reassoc", "arcp", "nsz"}


@compiled(nogil=True, fastmath=_MATH)
def sample(color, z, rgb, depth, u, v, near_u, near_v, limit, outside, dark, logs, same, seen):
    """Fill logs (N, 6, s, s) of the colours, drawn and observed, 0 where not same (N, 1, s, s), and seen (N, 1, s, s).

    Args:
        color: (N, s, s, 3) drawn.
        z: (N, s, s) drawn, metres, 0 = nothing.
        rgb, depth: (3, H, W) and (H, W) observed.
        u, v: (N, s) columns and rows of the image that the columns and rows of crops look at, pixels.
        near_u, near_v: (N, s) the same, whole pixels.
        limit: (N,) metres within which a surface is the drawn one.
        outside: the depth of a pixel outside the image.
        dark: added to a colour before its logarithm is taken.
    """
    count, size, _, _ = color.shape
    height, width = depth.shape
    for n in range(count):
        for y in range(size):
            row = np.int64(near_v[n, y])
            for x in range(size):
                column = np.int64(near_u[n, x])
                there = np.float32(outside)
                if 0 <= row < height and 0 <= column < width:
                    there = max(depth[row, column], _ZERO)
                here = z[n, y, x]
                counts = here > 0 and (there == 0 or abs(there - here) < limit[n])
                seen[n, 0, y, x], same[n, 0, y, x] = there, _ONE if counts else _ZERO
                for c in range(CHANNELS):
                    logs[n, c, y, x] = _ZERO
                if counts:
                    for c in range(3):
                        logs[n, c, y, x] = np.log(color[n, y, x, c] + dark)
                        logs[n, 3 + c, y, x] = dark
                    left, top = np.floor(u[n, x]), np.floor(v[n, y])
                    across, down = u[n, x] - left, v[n, y] - top
                    for j in range(2):
                        at_v = np.int64(top) + j
                        for i in range(2):
                            at_u = np.int64(left) + i
                            if 0 <= at_v < height and 0 <= at_u < width:
                                share = (across if i else _ONE - across) * (down if j else _ONE - down)
                                for c in range(3):
                                    logs[n, 3 + c, y, x] += share * rgb[c, at_v, at_u]
                    for c in range(3, CHANNELS):
                        logs[n, c, y, x] = np.log(logs[n, c, y, x])


@compiled(nogil=True, fastmath=_MATH)
def compare_surroundings(logs, same, fine, around):
    """Replace logarithms (N, 6, s, s), 0 where not same (N, 1, s, s), by what they are beside their surroundings.

    Args:
        fine, around: pixels, odd: sides of the squares whose means are compared.
    """
    count, channels, size, _ = logs.shape
    memory = np.empty((5, size, size), np.float32)
    for n in range(count):
        top, bottom, left, right = _box(same[n, 0])
        seen = same[n, 0, top:bottom, left:right]  # beside it all is 0
        close, wide, near, far, sums = memory[:, : bottom - top, : right - left]
        _sum_squares(seen, fine // 2, sums, close)
        _sum_squares(seen, around // 2, sums, wide)
        for y in range(bottom - top):
            for x in range(right - left):
                close[y, x] = _ONE / max(close[y, x], _NO_MEAN * fine * fine)
                wide[y, x] = _ONE / max(wide[y, x], _NO_MEAN * around * around)
        for c in range(channels):
            image = logs[n, c, top:bottom, left:right]
            _sum_squares(image, fine // 2, sums, near)
            _sum_squares(image, around // 2, sums, far)
            for y in range(bottom - top):
                for x in range(right - left):
                    image[y, x] = (near[y, x] * close[y, x] - far[y, x] * wide[y, x]) * seen[y, x]


@compiled(nogil=True)
def _box(image):
    """First row, last row + 1, first column and last column + 1 of what is not 0 in a square image."""
    size = len(image)
    top, bottom, left, right = size, 0, size, 0
    for y in range(size):
        for x in range(size):
            if image[y, x] != 0:
                top, bottom, left, right = min(top, y), y + 1, min(left, x), max(right, x + 1)
    return min(top, bottom), bottom, min(left, right), right


@compiled(nogil=True, fastmath=_MATH)
def _sum_squares(image, reach, sums, result):
    """Sums over the squares of 2 reach + 1 pixels around each pixel, 0 outside; `sums` is memory to use."""
    height, width = image.shape
    running = np.zeros(width, np.float32)
    for y in range(min(reach, height)):
        for x in range(width):
            running[x] += image[y, x]
    for y in range(height):
        if y + reach < height:
            for x in range(width):
                running[x] += image[y + reach, x]
        if y > reach:
            for x in range(width):
                running[x] -= image[y - reach - 1, x]
        for x in range(width):
            sums[y, x] = running[x]
    for y in range(height):
        total = _ZERO
        for x in range(min(reach, width)):
            total += sums[y, x]
        for x in range(width):
            if x + reach < width:
                total += sums[y, x + reach]
            if x > reach:
                total -= sums[y, x - reach - 1]
            result[y, x] = total


@compiled(nogil=True, fastmath=_MATH)
def correlate(textures, same, seen, instance, least, agreement):
    """Fill agreement (N,): the correlation of textures (N, 6, s, s), times the share of the drawn pixels that count."""
    count, _, size, _ = textures.shape
    for n in range(count):
        expected, found, both, pixels, drawn = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        for y in range(size):
            for x in range(size):
                pixels += same[n, 0, y, x]
                drawn += _ONE if instance[n, y, x] >= 0 and seen[n, 0, y, x] >= 0 else _ZERO
            for c in range(3):
                for x in range(size):
                    a, b = textures[n, c, y, x], textures[n, 3 + c, y, x]
                    expected += a * a
                    found += b * b
                    both += a * b
        pixels = max(pixels, _ONE)
        power = (expected / (3 * pixels) + least) * (found / (3 * pixels) + least)
        agreement[n] = pixels / max(drawn, _ONE) * (both / (3 * pixels)) / np.sqrt(power)
