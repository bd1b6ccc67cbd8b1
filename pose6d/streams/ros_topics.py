"""Which topics of a ROS bag hold colour, depth and the cameras, by the types of their messages and their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import SceneError, shorten
from pose6d.geometry.camera import check_intrinsics
from pose6d.scenes.camera_file import CameraFile, camera_of
from pose6d.streams.ros_images import IMAGE_TYPES, encoding_of, is_depth, is_grey
from pose6d.streams.ros_messages import RosBag, RosMessage

_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class RosTopics:
    """Topics of a bag, and what is known of them."""

    color: str | None = None
    """of the colour pictures; left out: found"""
    depth: str | None = None
    """of the depth pictures; left out: found, one that is aligned to colour before others"""
    info: str | None = None
    """of the colour camera's CameraInfo; left out: the one whose name has most in common with that of the pictures"""
    aligned: bool = False
    """take depth to be aligned to colour, whatever the bag says"""


@dataclass(frozen=True)
class RosCamera:
    """One of the cameras, by the first messages of its topics.

    Attributes:
        topic: of its pictures.
        info: the topic of its CameraInfo; None where it has none of its own.
        says_aligned: whether its name says that it is depth aligned to colour.
        frame: the name of its coordinate frame.
        size: (height, width); None where the CameraInfo does not say.
        camera: intrinsics and lens; None without CameraInfo.
    """

    topic: str
    info: str | None
    says_aligned: bool
    frame: str
    size: tuple[int, int] | None
    camera: CameraFile | None


def find_cameras(bag: RosBag, topics: RosTopics, cropped: bool = False) -> tuple[RosCamera, RosCamera]:
    """The colour and the depth camera, two of one device where there are several.

    Args:
        bag: of any kind.
        topics: those that were chosen.
        cropped: see `check_intrinsics`.

    Raises:
        SceneError: the bag lacks one of them, or a topic that was chosen; the message lists those that are there.
    """
    images = {name: bag.first(name) for name, kind in sorted(bag.topics.items()) if kind in IMAGE_TYPES}
    for what, name in (("colour", topics.color), ("depth", topics.depth)):
        if name is not None and name not in images:
            raise SceneError(f"{bag.path} has no pictures on {name}, chosen for {what}; it has {_listing(images)}")
    infos = {name: bag.first(name) for name, kind in sorted(bag.topics.items()) if kind == _CAMERA_INFO}
    colors = {name: first for name, first in images.items() if not is_depth(first)}
    depths = {name: first for name, first in images.items() if is_depth(first) and topics.depth in (None, name)}
    color = topics.color or _first_of(
        bag,
        "colour",
        images,
        sorted(
            ("depth" in name, is_grey(first), _strangeness(first, depths, infos), _is_compressed(first), name)
            for name, first in colors.items()
        ),
    )
    depth = topics.depth or _first_of(
        bag,
        "depth",
        images,
        sorted(
            (-_in_common(name, color), "depth" not in name, not _says_aligned(name), _is_compressed(first), name)
            for name, first in images.items()
            if is_depth(first) and name != color
        ),
    )
    if not infos or (topics.info is not None and topics.info not in infos):
        raise SceneError(
            f"{bag.path} has no sensor_msgs/CameraInfo{f' on {topics.info}' if infos else ''}, which holds the "
            f"camera's intrinsics; it has {shorten(list(infos)) or 'none'}. Record camera_info beside the pictures"
        )
    color_info = topics.info or _info_of(images[color], infos)
    depth_info = _info_of(images[depth], infos)
    own = depth_info if depth_info != color_info else None
    cameras = [_camera(bag, images[color], color_info, infos), _camera(bag, images[depth], own, infos)]
    for camera in cameras:
        if camera.camera is not None and camera.size is not None:
            check_intrinsics(camera.camera.K, *camera.size, source=f"{bag.path}: {camera.info}", cropped=cropped)
    return cameras[0], cameras[1]


def other_colors(bag: RosBag, chosen: str) -> list[str]:
    """Topics of colour pictures of other cameras than the chosen topic's, for those who meant one of them."""
    images = {name: bag.first(name) for name, kind in sorted(bag.topics.items()) if kind in IMAGE_TYPES}
    camera = chosen.rpartition("/")[0] + "/"
    return [
        name
        for name, first in images.items()
        if not (name.startswith(camera) or "depth" in name or is_depth(first) or is_grey(first))
    ]


def _first_of(bag: RosBag, what: str, images: dict[str, RosMessage], found: list[tuple[Any, ...]]) -> str:
    if not found:
        raise SceneError(
            f"{bag.path} has no topic of {what} pictures (sensor_msgs/Image or CompressedImage); it has "
            f"{_listing(images)}. Record colour and depth together, or name the topic"
        )
    return found[0][-1]


def _listing(images: dict[str, RosMessage]) -> str:
    return shorten([f"{name} ({encoding_of(first)})" for name, first in images.items()]) or "no pictures at all"


def _is_compressed(message: RosMessage) -> bool:
    return message.kind != IMAGE_TYPES[0]


def _says_aligned(topic: str) -> bool:
    return "aligned" in topic or "registered" in topic or "depth_to_color" in topic or "depth_to_rgb" in topic


def _in_common(topic: str, other: str) -> int:
    """How many first parts of their names two topics share."""
    parts = list(zip(topic.split("/")[1:], other.split("/")[1:], strict=False))
    return next((count for count, (a, b) in enumerate(parts) if a != b), len(parts))


def _strangeness(color: RosMessage, *others: dict[str, RosMessage]) -> tuple[int, ...]:
    """How little colour pictures have in common with depth and CameraInfo, in this order: those of another camera have
    less than those of the camera that measures depth."""
    near = [max((_kinship(color, other) for other in each.values()), default=(0, False)) for each in others]
    return tuple(-part for kinship in near for part in kinship)


def _kinship(one: RosMessage, other: RosMessage) -> tuple[int, bool]:
    return _in_common(one.topic, other.topic), one.content.header.frame_id == other.content.header.frame_id


def _info_of(image: RosMessage, infos: dict[str, RosMessage]) -> str:
    return max(infos, key=lambda name: _kinship(infos[name], image))


def _camera(bag: RosBag, image: RosMessage, info: str | None, infos: dict[str, RosMessage]) -> RosCamera:
    frame = image.content.header.frame_id.lstrip("/")
    if info is None:
        return RosCamera(image.topic, None, _says_aligned(image.topic), frame, None, None)
    source = Path(f"{bag.path}: {info}")
    values = _plain(infos[info].content)
    if not np.any(values["k"]):
        raise SceneError(f"{source}: the intrinsics are all 0, as of a camera that is not calibrated: calibrate it")
    if (
        "rect" in image.topic.rsplit("/", 1)[-1]
    ):  # the distortion is taken out already, and P is the camera that saw this
        projection = np.reshape(values["p"], (3, 4))
        values |= {"d": [], "k": (projection[:, :3] if projection.any() else np.reshape(values["k"], (3, 3))).tolist()}
    camera = camera_of(values, source)
    return RosCamera(image.topic, info, _says_aligned(image.topic), frame, camera.size, camera)


def _plain(value: Any) -> Any:
    """A message, or a field of one, as numbers, lists and dictionaries; names as ROS 2 spells them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if not hasattr(value, "__dict__"):
        return value
    return {name.lower(): _plain(part) for name, part in vars(value).items() if not name.startswith("__")}
