"""What `evidence.py` measures of drawings on a CPU, as a compiled loop: that of `evidence.cu`."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_ZERO, _ONE, _NOTHING = np.float32(0), np.float32(1), np.float32(1e30)


@compiled(nogil=True)
def measure(
    drawn, color, xyz, rgb, depth, u, v, near_u, near_v, limit, half, expected, found, same,
    ring, dark, least_contrast, cues,
):  # fmt: skip
    """Fill cues (12, N), in the order of `PoseEvidence`.

    Args:
        drawn: (N, s, s) the instance, -1 where nothing; color, xyz: (N, s, s, 3) drawn.
        rgb, depth: (3, H, W) and (H, W) observed.
        u, v: (N, s) columns and rows of the image that the columns and rows of crops look at, pixels.
        near_u, near_v: (N, s) the same, whole pixels.
        limit, half: (N,) metres within which depth is that of the object, and half its diameter.
        expected, found, same: (N, 3, s, s) twice and (N, 1, s, s), of `texture_pair`.
        ring: pixels; dark, least_contrast: see `evidence.py`.
    """
    count, size, _ = drawn.shape
    height, width = depth.shape
    surface_depth, seen = np.empty((size, size), np.float32), np.empty((size, size), np.float32)
    seen_color, drawn_color = np.empty(3, np.float32), np.empty(3, np.float32)
    for n in range(count):
        seen_color[:], drawn_color[:] = _ZERO, _ZERO
        silhouette = surface = measured = near = hidden = through = around = 0
        spread, offset = _ZERO, _ZERO
        for y in range(size):
            row = np.int64(near_v[n, y])
            for x in range(size):
                column = np.int64(near_u[n, x])
                inside = 0 <= row < height and 0 <= column < width
                there = depth[row, column] if inside else _ZERO
                seen[y, x] = there
                surface_depth[y, x] = _NOTHING
                if drawn[n, y, x] < 0:
                    continue
                silhouette += 1
                if not inside:
                    continue
                surface += 1
                here = xyz[n, y, x, 2]
                surface_depth[y, x] = here
                if not there > 0:
                    continue
                off = there - here
                measured += 1
                hidden += off <= -limit[n]
                through += off >= limit[n]
                if abs(off) < half[n]:
                    around += 1
                    offset += off
                if abs(off) < limit[n]:
                    near += 1
                    spread += abs(off) / limit[n]
                    _add_bilinear(rgb, u[n, x], v[n, y], seen_color)
                    for c in range(3):
                        drawn_color[c] += color[n, y, x, c]
        seen_ring, goes_on = 0, 0
        for y in range(size):
            for x in range(size):
                if drawn[n, y, x] >= 0 or not seen[y, x] > 0:
                    continue
                nearest = _NOTHING
                for j in range(max(y - ring, 0), min(y + ring + 1, size)):
                    for i in range(max(x - ring, 0), min(x + ring + 1, size)):
                        nearest = min(nearest, surface_depth[j, i])
                if nearest < _NOTHING:
                    seen_ring += 1
                    goes_on += abs(seen[y, x] - nearest) < limit[n]
        pixels, a, b, both = _ZERO, _ZERO, _ZERO, _ZERO
        for y in range(size):
            for x in range(size):
                if same[n, 0, y, x] > 0:
                    pixels += same[n, 0, y, x]
                    for c in range(3):
                        one, other = expected[n, c, y, x], found[n, c, y, x]
                        a += one * one
                        b += other * other
                        both += one * other
        compared = np.float32(3) * max(pixels, _ONE)
        a, b = a / compared + least_contrast, b / compared + least_contrast
        cues[0, n], cues[1, n], cues[2, n] = (
            near / max(measured, 1),
            hidden / max(measured, 1),
            through / max(measured, 1),
        )
        cues[3, n], cues[4, n], cues[5, n] = (
            surface / max(silhouette, 1),
            spread / max(near, 1),
            goes_on / max(seen_ring, 1),
        )
        cues[6, n] = offset / max(around, 1)
        cues[7, n], cues[8, n] = both / compared / np.sqrt(a * b), np.sqrt(b / a)
        for c in range(3):
            cues[9 + c, n] = np.log(seen_color[c] / max(near, 1) + dark) - np.log(drawn_color[c] / max(near, 1) + dark)


@compiled(nogil=True)
def _add_bilinear(rgb, u, v, total):
    """Add to total (3,) the colour of an image (3, H, W) between its pixels, black outside."""
    left, top = np.floor(u), np.floor(v)
    across, down = u - left, v - top
    for j in range(2):
        row = np.int64(top) + j
        for i in range(2):
            column = np.int64(left) + i
            if 0 <= row < rgb.shape[1] and 0 <= column < rgb.shape[2]:
                share = (across if i else _ONE - across) * (down if j else _ONE - down)
                for c in range(3):
                    total[c] += share * rgb[c, row, column]
