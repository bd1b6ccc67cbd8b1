"""Corners of square markers to a few hundredths of a pixel: lines through the four edges, intersected.

A corner's own neighbourhood is a few pixels of blurred black; its two edges are many times longer, and blur of any kind
leaves the middle of a straight edge where it was.
"""

from __future__ import annotations

import cv2
import numpy as np

_ALONG = 16  # places along each edge
_STEP = 0.25  # pixels between samples across an edge
_HALF_WIDTH = 3.0  # pixels across, at most
_MAX_SHIFT = 2.5  # pixels that a corner may move from where the detector saw it
_MIN_CONTRAST = 0.03  # of full light, between black and white
_LIGHT = ((np.arange(256) / 255) ** 2.2).astype(np.float32)  # of each code value of a usual (sRGB) picture


def refine_corners(grey: np.ndarray, corners: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Move the corners of markers onto the crossings of their outer edges.

    Args:
        grey: (H, W) uint8.
        corners: (M, 4, 2) pixels, within about two pixels, in order around each marker.
        cells: cells along a marker's side, border included; the window stays within the border's one cell.

    Returns:
        (M, 4, 2) float64 pixels, and (M, 4) bool: whether both edges of a corner were seen. One that was not (something
        covers it) stays as it was.
    """
    valid = np.zeros(corners.shape[:2], bool)
    if not len(corners):
        return corners.astype(np.float64), valid
    start = corners.astype(np.float64)
    refined = start
    # Blur mixes light, not code values: in those the middle of an edge lies a quarter of a pixel within the black.
    light = _LIGHT[grey]
    for _ in range(2):  # the second time the samples lie straight across the edges
        lines, good = _edge_lines(light, refined, cells)
        refined, valid = _intersect(lines, good, start)
    return refined, valid


def _edge_lines(light: np.ndarray, corners: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Lines (M, 4, 3), n . x = d as (nx, ny, d), of the edges from corner i to i + 1, and whether they were seen."""
    a, b = corners, np.roll(corners, -1, axis=1)
    length = np.linalg.norm(b - a, axis=-1, keepdims=True)
    direction = (b - a) / np.maximum(length, 1e-9)
    # In a picture (y down) this points out of a marker whose corners run clockwise; mirrored ones are not detected.
    outward = np.stack([direction[..., 1], -direction[..., 0]], axis=-1)
    share = np.linspace(0.12, 0.88, _ALONG)[:, None]
    places = a[:, :, None] + share * (b - a)[:, :, None]  # (M, 4, P, 2)
    count = int(2 * _HALF_WIDTH / _STEP) + 1
    across = (np.arange(count) - count // 2) * _STEP  # (S,)
    samples = places[..., None, :] + across[:, None] * outward[:, :, None, None]  # (M, 4, P, S, 2)
    flat = samples.reshape(-1, count, 2).astype(np.float32)
    values = cv2.remap(light, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    values = values.reshape(samples.shape[:-1]).astype(np.float64)
    # Inside, the black border is one cell wide; what lies behind it is the marker's pattern.
    depth = np.minimum(_HALF_WIDTH, 0.8 * np.roll(length, -1, axis=1) / cells)[..., None]
    slope = np.maximum(np.diff(values, axis=-1), 0)
    middle = (across[1:] + across[:-1]) / 2
    slope = np.where(np.abs(middle) <= np.maximum(depth, 1.25), slope, 0)
    total = slope.sum(axis=-1)
    offset = (slope * middle).sum(axis=-1) / np.maximum(total, 1e-9)
    weight = np.where(total > _MIN_CONTRAST, 1.0, 0.0)
    lines, good = _fit_lines(offset, weight, places, direction, outward)
    return lines, good & (length[..., 0] > 6)


def _fit_lines(
    offset: np.ndarray, weight: np.ndarray, places: np.ndarray, direction: np.ndarray, outward: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Straight lines through edge points, given as offsets (M, 4, P) across; points off the line lose their weight."""
    t = np.linspace(-1, 1, _ALONG)
    level = tilt = np.zeros(offset.shape[:2])
    for _ in range(3):
        s0, s1, s2 = (np.sum(weight * t**k, axis=-1) for k in range(3))
        y0, y1 = np.sum(weight * offset, axis=-1), np.sum(weight * t * offset, axis=-1)
        determinant = np.maximum(s0 * s2 - s1 * s1, 1e-9)
        level, tilt = (s2 * y0 - s1 * y1) / determinant, (s0 * y1 - s1 * y0) / determinant
        off = np.abs(offset - level[..., None] - tilt[..., None] * t)
        spread = np.sum(weight * off, axis=-1, keepdims=True) / np.maximum(s0[..., None], 1e-9)
        weight = weight * (off <= np.maximum(2.0 * spread, 0.1))
    first = places[:, :, 0] + (level - tilt)[..., None] * outward
    last = places[:, :, -1] + (level + tilt)[..., None] * outward
    along = last - first
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    normal = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    lines = np.concatenate([normal, np.sum(normal * first, axis=-1, keepdims=True)], axis=-1)
    return lines, (weight.sum(axis=-1) >= _ALONG / 2) & (np.sum(direction * along, axis=-1) > 0.9)


def _intersect(lines: np.ndarray, good: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corner i is where the edge that ends there (i - 1) meets the one that begins there (i)."""
    before, after = np.roll(lines, 1, axis=1), lines
    determinant = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    usable = good & np.roll(good, 1, axis=1) & (np.abs(determinant) > 0.1)
    safe = np.where(usable, determinant, 1.0)
    x = (before[..., 2] * after[..., 1] - before[..., 1] * after[..., 2]) / safe
    y = (before[..., 0] * after[..., 2] - before[..., 2] * after[..., 0]) / safe
    crossing = np.stack([x, y], axis=-1)
    usable &= np.linalg.norm(crossing - start, axis=-1) < _MAX_SHIFT
    return np.where(usable[..., None], crossing, start), usable
