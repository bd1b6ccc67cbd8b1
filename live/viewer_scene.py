"""The viewer's three-dimensional scene, in the camera's axes: what the camera measures, and the objects in it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from live.state_colors import STATE_COLORS
from live.tracked_pose import TrackedPose
from pose6d.geometry.camera import backproject
from pose6d.geometry.transforms import quaternion
from pose6d.mesh.mesh import Mesh
from pose6d.report.overlay import OrientedBox
from pose6d.scenes.frame import Frame

_MOST_POINTS = 20_000
_LOADING = 1.0  # seconds


def thin_cloud(frame: Frame) -> tuple[np.ndarray, np.ndarray, float]:
    """What was measured, thinned.

    Returns:
        (P, 3) float32 points in metres, camera axes; (P, 3) uint8 colours; the distance between neighbours at the
        median depth, metres.
    """
    step = max(1, int(np.ceil(np.sqrt(frame.depth.size / _MOST_POINTS))))
    depth, colors = frame.depth[::step, ::step], frame.rgb[::step, ::step]
    K = np.array(frame.K, dtype=np.float64)
    K[:2] /= step  # pixel i of the thinned picture is pixel step * i
    seen = depth > 0
    points = backproject(torch.as_tensor(np.ascontiguousarray(depth)), torch.as_tensor(K)).numpy()[seen]
    middle = float(np.median(points[:, 2])) if len(points) else 1.0
    return points, colors[seen], middle / float(K[0, 0])


class ViewerScene:
    """Point cloud, camera, and each object's mesh, box and axes; `server` is a viser server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        server.scene.set_up_direction("-y")  # OpenCV's y points down
        self._root = server.scene.add_frame("/scene", show_axes=False)
        self._cloud: Any = None
        self._distance = 1.0  # metres, of what the camera looks at
        self._objects: dict[str, tuple[Any, Any]] = {}  # the frame and the box of each
        self._aim_at: dict[int, float] = {}  # when a browser's view is due

    def add(self, name: str, mesh: Mesh, box: OrientedBox) -> None:
        """Make an object known, with a mesh that is small enough to be sent; any thread may do it."""
        scene, place, length = self._server.scene, f"/scene/object {len(self._objects)}", 0.5 * float(mesh.diameter)
        frame = scene.add_frame(place, axes_length=length, axes_radius=0.02 * length, visible=False)
        scene.add_mesh_trimesh(f"{place}/mesh", _trimesh(mesh))
        edges = scene.add_line_segments(f"{place}/box", box.edges, (0, 0, 0), thickness=2, thickness_units="screen")
        self._objects[name] = (frame, edges)

    def hide(self, hidden: bool) -> None:
        """Take everything out of sight, or show it again."""
        self._root.visible = not hidden

    def show_cloud(self, frame: Frame) -> None:
        """Replace the cloud by that of a frame."""
        points, colors, spacing = thin_cloud(frame)
        if self._cloud is None:
            self._draw_camera(frame, points)
            self._cloud = self._server.scene.add_point_cloud(
                "/scene/cloud", points, colors, point_size=1.3 * spacing, point_shape="circle", point_shading="flat"
            )
            return
        self._cloud.points, self._cloud.colors = points, colors

    def show_poses(self, poses: Sequence[TrackedPose]) -> None:
        """Move the objects; those without a pose disappear."""
        for pose in poses:
            if pose.name not in self._objects:
                continue
            frame, edges = self._objects[pose.name]
            frame.visible = pose.pose is not None
            if pose.pose is not None:
                rotation = torch.as_tensor(np.asarray(pose.pose, dtype=np.float64)[:3, :3])
                frame.wxyz, frame.position = quaternion(rotation).numpy(), np.asarray(pose.pose)[:3, 3]
                edges.colors = np.array(STATE_COLORS[pose.state], dtype=np.uint8)

    def _draw_camera(self, frame: Frame, points: np.ndarray) -> None:
        """Draw the camera, and let browsers that come look over its shoulder."""
        height, width = frame.rgb.shape[:2]
        self._distance = float(np.percentile(points[:, 2], 30)) if len(points) else 1.0
        self._server.scene.add_camera_frustum(
            "/scene/camera",
            fov=2 * float(np.arctan(height / 2 / frame.K[1, 1])),
            aspect=width / height,
            scale=0.05 * self._distance,
            thickness=1.5,
            thickness_units="screen",
            color=(110, 120, 130),
        )
        self._server.initial_camera.position, self._server.initial_camera.look_at = self._view(tall=False)

    def aim(self) -> None:
        """Turn every browser's view to the scene once; while it loads, it would not stay so."""
        for number, client in self._server.get_clients().items():
            due = self._aim_at.setdefault(number, time.monotonic() + _LOADING)
            if time.monotonic() > due and self._cloud is not None:
                client.camera.position, client.camera.look_at = self._view(tall=client.camera.aspect < 1)
                self._aim_at[number] = math.inf

    def _view(self, tall: bool) -> tuple[np.ndarray, np.ndarray]:
        """Where to look from and at, metres; on a phone from farther away, and into the half above the panel."""
        position, target = ((0.1, -0.4, -0.4), (0, 0.55, 1)) if tall else ((0.2, -0.45, 0.15), (0, 0, 1))
        return self._distance * np.array(position), self._distance * np.array(target)


def _trimesh(mesh: Mesh) -> Any:
    import trimesh  # slow to import

    return trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_normals=mesh.normals, vertex_colors=mesh.colors, process=False
    )
