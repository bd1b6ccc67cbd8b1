"""Pictures in messages of ROS: sensor_msgs/Image and CompressedImage as arrays."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from pose6d.errors import FrameError
from pose6d.scenes.images import depth_in_metres
from pose6d.streams.ros_messages import RosMessage

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

# Encoding -> bytes per pixel, OpenCV's conversion into RGB.
_COLOR: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB),
}
_DEPTH = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}
_GREY = ("mono8", "8UC1")
_MILLIMETRES = 0.001
_PNG = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct("<iff")  # of compressedDepth: what the depth is, and how it was made 16 bits


def encoding_of(message: RosMessage) -> str:
    """What a picture says it is: "rgb8", or "16UC1; compressedDepth png"."""
    content = message.content
    return content.encoding if message.kind == IMAGE_TYPES[0] else content.format


def is_depth(message: RosMessage) -> bool:
    """Whether a picture holds distances; infrared pictures have 16 bits too, and tell by their topic."""
    encoding, topic = encoding_of(message), message.topic.lower()
    if "compressedDepth" in encoding or encoding.startswith("32FC1"):
        return True
    if "depth" in topic:
        return encoding not in _COLOR
    infrared = {"ir", "infra", "infra1", "infra2", "infrared"} & set(topic.split("/"))
    return encoding.startswith("16UC1") and not infrared


def is_grey(message: RosMessage) -> bool:
    """Whether a picture has no colours."""
    return encoding_of(message).startswith(_GREY)


def decode_color(message: RosMessage) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Raises:
        FrameError: the encoding is not known, or the picture is damaged.
    """
    if message.kind == IMAGE_TYPES[1]:
        return cv2.cvtColor(_decompress(message, 0, cv2.IMREAD_COLOR | _AS_STORED), cv2.COLOR_BGR2RGB)
    encoding = encoding_of(message)
    if encoding not in _COLOR:
        raise FrameError(
            f"{message.topic}: colour pictures of encoding {encoding!r} are not supported: choose another topic, or "
            f"record one of {', '.join(_COLOR)}, or compressed pictures"
        )
    channels, conversion = _COLOR[encoding]
    pixels = _pixels(message, "u1", channels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def decode_depth(message: RosMessage, scale: float | None = None) -> np.ndarray:
    """(H, W) float32 metres, 0 where missing.

    Args:
        message: of depth.
        scale: metres per unit; None for what ROS means (REP 118): millimetres by integers, metres by 32-bit floats.

    Raises:
        FrameError: the encoding is not known, or the picture is damaged.
    """
    encoding = encoding_of(message)
    if message.kind == IMAGE_TYPES[1]:
        return _decompress_depth(message, scale)
    if encoding not in _DEPTH:
        raise FrameError(
            f"{message.topic}: depth of encoding {encoding!r} is not supported: choose another topic, or record one of "
            "16UC1 (millimetres), 32FC1 (metres) or compressedDepth as PNG"
        )
    values = _pixels(message, ("<", ">")[bool(message.content.is_bigendian)] + _DEPTH[encoding], 1)
    return depth_in_metres(values, _scale_of(values.dtype.kind == "f", scale))


def _scale_of(is_float: bool, stated: float | None) -> float:
    return stated or (1.0 if is_float else _MILLIMETRES)


def _decompress_depth(message: RosMessage, scale: float | None) -> np.ndarray:
    """A PNG of 16 bits, as it is or behind the header of compressed_depth_image_transport, which turns floats into
    rounded inverse distances."""
    encoding, data = encoding_of(message), bytes(message.content.data[: max(_HEADER.size, len(_PNG))])
    if "rvl" in encoding.lower():
        raise FrameError(f"{message.topic}: depth compressed as RVL is not supported: record it as compressedDepth PNG")
    plain = data.startswith(_PNG)
    values = _decompress(message, 0 if plain else _HEADER.size, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype != np.uint16:
        raise FrameError(
            f"{message.topic}: depth of format {encoding!r} has {values.shape[2] if values.ndim > 2 else 1} channel(s) "
            f"of {values.dtype}, wanted one of 16 bits: a picture of the depth has lost the distances; choose another"
        )
    if plain or not encoding.startswith("32FC1"):
        return depth_in_metres(values, _scale_of(False, scale))
    _, a, b = _HEADER.unpack(data[: _HEADER.size])
    metres = np.float32(a) / np.maximum(values.astype(np.float32) - np.float32(b), np.float32(1e-6))
    return depth_in_metres(np.where(values > 0, metres, 0), _scale_of(True, scale))


_AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION


def _decompress(message: RosMessage, start: int, flags: int) -> np.ndarray:
    data = message.content.data[start:]
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise FrameError(
            f"{message.topic}: a picture of {len(message.content.data)} bytes and format {encoding_of(message)!r} "
            "cannot be decoded: it is truncated, or neither JPEG nor PNG; record it again, or choose another topic"
        )
    return image


def _pixels(message: RosMessage, dtype: str, channels: int) -> np.ndarray:
    """(H, W) or (H, W, channels) of a raw picture, whose rows may be padded."""
    image = message.content
    row = image.width * channels * np.dtype(dtype).itemsize
    if image.step < row or len(image.data) < image.step * image.height:
        raise FrameError(
            f"{message.topic}: a picture of {image.width}x{image.height} {image.encoding} with rows of {image.step} "
            f"bytes holds {len(image.data)} bytes: it is truncated; record it again"
        )
    rows = np.asarray(image.data[: image.step * image.height]).reshape(image.height, image.step)[:, :row]
    pixels = np.array(rows, order="C").view(dtype)  # the bag's memory is not the frame's
    return pixels if channels == 1 else pixels.reshape(image.height, image.width, channels)
