"""Image points that are found again in other frames, and the camera that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mesh_creation.board.camera_pose import reprojection_information
from pose6d.geometry.transforms import rigid_transform

_MOST = 1500  # features of a picture
_MIN_MATCHES = 12
_PIXELS = 3.0
_FEATURE_NOISE = 2.0  # pixels, with the error of the known points
# What the pose errs by however many points there are, since neighbours err together: radians and metres.
_SYSTEMATIC = np.diag([0.004 / 3] * 3 + [0.0005] * 3) ** 2


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


def find_features(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray) -> Features:
    """SIFT points (Lowe, 2004) of a picture, with the depth measured there."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    sift: Any = cv2.SIFT_create  # type: ignore[attr-defined]  # missing in OpenCV 5's type information
    found, descriptors = sift(nfeatures=_MOST, contrastThreshold=0.02).detectAndCompute(grey, None)
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
    points_in_camera = rigid_transform(cv2.Rodrigues(rotation)[0], translation.ravel())
    information = reprojection_information(known, points_in_camera, K, _FEATURE_NOISE)
    covariance = np.linalg.inv(information + np.eye(6) * 1e-3) + _SYSTEMATIC
    return FeaturePose(np.linalg.inv(points_in_camera), len(known), np.linalg.inv((covariance + covariance.T) / 2))
