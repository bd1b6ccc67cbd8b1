"""Depth that lies beside colour: measured, taken back, and left alone where nothing is certain."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import color_depth_offset
from pose6d.errors import FrameError, OptionError
from pose6d.geometry.color_depth_offset import (
    find_far_offset,
    measure_color_depth_offset,
    parse_depth_offset,
    remove_depth_offset,
    resolve_depth_offset,
)
from pose6d.scenes import open_scene
from pose6d.scenes.__main__ import main
from pose6d.scenes.images import read_color, write_depth, write_image
from tests.rendering_scenes import box

HEIGHT, WIDTH = 240, 320
K = np.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])


def make_view(offset: tuple[float, float], growth: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coloured discs and squares before a far wall, with noise; depth lies `offset` to the right and down."""
    random = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), random.integers(90, 140), np.float32)
    depth = np.full((HEIGHT, WIDTH), 1.6, np.float32)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for index in range(9):
        u, v = 50 + 105 * (index % 3) + random.uniform(-12, 12), 40 + 80 * (index // 3) + random.uniform(-8, 8)
        radius = random.uniform(16, 26)
        color, z = random.integers(0, 255, 3), random.uniform(0.6, 1.0)
        norm = np.hypot if index % 2 else np.maximum
        rgb[norm(np.abs(columns - u), np.abs(rows - v)) < radius] = color
        right, down = offset
        depth[norm(np.abs(columns - u - right), np.abs(rows - v - down)) < radius + growth] = z
    rgb = cv2.GaussianBlur(rgb, (0, 0), 0.7) + random.normal(0, 4, rgb.shape)
    depth += random.normal(0, 0.003, depth.shape) * depth
    depth[random.random(depth.shape) < 0.03] = 0
    return rgb.clip(0, 255).astype(np.uint8), depth.astype(np.float32)


@pytest.mark.parametrize("offset", [(0, 0), (3, 0), (0, -3), (-4, 2), (1.5, 2.5), (6, -5)])
def test_an_offset_is_found(offset: tuple[float, float]) -> None:
    measured = measure_color_depth_offset([make_view(offset)])
    # Over seeds 0 to 9 and these offsets the worst error was 0.21.
    assert (measured.right, measured.down) == pytest.approx(offset, abs=0.6)
    assert measured.known
    assert measured.certain == (offset != (0, 0))


@pytest.mark.parametrize("offset", [(35, 0), (-22, 10), (0, -28)])
def test_a_large_offset_is_said_and_not_taken_back(offset: tuple[float, float]) -> None:
    views = [make_view(offset)]
    assert measure_color_depth_offset(views).beyond
    far = find_far_offset(views)
    assert far is not None and far.far and far.certain
    assert (far.right, far.down) == pytest.approx(offset, abs=2)
    moved, text = resolve_depth_offset("auto", *views[0])
    assert moved == (0, 0)
    assert "is depth aligned to colour at all" in text and f"--depth_offset={far.pixels[0]},{far.pixels[1]}" in text


def test_no_large_offset_is_found_where_depth_lies_on_colour_or_colour_says_nothing() -> None:
    rgb, depth = make_view((0, 0))
    noise = np.random.default_rng(0).integers(100, 110, rgb.shape).astype(np.uint8)
    for image, map_ in ((rgb, depth), (noise, depth), (rgb, np.full_like(depth, 1.0)), (rgb[::-1].copy(), depth)):
        assert find_far_offset([(image, map_)]) is None


def test_surfaces_that_have_grown_are_no_offset() -> None:
    measured = measure_color_depth_offset([make_view((0, 0), growth=2)])
    assert (measured.right, measured.down) == pytest.approx((0, 0), abs=0.6)
    assert measured.growth > 1
    both = measure_color_depth_offset([make_view((-3, 2), growth=2)])
    assert (both.right, both.down) == pytest.approx((-3, 2), abs=0.6)


def test_several_views_say_more_than_one() -> None:
    views = [make_view((3, -2), seed=seed) for seed in range(4)]
    measured = measure_color_depth_offset(views)
    assert (measured.right, measured.down) == pytest.approx((3, -2), abs=0.4)


def test_large_pictures_are_measured_in_their_own_pixels() -> None:
    rgb, depth = make_view((2, -1))
    big = [cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST) for image in (rgb, depth)]
    measured = measure_color_depth_offset([(big[0], big[1])])
    assert measured.scale == 2
    assert (measured.right, measured.down) == pytest.approx((8, -4), abs=2)


def test_nothing_is_known_where_colour_does_not_show_the_edges_of_depth() -> None:
    rgb, depth = make_view((3, 0))
    noise = np.random.default_rng(0).integers(100, 110, rgb.shape).astype(np.uint8)
    for image, map_ in ((noise, depth), (rgb, np.full_like(depth, 1.0)), (rgb, np.zeros_like(depth))):
        measured = measure_color_depth_offset([(image, map_)])
        assert not measured.certain
    assert math.isinf(measured.uncertainty)
    assert "not known" in measured.describe()
    small = measure_color_depth_offset([(rgb[:10, :10], depth[:10, :10])])
    assert not small.known


