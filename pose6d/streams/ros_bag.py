"""ROS 1 bags, ROS 2 bags and MCAP files as a stream at full speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np

from pose6d.errors import FrameError, SceneError, shorten
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.depth_alignment import align_depth
from pose6d.scenes.frame import Frame
from pose6d.scenes.lens import Undistortion, make_undistortion
from pose6d.streams.ros_images import decode_color, decode_depth, encoding_of
from pose6d.streams.ros_messages import RosBag
from pose6d.streams.ros_pairs import Pair, StampPairs
from pose6d.streams.ros_topics import RosCamera, RosTopics, find_cameras, other_colors
from pose6d.streams.ros_transforms import depth_in_color

_MEASURED = 12  # frames, for the rate
_SAY_SO = "; if you know that it is aligned, say so (--aligned; in Python RosTopics(aligned=True))"
_LONGEST = 40_000_000  # nanoseconds between colour and depth, however slow the camera is


class RosBagStream:
    """Colour and depth of a bag, paired by their stamps: a `FrameStream`.

    Lens distortion is removed. Depth that is not aligned to colour is aligned by /tf_static or the extrinsics of
    RealSense's node. What was found and done is in `notes`.

    Args:
        path: a .bag, .db3 or .mcap file, or the folder of a ROS 2 bag.
        topics: the topics to read, where those found are not those that are meant.
        depth_scale: metres per unit of depth; None for what ROS means: integers are millimetres, floats metres.
        cropped: the pictures are cut out of larger ones, see `check_intrinsics`.

    Raises:
        MissingDependencyError: rosbags is not installed.
        SceneError: the bag is damaged, lacks colour, depth or intrinsics, or depth cannot be aligned.
    """

    live = False

    def __init__(
        self,
        path: Path,
        topics: RosTopics = RosTopics(),  # noqa: B008 - frozen
        depth_scale: float | None = None,
        cropped: bool = False,
    ) -> None:
        self.name, self._bag = path.name, RosBag(path)
        try:
            self._color, self._depth = find_cameras(self._bag, topics, cropped)
            self._scale, self._cropped = depth_scale, cropped
            color, depth = (self._bag.first(camera.topic) for camera in (self._color, self._depth))
            self.size = _size(decode_color(color))
            self._depth_size = _size(decode_depth(depth, self._scale))
            self.notes = [
                f"colour from {color.topic} ({encoding_of(color)}), depth from {depth.topic} ({encoding_of(depth)}), "
                f"intrinsics from {self._color.info}"
            ]
            if others := other_colors(self._bag, color.topic):
                self.notes.append(f"colour that is not used: {shorten(others)}; --color_topic chooses one")
            self.depth_unit = 0.0001 if encoding_of(depth).startswith("32FC1") else depth_scale or 0.001
            self._K, self._straighten = self._use_camera(self._color, self.size, "colour")
            self._align = self._alignment(topics.aligned)
            self.fps = _rate([message.stamp for message in islice(self._bag.messages([color.topic]), _MEASURED)])
        except BaseException:
            self._bag.close()
            raise
        self._index = 0

    def __enter__(self) -> RosBagStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bag.close()

    def __iter__(self) -> Iterator[Frame]:
        """See `FrameStream`; after a FrameError the next frame follows."""
        return map(self._read, self._pairs())

    def _pairs(self) -> Iterator[Pair | FrameError]:
        longest = _LONGEST if self.fps is None else min(_LONGEST, round(0.5e9 / self.fps))
        topics = self._color.topic, self._depth.topic
        pairs = StampPairs(self._bag.messages(topics), self._color.topic, longest)
        yield from pairs
        if not pairs.pairs:
            apart = "" if pairs.nearest is None else f" (the nearest is {pairs.nearest / 1e9:.3f} s away)"
            raise SceneError(
                f"{self._bag.path}: no picture of {topics[0]} has one of {topics[1]} within {longest / 1e6:.0f} ms"
                f"{apart}: are their clocks the same? Record both from one camera"
            )
        if pairs.repeated:
            self.notes.append(
                f"{pairs.repeated} colour pictures have the stamp of the one before, as if sent twice: left out. If "
                "the camera's driver does not count time, record the bag with stamps that grow"
            )
        if pairs.lonely:
            self.notes.append(f"{pairs.lonely} colour pictures have no depth within {longest / 1e6:.0f} ms: left out")

    def _read(self, pair: Pair | FrameError) -> Frame:
        if isinstance(pair, FrameError):
            raise pair
        color, depth = pair
        name = f"{self._index:06d}"
        self._index += 1
        rgb, metres = decode_color(color), decode_depth(depth, self._scale)
        for message, image, size in ((color, rgb, self.size), (depth, metres, self._depth_size)):
            if _size(image) != size:
                raise FrameError(
                    f"frame {name}: {message.topic} is {image.shape[1]}x{image.shape[0]}, but began with "
                    f"{size[1]}x{size[0]}, for which its CameraInfo is: split the bag where the camera was set anew"
                )
        if self._straighten is not None:
            rgb = self._straighten.smooth(rgb)
        return Frame(name, rgb, self._align(metres), self._K.copy(), seconds=color.stamp / 1e9)

    def _use_camera(
        self, camera: RosCamera, size: tuple[int, int], what: str
    ) -> tuple[np.ndarray, Undistortion | None]:
        """Intrinsics (3, 3) of pictures of this size, and what takes the distortion of their lens out."""
        stated, source = camera.camera, f"{self._bag.path}: {camera.info}"
        if stated is None:
            raise SceneError(f"{self._bag.path} has no CameraInfo of {camera.topic}: record it beside the pictures")
        if camera.size not in (None, size):
            raise SceneError(
                f"{source} is for {camera.size[1]}x{camera.size[0]}, but {camera.topic} is {size[1]}x{size[0]}: choose "
                "the CameraInfo of these pictures"
            )
        check_intrinsics(stated.K, *size, source=source, cropped=self._cropped)
        if stated.lens is None:
            return stated.K, None
        undistortion = make_undistortion(stated.lens, stated.K, size, source)
        self.notes.append(
            f"the distortion of the {what} lens ({stated.lens.model}, up to {undistortion.shift:.1f} pixels) is "
            "taken out"
        )
        return stated.K, undistortion

    def _alignment(self, known: bool) -> Callable[[np.ndarray], np.ndarray]:
        """What turns decoded depth into depth aligned to colour."""
        color, depth = self._color, self._depth
        alike = self.size == self._depth_size and (depth.camera is None or np.allclose(depth.camera.K, self._K, 1e-3))
        if alike and (known or depth.says_aligned or depth.frame == color.frame):
            return self._as_colour
        apart = f"{self._bag.path}: depth on {depth.topic} is not aligned to colour on {color.topic}"
        cure = "record aligned depth (aligned_depth_to_color)"
        if known:
            raise SceneError(f"{apart}, though you say so: sizes or intrinsics differ")
        if depth.camera is None:
            raise SceneError(
                f"{apart} (frames {depth.frame!r} and {color.frame!r}, {self._depth_size[1]}x{self._depth_size[0]} and "
                f"{self.size[1]}x{self.size[0]} pixels), and it has no CameraInfo: {cure}, or the depth camera's "
                f"camera_info{_SAY_SO if alike else ''}"
            )
        K, straighten = self._use_camera(depth, self._depth_size, "depth")
        pose = depth_in_color(self._bag, depth.frame, color.frame)
        if pose is None and alike:
            self.notes.append("depth is taken to be aligned to colour: its intrinsics are the same")
            return self._as_colour
        if pose is None:
            raise SceneError(
                f"{apart}, and the bag does not say how {depth.frame!r} stands to {color.frame!r}: {cure}, or "
                "/tf_static, or the topic extrinsics/depth_to_color"
            )
        offset = np.linalg.norm(pose[:3, 3])
        self.notes.append(f"depth is aligned to colour by the recorded extrinsics, {1000 * offset:.1f} mm apart")
        return lambda metres: align_depth(
            metres if straighten is None else straighten.exact(metres), K, self._K, pose, self.size
        )

    def _as_colour(self, metres: np.ndarray) -> np.ndarray:
        return metres if self._straighten is None else self._straighten.exact(metres)


def _rate(stamps: list[int]) -> float | None:
    """Frames per second by the stamps of the first frames, nanoseconds; None where they do not tell."""
    steps = np.diff(stamps)
    return 1e9 / float(np.median(steps[steps > 0])) if np.any(steps > 0) else None


def _size(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
