"""RealSense's recordings as streams, against the real SDK, and a camera that is pulled out in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyrealsense2", reason="the RealSense SDK is not installed: pip install 'pose6d[realsense]'")

from pose6d.errors import DeviceError, SceneError
from pose6d.geometry.depth_alignment import align_depth
from pose6d.scenes import open_scene
from pose6d.streams import FrameStream, open_stream
from pose6d.streams.capture_writer import CaptureWriter
from pose6d.streams.newest import NewestFrames
from pose6d.streams.realsense import RealSenseStream
from tests import realsense_recordings as made

OLD_BAG = Path(__file__).parent / "recordings" / "realsense_2_55.bag"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.new_recording(tmp_path_factory.mktemp("recordings"))


def test_a_recording_is_a_stream_of_frames_in_metres(recording: Path) -> None:
    with open_stream(recording) as stream:
        assert isinstance(stream, RealSenseStream)  # though ROS 2 has files of this kind as well
        assert (stream.name, stream.live) == ("software camera", False)
        assert (stream.size, stream.fps, stream.depth_unit) == ((72, 96), 30.0, made.DEPTH_SCALE)
        frames = list(stream)
    assert [frame.name for frame in frames] == ["1", "2", "3", "5", "6", "7", "8", "9", "10"]
    seconds = np.array([frame.seconds for frame in frames])
    np.testing.assert_allclose(seconds - seconds[0], np.delete(np.arange(10) / 30, 3), atol=1e-4)
    for frame in frames:
        np.testing.assert_array_equal(frame.K, [[90, 0, 47.5], [0, 90, 35.5], [0, 0, 1]])
        assert set(np.unique(frame.depth)) == {0, np.float32(made.NEAR), np.float32(made.FAR)}
        np.testing.assert_array_equal(frame.rgb[0, 0], made.color(int(frame.name) - 1)[0, 0])


class Slow:
    """A pipeline, and its playback, of which every third frameset comes later than it is waited for."""

    def __init__(self, pipeline: Any, playback: Any) -> None:
        self.pipeline, self.playback, self.count, self.late = pipeline, playback, 0, False

    def try_wait_for_frames(self, timeout_ms: int) -> tuple[bool, Any]:
        self.count += 1
        self.late = self.count % 3 == 1
        return (False, None) if self.late else self.pipeline.try_wait_for_frames(timeout_ms)

    def current_status(self) -> Any:
        import pyrealsense2

        return pyrealsense2.playback_status.playing if self.late else self.playback.current_status()

    def stop(self) -> None:
        self.pipeline.stop()


def test_a_recording_does_not_end_where_the_machine_is_slow(recording: Path) -> None:
    expected, names = ["1", "2", "3", "5", "6", "7", "8", "9", "10"], [""]
    for _ in range(3):  # where the SDK itself gets no processor for a second, it drops frames of its own accord
        stream = open_stream(recording)
        stream._pipeline = stream._playback = Slow(stream._pipeline, stream._playback)
        with stream:
            names = [frame.name for frame in stream]
        if names == expected:
            break
    assert names == expected


def test_a_bag_of_an_older_sdk_is_known_from_one_of_ros() -> None:
    with open_stream(OLD_BAG) as stream:
        assert isinstance(stream, RealSenseStream)
        assert len(list(stream)) >= 8


def test_no_camera_is_named_with_its_cure() -> None:
    import pyrealsense2 as rs

    if len(rs.context().query_devices()):
        pytest.skip("a camera is connected")
    with pytest.raises(DeviceError, match=r"no RealSense camera is connected.*udev"):
        open_stream("realsense")


class PulledOut:
    """A pipeline that breaks after five framesets, or once one of them has been recorded."""

    def __init__(self, pipeline: Any, silent: bool) -> None:
        self.pipeline, self.silent, self.count = pipeline, silent, 0
        self.writer: CaptureWriter | None = None

    def try_wait_for_frames(self, timeout_ms: int) -> tuple[bool, Any]:
        if self.count < 5 or (self.writer is not None and not self.writer.written):
            came, frames = self.pipeline.try_wait_for_frames(timeout_ms)
            self.count += came
            return came, frames
        if self.silent:
            return False, None
        raise RuntimeError("No device connected")

    def stop(self) -> None:
        self.pipeline.stop()
        raise RuntimeError("stop() cannot be called before start()")


def record(stream: FrameStream, writer: CaptureWriter) -> None:
    with stream, writer:
        for frame in stream:
            writer.add(frame)


@pytest.mark.parametrize("silent", [False, True])
def test_a_camera_that_is_pulled_out_is_told_and_the_recording_survives(
    silent: bool, recording: Path, tmp_path: Path
) -> None:
    camera = open_stream(recording)
    pulled = PulledOut(camera._pipeline, silent)
    camera.live, camera._pipeline = True, pulled
    stream = NewestFrames(camera)
    facts = {"source": stream.name, "fps": stream.fps}
    writer = CaptureWriter(tmp_path / "capture", stream.depth_unit, facts)
    pulled.writer = writer
    with pytest.raises(DeviceError, match=r"stopped sending \((No device|no frame within 5 s).*is the cable loose"):
        record(stream, writer)
    scene = open_scene(tmp_path / "capture")
    assert 1 <= len(scene) == writer.written <= pulled.count - stream.skipped
    assert scene[0].depth.max() == np.float32(made.FAR)


def test_a_recording_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.bag").write_bytes(OLD_BAG.read_bytes()[:9000])
    with pytest.raises(SceneError, match=r"cut\.bag .*cannot be played.*truncated"):
        open_stream(tmp_path / "cut.bag")


def test_our_alignment_agrees_with_that_of_the_sdk(recording: Path) -> None:
    """They differ by a pixel where something ends alone: the square, its shadow, the picture."""
    K, pose = np.array([[90.0, 0, 47.5], [0, 90, 35.5], [0, 0, 1]]), np.eye(4)
    pose[0, 3] = made.BASELINE
    ours = align_depth(made.depth_units() * np.float32(made.DEPTH_SCALE), K, K, pose, (made.HEIGHT, made.WIDTH))
    with open_stream(recording) as stream:
        theirs = next(iter(stream)).depth
    both = (ours > 0) & (theirs > 0)
    assert both.mean() > 0.95 and (ours > 0).mean() > (theirs > 0).mean()  # the SDK leaves out single rows
    square, wall = 90 * made.BASELINE / made.NEAR, 90 * made.BASELINE / made.FAR
    borders = np.array([wall, 30 + wall, 60 + wall, 30 + square, 60 + square])
    different = np.flatnonzero((both & (ours != theirs)).any(axis=0))
    assert (np.abs(different[:, None] - borders).min(axis=1) <= 1.5).all()
