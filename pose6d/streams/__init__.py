"""Frames as they come, from a camera, a recording or a bag of ROS: `open_stream` finds the source by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    size: tuple[int, int] | None = None,
    topics: RosTopics | None = None,
    depth_scale: float | None = None,
    object_id: str | None = None,
    cropped: bool = False,
) -> FrameStream:
    """Open a camera or a recording.

    Args:
        source: "realsense" or "realsense:SERIAL"; a .bag, .db3 or .mcap file of ROS or of RealSense's SDK; the folder
            of a recording (see `open_scene`) or of a ROS 2 bag; "FILE.py:CLASS" for a camera of your own.
        real_time: let a recording's frames come at their time, as if its camera were running.
        fps: frames per second of a RealSense camera, 30 by default; of a folder, in place of what it says of its times.
        size: (height, width) of a RealSense camera's pictures, (480, 640) by default.
        topics: of a ROS bag, where the ones found are not those that are meant.
        depth_scale: metres per unit of depth, in place of what a folder says, or of what ROS means.
        object_id: of a folder with several objects, the one whose masks and poses frames have, see `open_scene`.
        cropped: of a folder or a ROS bag, whose images are cut out of larger ones, see `open_scene`.

    Raises:
        DeviceError: no such camera, or it cannot deliver that.
        MissingDependencyError: a package is not installed; the message names the extra.
        SceneError: there is no such recording, or it cannot be used; the message says why.
        OptionError: an option does not go with the source.
    """
    options = {"fps": fps, "size": size, "topics": topics, "depth_scale": depth_scale, "object_id": object_id}
    options["cropped"] = cropped or None
    if depth_scale is not None and not 0 < depth_scale < 1e3:
        raise OptionError(f"depth_scale is {depth_scale}, wanted metres per depth unit, such as 0.001 for millimetres")
    given = {name for name, value in options.items() if value is not None}
    stream = _open(str(source), options, given)
    return RealTimeStream(stream) if real_time and not stream.live else stream


def _open(source: str, options: dict[str, Any], given: set[str]) -> FrameStream:
    path, cropped = Path(source), bool(options["cropped"])
    is_file, suffix = path.is_file(), path.suffix.lower()
    if is_file and suffix in (".bag", ".db3") and is_realsense_recording(path):
        _check(source, given, set())
        return open_recording(path)
    if (is_file and suffix in _BAGS) or (path / "metadata.yaml").is_file():
        from pose6d.streams.ros_bag import RosBagStream  # its alignment of depth is compiled

        _check(source, given, {"topics", "depth_scale", "cropped"})
        return RosBagStream(path, options["topics"] or RosTopics(), options["depth_scale"], cropped)
    if path.is_dir():
        _check(source, given, {"fps", "depth_scale", "object_id", "cropped"})
        scene = open_scene(path, object_id=options["object_id"], depth_scale=options["depth_scale"], cropped=cropped)
        return RecordingStream(scene, options["fps"])
    name, _, serial = source.partition(":")
    if name == REALSENSE:
        _check(source, given, {"fps", "size"})
        height, width = options["size"] or (480, 640)
        return open_camera(width, height, round(options["fps"] or 30), serial or None)
    if is_own_camera(source):
        _check(source, given, set())
        return open_own_camera(source)
    what = "is no recording" if path.exists() else "is no camera, and does not exist"
    raise SceneError(f"{source} {what}: {_WANTED}")


def _check(source: str, given: set[str], known: set[str]) -> None:
    if given - known:
        what = f"only {', '.join(sorted(known))}" if known else "none of them"
        raise OptionError(f"{source} cannot be opened with {', '.join(sorted(given - known))}: it takes {what}")
