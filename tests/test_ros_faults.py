"""Bags of ROS that cannot be used, or not all of them: each fault is named with its cure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'pose6d[ros]'")

from pose6d.errors import FrameError, OptionError, SceneError
from pose6d.scenes.frame import Frame
from pose6d.streams import FrameStream, open_stream
from pose6d.streams.ros_bag import RosBagStream
from pose6d.streams.ros_topics import RosTopics
from tests.ros_bags import COLOR, DEPTH, INFO, KINDS, SIZE, BagWriter, K, millimetres, picture, png, simple

RGB = picture(1)


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


def test_a_missing_package_names_the_extra(tmp_path: Path) -> None:
    path = simple().write(tmp_path / "try.bag")
    code = "import sys; sys.modules['rosbags'] = None\nfrom pose6d.streams import open_stream\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}open_stream({str(path)!r})"], capture_output=True, text=True, check=False
    )
    assert "MissingDependencyError" in done.stderr and "pose6d[ros]" in done.stderr
