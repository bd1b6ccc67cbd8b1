"""How the cameras of a ROS bag stand to one another: /tf_static, or the extrinsics that RealSense's node publishes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from pose6d.errors import SceneError
from pose6d.geometry.pose_check import check_rigid
from pose6d.geometry.transforms import rigid_transform
from pose6d.streams.ros_messages import RosBag

_TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")


def depth_in_color(bag: RosBag, depth_frame: str, color_frame: str) -> np.ndarray | None:
    """(4, 4) takes points of the depth camera's frame into the colour camera's, metres; None where nothing says so.

    Raises:
        SceneError: what it says is no rigid transform.
    """
    if depth_frame == color_frame:
        return np.eye(4)
    found = find_transform(_static_transforms(bag), depth_frame, color_frame)
    source = "/tf_static"
    if found is None:
        topics = [
            name for name, kind in bag.topics.items() if kind.endswith("/Extrinsics") and "depth_to_color" in name
        ]
        if not topics:
            return None
        source, content = topics[0], bag.first(topics[0]).content
        R = np.reshape(content.rotation, (3, 3), order="F")  # as librealsense keeps it
        found = rigid_transform(R, content.translation)
    try:
        check_rigid(found, 1e-3)
    except ValueError as error:
        raise SceneError(
            f"{bag.path}: {source} holds no rigid transform from {depth_frame} to {color_frame}: {error}. Record depth "
            "that is aligned to colour"
        ) from error
    return found


def find_transform(transforms: dict[tuple[str, str], np.ndarray], frame: str, target: str) -> np.ndarray | None:
    """(4, 4) `frame` in `target`, through as many others as it takes; None where they are not connected.

    Args:
        transforms: (4, 4) child in parent by (child, parent).
        frame: whose points go in.
        target: in which they come out.
    """
    steps = transforms | {(parent, child): np.linalg.inv(pose) for (child, parent), pose in transforms.items()}
    reached = {frame: np.eye(4)}
    waiting = [frame]
    while waiting and target not in reached:
        here = waiting.pop(0)
        for (start, end), step in steps.items():
            if start == here and end not in reached:
                reached[end] = step @ reached[here]
                waiting.append(end)
    return reached.get(target)


def _static_transforms(bag: RosBag) -> dict[tuple[str, str], np.ndarray]:
    """Child in parent (4, 4) by (child, parent)."""
    topics = [name for name, kind in bag.topics.items() if kind in _TF_TYPES and name.endswith("tf_static")]
    return {
        (stamped.child_frame_id.lstrip("/"), stamped.header.frame_id.lstrip("/")): _matrix(stamped.transform)
        for message in bag.messages(topics)
        for stamped in message.content.transforms
    }


def _matrix(transform: Any) -> np.ndarray:
    """(4, 4) of a geometry_msgs/Transform."""
    q, t = transform.rotation, transform.translation
    return rigid_transform(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), (t.x, t.y, t.z))
