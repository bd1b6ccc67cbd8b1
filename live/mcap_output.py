"""A recording of what was seen and tracked, as MCAP with Foxglove's messages. Home of mcap.

The container is described at mcap.dev, the messages in Foxglove's schemas; Foxglove and rerun open such a file.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from live.pose_output import pose_line
from live.state_colors import STATE_COLORS
from live.tracked_pose import TrackedPose
from live.viewer_scene import thin_cloud
from pose6d.closing import Closing
from pose6d.errors import MissingDependencyError, OutputError, with_cure
from pose6d.geometry.transforms import quaternion
from pose6d.mesh.mesh import Mesh
from pose6d.report.overlay import OrientedBox, oriented_box
from pose6d.report.scene_view import simplify_mesh
from pose6d.scenes.frame import Frame

_CAMERA = "camera"  # the frame of everything else: OpenCV axes, metres
_CHUNK = 1 << 20  # bytes; what a kill may lose
_CLOUD_INTERVAL = 0.2  # seconds
_JPEG_QUALITY = 90
_POSES_SCHEMA = {
    "title": "pose6d.Poses",
    "type": "object",
    "properties": {
        "format": {"type": "integer"},
        "frame": {"type": "string"},
        "seconds": {"type": ["number", "null"]},
        "objects": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "state": {"type": "string", "enum": ["tracking", "doubtful", "lost"]},
                    "confidence": {"type": ["number", "null"]},
                    "pose": {"type": ["array", "null"]},
                    "translation": {"type": ["array", "null"]},
                    "quaternion": {"type": ["array", "null"]},
                },
            },
        },
    },
}


class McapOutput(Closing):
    """Writes one recording; a context manager. A kill loses the last megabyte at most.

    | topic | message |
    |---|---|
    | `/camera/image` | `foxglove.CompressedImage`, JPEG |
    | `/camera/calibration` | `foxglove.CameraCalibration` |
    | `/camera/points` | `foxglove.PointCloud`, thinned, 5 per second |
    | `/tf` | `foxglove.FrameTransforms`, from `camera` to each object that has a pose |
    | `/objects/meshes` | `foxglove.SceneUpdate`, when an object comes or goes |
    | `/objects/boxes` | `foxglove.SceneUpdate`, boxes in the colour of the state |
    | `/poses` | JSON, as `pose_line` writes it |

    Args:
        path: of the file, which must not exist.
        objects: name and mesh of each, metres, in the frame of its poses.

    Raises:
        MissingDependencyError: the extra [mcap] is not installed.
        OutputError: the file exists or cannot be written.
    """

    def __init__(self, path: Path, objects: Sequence[tuple[str, Mesh]]) -> None:
        writer = _import("mcap.writer").Writer
        self._path = path
        if path.exists():
            raise OutputError(f"{path} exists already: take another name, or move it away")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {with_cure(error)}") from error
        self._writer = writer(self._file, chunk_size=_CHUNK)
        self._writer.start(profile="", library="pose6d")
        self._channels: dict[str, int] = {}
        self._meshes = {name: _triangles(mesh) for name, mesh in objects}
        self._boxes = {name: oriented_box(mesh) for name, mesh in objects}
        self._present: set[str] | None = None
        self._cloud_at = -np.inf
        self._closed = False

    def write(self, frame: Frame, poses: Sequence[TrackedPose]) -> None:
        """Add one frame; one without `seconds` gets this computer's time.

        Raises:
            OutputError: the file cannot be written.
        """
        seconds = time.time() if frame.seconds is None else frame.seconds
        at = max(0, round(1e9 * seconds))  # nanoseconds; MCAP has no negative ones
        seen = [pose for pose in poses if pose.pose is not None and pose.name in self._boxes]
        try:
            self._send("/camera/image", at, _image(frame))
            self._send("/camera/calibration", at, _calibration(frame))
            if not 0 <= seconds - self._cloud_at < _CLOUD_INTERVAL:
                self._send("/camera/points", at, _cloud(frame))
                self._cloud_at = seconds
            self._send("/tf", at, _message("FrameTransforms", transforms=[_transform(pose, at) for pose in seen]))
            names = {pose.name for pose in seen}
            if names != self._present:
                entities = [_entity(name, at, triangles=[self._meshes[name]]) for name in sorted(names)]
                self._send("/objects/meshes", at, _scene(entities, at))
                self._present = names
            boxes = [_entity(pose.name, at, lines=[_edges(self._boxes[pose.name], pose)]) for pose in seen]
            self._send("/objects/boxes", at, _scene(boxes, at))
            self._add("/poses", at, "json", pose_line(frame.name, frame.seconds, poses).encode())
            self._file.flush()  # whole chunks alone are in the file
        except OSError as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Write the index, without which readers must go through the whole file; does nothing the second time.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with self._file:
                self._writer.finish()
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path} cannot be written further: {with_cure(error)}")

    def _send(self, topic: str, at: int, message: Any) -> None:
        """Add a message with a time stamp of its own, if its kind has one."""
        if "timestamp" in message.DESCRIPTOR.fields_by_name:
            message.timestamp.FromNanoseconds(at)
        self._add(topic, at, "protobuf", message.SerializeToString(), type(message))

    def _add(self, topic: str, at: int, encoding: str, data: bytes, kind: type | None = None) -> None:
        if topic not in self._channels:
            if kind is None:
                schema = json.dumps(_POSES_SCHEMA).encode()
                schema_id = self._writer.register_schema(name="pose6d.Poses", encoding="jsonschema", data=schema)
            else:
                schema_id = _import("mcap_protobuf.schema").register_schema(self._writer, kind)
            self._channels[topic] = self._writer.register_channel(
                topic=topic, message_encoding=encoding, schema_id=schema_id
            )
        self._writer.add_message(self._channels[topic], log_time=at, data=data, publish_time=at)


def _image(frame: Frame) -> Any:
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), quality)[1]
    return _message("CompressedImage", frame_id=_CAMERA, format="jpeg", data=encoded.tobytes())


def _calibration(frame: Frame) -> Any:
    height, width = frame.rgb.shape[:2]
    K = np.asarray(frame.K, dtype=np.float64)
    projection = np.hstack([K, np.zeros((3, 1))])
    return _message(
        "CameraCalibration",
        **{"frame_id": _CAMERA, "width": width, "height": height, "distortion_model": "plumb_bob", "D": [0.0] * 5},
        **{"K": K.ravel().tolist(), "R": np.eye(3).ravel().tolist(), "P": projection.ravel().tolist()},
    )


def _cloud(frame: Frame) -> Any:
    points, colors, _ = thin_cloud(frame)
    packed = np.zeros(len(points), dtype=[("xyz", "<f4", 3), ("rgba", "u1", 4)])
    packed["xyz"], packed["rgba"][:, :3], packed["rgba"][:, 3] = points, colors, 255
    kinds = _class("PackedElementField")
    fields = [("x", 0), ("y", 4), ("z", 8)]
    colors_at = [("red", 12), ("green", 13), ("blue", 14), ("alpha", 15)]
    return _message(
        "PointCloud",
        frame_id=_CAMERA,
        pose=_message("Pose", orientation=_message("Quaternion", w=1.0)),
        point_stride=packed.itemsize,
        fields=[kinds(name=name, offset=offset, type=kinds.FLOAT32) for name, offset in fields]
        + [kinds(name=name, offset=offset, type=kinds.UINT8) for name, offset in colors_at],
        data=packed.tobytes(),
    )


def _transform(tracked: TrackedPose, at: int) -> Any:
    pose = np.asarray(tracked.pose, dtype=np.float64)
    turn = quaternion(torch.from_numpy(pose[:3, :3])).tolist()
    made = _message(
        "FrameTransform",
        parent_frame_id=_CAMERA,
        child_frame_id=tracked.name,
        translation=_message("Vector3", **dict(zip("xyz", pose[:3, 3].tolist(), strict=True))),
        rotation=_message("Quaternion", **dict(zip("wxyz", turn, strict=True))),
    )
    made.timestamp.FromNanoseconds(at)
    return made


def _scene(entities: Sequence[Any], at: int) -> Any:
    """All that a topic shows, in place of what it showed: whoever jumps into the recording sees it whole."""
    deletions = _class("SceneEntityDeletion")
    deletion = deletions(type=deletions.ALL)
    deletion.timestamp.FromNanoseconds(at)
    return _message("SceneUpdate", deletions=[deletion], entities=entities)


def _entity(name: str, at: int, **primitives: Any) -> Any:
    entity = _message("SceneEntity", frame_id=name, id=name, frame_locked=True, **primitives)
    entity.timestamp.FromNanoseconds(at)
    return entity


def _triangles(mesh: Mesh) -> Any:
    vertices, faces, colors, _ = simplify_mesh(mesh)
    point, color = _class("Point3"), _class("Color")
    return _message(
        "TriangleListPrimitive",
        pose=_message("Pose", orientation=_message("Quaternion", w=1.0)),
        points=[point(x=x, y=y, z=z) for x, y, z in vertices.tolist()],
        colors=[color(r=r, g=g, b=b, a=1.0) for r, g, b in (colors / 255).tolist()],
        indices=faces.ravel().tolist(),
    )


def _edges(box: OrientedBox, tracked: TrackedPose) -> Any:
    kinds, point = _class("LinePrimitive"), _class("Point3")
    red, green, blue = (value / 255 for value in STATE_COLORS[tracked.state])
    return kinds(
        type=kinds.LINE_LIST,
        pose=_message("Pose", orientation=_message("Quaternion", w=1.0)),
        thickness=2.0,
        scale_invariant=True,
        points=[point(x=x, y=y, z=z) for x, y, z in box.edges.reshape(-1, 3).tolist()],
        color=_message("Color", r=red, g=green, b=blue, a=1.0),
    )


def _message(name: str, **fields: Any) -> Any:
    return _class(name)(**fields)


@cache
def _class(name: str) -> Any:
    """One of Foxglove's messages, `foxglove.NAME`."""
    return getattr(_import(f"foxglove_schemas_protobuf.{name}_pb2"), name)


@cache
def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"recordings as MCAP need {module.partition('.')[0]} ({error}): pip install 'pose6d[mcap]'"
        ) from error
