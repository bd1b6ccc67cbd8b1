"""Where an object of a known size may be in a frame: its first mask, found without a network.

Support planes are removed; what stands out of them, or differs from them in colour, is cut at jumps of depth, at
concave edges and at edges of colour. Regions that fit the object's size are candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from pose6d.geometry.depth import FAR
from pose6d.geometry.masks import mask_window
from pose6d.segmentation.planes import EXTENT_POINTS, extent, large_planes, noise_limit
from pose6d.segmentation.small_picture import SmallPicture, shrink_frame

MOST_REGIONS = 12
PLANE_SIZE = 1.25
"""diameters; planes that are longer are not of the object"""
_SIZES = (0.3, 1.15)  # shortest and longest region, diameters
_RING = 2  # pixels around a region that are looked at
_FEWEST_PIXELS = 20  # of a region in the working picture
_SAME = 0.75  # intersection over union from which two regions count as one
# Logarithms of odds, fitted to regions of simulated clutter and of real tables and bins, rounded.
_USUAL_LENGTH = 0.75  # of what is seen of an object, diameters
_WEIGHT_LENGTH, _WEIGHT_SHORT = 3.5, 7.0  # of being longer or shorter than that; of being shorter than half a diameter
_WEIGHT_ALONE = 2.0  # of having planes or nothing all around
_WEIGHT_HEIGHT, _WEIGHT_FREE = 3.5, 2.5  # of standing out of a plane, and of having none beside it
_WEIGHT_BORDER = 3.0  # of being cut by the border of the picture, against
_WEIGHT_REPEATED = 0.85  # of having been found in several ways
_WEIGHT_USED = 1.0  # of lying where another candidate does, against
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint16)  # set in a byte
_LEVELS = (np.inf, 1.0, 0.5, 0.25)  # how strong an edge must be to cut, from none to weak ones


def depth_regions(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, diameter: float) -> list[np.ndarray]:
    """Regions that may be one object of this diameter, likeliest first.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres, 0 = missing.
        K: (3, 3) intrinsics of both.
        diameter: of the object, metres.

    Returns:
        At most 12 masks (H, W) bool, which may overlap; [] where nothing has the object's size.
    """
    picture, step = shrink_frame(rgb, depth, K)
    planes = large_planes(picture.points, picture.known, picture.normals, PLANE_SIZE * diameter)
    on_plane = np.zeros_like(picture.known)
    for _, mask in planes:
        on_plane |= mask
    found: dict[bytes, tuple[np.ndarray, float]] = {}  # what is the same is looked at once
    times: dict[bytes, int] = {}
    points = picture.points.reshape(-1, 3)
    for region in _all_parts(picture, [mask for _, mask in planes], on_plane, diameter):
        key = region.tobytes()
        times[key] = times.get(key, 0) + 1
        if times[key] == 1:
            rows = np.flatnonzero(region & picture.known)
            length = extent(points[rows[:: max(1, len(rows) // EXTENT_POINTS)]]) / diameter
            if _SIZES[0] < length < _SIZES[1]:
                found[key] = region, length
    if not found:
        return []
    masks = np.stack([region for region, _ in found.values()])
    shared = _shared(masks)
    scores = np.array([_score(region, length, picture, planes, on_plane) for region, length in found.values()])
    scores += _WEIGHT_REPEATED * np.log((shared.iou > _SAME) @ np.array([times[key] for key in found]))
    return [_enlarge(masks[index], depth.shape, step) for index in _select(scores, shared)]


def _jumps(picture: SmallPicture, diameter: float) -> np.ndarray:
    """(h, w) bool, pixels right behind a jump of depth: the farther side of it."""
    z = picture.points[..., 2]
    nearest = cv2.erode(np.where(picture.known, z, np.float32(FAR)), np.ones((3, 3), np.uint8))
    limit = noise_limit(z)
    bend = (np.abs(z[:, 2:] - 2 * z[:, 1:-1] + z[:, :-2]) / limit[:, 1:-1])[picture.known[:, 1:-1]]
    noise = float(np.clip(np.median(bend) if len(bend) else 1.0, 0.1, 0.7))  # of this camera
    return picture.known & (z - nearest > 3 * noise * limit + 0.04 * diameter)


def _color_edges(picture: SmallPicture) -> np.ndarray:
    """(h, w) strength of edges of colour; 1 is a clear one."""
    smooth = cv2.GaussianBlur(picture.lab, (0, 0), 0.8)
    across = np.linalg.norm(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 4), axis=-1)
    down = np.linalg.norm(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 4), axis=-1)
    return np.hypot(across, down) / 20


def _concavity(picture: SmallPicture, reach: int = 2) -> np.ndarray:
    """(h, w) by how much normals on two sides of a pixel turn towards each other, as a sine; 0 on convex surfaces."""
    result = np.zeros(picture.known.shape, np.float32)
    for axis in (0, 1):
        inner = [slice(None)] * 2
        inner[axis] = slice(reach, -reach)
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -2 * reach), slice(2 * reach, None)
        turn = picture.normals[tuple(after)] - picture.normals[tuple(before)]
        way = picture.points[tuple(after)] - picture.points[tuple(before)]
        way /= np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 1e-9)
        both = picture.normals[tuple(after)].any(axis=-1) & picture.normals[tuple(before)].any(axis=-1)
        bend = np.where(both, -(turn * way).sum(axis=-1), 0)
        result[tuple(inner)] = np.maximum(result[tuple(inner)], bend)
    return result


def _odd_colors(picture: SmallPicture, planes: list[np.ndarray]) -> np.ndarray:
    """(h, w) bool, pixels on planes that have a colour which is rare there: thin things that hardly stand out."""
    odd = np.zeros_like(picture.known)
    bins = np.clip(picture.lab / (8, 10, 10) + (0, 13, 13), 0, (12, 25, 25)).astype(int)
    code = (bins[..., 0] * 26 + bins[..., 1]) * 26 + bins[..., 2]
    for where in planes:
        count = np.bincount(code[where], minlength=13 * 26 * 26).astype(np.float32).reshape(13, 26, 26)
        for axis in range(3):
            count = count + np.roll(count, 1, axis) + np.roll(count, -1, axis)
        share = count.ravel()[code] / max(1, where.sum())
        odd |= where & (share < 0.05)
    return cv2.morphologyEx(odd.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0


def _all_parts(
    picture: SmallPicture, planes: list[np.ndarray], on_plane: np.ndarray, diameter: float
) -> Iterator[np.ndarray]:
    """Parts (h, w) of the picture, by what lies on no plane, or has a rare colour there, and by colour alone."""
    smooth = picture.known & ~_jumps(picture, diameter)
    color = _color_edges(picture)
    edges = np.maximum(color, _concavity(picture) / 0.5)
    above = smooth & ~on_plane
    yield from _parts(picture.known & ~on_plane, picture.known & ~on_plane)  # a cup has jumps of its own
    odd = smooth & (above | _odd_colors(picture, planes))
    for foreground, strength, levels in ((above, edges, _LEVELS), (odd, edges, _LEVELS), (smooth, color, _LEVELS[1:])):
        for level in levels:
            yield from _parts(foreground & (strength < level), foreground)


def _parts(core: np.ndarray, whole: np.ndarray) -> list[np.ndarray]:
    """Connected parts of a mask (h, w), each grown by what the larger mask around it adds to it alone."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(core.astype(np.uint8), connectivity=4)
    labels = labels.astype(np.float32)
    for _ in range(2):
        grown = cv2.dilate(labels, np.ones((3, 3), np.uint8))
        labels = np.where((labels == 0) & whole, grown, labels)
    labels = labels.astype(np.int32)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= _FEWEST_PIXELS) + 1
    return [without_holes(labels == label) for label in large[np.argsort(-stats[large, cv2.CC_STAT_AREA])][:40]]


