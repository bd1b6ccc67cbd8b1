"""Messages of ROS 1 bags, ROS 2 bags and MCAP files. Home of rosbags."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pose6d.errors import MissingDependencyError, SceneError

EXTRINSICS = "realsense2_camera_msgs/msg/Extrinsics"
_EXTRINSICS_FORM = "std_msgs/Header header\nfloat64[9] rotation\nfloat64[3] translation\n"
_CURE = (
    "it is truncated, was not closed, or holds no messages of ROS: copy it again, or repair it (ROS 1: rosbag reindex; "
    "ROS 2: ros2 bag reindex; MCAP: mcap recover)"
)


@dataclass(frozen=True)
class RosMessage:
    """One message.

    Attributes:
        topic: on which it was sent.
        kind: its type, as ROS 2 spells it: "sensor_msgs/msg/Image".
        received: nanoseconds, when it was recorded.
        content: its fields by name.
    """

    topic: str
    kind: str
    received: int
    content: Any

    @property
    def stamp(self) -> int:
        """Nanoseconds, when it was taken, by its header; when it was recorded, where the header does not say."""
        stamp = self.content.header.stamp
        return (stamp.sec * 1_000_000_000 + stamp.nanosec) or self.received


class RosBag:
    """An open bag.

    Args:
        path: a .bag, .db3 or .mcap file, or the folder of a ROS 2 bag.

    Attributes:
        topics: the type of each topic that has messages, in ROS 2's spelling.

    Raises:
        MissingDependencyError: rosbags is not installed.
        SceneError: the bag is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_types_from_msg, get_typestore
        except ImportError as error:
            raise MissingDependencyError(f"ROS bags need rosbags ({error}): pip install 'pose6d[ros]'") from error
        self.path = path
        # For bags that do not define their types, as ROS 2 wrote them before Iron.
        types = get_typestore(Stores.ROS2_HUMBLE)
        types.register(get_types_from_msg(_EXTRINSICS_FORM, EXTRINSICS))
        try:
            self._reader = AnyReader([path], default_typestore=types)
            self._reader.open()
        except Exception as error:  # of several libraries, without a common base
            raise SceneError(f"{path} cannot be opened as a ROS bag ({_said(error)}): {_CURE}") from error
        connections = self._reader.connections
        self.topics = {connection.topic: connection.msgtype for connection in connections if connection.msgcount}

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._reader.stack is not None:
            self._reader.close()

    def messages(self, topics: Collection[str]) -> Iterator[RosMessage]:
        """The messages of some topics in the order in which they were recorded.

        Raises:
            SceneError: the bag is damaged.
        """
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        if not connections:
            return
        raw = self._reader.messages(connections)
        while True:
            try:
                connection, received, data = next(raw)
                content = self._reader.deserialize(data, connection.msgtype)
            except StopIteration:
                return
            except Exception as error:  # of several libraries, without a common base
                raise SceneError(f"{self.path} cannot be read further ({_said(error)}): {_CURE}") from error
            yield RosMessage(connection.topic, connection.msgtype, received, content)

    def first(self, topic: str) -> RosMessage:
        """The first message of a topic; SceneError if there is none."""
        for message in self.messages([topic]):
            return message
        raise SceneError(f"{self.path} holds no message of {topic}: {_CURE}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
