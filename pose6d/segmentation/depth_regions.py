"""Where an object of a known size may be in a frame: its first mask, found without a network.

Support planes are removed; what stands out of them, or differs from them in colour, is cut at jumps of depth, at
concave edges and at edges of colour. Regions that fit the object's size are candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pose6d.geometry.depth import FAR, erode_depth, is_measured
from pose6d.segmentation.planes import extent, large_planes, noise_limit, point_normals

MOST_REGIONS = 12
_WORKING_WIDTH = 320  # pixels; larger pictures are looked at in about this width
_PLANE_SIZE = 1.25  # diameters; planes that are longer are not of the object
_SIZES = (0.3, 1.15)  # shortest and longest region, diameters
_FEWEST_PIXELS = 20  # of a region in the working picture
_SAME = 0.75  # intersection over union from which two regions count as one
_LEVELS = (np.inf, 1.0, 0.5, 0.25)  # how strong an edge must be to cut, from none to weak ones


@dataclass(frozen=True)
class _Picture:
    """The frame in the working width.

    Attributes:
        lab: (h, w, 3) float32 CIE Lab.
        points: (h, w, 3) float32 metres, camera axes.
        known: (h, w) bool, where there is depth.
        normals: (h, w, 3) unit, 0 where there is none.
    """

    lab: np.ndarray
    points: np.ndarray
    known: np.ndarray
    normals: np.ndarray


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
    picture, step = _shrink(rgb, depth, K)
    planes = large_planes(picture.points, picture.known, picture.normals, _PLANE_SIZE * diameter)
    on_plane = np.zeros_like(picture.known)
    for _, where in planes:
        on_plane |= where
    above = picture.known & ~on_plane
    odd = _odd_colors(picture, [where for _, where in planes], diameter)
    edges = _edges(picture)
    jump = _jumps(picture, diameter)
    found: list[tuple[float, np.ndarray]] = []
    for foreground in (above, above | odd) if odd.any() else (above,):
        for level in _LEVELS:
            for region in _parts(foreground & ~jump & (edges < level), foreground & ~jump):
                score = _score(region, picture, on_plane, diameter)
                if score > 0:
                    found.append((score, region))
    found.sort(key=lambda pair: -pair[0])
    return [_enlarge(region, depth.shape, step) for region in _distinct([region for _, region in found])]


def _shrink(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray) -> tuple[_Picture, int]:
    """The working picture: of every so many pixels the nearest depth, so that thin things stay."""
    step = max(1, round(depth.shape[1] / _WORKING_WIDTH))
    clean = np.where(is_measured(depth), depth, 0).astype(np.float32)
    clean = erode_depth(torch.from_numpy(clean)).numpy()
    clean = cv2.medianBlur(_fill_holes(_fill_holes(clean)), 3)
    height, width = (length // step for length in clean.shape)
    blocks = clean[: height * step, : width * step].reshape(height, step, width, step)
    clean = np.where(blocks > 0, blocks, np.float32(FAR)).min(axis=(1, 3))
    clean[clean >= FAR] = 0
    known = clean > 0
    v, u = (np.mgrid[:height, :width].astype(np.float32) + 0.5) * step - 0.5
    fx, skew, cx, fy, cy = (float(value) for value in (K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]))
    y = (v - cy) / fy
    points = np.stack([(u - cx - skew * y) / fx * clean, y * clean, clean], axis=-1).astype(np.float32)
    small = cv2.resize(rgb[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.medianBlur(small, 3).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return _Picture(lab, points, known, point_normals(points, known)), step


def _fill_holes(depth: np.ndarray) -> np.ndarray:
    """Depth (H, W) whose missing pixels have the nearest of the depths around them."""
    nearest = cv2.erode(np.where(depth > 0, depth, np.float32(FAR)), np.ones((3, 3), np.uint8))
    return np.where((depth == 0) & (nearest < FAR), nearest, depth)


def _jumps(picture: _Picture, diameter: float) -> np.ndarray:
    """(h, w) bool, pixels right behind a jump of depth: the farther side of it."""
    z = picture.points[..., 2]
    nearest = cv2.erode(np.where(picture.known, z, np.float32(FAR)), np.ones((3, 3), np.uint8))
    limit = noise_limit(z)
    bend = np.abs(z[:, 2:] - 2 * z[:, 1:-1] + z[:, :-2])[picture.known[:, 1:-1]] / limit[:, 1:-1][picture.known[:, 1:-1]]
    noise = float(np.clip(np.median(bend) if len(bend) else 1.0, 0.1, 0.7))
    return picture.known & (z - nearest > 3 * noise * limit + 0.04 * diameter)


def _edges(picture: _Picture) -> np.ndarray:
    """(h, w) strength of edges of colour and of concave edges; 1 is a clear one."""
    smooth = cv2.GaussianBlur(picture.lab, (0, 0), 0.8)
    across = np.linalg.norm(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 4), axis=-1)
    down = np.linalg.norm(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 4), axis=-1)
    return np.maximum(np.hypot(across, down) / 20, _concavity(picture) / 0.5)


def _concavity(picture: _Picture, reach: int = 2) -> np.ndarray:
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


def _odd_colors(picture: _Picture, planes: list[np.ndarray], diameter: float) -> np.ndarray:
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


def _parts(core: np.ndarray, whole: np.ndarray) -> list[np.ndarray]:
    """Connected parts of a mask (h, w), each grown by what the larger mask around it adds to it alone."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core.astype(np.uint8), connectivity=4)
    labels = labels.astype(np.float32)
    for _ in range(2):
        grown = cv2.dilate(labels, np.ones((3, 3), np.uint8))
        labels = np.where((labels == 0) & whole, grown, labels)
    labels = labels.astype(np.int32)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= _FEWEST_PIXELS) + 1
    return [labels == label for label in large[np.argsort(-stats[large, cv2.CC_STAT_AREA])][:40]]


def _score(region: np.ndarray, picture: _Picture, on_plane: np.ndarray, diameter: float) -> float:
    """How well a region (h, w) fits an object of the diameter; 0 where it does not."""
    length = extent(picture.points[region & picture.known]) / diameter
    if not _SIZES[0] < length < _SIZES[1]:
        return 0.0
    fit = min(1.0, length / 0.7)
    ring = cv2.dilate(region.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~region
    z = picture.points[..., 2]
    middle = np.median(z[region])
    behind = ring & (on_plane | ~picture.known | (z > middle + 0.1 * diameter))
    alone = behind.sum() / max(1, ring.sum())
    return float(fit * (0.3 + alone))


def _distinct(regions: list[np.ndarray]) -> list[np.ndarray]:
    """The first of every few regions that are nearly one, at most `MOST_REGIONS`."""
    kept: list[np.ndarray] = []
    for region in regions:
        if len(kept) == MOST_REGIONS:
            break
        if all((region & other).sum() < _SAME * (region | other).sum() for other in kept):
            kept.append(region)
    return kept


def _enlarge(region: np.ndarray, size: tuple[int, ...], step: int) -> np.ndarray:
    """A region of the working picture as a mask (H, W) of the frame, its small holes filled."""
    closed = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    large = np.repeat(np.repeat(closed, step, axis=0), step, axis=1)[: size[0], : size[1]]
    return large.astype(bool)
