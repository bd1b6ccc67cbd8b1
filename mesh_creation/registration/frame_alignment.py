"""Alignment of depth frames with colour: coloured ICP from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import open3d as o3d

from mesh_creation.registration.depth_cleaning import backproject_pixels, surface_normals
from pose6d.errors import FrameError

_DEPTH_NOISE = 0.002  # metres, of one point
# What ICP errs by however many points there are, since neighbours err together: radians and metres.
_SYSTEMATIC = np.diag([0.004] * 3 + [0.0015] * 3) ** 2


@dataclass
class Cloud:
    """Points of one or several frames, in a common frame.

    Attributes:
        points: (P, 3) float64 metres.
        normals: (P, 3) unit.
        colors: (P, 3) 0..1.
    """

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray

    def transform(self, T: np.ndarray) -> Cloud:
        """The cloud in another frame: `T` (4, 4) times its points."""
        return Cloud(self.points @ T[:3, :3].T + T[:3, 3], self.normals @ T[:3, :3].T, self.colors)

    def select(self, mask: np.ndarray) -> Cloud:
        """The points where `mask` (P,) is true."""
        return Cloud(self.points[mask], self.normals[mask], self.colors[mask])

    def open3d(self) -> o3d.geometry.PointCloud:
        """The cloud as Open3D has it."""
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(self.points))
        cloud.normals = o3d.utility.Vector3dVector(self.normals)
        cloud.colors = o3d.utility.Vector3dVector(self.colors)
        return cloud


@dataclass(frozen=True)
class Alignment:
    """Result of ICP.

    Attributes:
        transform: (4, 4) source in target.
        fitness: share of the source's points with a partner within the finest distance.
        rmse: metres, of those.
        information: (6, 6) inverse covariance of a small motion of the source, in its axes.
    """

    transform: np.ndarray
    fitness: float
    rmse: float
    information: np.ndarray


def frame_cloud(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, stride: int = 2) -> Cloud:
    """The cloud of a frame in camera axes, from cleaned depth (H, W) and its picture, every `stride`-th pixel."""
    kept = np.zeros(depth.shape, bool)
    kept[::stride, ::stride] = depth[::stride, ::stride] > 0
    points, normals = backproject_pixels(depth, K)[kept], surface_normals(depth, K)[kept]
    colors = cv2.GaussianBlur(rgb, (3, 3), 0)[kept] / 255.0
    return Cloud(points.astype(np.float64), normals.astype(np.float64), colors)


def merge(clouds: Sequence[Cloud]) -> Cloud:
    """All points of several clouds of one frame."""
    parts = zip(*((c.points, c.normals, c.colors) for c in clouds), strict=True)
    return Cloud(*(np.concatenate(part) for part in parts))


def align(
    source: Cloud, target: Cloud, start: np.ndarray, scales: Sequence[float] = (0.012, 0.006, 0.003)
) -> Alignment:
    """Coloured ICP of `source` to `target` from coarse to fine.

    Park, Zhou and Koltun, "Colored Point Cloud Registration Revisited" (2017), as Open3D implements it.

    Args:
        source, target: clouds, each in its own frame.
        start: (4, 4) first guess of source in target.
        scales: metres, sizes of the voxels; partners are searched within twice that.

    Raises:
        FrameError: fewer than 100 points of either are left to compare.
    """
    transform = np.asarray(start, np.float64)
    method = o3d.pipelines.registration
    fine_source = fine_target = None
    for scale in scales:
        fine_source, fine_target = (cloud.open3d().voxel_down_sample(scale) for cloud in (source, target))
        if min(len(fine_source.points), len(fine_target.points)) < 100:
            raise FrameError("fewer than 100 points to align")
        try:
            transform = method.registration_colored_icp(
                fine_source,
                fine_target,
                2 * scale,
                transform,
                method.TransformationEstimationForColoredICP(lambda_geometric=0.968),
                method.ICPConvergenceCriteria(relative_fitness=1e-5, relative_rmse=1e-5, max_iteration=30),
            ).transformation
        except RuntimeError as error:  # Open3D: no correspondences at all
            raise FrameError("nothing of the frame lies near its neighbours") from error
    assert fine_source is not None
    max_distance = 2 * scales[-1]
    result = method.evaluate_registration(fine_source, fine_target, max_distance, transform)
    pairs = np.asarray(result.correspondence_set)
    return Alignment(transform, result.fitness, result.inlier_rmse, _information(fine_source, pairs))


def _information(source: o3d.geometry.PointCloud, pairs: np.ndarray) -> np.ndarray:
    """(6, 6) of the point-to-plane distances in the source's frame: sliding along a plane is left undetermined."""
    if len(pairs) == 0:
        return np.eye(6) * 1e-6
    points, normals = np.asarray(source.points)[pairs[:, 0]], np.asarray(source.normals)[pairs[:, 0]]
    J = np.concatenate([np.cross(points, normals), normals], axis=1)
    covariance = np.linalg.inv(J.T @ J / _DEPTH_NOISE**2 + np.eye(6) * 1e-3)
    information = np.linalg.inv(covariance + _SYSTEMATIC)
    return (information + information.T) / 2
