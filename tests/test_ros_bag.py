"""Bags of ROS as streams: what they hold comes out exactly, and what cannot be used is named with its cure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'pose6d[ros]'")

from mesh_creation.recording.record import RecordOptions, main
from pose6d.errors import FrameError, OptionError, SceneError
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame
from pose6d.streams import FrameStream, open_stream
from pose6d.streams.ros_bag import RosBagStream
from pose6d.streams.ros_topics import RosTopics
from tests.ros_bags import COLOR, DEPTH, FRAME, KINDS, BagWriter, compressed_depth, compressed_metres, png

K = np.array([[90.0, 0, 31.5], [0, 90.0, 23.5], [0, 0, 1]])
SIZE = (48, 64)
INFO = "/camera/color/camera_info"
DEPTH_INFO = "/camera/aligned_depth_to_color/camera_info"


def picture(index: int) -> np.ndarray:
    """(48, 64, 3) RGB that is different for each index, of even columns in pairs, so that YUV 4:2:2 holds it."""
    rgb = np.zeros((*SIZE, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = 10 * index, np.arange(48)[:, None] * 5, (np.arange(64) // 2) * 8
    return rgb


def millimetres(index: int) -> np.ndarray:
    depth = np.full(SIZE, 800 + index, np.uint16)
    depth[10:30, 20:40] = 500 + index
    depth[:4] = 0
    return depth


def metres(index: int) -> np.ndarray:
    return millimetres(index).astype(np.float32) * np.float32(0.001)


def simple(kind: str = "bag", count: int = 4, start: float = 1000.0) -> BagWriter:
    """Colour with aligned depth at 30 frames per second."""
    bag = BagWriter(kind)
    for index in range(count):
        bag.image(COLOR, start + index / 30, picture(index), "rgb8")
        bag.image(DEPTH, start + index / 30, millimetres(index), "16UC1")
    bag.info(INFO, K, SIZE, seconds=start)
    bag.info(DEPTH_INFO, K, SIZE, seconds=start)
    return bag


def frames_of(stream: FrameStream) -> list[Frame]:
    with stream:
        return list(stream)


def read_all(stream: FrameStream) -> tuple[list[Frame], list[str]]:
    """The frames, and what was said of those that cannot be used."""
    frames, errors = [], []
    with stream:
        each = iter(stream)
        while True:
            try:
                frames.append(next(each))
            except FrameError as error:
                errors.append(str(error))
            except StopIteration:
                return frames, errors


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


def test_units_of_depth_can_be_stated(tmp_path: Path) -> None:
    stream = open_stream(simple(count=1).write(tmp_path / "try.bag"), depth_scale=0.00025)
    assert stream.depth_unit == 0.00025
    (frame,) = frames_of(stream)
    np.testing.assert_allclose(frame.depth, metres(0) / 4)


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
        (two_cameras(info=False), {}, r"not aligned.*no CameraInfo.*camera_info"),
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
    with pytest.raises(SceneError, match=r"topics\.aligned"):
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


def without_depth() -> BagWriter:
    bag = BagWriter("db3")
    bag.image(COLOR, 1, RGB, "rgb8")
    bag.info(INFO, K, SIZE)
    return bag


def encoded(color: str = "rgb8", depth: str = "16UC1", *, info: bool = True, scale: float = 1.0) -> BagWriter:
    bag = BagWriter("db3")
    bag.image(COLOR, 1, RGB, color)
    bag.image(DEPTH, 1, millimetres(0), depth)
    if info:
        bag.info(INFO, scale * K, SIZE)
    return bag


def compressed_as(form: str, data: bytes) -> BagWriter:
    bag = without_depth()
    bag.compressed(DEPTH + "/compressedDepth", 1, data, form)
    return bag


@pytest.mark.parametrize(
    ("bag", "message"),
    [
        (without_depth(), rf"no topic of depth pictures.*{COLOR} \(rgb8\).*Record colour and depth together"),
        (encoded(color="nv21"), r"colour pictures of encoding 'nv21' are not supported.*rgb8"),
        (encoded(depth="12UC4"), r"depth of encoding '12UC4' is not supported.*16UC1"),
        (encoded(info=False), r"no sensor_msgs/CameraInfo.*Record camera_info"),
        (encoded(scale=0.0), r"all 0.*calibrate"),
        (encoded(scale=4.0), "camera_info: "),
        (compressed_as("16UC1; compressedDepth rvl", b"x" * 90), r"RVL is not supported.*PNG"),
        (compressed_as("16UC1; compressedDepth png", b"x" * 90), r"cannot be decoded.*truncated"),
        (compressed_as("8UC3; compressedDepth png", b"x" * 12 + png(RGB)), r"3 channel\(s\) of uint8.*lost the dist"),
        (BagWriter("db3"), "no topic of colour pictures.*no pictures at all"),
    ],
)
def test_bags_that_cannot_be_used_are_refused_with_a_cure(bag: BagWriter, message: str, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=message):
        open_stream(bag.write(tmp_path / "try"))


def test_topics_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = simple().write(tmp_path / "try.bag")
    with pytest.raises(SceneError, match=rf"no pictures on /none, chosen for colour; it has .*{DEPTH} \(16UC1\)"):
        open_stream(path, topics=RosTopics(color="/none"))
    with pytest.raises(SceneError, match=rf"no sensor_msgs/CameraInfo on /none.*{INFO}"):
        open_stream(path, topics=RosTopics(info="/none"))
    with pytest.raises(OptionError, match="cannot be opened with topics"):
        open_stream(tmp_path, topics=RosTopics(color=COLOR))


def test_a_clock_that_jumps_back_is_told_once_and_frames_go_on(tmp_path: Path) -> None:
    bag = BagWriter("db3")
    bag.info(INFO, K, SIZE)
    for index in range(8):
        at = 1000 + index / 30 - (500 if index >= 4 else 0)
        for topic, pixels, encoding in ((COLOR, picture(index), "rgb8"), (DEPTH, millimetres(index), "16UC1")):
            bag.image(topic, at, pixels, encoding, received=1000 + index / 30)
    frames, errors = read_all(open_stream(bag.write(tmp_path / "try")))
    assert [int(frame.rgb[0, 0, 0]) // 10 for frame in frames] == list(range(8))
    assert len(errors) == 1 and "jumps back to 500.133" in errors[0] and "split the bag" in errors[0]


def test_pictures_that_change_their_size_are_left_out(tmp_path: Path) -> None:
    bag = simple("mcap", 3)
    for index in (3, 4):
        bag.image(COLOR, 1000 + index / 30, picture(0)[:24, :32], "rgb8")
        bag.image(DEPTH, 1000 + index / 30, millimetres(0)[:24, :32], "16UC1")
    frames, errors = read_all(open_stream(bag.write(tmp_path / "try")))
    assert len(frames) == 3
    assert len(errors) == 2 and "32x24, but began with 64x48" in errors[0]


def test_pictures_cut_off_are_frame_errors(tmp_path: Path) -> None:
    bag = simple("db3", 2)
    bag.messages[2][3].data = bag.messages[2][3].data[:100]
    frames, errors = read_all(open_stream(bag.write(tmp_path / "try")))
    assert len(frames) == 1 and "holds 100 bytes" in errors[0]


def test_colour_and_depth_of_different_clocks_are_told(tmp_path: Path) -> None:
    bag = BagWriter("db3")
    bag.info(INFO, K, SIZE)
    for index in range(4):
        bag.image(COLOR, 1000 + index / 30, picture(index), "rgb8")
        bag.image(DEPTH, 1005 + index / 30, millimetres(index), "16UC1", received=1000 + index / 30)
    with (
        pytest.raises(SceneError, match=r"the nearest is 4\.900 s away.*clocks"),
        open_stream(bag.write(tmp_path / "t")) as s,
    ):
        list(s)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_truncated_files_are_named_with_a_cure(kind: str, share: float, tmp_path: Path) -> None:
    path = simple(kind, 20).write(tmp_path / f"try.{kind}")
    file = path if kind == "bag" else next(path.glob(f"*.{kind}"))
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SceneError, match=r"cannot be (opened|read).*reindex"), open_stream(path) as stream:
        list(stream)


def test_files_that_are_no_bags_are_refused(tmp_path: Path) -> None:
    for name in ("empty.bag", "text.mcap", "text.db3"):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"hello")
        with pytest.raises(SceneError, match="cannot be opened as a ROS bag"):
            open_stream(tmp_path / name)


def test_the_file_is_closed_when_it_cannot_be_used(tmp_path: Path) -> None:
    path = without_depth().write(tmp_path / "try")
    with pytest.raises(SceneError):
        RosBagStream(path)
    stream = RosBagStream(simple("db3").write(tmp_path / "good"))
    with stream:
        next(iter(stream))
    with stream:  # closing twice does no harm
        pass


def test_a_bag_is_imported_as_a_scan(tmp_path: Path) -> None:
    main(RecordOptions(tmp_path / "scan", source=simple("mcap", 5).write(tmp_path / "try"), keep_fps=0))
    scene = open_scene(tmp_path / "scan")
    assert len(scene) == 5
    for index, frame in enumerate(scene):
        np.testing.assert_array_equal(frame.depth, metres(index))


def test_a_missing_package_names_the_extra(tmp_path: Path) -> None:
    path = simple().write(tmp_path / "try.bag")
    code = "import sys; sys.modules['rosbags'] = None\nfrom pose6d.streams import open_stream\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}open_stream({str(path)!r})"], capture_output=True, text=True, check=False
    )
    assert "MissingDependencyError" in done.stderr and "pose6d[ros]" in done.stderr
