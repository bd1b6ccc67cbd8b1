"""Pictures and point clouds of what the estimator was given and what it made of it, for looking at a bad result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from pose6d.errors import OutputError
from pose6d.geometry.camera import backproject
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.mesh import Mesh
from pose6d.geometry.mesh_files import save_mesh
from pose6d.rendering.interface import Renderer
from pose6d.report.contact_sheet import hypothesis_sheet
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import write_depth, write_image

_MOST_POINTS = 3000  # of the mesh, in a cloud that shows it in its pose


def write_registration_pictures(
    folder: Path,
    frame: Frame,
    mesh: Mesh,
    renderer: Renderer,
    poses: np.ndarray,
    scores: np.ndarray,
    *,
    posed_mesh: bool = False,
) -> None:
    """Write what the first frame was, and what registration made of it.

    color.png, depth.png (16 bits, millimetres), ob_mask.png: the frame as read. scene_raw.ply: its points.
    scene_complete.ply: the points left by the depth filter, and the object in its pose in green.
    vis_score.png: the best hypotheses, rendered and as an outline, with their scores.

    Args:
        folder: where to.
        frame: the first frame.
        mesh: the object, metres.
        renderer: built for that mesh.
        poses: (N, 4, 4) hypotheses, best first.
        scores: (N,), in the order of the poses.
        posed_mesh: also write model_tf.obj, the mesh in camera axes.
    """
    write_image(folder / "color.png", frame.rgb)
    write_depth(folder / "depth.png", frame.depth)
    if frame.mask is not None:
        write_image(folder / "ob_mask.png", frame.mask)
    _write_cloud(folder / "scene_raw.ply", *_cloud(frame, frame.depth))

    points, colors = _cloud(frame, filter_depth(torch.as_tensor(frame.depth)).numpy())
    best = np.asarray(poses[0], dtype=np.float64)
    surface = mesh.sample_surface(_MOST_POINTS) @ best[:3, :3].T + best[:3, 3]
    green = np.tile(np.array([[40, 230, 60]], dtype=np.uint8), (len(surface), 1))
    _write_cloud(folder / "scene_complete.ply", np.concatenate([points, surface]), np.concatenate([colors, green]))

    sheet = hypothesis_sheet(renderer, frame.rgb, frame.K, poses, scores, mesh.diameter)
    write_image(folder / "vis_score.png", sheet)
    if posed_mesh:
        vertices = mesh.vertices.astype(np.float64) @ best[:3, :3].T + best[:3, 3]
        save_mesh(replace(mesh, vertices=vertices, normals=mesh.normals @ best[:3, :3].T), folder / "model_tf.obj")


def _cloud(frame: Frame, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P, 3) metres in camera axes and (P, 3) uint8 colours of the pixels that have depth."""
    xyz = backproject(torch.as_tensor(depth), torch.as_tensor(frame.K)).numpy()
    known = depth > 0
    return xyz[known], frame.rgb[known]


def _write_cloud(path: Path, points: np.ndarray, colors: np.ndarray) -> None:
    try:
        trimesh.PointCloud(points, colors).export(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
