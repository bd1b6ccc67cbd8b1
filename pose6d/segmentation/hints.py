"""The first mask of an object from what a person says: a point on it, a box around it, or its outline.

Colours inside and outside are told apart by GrabCut (Rother, Kolmogorov and Blake, SIGGRAPH 2004); depth says where it
begins, and what certainly is not the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pose6d.errors import FrameError, OptionError
from pose6d.geometry.depth import is_measured
from pose6d.geometry.masks import mask_window
from pose6d.segmentation.depth_regions import PLANE_SIZE, depth_regions, without_holes
from pose6d.segmentation.planes import large_planes, noise_limit
from pose6d.segmentation.small_picture import shrink_frame

Point = tuple[float, float]

_FORMS = (
    "'auto'; a point X,Y; a box X0,Y0,WIDTH,HEIGHT; an outline X,Y X,Y X,Y ... of three points or more; "
    "or the file of a mask. All in pixels of the colour image"
)
_ROUNDS = 4  # of GrabCut
_SEED = 0.12  # radius around a point, in what a diameter is in the picture there, that is surely the object
_REACH = 1.0  # diameters from a point beyond which nothing is the object
_MARGIN = 0.3  # how much of a picture around a box the background is learned from, in parts of its sides
_FEWEST_PIXELS = 30
_LARGEST_SIDE = 240  # pixels, of what GrabCut looks at; its time grows with the number of pixels


@dataclass(frozen=True)
class AutomaticHint:
    """Nobody says where the object is: it is looked for."""


@dataclass(frozen=True)
class PointHint:
    """A point (x, y) on the object, pixels."""

    point: Point


@dataclass(frozen=True)
class BoxHint:
    """A box (x0, y0, width, height) around the object, pixels."""

    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class PolygonHint:
    """The object's outline, (x, y) of its corners in order, pixels."""

    points: tuple[Point, ...]


Hint = AutomaticHint | PointHint | BoxHint | PolygonHint | Path


def parse_hint(text: str) -> Hint:
    """What a `--mask` says.

    Args:
        text: `auto`; `X,Y`, a point on the object; `X0,Y0,WIDTH,HEIGHT`, a box from its left upper corner;
            `X,Y X,Y X,Y`, three corners of the outline or more; anything else is the path of a file.

    Raises:
        OptionError: numbers that are none of these.
    """
    text = text.strip()
    if not text:
        raise OptionError(f"--mask is empty: give {_FORMS}")
    if text.lower() == "auto":
        return AutomaticHint()
    groups = [_numbers(word) for word in text.split()]
    if any(group is None for group in groups):
        return Path(text)
    flat = [group for group in groups if group is not None]
    counts = [len(group) for group in flat] if np.isfinite(np.concatenate(flat)).all() else []
    if counts == [2]:
        return PointHint((flat[0][0], flat[0][1]))
    if counts == [4]:
        return BoxHint((flat[0][0], flat[0][1], flat[0][2], flat[0][3]))
    if len(counts) >= 3 and set(counts) == {2}:
        return PolygonHint(tuple((group[0], group[1]) for group in flat))
    raise OptionError(f"--mask {text!r}: numbers that are no point, box or outline; give {_FORMS}")


def _numbers(word: str) -> list[float] | None:
    """The numbers of `1,2.5`; None for what is not such."""
    if "," not in word:
        return None
    try:
        return [float(part) for part in word.split(",")]
    except ValueError:
        return None


def mask_from_hint(hint: Hint, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, diameter: float) -> np.ndarray:
    """The mask (H, W) bool of a point, a box or an outline; see the function of each.

    Raises:
        FrameError: the hint does not fit the picture.
        ValueError: it is none of these: a file is read by the recording, and `auto` is looked for.
    """
    if isinstance(hint, PointHint):
        return mask_from_point(rgb, depth, K, hint.point, diameter)
    if isinstance(hint, BoxHint):
        return mask_from_box(rgb, depth, hint.box)
    if isinstance(hint, PolygonHint):
        return mask_from_polygon(depth.shape[:2], hint.points)
    raise ValueError(f"{hint!r} is no point, box or outline")