def test_edges_in_one_direction_do_not_tell_an_offset_from_growth() -> None:
    rgb = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    rgb[100:] = 200
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[103:] = 1.0  # a table's far edge
    assert not measure_color_depth_offset([(rgb, depth)]).certain


def test_views_of_two_sizes_are_refused() -> None:
    rgb, depth = make_view((0, 0))
    with pytest.raises(FrameError, match=r"\(240, 320, 3\)"):
        measure_color_depth_offset([(rgb, depth[:-1])])


def test_it_is_said_where_depth_lies() -> None:
    text = measure_color_depth_offset([make_view((-3, 0))]).describe()
    assert "pixels to the left of colour" in text
    assert "above" not in text
    assert "below" not in text


@pytest.mark.parametrize("offset", [(0, 0), (3, -2), (-1, 4), (500, 0)])
def test_depth_is_moved_and_never_mixed(offset: tuple[int, int]) -> None:
    depth = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    moved = remove_depth_offset(depth, offset)
    for row in range(3):
        for column in range(4):
            source = row + offset[1], column + offset[0]
            inside = 0 <= source[0] < 3 and 0 <= source[1] < 4
            assert moved[row, column] == (depth[source] if inside else 0)


def test_offsets_are_read_and_others_refused() -> None:
    assert parse_depth_offset("3,-2") == (3, -2)
    for wrong in ("left", "3", "1,2,3", "0.5,1", "1000,0"):
        with pytest.raises(OptionError, match="to the right of and below"):
            parse_depth_offset(wrong)


def test_what_is_taken_back_is_what_is_asked_for() -> None:
    rgb, depth = make_view((3, -2))
    offset, reason = resolve_depth_offset("auto", rgb, depth)
    assert offset == (3, -2)
    assert "--depth_offset none" in reason
    assert resolve_depth_offset("auto", rgb, remove_depth_offset(depth, offset)) == ((0, 0), "")
    assert resolve_depth_offset("none", rgb, depth) == ((0, 0), "")
    assert resolve_depth_offset("1,2", rgb, depth)[0] == (1, 2)


def test_the_benchmark_prints_a_row_without_and_one_with_offsets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: [box()])
    color_depth_offset.main(color_depth_offset.OffsetOptions(scenes=2))
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert [row.split("|")[1:3] for row in rows] == [[" none ", " 2 "], [" up to 6 pixels ", " 2 "]]


def write_recording(folder: Path, offset: tuple[float, float]) -> Path:
    for index in range(2):
        rgb, depth = make_view(offset, seed=index)
        write_image(folder / "rgb" / f"{index}.png", rgb)
        write_depth(folder / "depth" / f"{index}.png", depth)
    np.savetxt(folder / "cam_K.txt", K)
    return folder


def test_a_scene_reads_depth_without_its_offset(tmp_path: Path) -> None:
    scene = open_scene(write_recording(tmp_path, (3, 0)))
    before = scene[1].depth
    scene.depth_offset = (3, 0)
    np.testing.assert_array_equal(scene[1].depth[:, :-3], before[:, 3:])


def test_the_doctor_names_the_offset_its_cure_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_recording(tmp_path / "scene", (3, -2))
    assert main(["doctor", str(folder), "--out", str(tmp_path / "edges.png")]) == 1
    said = capsys.readouterr().out
    assert "to the right of" in said
    assert "--depth_offset=3,-2" in said
    assert read_color(tmp_path / "edges.png").shape[1] >= 2 * WIDTH
    assert main(["doctor", str(write_recording(tmp_path / "good", (0, 0)))]) == 0
    assert "depth lies on colour" in capsys.readouterr().out


def test_the_doctor_says_that_depth_does_not_lie_on_colour_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["doctor", str(write_recording(tmp_path / "scene", (30, 6)))]) == 1
    said = capsys.readouterr().out
    assert "offset: depth and colour do not lie on each other: depth lies" in said
    assert "align depth to colour when recording" in said


def test_the_doctor_names_frames_and_units_that_look_wrong(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_recording(tmp_path, (0, 0))
    assert main(["doctor", str(folder), "--depth_scale", "0.01"]) == 1
    assert "--depth_scale" in capsys.readouterr().out
    (folder / "depth" / "1.png").write_bytes(b"")
    assert main(["doctor", str(folder)]) == 1
    assert "1.png" in capsys.readouterr().out
    assert main(["doctor", str(folder / "nothing")]) == 2
    assert main(["doctor", str(folder), "--out", "edges.bmp"]) == 2
