"""Alignment of depth frames with colour: coloured ICP from coarse to fine, and where ICP has to start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import open3d as o3d

from mesh_creation.board.camera_pose import reprojection_information
from mesh_creation.registration.depth_cleaning import backproject_pixels, surface_normals
from pose6d.errors import FrameError

_DEPTH_NOISE = 0.002  # metres, of one point
# What ICP errs by however many points there are, since neighbours err together: radians and metres.
_SYSTEMATIC = np.diag([0.004] * 3 + [0.0015] * 3) ** 2
_MIN_MATCHES = 12
_PIXELS = 3.0
_FEATURE_NOISE = 2.0  # pixels, with the error of the known points


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


@dataclass
class Features:
    """Image points of a frame that can be found again in others.

    Attributes:
        pixels: (N, 2).
        points: (N, 3) metres, camera axes; NaN where no depth was measured.
        descriptors: (N, 128).
    """

    pixels: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray


def find_features(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, most: int = 1500) -> Features:
    """SIFT points (Lowe, 2004) of a picture, with the depth measured there."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    sift: Any = cv2.SIFT_create  # type: ignore[attr-defined]  # missing in OpenCV 5's type information
    found, descriptors = sift(nfeatures=most, contrastThreshold=0.02).detectAndCompute(grey, None)
    if not found:
        return Features(np.zeros((0, 2)), np.zeros((0, 3)), np.zeros((0, 128), np.float32))
    pixels = np.array([point.pt for point in found], np.float64)
    column, row = np.round(pixels).astype(int).T
    z = depth[np.clip(row, 0, depth.shape[0] - 1), np.clip(column, 0, depth.shape[1] - 1)].astype(np.float64)
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(K).T
    return Features(pixels, np.where(z[:, None] > 0, rays * z[:, None], np.nan), descriptors)


@dataclass(frozen=True)
class FeaturePose:
    """A camera that was found by its features.

    Attributes:
        pose: (4, 4) camera in the frame of the known points.
        inliers: matches that agree.
        information: (6, 6) inverse covariance of a small motion of the camera in its axes.
    """

    pose: np.ndarray
    inliers: int
    information: np.ndarray


def locate(frame: Features, points: np.ndarray, descriptors: np.ndarray, K: np.ndarray) -> FeaturePose | None:
    """Find a camera by PnP on features matched with known points; None where too few agree.

    Args:
        frame: of the camera to be found.
        points: (M, 3) metres, in any frame.
        descriptors: (M, 128) of those points.
        K: (3, 3) intrinsics.
    """
    if min(len(points), len(frame.pixels)) < _MIN_MATCHES:
        return None
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(frame.descriptors, descriptors, k=2)
    # Several frames show the same point: only the second-best of another place would make it ambiguous.
    good = [
        a
        for a, b in (pair for pair in matches if len(pair) == 2)
        if a.distance < 0.8 * b.distance or np.linalg.norm(points[a.trainIdx] - points[b.trainIdx]) < 0.01
    ]
    good = [match for match in good if match.distance < 300]
    if len(good) < _MIN_MATCHES:
        return None
    known, seen = points[[m.trainIdx for m in good]], frame.pixels[[m.queryIdx for m in good]]
    cv2.setRNGSeed(1)
    done, rotation, translation, inliers = cv2.solvePnPRansac(
        known, seen, K, None, iterationsCount=500, reprojectionError=_PIXELS, confidence=0.999, flags=cv2.SOLVEPNP_EPNP
    )
    if not done or inliers is None or len(inliers) < _MIN_MATCHES:
        return None
    known, seen = known[inliers.ravel()], seen[inliers.ravel()]
    rotation, translation = cv2.solvePnPRefineLM(known, seen, K, None, rotation, translation)
    points_in_camera = np.eye(4)
    points_in_camera[:3, :3], points_in_camera[:3, 3] = cv2.Rodrigues(rotation)[0], translation.ravel()
    information = reprojection_information(known, points_in_camera, K, _FEATURE_NOISE)
    covariance = np.linalg.inv(information + np.eye(6) * 1e-3) + _SYSTEMATIC / 9
    return FeaturePose(np.linalg.inv(points_in_camera), len(known), np.linalg.inv((covariance + covariance.T) / 2))
