"""Bags of ROS as streams: frames come out exactly, paired in time, aligned and without distortion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'pose6d[ros]'")

from mesh_creation.recording.record import RecordOptions, main
from pose6d.errors import SceneError
from pose6d.scenes import open_scene
from pose6d.streams import open_stream
from pose6d.streams.ros_topics import RosTopics
from tests.ros_bags import (
    COLOR,
    DEPTH,
    FRAME,
    INFO,
    KINDS,
    SIZE,
    BagWriter,
    K,
    frames_of,
    metres,
    millimetres,
    picture,
    simple,
)

RGB = picture(1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bag_gives_the_frames_that_were_written(kind: str, tmp_path: Path) -> None:
    path = simple(kind).write(tmp_path / f"try.{kind}")
    files = [path] if kind == "bag" else [path, *path.glob(f"*.{kind}")]
    assert len(files) == (1 if kind == "bag" else 2)  # a single file of a ROS 2 bag is read as well
    for file in files:
        stream = open_stream(file)
        assert (stream.size, stream.live, stream.depth_unit) == (SIZE, False, 0.001)
        assert stream.fps == pytest.approx(30, rel=1e-3)
        assert COLOR in stream.notes[0] and DEPTH in stream.notes[0] and INFO in stream.notes[0]
        frames = frames_of(stream)
        assert [frame.name for frame in frames] == ["000000", "000001", "000002", "000003"]
        for index, frame in enumerate(frames):
            np.testing.assert_array_equal(frame.rgb, picture(index))
            np.testing.assert_array_equal(frame.depth, metres(index))
            np.testing.assert_array_equal(frame.K, K)
            assert frame.seconds == pytest.approx(1000 + index / 30, abs=1e-6)


def test_units_of_depth_can_be_stated(tmp_path: Path) -> None:
    stream = open_stream(simple(count=1).write(tmp_path / "try.bag"), depth_scale=0.00025)
    assert stream.depth_unit == 0.00025
    (frame,) = frames_of(stream)
    np.testing.assert_allclose(frame.depth, metres(0) / 4)


def test_floats_that_are_no_metres_are_scaled_as_stated(tmp_path: Path) -> None:
    bag = BagWriter("bag")
    bag.info(INFO, K, SIZE)
    bag.image(COLOR, 1000, RGB, "rgb8")
    bag.image(DEPTH, 1000, millimetres(0).astype(np.float32), "32FC1")
    (frame,) = frames_of(open_stream(bag.write(tmp_path / "try.bag"), depth_scale=0.001))
    np.testing.assert_array_equal(frame.depth, metres(0))


def test_pairs_are_the_nearest_in_time_and_lonely_pictures_are_counted(tmp_path: Path) -> None:
    bag = BagWriter("db3")
    bag.info(INFO, K, SIZE)
    for index in range(10):
        at = 1000 + index / 30
        bag.image(COLOR, at, picture(index), "rgb8", received=at + 0.08)  # colour is recorded late
        if index != 4:
            bag.image(DEPTH, at + 0.004, millimetres(index), "16UC1", received=at + 0.005)
    stream = open_stream(bag.write(tmp_path / "try"))
    frames = frames_of(stream)
    assert [int(frame.rgb[0, 0, 0]) // 10 for frame in frames] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    for frame in frames:
        np.testing.assert_array_equal(frame.depth, metres(int(frame.rgb[0, 0, 0]) // 10))
    assert "1 colour pictures have no depth" in stream.notes[-1]


def test_without_stamps_the_time_of_recording_counts(tmp_path: Path) -> None:
    bag = BagWriter("bag")
    bag.info(INFO, K, SIZE)
    for index in range(3):
        bag.image(COLOR, 0, picture(index), "rgb8", received=50 + index / 10)
        bag.image(DEPTH, 0, millimetres(index), "16UC1", received=50 + index / 10 + 0.01)
    frames = frames_of(open_stream(bag.write(tmp_path / "try.bag")))
    assert [frame.seconds for frame in frames] == pytest.approx([50, 50.1, 50.2])


def test_lens_distortion_is_removed(tmp_path: Path) -> None:
    """A dot that the lens moved outwards by 1 + k r^2 is where a pinhole camera would show it, in colour and depth."""
    straight = np.array([56.0, 40.0])
    ray = (straight - K[:2, 2]) / 90
    u, v = np.rint(ray * (1 + 0.3 * (ray @ ray)) * 90 + K[:2, 2]).astype(int)
    rgb, depth = np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 900, np.uint16)
    rgb[v - 1 : v + 2, u - 1 : u + 2], depth[v - 1 : v + 2, u - 1 : u + 2] = 255, 500
    bag = BagWriter("mcap")
    bag.image(COLOR, 1, rgb, "rgb8")
    bag.image(DEPTH, 1, depth, "16UC1")
    bag.info(INFO, K, SIZE, D=[0.3, 0, 0, 0, 0])
    stream = open_stream(bag.write(tmp_path / "try"))
    assert "distortion of the colour lens" in stream.notes[1]
    (frame,) = frames_of(stream)
    seen = frame.rgb[..., 0].astype(float)
    centre = np.array([(seen.sum(axis=i) * np.arange(seen.shape[1 - i])).sum() for i in (0, 1)]) / seen.sum()
    np.testing.assert_allclose(centre, straight, atol=0.5)
    np.testing.assert_allclose(np.argwhere(np.isclose(frame.depth, 0.5)).mean(axis=0)[::-1], straight, atol=0.7)


def test_rectified_pictures_keep_their_pixels_and_take_the_projection(tmp_path: Path) -> None:
    P = np.hstack([np.array([[80.0, 0, 30], [0, 80, 22], [0, 0, 1]]), np.zeros((3, 1))])
    bag = BagWriter("db3")
    bag.image("/camera/rgb/image_rect_color", 1, RGB, "rgb8")
    bag.image("/camera/depth_registered/image_rect", 1, metres(0), "32FC1")
    bag.info("/camera/rgb/camera_info", K, SIZE, D=[0.3, 0, 0, 0, 0], P=P)
    (frame,) = frames_of(open_stream(bag.write(tmp_path / "try")))
    np.testing.assert_array_equal(frame.K, P[:, :3])
    np.testing.assert_array_equal(frame.rgb, RGB)


RAW, RAW_INFO, DEPTH_FRAME = "/camera/depth/image_rect_raw", "/camera/depth/camera_info", "camera_depth_optical_frame"


def two_cameras(*, color_frame: str = FRAME, info: bool = True) -> BagWriter:
    """Depth of a camera of its own: half the size, and 20 mm beside the colour camera; a square before a wall."""
    depth = np.full((24, 32), 1000, np.uint16)
    depth[8:16, 10:20] = 500
    bag = BagWriter("db3")
    bag.image(COLOR, 1, RGB, "rgb8", color_frame)
    bag.image(RAW, 1, depth, "16UC1", DEPTH_FRAME)
    bag.info(INFO, K, SIZE, frame=color_frame)
    if info:
        bag.info(RAW_INFO, np.array([[45.0, 0, 15.5], [0, 45, 11.5], [0, 0, 1]]), (24, 32), frame=DEPTH_FRAME)
    return bag


@pytest.mark.parametrize("by", ["tf_static", "extrinsics"])
def test_depth_of_another_camera_is_aligned_by_the_recorded_extrinsics(by: str, tmp_path: Path) -> None:
    bag = two_cameras()
    if by == "tf_static":  # through a link, whose axes are those of ROS, as RealSense's node publishes it
        turn = (-0.5, 0.5, -0.5, 0.5)
        bag.transform("camera_link", DEPTH_FRAME, (0, 0, 0), turn)
        bag.transform("camera_link", FRAME, (0, -0.02, 0), turn)
    else:
        bag.extrinsics("/camera/extrinsics/depth_to_color", np.eye(3), np.array([-0.02, 0, 0]))
    stream = open_stream(bag.write(tmp_path / "try"))
    assert "20.0 mm apart" in stream.notes[1]
    (frame,) = frames_of(stream)
    # Its borders are -6 and 4 pixels from the middle, twice as much in colour; at 0.5 m 20 mm are 3.6 of those pixels.
    near = np.argwhere(frame.depth == np.float32(0.5))
    assert (near[:, 1].min(), near[:, 1].max()) == pytest.approx(
        (31.5 - 12 - 3.6 + 0.5, 31.5 + 8 - 3.6 - 0.5), abs=0.75
    )
    assert (near[:, 0].min(), near[:, 0].max()) == pytest.approx((23.5 - 8 + 0.5, 23.5 + 8 - 0.5), abs=0.75)
    shadow = frame.depth[near[0, 0], near[:, 1].max() + 1 :][:4]
    assert shadow[0] == 0 and shadow[3] == 1  # beside the square only the colour camera sees the wall


@pytest.mark.parametrize(
    ("bag", "options", "message"),
    [
        (two_cameras(), {}, r"not aligned.*does not say how 'camera_depth_optical_frame' stands.*/tf_static"),
        (two_cameras(info=False), {}, r"not aligned.*no CameraInfo.*camera_info$"),  # --aligned would not help
        (two_cameras(), {"aligned": True}, "though you say so"),
    ],
)
def test_depth_that_cannot_be_aligned_is_refused(
    bag: BagWriter, options: dict[str, bool], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SceneError, match=message):
        open_stream(bag.write(tmp_path / "try"), topics=RosTopics(**options))


def test_depth_that_is_known_to_be_aligned_can_be_told(tmp_path: Path) -> None:
    bag = BagWriter("db3")
    bag.image(COLOR, 1, RGB, "rgb8")
    bag.image("/camera/depth/image", 1, millimetres(0), "16UC1", "somewhere")
    bag.info(INFO, K, SIZE)
    path = bag.write(tmp_path / "try")
    with pytest.raises(SceneError, match=r"--aligned; in Python"):
        open_stream(path)
    (frame,) = frames_of(open_stream(path, topics=RosTopics(aligned=True)))
    np.testing.assert_array_equal(frame.depth, metres(0))


def test_the_fitting_topics_are_found_among_many(tmp_path: Path) -> None:
    bag = simple("db3", 1)
    for side in ("1", "2"):
        bag.image(f"/camera/infra{side}/image_rect_raw", 1000, RGB[..., 0], "mono8")
        bag.info(f"/camera/infra{side}/camera_info", 2 * K, SIZE)
    bag.image("/camera/ir/image_raw", 1000, millimetres(5), "16UC1")
    bag.image("/camera/aligned_confidence/map", 1000, metres(6), "32FC1")
    bag.image("/camera/a_depth_in_colours/image", 1000, picture(8), "bgr8")
    bag.image("/other/color/image_raw", 1000, picture(7), "rgb8")
    bag.image(RAW, 1000, millimetres(9), "16UC1", DEPTH_FRAME)
    stream = open_stream(bag.write(tmp_path / "try"))
    (frame,) = frames_of(stream)
    np.testing.assert_array_equal(frame.rgb, picture(0))
    np.testing.assert_array_equal(frame.depth, metres(0))
    np.testing.assert_array_equal(frame.K, K)


def test_colour_is_that_of_the_camera_that_measures_depth(tmp_path: Path) -> None:
    """Not of a camera without depth, or of one whose intrinsics were not recorded; the others are named."""
    bag = simple("db3", 1)
    bag.image("/a_wrist/color/image_raw", 1000, picture(7), "rgb8", "wrist")
    bag.info("/a_wrist/color/camera_info", 2 * K, SIZE, frame="wrist")
    bag.image("/back/color/image_raw", 1000, picture(8), "rgb8", "back")
    bag.image("/back/aligned_depth_to_color/image_raw", 1000, millimetres(8), "16UC1", "back")
    stream = open_stream(bag.write(tmp_path / "try"))
    assert "/a_wrist/color/image_raw, /back/color/image_raw; --color_topic" in stream.notes[1]
    (frame,) = frames_of(stream)
    np.testing.assert_array_equal(frame.rgb, picture(0))
    np.testing.assert_array_equal(frame.depth, metres(0))
    np.testing.assert_array_equal(frame.K, K)


def test_pictures_that_all_have_one_stamp_are_counted(tmp_path: Path) -> None:
    bag = BagWriter("bag")
    bag.info(INFO, K, SIZE)
    for index in range(3):
        bag.image(COLOR, 1000, picture(index), "rgb8", received=1000 + index / 10)
        bag.image(DEPTH, 1000, millimetres(index), "16UC1", received=1000.01 + index / 10)
    stream = open_stream(bag.write(tmp_path / "try.bag"))
    assert len(frames_of(stream)) == 1
    assert "2 colour pictures have the stamp of the one before" in stream.notes[-1]


def test_pictures_cut_out_of_larger_ones_can_be_told(tmp_path: Path) -> None:
    bag, cut = simple("db3", 1), np.array([[90.0, 0, 63.5], [0, 90, 47.5], [0, 0, 1]])
    bag.messages = [each for each in bag.messages if "info" not in each[0]]
    bag.info(INFO, cut, SIZE)
    path = bag.write(tmp_path / "try")
    with pytest.raises(SceneError, match="--cropped"):
        open_stream(path)
    (frame,) = frames_of(open_stream(path, cropped=True))
    np.testing.assert_array_equal(frame.K, cut)


def test_a_bag_is_imported_as_a_scan(tmp_path: Path) -> None:
    main(RecordOptions(tmp_path / "scan", source=simple("mcap", 5).write(tmp_path / "try"), keep_fps=0))
    scene = open_scene(tmp_path / "scan")
    assert len(scene) == 5
    for index, frame in enumerate(scene):
        np.testing.assert_array_equal(frame.depth, metres(index))
