"""Frames as they come, from a camera, a recording or a bag of ROS: `open_stream` finds the source by its name."""

from __future__ import annotations

from pathlib import Path

from pose6d.errors import OptionError, SceneError
from pose6d.scenes import open_scene
from pose6d.streams.interface import FrameStream
from pose6d.streams.own_camera import is_own_camera, open_own_camera
from pose6d.streams.real_time import RealTimeStream
from pose6d.streams.realsense import REALSENSE, is_realsense_recording, open_camera, open_recording
from pose6d.streams.recording import RecordingStream
from pose6d.streams.ros_topics import RosTopics

__all__ = ["FrameStream", "open_stream"]

_BAGS = (".bag", ".db3", ".mcap")
_WANTED = (
    f'wanted "{REALSENSE}", "{REALSENSE}:SERIAL", a .bag, .db3 or .mcap file, the folder of a recording or of a ROS 2 '
    'bag, or "FILE.py:CLASS" for a camera of your own (docs/cameras.md)'
)


def open_stream(
    source: str | Path,
    *,
    real_time: bool = False,
    fps: float | None = None,
    size: tuple[int, int] = (480, 640),
    topics: RosTopics = RosTopics(),  # noqa: B008 - frozen
    depth_scale: float | None = None,
) -> FrameStream:
    """Open a camera or a recording.

    Args:
        source: "realsense" or "realsense:SERIAL"; a .bag, .db3 or .mcap file of ROS or of RealSense's SDK; the folder
            of a recording (see `open_scene`) or of a ROS 2 bag; "FILE.py:CLASS" for a camera of your own.
        real_time: let a recording's frames come at their time, as if its camera were running.
        fps: frames per second of a camera, 30 by default; of a folder, in place of what it says of its times.
        size: (height, width) of a camera's pictures.
        topics: of a ROS bag, where the ones found are not those that are meant.
        depth_scale: metres per unit of 16-bit depth, in place of what a folder says, or of the millimetres of ROS.

    Raises:
        DeviceError: no such camera, or it cannot deliver that.
        MissingDependencyError: a package is not installed; the message names the extra.
        SceneError: there is no such recording, or it cannot be used; the message says why.
        OptionError: an option does not go with the source.
    """
    stream = _open(str(source), fps, size, topics, depth_scale)
    return RealTimeStream(stream) if real_time and not stream.live else stream


def _open(
    source: str, fps: float | None, size: tuple[int, int], topics: RosTopics, depth_scale: float | None
) -> FrameStream:
    path = Path(source)
    bag = (path / "metadata.yaml").is_file() or (path.is_file() and path.suffix.lower() in _BAGS)
    of_ros = bag and not (path.suffix.lower() in (".bag", ".db3") and path.is_file() and is_realsense_recording(path))
    if topics != RosTopics() and not of_ros:
        raise OptionError(f"{source} is no ROS bag, so that it has no topics to choose")
    if depth_scale is not None and not (of_ros or path.is_dir()):
        raise OptionError(f"{source} states its own depth scale: leave depth_scale out")
    if of_ros:
        from pose6d.streams.ros_bag import RosBagStream  # its alignment of depth is compiled

        return RosBagStream(path, topics, depth_scale)
    if bag:
        return open_recording(path)
    if path.is_dir():
        return RecordingStream(open_scene(path, depth_scale=depth_scale), fps)
    name, _, serial = source.partition(":")
    if name == REALSENSE:
        return open_camera(size[1], size[0], round(fps or 30), serial or None)
    if is_own_camera(source):
        return open_own_camera(source)
    what = "is no recording" if path.exists() else "is no camera, and does not exist"
    raise SceneError(f"{source} {what}: {_WANTED}")
