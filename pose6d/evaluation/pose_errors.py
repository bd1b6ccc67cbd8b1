"""Errors of an estimated pose: pure functions of arrays.

`estimate` and `truth` are (..., 4, 4), object in camera, and their leading dimensions broadcast; errors are (...), one
for each pair. Lengths come back in the unit of the poses and points (metres in this project), angles in radians.
`points` are (P, 3) of the object, in its own frame, `K` (3, 3) intrinsics. `symmetries` are (S, 4, 4) transforms of
the object's own frame that leave it looking the same, the identity among them; None means none but the identity.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def add(estimate: np.ndarray, truth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """ADD: mean distance between the object's points in both poses.

    Hinterstoisser et al., Model Based Training, Detection and Pose Estimation of Texture-Less 3D Objects in Heavily
    Cluttered Scenes, ACCV 2012, section 4.
    """
    return np.linalg.norm(_transform(estimate, points) - _transform(truth, points), axis=-1).mean(axis=-1)


def add_s(estimate: np.ndarray, truth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """ADD-S (also ADI): mean distance from each point in the true pose to the nearest point in the estimated pose.

    Blind to every symmetry of the shape, and to texture. Hinterstoisser et al., ACCV 2012, section 4; Hodan et al.,
    On Evaluation of 6D Object Pose Estimation, ECCVW 2016, equation 3.
    """
    from scipy.spatial import cKDTree  # slow to import

    # Distances do not change under a rigid motion, so one tree over the object's own points serves every pose.
    tree = cKDTree(np.asarray(points, dtype=np.float64))
    truth_in_estimate = np.linalg.inv(np.asarray(estimate, dtype=np.float64)) @ np.asarray(truth, dtype=np.float64)
    return tree.query(_transform(truth_in_estimate, points))[0].mean(axis=-1)


def mssd(
    estimate: np.ndarray, truth: np.ndarray, points: np.ndarray, symmetries: np.ndarray | None = None
) -> np.ndarray:
    """MSSD: largest distance of a point between both poses, for the symmetry where that is least.

    Drost et al., Introducing MVTec ITODD, ICCVW 2017; Hodan et al., BOP Challenge 2020, ECCVW 2020, section 2.2.
    """
    seen = _transform(estimate, points)
    wanted = (_transform(pose, points) for pose in np.moveaxis(_symmetric(truth, symmetries), -3, 0))
    return _least_largest_distance(seen, wanted)


def mspd(
    estimate: np.ndarray, truth: np.ndarray, points: np.ndarray, K: np.ndarray, symmetries: np.ndarray | None = None
) -> np.ndarray:
    """MSPD: largest distance in pixels of a projected point, for the symmetry where that is least.

    The poses are in front of the camera. Hodan et al., BOP Challenge 2020, ECCVW 2020, section 2.2.
    """
    seen = _project(_transform(estimate, points), K)
    wanted = (_project(_transform(pose, points), K) for pose in np.moveaxis(_symmetric(truth, symmetries), -3, 0))
    return _least_largest_distance(seen, wanted)


def rotation_error(estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None = None) -> np.ndarray:
    """Geodesic angle between both rotations, 0 to pi, the least one over the symmetries.

    Hodan et al., ECCVW 2016, equation 1, with the symmetric ground truths of BOP Challenge 2020.
    """
    return _angles(estimate, truth, symmetries).min(axis=-1)


def translation_error(estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None = None) -> np.ndarray:
    """Distance between both translations; with symmetries, for the symmetry whose rotation is nearest.

    A symmetry moves the origin only if its axis passes beside the origin. Hodan et al., ECCVW 2016, equation 2.
    """
    nearest = nearest_symmetric_truth(estimate, truth, symmetries)
    return np.linalg.norm(np.asarray(estimate, dtype=np.float64)[..., :3, 3] - nearest[..., :3, 3], axis=-1)


def nearest_symmetric_truth(
    estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None = None
) -> np.ndarray:
    """Of the poses that look like the truth, that (..., 4, 4) float64 whose rotation is nearest to the estimate's."""
    angles = _angles(estimate, truth, symmetries)
    candidates = np.broadcast_to(_symmetric(truth, symmetries), (*angles.shape, 4, 4))
    return np.take_along_axis(candidates, angles.argmin(axis=-1)[..., None, None, None], axis=-3)[..., 0, :, :]


def euler_angles(poses: np.ndarray) -> np.ndarray:
    """Turns about the fixed x, y and z axes, in this order: R = Rz @ Ry @ Rx.

    Args:
        poses: (..., 4, 4) or (..., 3, 3).

    Returns:
        (..., 3) radians: x and z from -pi to pi, y from -pi/2 to pi/2. Where y is +-pi/2 only the sum or difference of
        the other two is defined; z is then 0.
    """
    R = np.asarray(poses, dtype=np.float64)
    flat = np.hypot(R[..., 0, 0], R[..., 1, 0])
    locked = flat < 1e-6
    x = np.where(locked, np.arctan2(-R[..., 1, 2], R[..., 1, 1]), np.arctan2(R[..., 2, 1], R[..., 2, 2]))
    y = np.arctan2(-R[..., 2, 0], flat)
    z = np.where(locked, 0.0, np.arctan2(R[..., 1, 0], R[..., 0, 0]))
    return np.stack([x, y, z], axis=-1)


def euler_error(estimate: np.ndarray, truth: np.ndarray, symmetries: np.ndarray | None = None) -> np.ndarray:
    """Difference of the Euler angles per axis, wrapped: 179 and -179 degrees differ by 2.

    Euler angles leap near y = +-pi/2; `rotation_error` has no such places.
    With symmetries, the truth is the symmetric one that is nearest.

    Returns:
        (..., 3) radians about x, y, z, from -pi to pi.
    """
    wanted = nearest_symmetric_truth(estimate, truth, symmetries)
    difference = euler_angles(estimate) - euler_angles(wanted)
    return (difference + np.pi) % (2 * np.pi) - np.pi


def _least_largest_distance(seen: np.ndarray, candidates: Iterable[np.ndarray]) -> np.ndarray:
    """(...) for each candidate the largest distance of a point, and of these the least; one candidate at a time."""
    return np.min([np.linalg.norm(seen - wanted, axis=-1).max(axis=-1) for wanted in candidates], axis=0)


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
