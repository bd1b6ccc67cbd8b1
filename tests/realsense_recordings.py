"""Recordings made with the RealSense SDK's software device, for tests of what reads them.

python -m tests.realsense_recordings old.bag    (with pyrealsense2 2.55, which still wrote .bag)
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WIDTH, HEIGHT = 96, 72
FRAMES = 10
DEPTH_SCALE = 0.00025
BASELINE = 0.02  # metres from the depth to the colour camera, along x
DOT = (85, 62)  # column and row
BARREL = 0.2  # first coefficient of the distorted lens
NEAR, FAR = 0.5, 1.0  # metres: a square in front of a wall
# Seconds before the first picture, and between two. On a busy machine the SDK's recorder loses the first ones of those
# that come before it is ready, or faster.
_BEGINNING, _PAUSE = 0.5, 0.04
_ATTEMPTS = 4


def depth_units() -> np.ndarray:
    """(H, W) uint16: a wall with a nearer square."""
    units = np.full((HEIGHT, WIDTH), round(FAR / DEPTH_SCALE), np.uint16)
    units[20:50, 30:60] = round(NEAR / DEPTH_SCALE)
    return units


def color(index: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB that says which frame it is: red 20 per frame, green 50, blue 200; a green dot at DOT."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = (20 * index, 50, 200)
    u, v = DOT
    picture[v - 2 : v + 3, u - 2 : u + 3, 1] = 250
    return picture


def new_recording(folder: Path) -> Path:
    """A .db3 recording in the folder; the test is skipped where the SDK is missing or older than 2.57."""
    pytest.importorskip("pyrealsense2", reason="the RealSense SDK is not installed: pip install 'pose6d[realsense]'")
    path = folder / "new.db3"
    try:
        make_recording(path)
    except RuntimeError as error:
        pytest.skip(f"this SDK writes no .db3: {error}")
    return path


def make_recording(path: Path, *, distorted: bool = False, streams: tuple[str, ...] = ("depth", "color")) -> None:
    """Record FRAMES pairs, the fourth colour picture lost; .bag or .db3 as the installed SDK can.

    On a busy machine the recorder loses pictures: such a .db3 is made again.
    """
    wanted = sum(FRAMES - (name == "color") for name in streams)
    for _ in range(_ATTEMPTS):
        path.unlink(missing_ok=True)
        _record(path, distorted, streams)
        if path.suffix != ".db3" or _pictures(path) == wanted:
            return
    raise AssertionError(f"{path}: {_pictures(path)} pictures of {wanted} after {_ATTEMPTS} attempts")


def _pictures(path: Path) -> int:
    """How many pictures a .db3 recording holds."""
    with closing(sqlite3.connect(path)) as database:
        counted = database.execute(
            "SELECT count(*) FROM messages JOIN topics ON topic_id = topics.id WHERE type LIKE '%Image'"
        )
        return int(counted.fetchone()[0])


def _record(path: Path, distorted: bool, streams: tuple[str, ...]) -> None:
    import pyrealsense2 as rs

    device = rs.software_device()
    device.register_info(rs.camera_info.name, "software camera")
    device.register_info(rs.camera_info.serial_number, "1")
    sensors: dict[str, Any] = {}
    profiles: dict[str, Any] = {}
    for number, name in enumerate(streams):
        sensors[name] = device.add_sensor(name.capitalize())
        profiles[name] = sensors[name].add_video_stream(_stream(rs, name, number, distorted))
    if "depth" in streams:
        sensors["depth"].add_read_only_option(rs.option.depth_units, DEPTH_SCALE)
    if len(streams) == 2:
        offset = rs.extrinsics()
        offset.rotation, offset.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [BASELINE, 0, 0]
        profiles["depth"].register_extrinsics_to(profiles["color"], offset)
    recorder = rs.recorder(str(path), device)
    queue = rs.frame_queue(100)
    for sensor in recorder.query_sensors():
        sensor.open(sensor.profiles)
        sensor.start(queue)
    time.sleep(_BEGINNING)
    for index in range(FRAMES):
        pictures = {"depth": depth_units(), "color": color(index)}
        for name in streams:
            if (name, index) == ("color", 3):
                continue
            frame = rs.software_video_frame()
            frame.pixels = pictures[name]
            frame.bpp = 2 if name == "depth" else 3
            frame.stride = WIDTH * frame.bpp
            frame.timestamp, frame.frame_number = 1000 + index * 1000 / 30, index + 1
            frame.domain = rs.timestamp_domain.hardware_clock
            frame.profile = profiles[name].as_video_stream_profile()
            if name == "depth":
                frame.depth_units = DEPTH_SCALE
            sensors[name].on_video_frame(frame)
            time.sleep(_PAUSE)
    for sensor in recorder.query_sensors():
        sensor.stop()
        sensor.close()


def _stream(rs: Any, name: str, number: int, distorted: bool) -> Any:
    lens = rs.intrinsics()
    lens.width, lens.height = WIDTH, HEIGHT
    lens.fx = lens.fy = 90.0
    lens.ppx, lens.ppy = 47.5, 35.5
    bent = distorted and name == "color"
    lens.model = rs.distortion.brown_conrady if bent else rs.distortion.none
    lens.coeffs = [BARREL, 0, 0, 0, 0] if bent else [0, 0, 0, 0, 0]
    stream = rs.video_stream()
    stream.type = rs.stream.depth if name == "depth" else rs.stream.color
    stream.fmt = rs.format.z16 if name == "depth" else rs.format.rgb8
    stream.index, stream.uid, stream.fps, stream.bpp = 0, number, 30, 2 if name == "depth" else 3
    stream.width, stream.height, stream.intrinsics = WIDTH, HEIGHT, lens
    return stream


if __name__ == "__main__":
    make_recording(Path(sys.argv[1]))
