"""First masks without a network: regions of the depth, and what a person points at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pose6d.errors import FrameError, OptionError
from pose6d.geometry.masks import mask_iou
from pose6d.segmentation.depth_regions import MOST_REGIONS, _count_bits, depth_regions
from pose6d.segmentation.hints import (
    AutomaticHint,
    BoxHint,
    PointHint,
    PolygonHint,
    mask_from_box,
    mask_from_hint,
    mask_from_point,
    mask_from_polygon,
    parse_hint,
)

SIZE = (240, 320)
K = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])
TABLE = np.array([0.0, -0.8, -0.6])  # its normal, towards the camera
TABLE_OFFSET = 0.48  # metres: the optical axis meets it at 0.8 m


def rays() -> np.ndarray:
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    return np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(SIZE)], axis=-1)


class Tabletop:
    """A wooden table with boxes on it, from their places on the table in metres; exact until `measure`."""

    def __init__(self, table: bool = True) -> None:
        self.random = np.random.default_rng(3)
        self.depth = np.zeros(SIZE)
        self.rgb = np.full((*SIZE, 3), 90, np.uint8)
        self.owner = np.full(SIZE, -1)
        if table:
            self.depth = -TABLE_OFFSET / (rays() @ TABLE)
            self.depth[(self.depth < 0) | (self.depth > 3)] = 0
            grain = self.random.integers(-6, 7, SIZE)[..., None]
            self.rgb = np.clip(np.array([150, 110, 80]) + grain, 0, 255).astype(np.uint8)

    def put(self, across: float, away: float, size: tuple[float, float, float], color: tuple[int, int, int]) -> int:
        """A box standing on the table (width, depth, height); returns its number."""
        x_axis = np.array([1.0, 0, 0])
        y_axis = np.cross(TABLE, x_axis)
        axes = np.stack([x_axis, y_axis, TABLE])  # rows
        middle = np.array([0, 0, 0.8]) + across * x_axis + away * y_axis + size[2] / 2 * TABLE
        start, way = axes @ -middle, rays() @ axes.T
        half = np.array(size) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            near, far = np.sort(np.stack([(-half - start) / way, (half - start) / way]), axis=0)
        enter, leave = near.max(axis=-1), far.min(axis=-1)
        number = int(self.owner.max()) + 1
        drawn = (enter < leave) & ((self.depth == 0) | (enter < self.depth - 1e-6))
        self.depth[drawn], self.owner[drawn] = enter[drawn], number
        self.rgb[drawn] = color
        return number

    def measure(self, noise: float = 0.0015) -> tuple[np.ndarray, np.ndarray]:
        """Colour, and depth with noise, steps of a millimetre, missing pixels and mixed ones at edges."""
        depth = self.depth + noise * self.random.standard_normal(SIZE)
        edge = np.abs(np.diff(self.depth, axis=1, append=0)) > 0.02
        depth[edge & (self.random.random(SIZE) < 0.3)] += 0.02
        depth[self.random.random(SIZE) < 0.08] = 0
        depth[100:106, 40:50] = 0
        return self.rgb, np.where(self.depth > 0, np.round(depth, 3).clip(0), 0).astype(np.float32)


def rank(regions: list[np.ndarray], truth: np.ndarray, least: float = 0.7) -> int:
    """The first region that is the object; MOST_REGIONS where none is."""
    return next((i for i, region in enumerate(regions) if mask_iou(region, truth) > least), MOST_REGIONS)


def two_boxes() -> tuple[Tabletop, int, int]:
    scene = Tabletop()
    large = scene.put(-0.12, 0.0, (0.12, 0.08, 0.1), (180, 30, 30))
    small = scene.put(0.13, 0.05, (0.05, 0.05, 0.06), (40, 60, 170))
    return scene, large, small


def test_bits_are_counted_alike_by_old_and_new_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, 2**64, (3, 5), np.uint64)
    wanted = [sum(int(word).bit_count() for word in row) for row in words]
    np.testing.assert_array_equal(_count_bits(words), wanted)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(_count_bits(words), wanted)


def test_boxes_on_a_table_are_found_by_their_size() -> None:
    scene, large, small = two_boxes()
    rgb, depth = scene.measure()
    for number, diameter in ((large, 0.175), (small, 0.093)):
        regions = depth_regions(rgb, depth, K, diameter)
        assert 0 < len(regions) <= MOST_REGIONS
        assert all(region.shape == SIZE and region.dtype == bool for region in regions)
        assert rank(regions, scene.owner == number) < 2


def test_boxes_that_touch_are_parted_by_color() -> None:
    scene = Tabletop()
    left = scene.put(-0.03, 0.0, (0.06, 0.06, 0.08), (190, 40, 40))
    right = scene.put(0.03, 0.0, (0.06, 0.06, 0.08), (40, 60, 190))
    rgb, depth = scene.measure()
    regions = depth_regions(rgb, depth, K, 0.117)
    assert rank(regions, scene.owner == left, 0.6) < MOST_REGIONS
    assert rank(regions, scene.owner == right, 0.6) < MOST_REGIONS


def test_a_thin_thing_on_the_table_is_found_by_its_color() -> None:
    scene = Tabletop()
    ruler = scene.put(0.0, 0.0, (0.16, 0.025, 0.001), (20, 20, 25))
    rgb, depth = scene.measure()
    assert rank(depth_regions(rgb, depth, K, 0.162), scene.owner == ruler, 0.5) < 3


def test_no_plane_is_needed() -> None:
    scene = Tabletop(table=False)
    box = scene.put(0.0, 0.0, (0.1, 0.08, 0.1), (180, 30, 30))
    rgb, depth = scene.measure()
    assert rank(depth_regions(rgb, depth, K, 0.162), scene.owner == box) == 0


def test_the_border_may_cut_the_object() -> None:
    scene = Tabletop()
    box = scene.put(-0.43, 0.0, (0.14, 0.1, 0.12), (180, 30, 30))
    assert (scene.owner == box)[:, 0].any()
    rgb, depth = scene.measure()
    assert rank(depth_regions(rgb, depth, K, 0.21), scene.owner == box) < MOST_REGIONS


def test_larger_pictures_give_masks_of_their_own_size() -> None:
    scene, large, _ = two_boxes()
    rgb, depth = (np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)[:-1, :-1] for image in scene.measure())
    regions = depth_regions(rgb, depth, K * [[2], [2], [1]], 0.175)
    truth = np.repeat(np.repeat(scene.owner == large, 2, axis=0), 2, axis=1)[:-1, :-1]
    assert rank(regions, truth) < 2


@pytest.mark.parametrize("fill", [0.0, np.nan, 65.535, 0.8])
def test_nothing_to_find_gives_no_region(fill: float) -> None:
    rgb = np.zeros((*SIZE, 3), np.uint8)
    assert depth_regions(rgb, np.full(SIZE, fill, np.float32), K, 0.1) == []


def test_a_point_gives_the_object_at_it() -> None:
    scene, large, small = two_boxes()
    rgb, depth = scene.measure()
    for number, diameter in ((large, 0.175), (small, 0.093)):
        rows, columns = np.nonzero(scene.owner == number)
        point = (float(np.median(columns)), float(np.median(rows)))
        assert mask_iou(mask_from_point(rgb, depth, K, point, diameter), scene.owner == number) > 0.8


def test_a_box_gives_the_object_in_it() -> None:
    scene, large, _ = two_boxes()
    rgb, depth = scene.measure()
    rows, columns = np.nonzero(scene.owner == large)
    box = (columns.min() - 5, rows.min() - 5, np.ptp(columns) + 11, np.ptp(rows) + 11)
    assert mask_iou(mask_from_box(rgb, depth, box), scene.owner == large) > 0.85
    assert mask_iou(mask_from_box(rgb, np.zeros_like(depth), box), scene.owner == large) > 0.7  # by colour alone


def test_an_outline_is_filled_and_cut_at_the_border() -> None:
    mask = mask_from_polygon(SIZE, [(10, 20), (49, 20), (49, 59), (10, 59)])
    assert mask[20:60, 10:50].all()
    assert mask.sum() == 40 * 40
    assert mask_from_polygon(SIZE, [(-100, 20), (9, 20), (9, 59), (-100, 59)]).sum() == 10 * 40


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("auto", AutomaticHint()),
        ("320,240", PointHint((320, 240))),
        (" 10,20,30.5,40 ", BoxHint((10, 20, 30.5, 40))),
        ("1,2 3,4 5,7", PolygonHint(((1, 2), (3, 4), (5, 7)))),
        ("masks/first.png", Path("masks/first.png")),
        ("1,2.png", Path("1,2.png")),
    ],
)
def test_hints_are_read(text: str, hint: object) -> None:
    assert parse_hint(text) == hint


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2 3,4", "1,2 3,4 5,6,7", "1,2,3,4,5", "nan,3"])
def test_numbers_that_are_no_hint_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"--mask .*X,Y"):
        parse_hint(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("400,10", "outside the picture of 320x240"),
        ("-1,10", "outside the picture"),
        ("45,103", "no depth within 4 pixels"),
        ("10,10,2,50", "at least 4x4"),
        ("400,10,50,50", "left upper corner first"),
        ("0,0,320,240", "closely around the object"),
        ("10,10 20,20 30,30", "encloses nothing"),
        ("500,10 520,10 520,40", "outside the picture"),
        ("10,10 12,10 12,12", "too few for an object"),
    ],
)
def test_hints_that_cannot_be_right_are_refused(text: str, message: str) -> None:
    scene, _, _ = two_boxes()
    rgb, depth = scene.measure()
    depth[97:110, 35:55] = 0
    hint = parse_hint(text)
    assert not isinstance(hint, Path)
    with pytest.raises(FrameError, match=message):
        mask_from_hint(hint, rgb, depth, K, 0.1)