def without_holes(region: np.ndarray) -> np.ndarray:
    """A connected region (h, w) with all that it surrounds."""
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(region.shape, np.uint8)
    return cv2.drawContours(filled, contours, -1, 1, cv2.FILLED) > 0


def _score(
    region: np.ndarray,
    length: float,
    picture: SmallPicture,
    planes: list[tuple[np.ndarray, np.ndarray]],
    on_plane: np.ndarray,
) -> float:
    """The logarithm of the odds, but for a constant, that a region (h, w) of a length in diameters is the object."""
    edge = region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any()
    part = mask_window(region, _RING)
    region, known = region[part], picture.known[part]
    ring = (cv2.dilate(region.astype(np.uint8), np.ones((2 * _RING + 1,) * 2, np.uint8)) > 0) & ~region
    around = max(1, int(ring.sum()))
    alone = float((ring & (on_plane[part] | ~known)).sum()) / around
    score = -_WEIGHT_LENGTH * abs(np.log(length / _USUAL_LENGTH)) - _WEIGHT_SHORT * max(0.0, 0.5 - length)
    score += _WEIGHT_ALONE * alone
    score -= _WEIGHT_BORDER * bool(edge)
    touching = [int((ring & mask[part]).sum()) for _, mask in planes]
    if not touching or max(touching) < 0.1 * around:
        return score + _WEIGHT_FREE
    normal = planes[int(np.argmax(touching))][0]
    inside = picture.points[part][region & known]
    height = float(np.median((inside @ normal[:3] + normal[3]) / noise_limit(inside[:, 2])))
    return score + _WEIGHT_HEIGHT * min(max(height / 4, 0.0), 1.0)


class _Shared(NamedTuple):
    """What every two of N regions have in common, (N, N): as a share of both together, and of the smaller one."""

    iou: np.ndarray
    contained: np.ndarray


def _shared(masks: np.ndarray) -> _Shared:
    # A quarter of the pixels tells. Counted by bits, because the threads of a matrix product wait for one another.
    bits = np.packbits(masks[:, ::2, ::2].reshape(len(masks), -1), axis=1)
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)
    both = np.zeros((len(masks), len(masks)))
    for row, words in enumerate(bits):
        both[row, row:] = both[row:, row] = _count_bits(bits[row:] & words)
    area = np.maximum(both.diagonal(), 1)
    return _Shared(
        both / (area[:, None] + area - both),
        both / np.minimum(area[:, None], area),
    )


def _count_bits(words: np.ndarray) -> np.ndarray:
    """(N,) how many bits are set in each of N rows of words (N, W) uint64."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words).sum(axis=1)
    return _BITS[words.view(np.uint8)].sum(axis=1)


def _select(scores: np.ndarray, shared: _Shared) -> list[int]:
    """The best regions, best first; of those that are nearly one the best alone, and new places before old ones."""
    chosen: list[int] = []
    left, used = np.ones(len(scores), bool), np.zeros(len(scores))
    while left.any() and len(chosen) < MOST_REGIONS:
        best = int(np.argmax(np.where(left, scores - _WEIGHT_USED * used, -np.inf)))
        chosen.append(best)
        left &= shared.iou[best] < _SAME
        used = np.maximum(used, shared.contained[best])
    return chosen


def _enlarge(region: np.ndarray, size: tuple[int, ...], step: int) -> np.ndarray:
    """A region of the working picture as a mask (H, W) of the frame, its small holes filled."""
    closed = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    large = np.repeat(np.repeat(closed, step, axis=0), step, axis=1) > 0
    mask = np.zeros(size, bool)
    mask[: large.shape[0], : large.shape[1]] = large
    return mask
