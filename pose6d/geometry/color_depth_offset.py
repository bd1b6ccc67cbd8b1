"""How far depth lies beside colour: measured from the edges of both, and taken back.

Cameras whose colour and depth come from two sensors are aligned by a calibration that may be off by some pixels. Where
a near surface ends in front of a far one, colour changes too, so the shift that lays the depth's edges onto gradients
of colour is the offset. Stereo matching lets near surfaces grow by a pixel or two. That moves opposite sides apart,
an offset moves them alike, so both are estimated together.

Every stretch of edge is matched alone (as in generalised Hough transforms, Ballard 1981), and tiles of the picture are
resampled (the bootstrap, Efron 1979) to see how far the result depends on single tiles: pictures whose edges have no
counterpart in colour, or all run in one direction, give an uncertain result rather than a wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pose6d.errors import FrameError, OptionError
from pose6d.geometry.depth import is_measured

RANGE = 8  # pixels of a picture of 640 columns, largest offset along each axis that is found
GROWTHS = (-0.5, 0.5, 1.5, 2.5, 3.5)  # pixels by which near surfaces may have grown
_USUAL_GROWTH, _GROWTH_PENALTY = 0.7, 0.01  # the latter in parts of the peak, per squared pixel
_COLUMNS = 640  # wider pictures are measured at a whole fraction of their size
_BRIDGE = 25  # pixels, widest gap without depth beside a near surface that is bridged: its shadow
_NOISE = 4.0  # times what a picture's depth usually changes by between neighbours: what less is no edge
_BLUR = 2.0  # pixels; sharper pictures draw the result to whole pixels
_FLAT = 20.0  # mean gradient of a window (by a Sobel filter) that weighs as much as the window itself
_MOST_EDGES = 2000
_FEWEST_EDGES, _FEWEST_TILES = 150, 8
_DIRECTIONS = 16
_TILES = 8  # along each side
_SAMPLES = 60
_SHARE = 0.9  # of the resampled offsets that lie within the uncertainty

_KNOWN, _FAR_KNOWN = 1.0, 2.0  # pixels, uncertainty up to which an offset counts as known, and a large one
_MATTERS = (
    2.0  # pixels; poses hardly gain from taking back less, and moving by whole pixels may leave more than half of one
)
_MOST_BY_HAND = 100
_ROUGH_COLUMNS = 160  # of the pictures that show offsets beyond the range
_FAR_ROUNDS = 3  # of going on from the end of theirs


@dataclass(frozen=True)
class ColorDepthOffset:
    """Where depth lies, seen from colour.

    Attributes:
        right: pixels by which depth lies to the right of where it belongs; negative: to the left.
        down: pixels by which it lies below; negative: above.
        uncertainty: pixels along either axis, which nine of ten resampled offsets keep to; infinite where there are too
            few edges, or where the offset found is at the end of the range that is searched (`beyond`).
        growth: pixels by which near surfaces are larger in depth than in colour; NaN where there are too few edges.
        scale: pixels per pixel of the picture that was measured, which has about 640 columns.
    """

    right: float
    down: float
    uncertainty: float
    growth: float
    scale: int = 1

    @property
    def known(self) -> bool:
        """Whether the edges tell where depth lies."""
        return self.uncertainty <= (_FAR_KNOWN if self.far else _KNOWN) * self.scale

    @property
    def beyond(self) -> bool:
        """Whether what fits best lies at the end of the range, or past it: `find_far_offset` looks farther."""
        return math.isinf(self.uncertainty) and not math.isnan(self.growth)

    @property
    def far(self) -> bool:
        """Whether it is larger than those that a calibration leaves: depth and colour do not lie on each other."""
        return max(abs(self.right), abs(self.down)) > (RANGE - 1) * self.scale

    @property
    def certain(self) -> bool:
        """Whether depth surely, by twice the uncertainty, lies so far off that it should be moved back."""
        return self.known and math.hypot(self.right, self.down) - 2 * self.uncertainty > _MATTERS * self.scale

    @property
    def pixels(self) -> tuple[int, int]:
        """Whole pixels (right, down), as `remove_depth_offset` takes them."""
        return round(self.right), round(self.down)

    def describe(self) -> str:
        """Where depth lies, for people."""
        if not self.uncertainty < RANGE * self.scale / 2:
            return "it is not known whether depth lies on colour: too few of its edges are seen in colour as well"
        sides = ((self.right, "to the right of", "to the left of"), (self.down, "below", "above"))
        parts = [
            f"{abs(value):.1f} pixels {more if value > 0 else less}"
            for value, more, less in sides
            if abs(value) > 0.5 * self.scale
        ]
        where = f"{' and '.join(parts)} colour" if parts else "on colour"
        exact = f"give or take {self.uncertainty:.1f} pixels"
        return (
            f"depth lies {where} ({exact})" if self.known else f"depth may lie {where}, but that is a guess ({exact})"
        )


def remove_depth_offset(depth: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """Move depth back by whole pixels; no two depths are mixed.

    Args:
        depth: (H, W), 0 = missing.
        offset: pixels by which it lies to the right of and below where it belongs.

    Returns:
        (H, W) of the same type, 0 along the borders where nothing is known.
    """
    right, down = offset
    height, width = depth.shape
    moved = np.zeros_like(depth)
    if abs(right) < width and abs(down) < height:
        moved[max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)] = depth[
            max(down, 0) : height - max(-down, 0), max(right, 0) : width - max(-right, 0)
        ]
    return moved


def parse_depth_offset(text: str) -> tuple[int, int]:
    """Whole pixels (right, down) as a user types them, such as "3,-2".

    Raises:
        OptionError: it is of another form.
    """
    try:
        right, down = (int(part) for part in text.split(","))
    except ValueError:
        right = down = _MOST_BY_HAND + 1
    if max(abs(right), abs(down)) > _MOST_BY_HAND:
        raise OptionError(
            f"--depth_offset is {text!r}: wanted auto, none, or the pixels (at most {_MOST_BY_HAND}) by which depth "
            "lies to the right of and below colour, as in --depth_offset=3,-2"
        )
    return right, down


def resolve_depth_offset(choice: str, rgb: np.ndarray, depth: np.ndarray) -> tuple[tuple[int, int], str]:
    """The offset to take back, and what to tell people about it ("" where nothing is moved).

    Args:
        choice: "auto" takes back what `measure_color_depth_offset` is certain of, "none" nothing; else the offset
            itself, as `parse_depth_offset` reads it.
        rgb, depth: of the first frame, as `measure_color_depth_offset` takes them.

    Raises:
        OptionError: the choice is none of these.
    """
    if choice == "none":
        return (0, 0), ""
    if choice == "auto":
        measured = measure_color_depth_offset([(rgb, depth)])
        if measured.beyond and (far := find_far_offset([(rgb, depth)])) is not None:
            right, down = far.pixels
            return (0, 0), (
                f"{far.describe()}, which no calibration explains, and is left there: is depth aligned to colour at "
                f"all? --depth_offset={right},{down} moves it back"
            )
        if not measured.certain:
            return (0, 0), ""
        return measured.pixels, f"{measured.describe()} and is moved back (--depth_offset none leaves it)"
    right, down = parse_depth_offset(choice)
    return (right, down), f"depth is moved by {-right} pixels to the right and {-down} down, as --depth_offset says"


def measure_color_depth_offset(views: Iterable[tuple[np.ndarray, np.ndarray]], shrink: int = 1) -> ColorDepthOffset:
    """Where depth lies beside colour, from one picture or several of one camera.

    Args:
        views: colour (H, W, 3) uint8 and depth (H, W), all of one size; depth in metres, 0 = missing.
        shrink: look at pictures of so many times fewer columns: it reaches so much farther, less exactly.

    Raises:
        FrameError: colour and depth are of other shapes.
    """
    tiles, counts, scale = np.zeros((), np.float32), np.zeros(_TILES**2, int), 1
    for rgb, depth in views:
        if rgb.shape != (*depth.shape, 3) or rgb.dtype != np.uint8:
            raise FrameError(
                f"colour of shape {rgb.shape} and {rgb.dtype} with depth of shape {depth.shape}; wanted (H, W, 3) "
                "uint8 and (H, W)"
            )
        scale = shrink * max(1, depth.shape[1] // _COLUMNS)
        if scale > 1:
            size = (depth.shape[1] // scale, depth.shape[0] // scale)
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
            depth = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
        # The same tile of all views is one sample: views of a camera that stands still say nothing new.
        match, found = _match_tiles(rgb, depth)
        tiles, counts = tiles + match, counts + found
    used = counts > 0
    if counts.sum() < _FEWEST_EDGES or used.sum() < _FEWEST_TILES:
        return ColorDepthOffset(0.0, 0.0, math.inf, math.nan, scale)
    tiles = tiles[used]
    count = len(tiles)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _SAMPLES)
    weights = np.concatenate([np.ones((1, count)), draws]).astype(np.float32)
    samples = (weights @ tiles.reshape(count, -1)).reshape(-1, *tiles.shape[1:])
    peaks = np.array([_peak(samples[index]) for index in range(len(samples))])
    offset, others = peaks[0], peaks[1:]
    spread = np.quantile(np.abs(others[:, :2] - offset[:2]).max(1), _SHARE)
    at_end = np.abs(offset[:2]).max() > RANGE - 0.75
    right, down, uncertainty = scale * offset[0], scale * offset[1], math.inf if at_end else scale * spread
    return ColorDepthOffset(float(right), float(down), float(uncertainty), float(scale * offset[2]), scale)


def find_far_offset(views: Sequence[tuple[np.ndarray, np.ndarray]]) -> ColorDepthOffset | None:
    """An offset larger than those that `measure_color_depth_offset` finds, as of depth that nobody has aligned.

    Small pictures say roughly where depth lies; it counts only if, moved back, its edges meet those of colour.

    Args:
        views: as of `measure_color_depth_offset`.

    Returns:
        The offset; None where nothing is sure, or where it is a small one.
    """
    right = down = 0
    columns = views[0][1].shape[1]
    shrink = max(1, round(columns / max(1, columns // _COLUMNS) / _ROUGH_COLUMNS))
    for _ in range(_FAR_ROUNDS):
        rough = measure_color_depth_offset(_moved_back(views, (right, down)), shrink)
        right, down = right + rough.pixels[0], down + rough.pixels[1]
        if max(abs(rough.right), abs(rough.down)) < 2 * rough.scale:
            break
    rest = measure_color_depth_offset(_moved_back(views, (right, down)))
    found = replace(rest, right=right + rest.right, down=down + rest.down)
    return found if found.far and found.known else None


def _moved_back(
    views: Sequence[tuple[np.ndarray, np.ndarray]], offset: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(rgb, remove_depth_offset(depth, offset)) for rgb, depth in views]


def depth_edges(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of near surfaces where they end in front of far ones.

    Args:
        depth: (H, W) metres, 0 = missing.

    Returns:
        Columns and rows (E, 2) int, and the directions (E, 2) float32 across the edge, from near to far, of length 1.
    """
    depth = cv2.medianBlur(np.where(is_measured(depth), depth, 0).astype(np.float32), 5)
    measured = depth > 0
    # What has no depth beside a near surface is far: one of the two cameras cannot see it.
    filled = np.where(measured, depth, cv2.dilate(depth, np.ones((_BRIDGE, _BRIDGE), np.uint8)))
    step = cv2.dilate(filled, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) - depth
    # Twice what pose6d.geometry.depth takes for noise of one surface; more where the picture shows more.
    usual = np.median(step[measured] / depth[measured] ** 2) if measured.any() else 0.0
    edge = measured & (step > 0.004 + max(0.02, _NOISE * usual) * depth * depth)
    edge &= cv2.erode((filled > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    smooth = cv2.GaussianBlur(np.log(np.maximum(filled, 1e-3)), (0, 0), 1.5)
    rows, columns = np.nonzero(edge)
    across = np.stack([cv2.Sobel(smooth, cv2.CV_32F, *order)[rows, columns] for order in ((1, 0), (0, 1))], axis=1)
    length = np.linalg.norm(across, axis=1)
    there = length > 0
    return np.stack([columns, rows], axis=1)[there], across[there] / length[there, None]


def _match_tiles(rgb: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well colour's gradients fit the depth's edges, tile by tile.

    Returns:
        (tiles, growths, 2 RANGE + 1, 2 RANGE + 1) float32 by growth, and by how far colour lies below and to the right
        of depth; and (tiles,) int, the edges of each.
    """
    reach = RANGE + math.ceil(max(abs(0.5 - growth) for growth in GROWTHS))
    side, height, width = 2 * reach + 1, *depth.shape
    match = np.zeros((_TILES**2, len(GROWTHS), 2 * RANGE + 1, 2 * RANGE + 1), np.float32)
    pixels, across = depth_edges(depth)
    inside = ((pixels >= reach) & (pixels < np.array([width, height]) - reach)).all(1)
    pixels, across = pixels[inside], across[inside]
    if len(pixels) > _MOST_EDGES:
        kept = np.random.default_rng(0).choice(len(pixels), _MOST_EDGES, replace=False)
        pixels, across = pixels[kept], across[kept]
    if not len(pixels):
        return match, np.zeros(_TILES**2, int)
    tile = pixels[:, 1] * _TILES // height * _TILES + pixels[:, 0] * _TILES // width
    turn = np.arctan2(across[:, 1], across[:, 0]) / (2 * np.pi) * _DIRECTIONS
    group = tile * _DIRECTIONS + np.round(turn).astype(int) % _DIRECTIONS
    order = np.argsort(group, kind="stable")
    seen = _color_steps(rgb, pixels[order] - reach, across[order], side)
    # A window full of texture tells little, one with a single line much.
    seen /= seen.sum((1, 2), keepdims=True) + _FLAT * side**2
    groups, starts = np.unique(group[order], return_index=True)
    total = np.add.reduceat(seen, starts, axis=0)
    angles = (groups % _DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    for index, growth in enumerate(GROWTHS):
        by_row = _shift_matrices((0.5 - growth) * np.sin(angles), reach)
        by_column = _shift_matrices((0.5 - growth) * np.cos(angles), reach)
        np.add.at(match[:, index], groups // _DIRECTIONS, by_row @ total @ by_column.transpose(0, 2, 1))
    return match, np.bincount(tile, minlength=_TILES**2)


def _color_steps(rgb: np.ndarray, corners: np.ndarray, across: np.ndarray, side: int) -> np.ndarray:
    """How fast colour changes in windows, each along a direction of its own (Di Zenzo 1986).

    Args:
        rgb: (H, W, 3) uint8.
        corners: (E, 2) int, first column and row of each window.
        across: (E, 2) float32, directions.
        side: of the windows, pixels.

    Returns:
        (E, side, side) float32.
    """
    smooth = cv2.GaussianBlur(rgb, (0, 0), _BLUR)
    along_x, along_y = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    total = np.zeros((len(corners), side, side), np.float32)
    x, y = across.T[:, :, None, None]
    for product, weight in ((along_x * along_x, x * x), (along_x * along_y, 2 * x * y), (along_y * along_y, y * y)):
        image = cv2.transform(product, np.ones((1, 3), np.float32))
        windows = np.lib.stride_tricks.sliding_window_view(image, (side, side))
        total += windows[corners[:, 1], corners[:, 0]] * weight
    return np.sqrt(np.maximum(total, 0))


def _shift_matrices(shifts: np.ndarray, reach: int) -> np.ndarray:
    """Matrices (N, 2 RANGE + 1, 2 reach + 1) that look up a window's rows, moved by `shifts` (N,) pixels."""
    places, window = np.arange(-RANGE, RANGE + 1)[:, None], np.arange(-reach, reach + 1)
    return np.maximum(0, 1 - np.abs(places + shifts[:, None, None] - window)).astype(np.float32)


def _peak(match: np.ndarray) -> np.ndarray:
    """Where (growths, rows, columns) is best: right and down (of depth against colour) and growth, parts of a pixel."""
    base, top = np.median(match), match.max()
    growths = np.array(GROWTHS)
    match = (match - base) / (top - base + 1e-12)
    match = match - _GROWTH_PENALTY * ((growths - _USUAL_GROWTH) ** 2)[:, None, None]
    best = np.array(np.unravel_index(match.argmax(), match.shape))
    place = best.astype(float)
    for axis, step in enumerate(np.eye(3, dtype=int)):
        if 0 < best[axis] < match.shape[axis] - 1:
            before, here, after = (match[tuple(best + side * step)] for side in (-1, 0, 1))
            place[axis] += 0.5 * (before - after) / (before - 2 * here + after - 1e-12)
    growth = growths[0] + place[0] * (growths[1] - growths[0])
    return np.array([RANGE - place[2], RANGE - place[1], growth])