def mask_from_point(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, point: Point, diameter: float) -> np.ndarray:
    """The object at a point.

    What is farther than a diameter from that point in space is not the object; a small patch of the same depth around
    it is; GrabCut decides about the rest.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres, 0 = missing.
        K: (3, 3) intrinsics of both.
        point: (x, y) pixels.
        diameter: of the object, metres.

    Returns:
        (H, W) bool.

    Raises:
        FrameError: the point is outside, there is no depth near it, or nothing is left around it.
    """
    what = f"the point {point[0]:g},{point[1]:g}"
    height, width = depth.shape
    x, y = round(point[0]), round(point[1])
    if not (0 <= x < width and 0 <= y < height):
        raise FrameError(f"{what} is outside the picture of {width}x{height} pixels: give one on the object")
    known = is_measured(depth)
    around = np.s_[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5]
    if not known[around].any():
        raise FrameError(
            f"{what} has no depth within 4 pixels: give one where the camera measures the object, or draw a box"
        )
    middle = float(depth[y, x]) if known[y, x] else float(np.median(depth[around][known[around]]))
    v, u = np.mgrid[:height, :width].astype(np.float32)
    sideways_y = (v - y) / K[1, 1] * middle
    sideways_x = (u - x) / K[0, 0] * middle
    aside = np.hypot(sideways_x, sideways_y)
    away = np.hypot(aside, np.where(known, depth - middle, 0))
    limit = 2 * noise_limit(np.float32(middle))
    labels = np.full(depth.shape, cv2.GC_PR_BGD, np.uint8)
    region = next((mask for mask in depth_regions(rgb, depth, K, diameter) if mask[y, x]), None)
    if region is None:
        labels[known & (away < diameter / 2)] = cv2.GC_PR_FGD
        labels[_ground(depth, rgb, K, diameter, (x, y))] = cv2.GC_PR_BGD
    else:
        labels[region] = cv2.GC_PR_FGD
        labels[cv2.erode(region.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0] = cv2.GC_FGD
    labels[away > _REACH * diameter] = cv2.GC_BGD
    labels[(aside < _SEED * diameter) & (np.abs(depth - middle) < limit + 0.1 * diameter) & known] = cv2.GC_FGD
    labels[y, x] = cv2.GC_FGD
    return _part_at(_grab_cut(rgb, labels, what), (x, y), what)


def mask_from_box(rgb: np.ndarray, depth: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The object in a box.

    What is outside is not the object, nor is what lies behind the plane that surrounds the box; what stands out of that
    plane is; GrabCut decides about the rest.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres, 0 = missing.
        box: (x0, y0, width, height) pixels; what of it is outside the picture is cut off.

    Returns:
        (H, W) bool.

    Raises:
        FrameError: the box is outside, too small, or nothing in it stands out.
    """
    x0, y0, across, down = box
    what = f"the box {x0:g},{y0:g},{across:g},{down:g}"
    height, width = depth.shape
    if across < 4 or down < 4:
        raise FrameError(f"{what} is {across:g}x{down:g} pixels: at least 4x4 is needed. Give X0,Y0,WIDTH,HEIGHT")
    left, top = max(0, round(x0)), max(0, round(y0))
    right, bottom = min(width, round(x0 + across)), min(height, round(y0 + down))
    if right - left < 4 or bottom - top < 4:
        raise FrameError(
            f"{what} is outside the picture of {width}x{height} pixels: give X0,Y0,WIDTH,HEIGHT with the left upper "
            "corner first"
        )
    if (right - left) * (bottom - top) > 0.95 * height * width:
        raise FrameError(f"{what} holds the whole picture: draw it closely around the object")
    inside = np.s_[top:bottom, left:right]
    labels = np.full(depth.shape, cv2.GC_BGD, np.uint8)
    labels[inside] = cv2.GC_PR_FGD
    height_above = _standing_out(depth, (left, top, right, bottom))
    labels[inside][height_above[inside] < -2] = cv2.GC_BGD
    labels[inside][np.abs(height_above[inside]) <= 1] = cv2.GC_PR_BGD
    block = np.ones((3, 3), np.uint8)
    high = cv2.erode(cv2.morphologyEx((height_above > 2).astype(np.uint8), cv2.MORPH_CLOSE, block), block) > 0
    labels[inside][high[inside]] = cv2.GC_FGD
    mask = _grab_cut(rgb, labels, what)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = np.append(stats[1:, cv2.CC_STAT_AREA], 0)  # without a pixel there is no part
    return _checked(mask & (parts == 1 + int(np.argmax(areas))), what)


def mask_from_polygon(size: Sequence[int], points: Sequence[Point]) -> np.ndarray:
    """What an outline encloses, with its border.

    Args:
        size: (H, W) of the picture.
        points: (x, y) of the corners in order, pixels; parts outside the picture are cut off.

    Returns:
        (H, W) bool.

    Raises:
        FrameError: fewer than three corners, or an outline without area or outside the picture.
    """
    what = "the outline " + " ".join(f"{x:g},{y:g}" for x, y in points)
    if len(points) < 3:
        raise FrameError(f"{what} has {len(points)} corners: at least three are needed")
    height, width = size[:2]
    corners = np.round(np.array(points, dtype=np.float64)).clip(-(10**6), 10**6).astype(np.int32)
    if abs(cv2.contourArea(corners.astype(np.float32))) < 1:
        raise FrameError(f"{what} encloses nothing: its corners lie on a line. Give them in order around the object")
    mask = cv2.fillPoly(np.zeros((height, width), np.uint8), [corners], 1) > 0
    if not mask.any():
        raise FrameError(f"{what} is outside the picture of {width}x{height} pixels")
    return _checked(mask, what)


def _standing_out(depth: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W) by how many times its noise depth is nearer than a plane that surrounds a box (left, top, right, bottom).

    A plane's inverse depth is linear in pixels, whatever the intrinsics. 1.5 where nothing can be said: no depth, or
    no plane around.
    """
    left, top, right, bottom = box
    unknown = np.full(depth.shape, 1.5, np.float32)
    known = is_measured(depth)
    ring = np.zeros(depth.shape, bool)
    aside = 4 + max(right - left, bottom - top) // 5
    ring[max(0, top - aside) : bottom + aside, max(0, left - aside) : right + aside] = True
    ring[top:bottom, left:right] = False
    rows, columns = np.nonzero(ring & known)
    if len(rows) < _FEWEST_PIXELS:
        return unknown
    places = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
    z = depth[rows, columns].astype(np.float64)
    near = np.ones(len(z), bool)
    for _ in range(6):  # other objects around the box leave the fit step by step
        plane = np.linalg.lstsq(places[near], 1 / z[near], rcond=None)[0]
        off = np.abs(z - 1 / np.maximum(places @ plane, 1e-3)) / noise_limit(z)
        near = off <= max(1.0, float(np.median(off)))
    if near.mean() < 0.7:
        return unknown
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    ground = 1 / np.maximum(u * plane[0] + v * plane[1] + plane[2], 1e-3)
    return np.where(known, (ground - depth) / noise_limit(np.where(known, depth, 1.0)), unknown)


def _ground(depth: np.ndarray, rgb: np.ndarray, K: np.ndarray, diameter: float, point: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, large planes that the point is not on."""
    picture, step = shrink_frame(rgb, depth, K)
    ground: np.ndarray = np.zeros_like(picture.known, dtype=np.uint8)
    x, y = min(point[0] // step, ground.shape[1] - 1), min(point[1] // step, ground.shape[0] - 1)
    for _, where in large_planes(picture.points, picture.known, picture.normals, PLANE_SIZE * diameter):
        if not where[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any():
            ground |= where.astype(np.uint8)
    return cv2.resize(ground, depth.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _grab_cut(rgb: np.ndarray, labels: np.ndarray, what: str) -> np.ndarray:
    """GrabCut of the part of the picture that is not surely background, with a margin to learn the background from.

    Args:
        rgb: (H, W, 3) uint8.
        labels: (H, W) uint8 of cv2.GC_*.
        what: the hint, for people.
    """
    possible = labels != cv2.GC_BGD
    if not possible.any():
        raise FrameError(f"{what} leaves nothing that could be the object: is depth right there? Draw an outline")
    rows, columns = mask_window(possible)
    window = _widened(rows), _widened(columns)
    part, marks = rgb[window], labels[window]
    scale = min(1.0, _LARGEST_SIDE / max(marks.shape))
    small = (max(1, round(marks.shape[1] * scale)), max(1, round(marks.shape[0] * scale)))
    picture = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    trimap = cv2.resize(marks, small, interpolation=cv2.INTER_NEAREST)
    ours = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if ours.any() and not ours.all():  # else there are no two sets of colours to tell apart
        cv2.setRNGSeed(0)
        ground, figure = np.zeros((2, 1, 65))
        whole = (0, 0, *small)  # not looked at: the labels are
        cv2.grabCut(picture, trimap, whole, ground, figure, _ROUNDS, cv2.GC_INIT_WITH_MASK)
        ours = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD))
    mask = np.zeros(labels.shape, bool)
    mask[window] = cv2.resize(ours.astype(np.uint8), marks.shape[::-1]) > 0
    return mask


def _widened(side: slice) -> slice:
    margin = int(_MARGIN * (side.stop - side.start)) + 8
    return slice(max(0, side.start - margin), side.stop + margin)


def _part_at(mask: np.ndarray, point: tuple[int, int], what: str) -> np.ndarray:
    """The connected part of a mask (H, W) at a point (x, y), its holes filled."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    part = parts == parts[point[1], point[0]] if mask[point[1], point[0]] else np.zeros_like(mask)
    return _checked(without_holes(part), what)


def _checked(mask: np.ndarray, what: str) -> np.ndarray:
    """The mask, unless there is too little of it."""
    if (count := int(mask.sum())) < _FEWEST_PIXELS:
        raise FrameError(
            f"{what} gives a mask of {count} pixels, too few for an object: its colours do not stand out there. "
            "Draw an outline around the object: three corners X,Y or more"
        )
    return mask
