"""Pictures and point clouds of what the estimator was given and what it made of it, for looking at a bad result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pose6d.errors import OutputError
from pose6d.geometry.camera import backproject
from pose6d.geometry.depth import filter_depth
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import write_depth, write_image

_MOST_POINTS = 3000  # of the mesh, in a cloud that shows it in its pose


def write_frame_pictures(folder: Path, frame: Frame) -> None:
    """Write color.png, depth.png (16 bits, millimetres), ob_mask.png and scene_raw.ply of a frame as it was read."""
    write_image(folder / "color.png", frame.rgb)
    write_depth(folder / "depth.png", frame.depth)
    if frame.mask is not None:
        write_image(folder / "ob_mask.png", frame.mask)
    _write_cloud(folder / "scene_raw.ply", *_cloud(frame, frame.depth))


def write_result_clouds(
    folder: Path, frame: Frame, mesh: Mesh, object_in_camera: np.ndarray, *, posed_mesh: bool = False
) -> None:
    """Write scene_complete.ply: the points left by the depth filter, and the object in its pose in green.

    Args:
        folder: where to.
        frame: the registered frame.
        mesh: the object, metres.
        object_in_camera: (4, 4).
        posed_mesh: also write model_tf.obj, the mesh in camera axes.
    """
    points, colors = _cloud(frame, filter_depth(torch.as_tensor(frame.depth)).numpy())
    R, t = np.asarray(object_in_camera, dtype=np.float64)[:3, :3], np.asarray(object_in_camera)[:3, 3]
    surface = mesh.sample_surface(_MOST_POINTS) @ R.T + t
    green = np.tile(np.array([[40, 230, 60]], dtype=np.uint8), (len(surface), 1))
    _write_cloud(folder / "scene_complete.ply", np.concatenate([points, surface]), np.concatenate([colors, green]))
    if posed_mesh:
        from pose6d.mesh.mesh_files import save_mesh  # slow to import

        posed = replace(mesh, vertices=mesh.vertices.astype(np.float64) @ R.T + t, normals=mesh.normals @ R.T)
        save_mesh(posed, folder / "model_tf.obj")


def _cloud(frame: Frame, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) metres in camera axes and (P, 3) uint8 colours of the pixels that have depth."""
    xyz = backproject(torch.as_tensor(depth), torch.as_tensor(frame.K)).numpy()
    known = depth > 0
    return xyz[known], frame.rgb[known]


def _write_cloud(path: Path, points: np.ndarray, colors: np.ndarray) -> None:
    import trimesh  # slow to import

    try:
        trimesh.PointCloud(points, colors).export(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
