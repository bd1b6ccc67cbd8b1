"""Errors of an estimated pose: pure functions of arrays.

Poses are (4, 4), or (..., 4, 4) where a function says so, object in camera; lengths come back in the unit of the poses
and points (metres in this project), angles in radians. `symmetries` are (S, 4, 4) transforms of the object's own frame
that leave it looking the same, the identity among them; None means none but the identity.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def add(estimate: np.ndarray, truth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """ADD: mean distance between the object's points in both poses.

    Hinterstoisser et al., Model Based Training, Detection and Pose Estimation of Texture-Less 3D Objects in Heavily
    Cluttered Scenes, ACCV 2012, section 4.

    Args:
        estimate: (..., 4, 4).
        truth: (..., 4, 4), leading dimensions broadcast.
        points: (P, 3) of the object, in its own frame.

    Returns:
        (...) distances.
    """
    return np.linalg.norm(_transform(estimate, points) - _transform(truth, points), axis=-1).mean(axis=-1)


def add_s(estimate: np.ndarray, truth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """ADD-S (also ADI): mean distance from each point in the true pose to the nearest point in the estimated pose.

    Blind to every symmetry of the shape, and to texture. Hinterstoisser et al., ACCV 2012, section 4; Hodan et al.,
    On Evaluation of 6D Object Pose Estimation, ECCVW 2016, equation 3.

    Args:
        estimate: (..., 4, 4).
        truth: (..., 4, 4), leading dimensions broadcast.
        points: (P, 3) of the object, in its own frame.

    Returns:
        (...) distances.
    """
    # Distances do not change under a rigid motion, so one tree over the object's own points serves every pose.
    tree = cKDTree(np.asarray(points, dtype=np.float64))
    truth_in_estimate = np.linalg.inv(np.asarray(estimate, dtype=np.float64)) @ np.asarray(truth, dtype=np.float64)
    return tree.query(_transform(truth_in_estimate, points))[0].mean(axis=-1)


def mssd(
    estimate: np.ndarray, truth: np.ndarray, points: np.ndarray, symmetries: np.ndarray | None = None
) -> np.floating:
    """MSSD: largest distance of a point between both poses, for the symmetry where that is least.

    Drost et al., Introducing MVTec ITODD, ICCVW 2017; Hodan et al., BOP Challenge 2020, ECCVW 2020, section 2.2.

    Args:
        estimate: (4, 4).
        truth: (4, 4).
        points: (P, 3) of the object, in its own frame.
        symmetries: (S, 4, 4) or None.
    """
    distances = _transform(estimate, points) - _transform(_symmetric(truth, symmetries), points)
    return np.linalg.norm(distances, axis=-1).max(axis=-1).min()


def mspd(
    estimate: np.ndarray, truth: np.ndarray, points: np.ndarray, K: np.ndarray, symmetries: np.ndarray | None = None
) -> np.floating:
    """MSPD: largest distance in pixels of a projected point, for the symmetry where that is least.

    Hodan et al., BOP Challenge 2020, ECCVW 2020, section 2.2.

    Args:
        estimate: (4, 4).
        truth: (4, 4).
        points: (P, 3) of the object, in its own frame.
        K: (3, 3) intrinsics.
        symmetries: (S, 4, 4) or None.
    """
    seen = _project(_transform(estimate, points), K)
    wanted = _project(_transform(_symmetric(truth, symmetries), points), K)
    return np.linalg.norm(seen - wanted, axis=-1).max(axis=-1).min()


def rotation_error(estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None = None) -> np.ndarray:
    """Geodesic angle between both rotations in radians, the least one over the symmetries.

    Hodan et al., ECCVW 2016, equation 1, with the symmetric ground truths of BOP Challenge 2020.

    Args:
        estimate: (..., 4, 4).
        truth: (..., 4, 4), leading dimensions broadcast.
        symmetries: (S, 4, 4) or None.

    Returns:
        (...) angles from 0 to pi.
    """
    return _angles(estimate, truth, symmetries).min(axis=-1)


def translation_error(estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None = None) -> np.ndarray:
    """Distance between both translations; with symmetries, for the symmetry whose rotation is nearest.

    A symmetry moves the origin only if its axis passes beside the origin. Hodan et al., ECCVW 2016, equation 2.

    Args:
        estimate: (..., 4, 4).
        truth: (..., 4, 4), leading dimensions broadcast.
        symmetries: (S, 4, 4) or None.

    Returns:
        (...) distances.
    """
    offsets = np.asarray(estimate)[..., None, :3, 3] - _symmetric(truth, symmetries)[..., :3, 3]
    distances = np.linalg.norm(offsets, axis=-1)
    nearest = _angles(estimate, truth, symmetries).argmin(axis=-1)
    return np.take_along_axis(distances, nearest[..., None], axis=-1)[..., 0]


def _angles(estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None) -> np.ndarray:
    """(..., S) angles between the estimate and every symmetric truth."""
    R_estimate = np.asarray(estimate, dtype=np.float64)[..., None, :3, :3]
    delta = np.swapaxes(R_estimate, -1, -2) @ _symmetric(truth, symmetries)[..., :3, :3]
    # atan2 of sine and cosine: arccos alone loses half the digits near 0 and pi.
    skew = np.stack(
        [delta[..., 2, 1] - delta[..., 1, 2], delta[..., 0, 2] - delta[..., 2, 0], delta[..., 1, 0] - delta[..., 0, 1]],
        axis=-1,
    )
    return np.arctan2(np.linalg.norm(skew, axis=-1), np.trace(delta, axis1=-2, axis2=-1) - 1)


def _symmetric(truth: np.ndarray, symmetries: np.ndarray | None) -> np.ndarray:
    """(..., S, 4, 4): every pose that looks like the truth."""
    truth = np.asarray(truth, dtype=np.float64)
    symmetries = np.eye(4)[None] if symmetries is None else np.asarray(symmetries, dtype=np.float64)
    return truth[..., None, :, :] @ symmetries


def _transform(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., P, 3) points in camera, float64."""
    poses, points = np.asarray(poses, dtype=np.float64), np.asarray(points, dtype=np.float64)
    return points @ np.swapaxes(poses[..., :3, :3], -1, -2) + poses[..., None, :3, 3]


def _project(points: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(..., P, 2) pixels."""
    homogeneous = points @ np.asarray(K, dtype=np.float64).T
    return homogeneous[..., :2] / homogeneous[..., 2:]
