"""Bags of ROS 1 and ROS 2, and MCAP files, written with rosbags for tests of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pose6d.scenes.frame import Frame
from pose6d.streams import FrameStream

EXTRINSICS = "realsense2_camera_msgs/msg/Extrinsics"
COLOR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
INFO, DEPTH_INFO = "/camera/color/camera_info", "/camera/aligned_depth_to_color/camera_info"
FRAME = "camera_color_optical_frame"
KINDS = ("bag", "db3", "mcap")
K = np.array([[90.0, 0, 31.5], [0, 90.0, 23.5], [0, 0, 1]])
SIZE = (48, 64)


@dataclass
class BagWriter:
    """Messages of one bag, by what they are; `write` makes it.

    Attributes:
        kind: "bag" of ROS 1; "db3" and "mcap": the folder of a ROS 2 bag.
    """

    kind: str
    messages: list[tuple[str, str, int, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.types = get_typestore(Stores.ROS1_NOETIC if self.kind == "bag" else Stores.ROS2_HUMBLE)
        form = "std_msgs/Header header\nfloat64[9] rotation\nfloat64[3] translation\n"
        self.types.register(get_types_from_msg(form, EXTRINSICS))

    def make(self, name: str, *values: Any) -> Any:
        return self.types.types[name](*values)

    def header(self, seconds: float, frame: str) -> Any:
        nanoseconds = round(seconds * 1e9)
        stamp = self.make("builtin_interfaces/msg/Time", nanoseconds // 10**9, nanoseconds % 10**9)
        return self.make("std_msgs/msg/Header", *([0] if self.kind == "bag" else []), stamp, frame)

    def add(self, topic: str, kind: str, seconds: float, *values: Any, received: float | None = None) -> None:
        at = round((seconds if received is None else received) * 1e9)
        self.messages.append((topic, kind, at, self.make(kind, *values)))

    def image(
        self,
        topic: str,
        seconds: float,
        pixels: np.ndarray,
        encoding: str,
        frame: str = FRAME,
        *,
        pad: int = 0,
        received: float | None = None,
    ) -> None:
        """A raw picture, (H, W) or (H, W, channels) of any type, with `pad` bytes after each row."""
        rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
        big, raw = rows.dtype.byteorder == ">", rows.view(np.uint8)
        raw = np.pad(raw, ((0, 0), (0, pad)))
        head = self.header(seconds, frame)
        values = head, *pixels.shape[:2], encoding, int(big), raw.shape[1], raw.ravel()
        self.add(topic, "sensor_msgs/msg/Image", seconds, *values, received=received)

    def compressed(self, topic: str, seconds: float, data: bytes, form: str, frame: str = FRAME) -> None:
        content = np.frombuffer(data, np.uint8)
        self.add(topic, "sensor_msgs/msg/CompressedImage", seconds, self.header(seconds, frame), form, content)

    def info(
        self,
        topic: str,
        K: np.ndarray,
        size: tuple[int, int],
        *,
        frame: str = FRAME,
        model: str = "plumb_bob",
        D: Iterable[float] = (0, 0, 0, 0, 0),
        P: np.ndarray | None = None,
        seconds: float = 0.0,
    ) -> None:
        P = np.hstack([K, np.zeros((3, 1))]) if P is None else P
        roi = self.make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
        numbers = (np.array(list(D), np.float64), *(np.float64(M).ravel() for M in (K, np.eye(3), P)))
        values = self.header(seconds, frame), *size, model, *numbers, 0, 0, roi
        self.add(topic, "sensor_msgs/msg/CameraInfo", seconds, *values)

    def transform(self, parent: str, child: str, translation: Iterable[float], quaternion: Iterable[float]) -> None:
        """Child in parent, on /tf_static; the quaternion is x, y, z, w."""
        vector = self.make("geometry_msgs/msg/Vector3", *map(float, translation))
        rotation = self.make("geometry_msgs/msg/Quaternion", *map(float, quaternion))
        transform = self.make("geometry_msgs/msg/Transform", vector, rotation)
        stamped = self.make("geometry_msgs/msg/TransformStamped", self.header(0, parent), child, transform)
        self.add("/tf_static", "tf2_msgs/msg/TFMessage", 0.0, [stamped])

    def extrinsics(self, topic: str, R: np.ndarray, t: np.ndarray) -> None:
        """As RealSense's node publishes them: the rotation column by column."""
        self.add(topic, EXTRINSICS, 0.0, self.header(0, ""), np.float64(R).ravel(order="F"), np.float64(t))

    def write(self, path: Path) -> Path:
        """Write the bag at `path`; a MCAP file is then path/<name>.mcap."""
        if self.kind == "bag":
            writer: Any = Writer1(path)
        else:
            plugin = StoragePlugin.MCAP if self.kind == "mcap" else StoragePlugin.SQLITE3
            writer = Writer2(path, version=9, storage_plugin=plugin)
        with writer:
            connections: dict[str, Any] = {}
            for topic, kind, received, message in sorted(self.messages, key=lambda each: each[2]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=self.types)
                serialize = self.types.serialize_ros1 if self.kind == "bag" else self.types.serialize_cdr
                writer.write(connections[topic], received, serialize(message, kind))
        return path


def png(image: np.ndarray) -> bytes:
    """An array as OpenCV means it: colour in the order of blue, green, red."""
    return cv2.imencode(".png", image)[1].tobytes()


def compressed_depth(millimetres: np.ndarray) -> bytes:
    """16-bit depth as compressed_depth_image_transport sends it."""
    return struct.pack("<iff", 0, 0, 0) + png(millimetres)


def compressed_metres(metres: np.ndarray, quantization: float = 100.0, farthest: float = 10.0) -> bytes:
    """32-bit depth as compressed_depth_image_transport sends it: inverse distances in 16 bits."""
    a = quantization * (quantization + 1)
    b = 1 - a / farthest
    inverse = np.where(metres > 0, a / np.maximum(metres, 1e-6) + b, 0)
    return struct.pack("<iff", 1, a, b) + png(np.rint(inverse).astype(np.uint16))


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
