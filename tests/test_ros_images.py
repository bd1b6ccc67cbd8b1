"""Pictures in messages of ROS, in each encoding: what was written comes out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'pose6d[ros]'")

from pose6d.streams import open_stream
from pose6d.streams.ros_topics import RosTopics
from tests.ros_bags import (
    COLOR,
    DEPTH,
    INFO,
    SIZE,
    BagWriter,
    K,
    compressed_depth,
    compressed_metres,
    frames_of,
    metres,
    millimetres,
    picture,
    png,
    simple,
)

GREY = np.repeat(picture(1)[..., :1], 3, axis=2)
RGB = picture(1)


@pytest.mark.parametrize(
    ("encoding", "pixels", "wanted", "tolerance"),
    [
        ("rgb8", RGB, RGB, 0),
        ("bgr8", RGB[..., ::-1], RGB, 0),
        ("rgba8", np.dstack([RGB, RGB[..., :1]]), RGB, 0),
        ("bgra8", np.dstack([RGB[..., ::-1], RGB[..., :1]]), RGB, 0),
        ("mono8", GREY[..., 0], GREY, 0),
        ("yuv422", cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_UYVY), RGB, 4),
        ("yuv422_yuy2", cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV_YUYV), RGB, 4),
    ],
)
def test_colour_encodings(
    encoding: str, pixels: np.ndarray, wanted: np.ndarray, tolerance: int, tmp_path: Path
) -> None:
    bag = BagWriter("db3")
    bag.image(COLOR, 1, pixels, encoding, pad=5)
    bag.image(DEPTH, 1, millimetres(0), "16UC1", pad=6)
    bag.info(INFO, K, SIZE)
    (frame,) = frames_of(open_stream(bag.write(tmp_path / "try")))
    np.testing.assert_allclose(frame.rgb.astype(int), wanted, atol=tolerance)
    np.testing.assert_array_equal(frame.depth, metres(0))


def test_bayer_patterns_are_named_by_the_sensors_first_pixels(tmp_path: Path) -> None:
    mosaic = np.zeros(SIZE, np.uint8)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = 200, 50  # red, and blue
    bag = BagWriter("db3")
    bag.image(COLOR, 1, mosaic, "bayer_rggb8")
    bag.image(DEPTH, 1, millimetres(0), "16UC1")
    bag.info(INFO, K, SIZE)
    (frame,) = frames_of(open_stream(bag.write(tmp_path / "try")))
    assert frame.rgb[20, 20].tolist() == [200, 0, 50]


@pytest.mark.parametrize("name", ["16UC1", "mono16", "big endian", "32FC1", "png", "compressedDepth", "quantized"])
def test_depth_encodings(name: str, tmp_path: Path) -> None:
    bag = BagWriter("db3")
    bag.image(COLOR, 1, RGB, "rgb8")
    if name in ("16UC1", "mono16"):
        bag.image(DEPTH, 1, millimetres(0), name)
    elif name == "big endian":
        bag.image(DEPTH, 1, millimetres(0).astype(">u2"), "16UC1")
    elif name == "32FC1":
        bag.image(DEPTH, 1, np.where(metres(0) > 0, metres(0), np.nan).astype(np.float32), "32FC1")
    elif name == "png":
        bag.compressed(DEPTH + "/compressed", 1, png(millimetres(0)), "16UC1; png compressed ")
    elif name == "compressedDepth":
        bag.compressed(DEPTH + "/compressedDepth", 1, compressed_depth(millimetres(0)), "16UC1; compressedDepth png")
    else:
        bag.compressed(DEPTH + "/compressedDepth", 1, compressed_metres(metres(0)), "32FC1; compressedDepth png")
    bag.info(INFO, K, SIZE)
    stream = open_stream(bag.write(tmp_path / "try"))
    assert stream.depth_unit == (0.0001 if name in ("32FC1", "quantized") else 0.001)
    (frame,) = frames_of(stream)
    # The quantisation is A / z with A = 10100: a step is 0.06 mm at 0.8 m.
    np.testing.assert_allclose(frame.depth, metres(0), atol=5e-5 if name == "quantized" else 0)


def test_compressed_colour_is_read_and_raw_is_preferred(tmp_path: Path) -> None:
    bag = simple("mcap", 1)
    bag.compressed(COLOR + "/compressed", 1000, png(picture(3)[..., ::-1]), "rgb8; png compressed bgr8")
    path = bag.write(tmp_path / "try")
    (raw,) = frames_of(open_stream(path))
    (compressed,) = frames_of(open_stream(path, topics=RosTopics(color=COLOR + "/compressed")))
    np.testing.assert_array_equal(raw.rgb, picture(0))
    np.testing.assert_array_equal(compressed.rgb, picture(3))
