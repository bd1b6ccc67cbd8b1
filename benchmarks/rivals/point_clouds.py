"""The surface under a mask and that of a mesh, as points with normals, for rivals that match shapes."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from pose6d.errors import FrameError, MissingDependencyError
from pose6d.geometry.camera import backproject
from pose6d.mesh.mesh import Mesh

_MODEL_POINTS = 20_000  # before they are thinned out
_FEWEST = 10
_AROUND = 0.12  # diameters in which neighbours make a normal


def open3d() -> Any:
    """Open3D.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module("open3d")
    except ImportError as error:
        raise MissingDependencyError(f"matching shapes needs Open3D: pip install 'pose6d[scan]' ({error})") from error


def model_cloud(mesh: Mesh, spacing: float) -> Any:
    """Open3D's point cloud of a mesh, with outward normals; spacing in diameters."""
    o3d = open3d()
    vertices, faces = (o3d.utility.Vector3dVector(mesh.vertices), o3d.utility.Vector3iVector(mesh.faces))
    surface = o3d.geometry.TriangleMesh(vertices, faces)
    cloud = surface.sample_points_uniformly(_MODEL_POINTS, use_triangle_normal=True)
    return cloud.voxel_down_sample(spacing * mesh.diameter)


def frame_cloud(K: np.ndarray, depth: np.ndarray, mask: np.ndarray, diameter: float, spacing: float) -> Any:
    """Open3D's point cloud of what is seen under a mask (H, W), with normals towards the camera; spacing in diameters.

    Raises:
        FrameError: next to no depth there.
    """
    o3d = open3d()
    xyz = backproject(torch.as_tensor(depth, dtype=torch.float32), torch.as_tensor(K, dtype=torch.float32)).numpy()
    points = xyz[(mask > 0) & (depth > 0)].astype(np.float64)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points)).voxel_down_sample(spacing * diameter)
    if len(cloud.points) < _FEWEST:
        raise FrameError(f"{len(cloud.points)} points under the mask: matching shapes needs {_FEWEST}")
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(radius=_AROUND * diameter, max_nn=30))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    return cloud
