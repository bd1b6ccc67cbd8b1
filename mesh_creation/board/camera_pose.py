"""Pose of the camera from one picture of the board: planar PnP that survives wrong markers and the two-fold tilt."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.board.detection import BoardDetection
from mesh_creation.board.layout import Board
from pose6d.errors import FrameError
from pose6d.geometry.transforms import rigid_transform

_MIN_POINTS = 6
_OUTLIER = 3.0  # pixels from the common homography
_STRAY = 4.0  # times the median error, from which on a point is left out
_MAX_RMS = 1.5  # pixels
_MIN_AGREEING = 0.6  # share of the points that must fit one plane
_AMBIGUOUS = 1.6  # two tilts whose errors differ by less than this factor are told apart by the depth
_CORNER_NOISE = 0.25  # pixels, the least that a corner is trusted to


@dataclass(frozen=True)
class BoardPose:
    """What one frame says about where the camera is.

    Attributes:
        camera_in_board: (4, 4) float64, metres.
        rms: reprojection error, pixels.
        used, seen: points that fit, and points found.
        information: (6, 6) inverse covariance of a small motion (rotation vector, then metres) in camera axes.
        points: (N, 3) the points that fit, board frame, metres.
        pixels: (N, 2) where they were seen.
    """

    camera_in_board: np.ndarray
    rms: float
    used: int
    seen: int
    information: np.ndarray
    points: np.ndarray
    pixels: np.ndarray


def estimate_board_pose(detection: BoardDetection, board: Board, K: np.ndarray, depth: np.ndarray | None) -> BoardPose:
    """Pose of the camera from the board's points.

    Points that no homography explains are left out, then both poses that a plane allows (Collins and Bartoli,
    "Infinitesimal Plane-based Pose Estimation", 2014) are refined. Where their errors are too near to each other, the
    measured depth says which way the board tilts.

    Args:
        detection: the points found.
        board: where they lie.
        K: (3, 3) intrinsics.
        depth: (H, W) metres, 0 where unknown; None to decide by the reprojection error alone.

    Raises:
        FrameError: too few points, or they contradict each other; the message is the reason only, without the frame.
    """
    seen = len(detection.ids)
    if seen < _MIN_POINTS:
        markers = len(detection.marker_ids)
        more = f", and {len(detection.duplicates)} seen twice" if detection.duplicates else ""
        raise FrameError(f"{markers} marker(s) of the board found{more}, wanted 2 or more")
    points = board.object_points(detection.ids)
    pixels = detection.corners
    fits = _on_one_plane(points, pixels)
    if fits.sum() < _MIN_POINTS or fits.mean() < _MIN_AGREEING:
        raise FrameError(
            f"only {int(fits.sum())} of {seen} board points fit one plane: is board.json that of another board, or are "
            "markers of a second one in view?"
        )
    points, pixels = points[fits], pixels[fits]
    spread = np.linalg.svd(points[:, :2] - points[:, :2].mean(axis=0), compute_uv=False)
    if spread[1] < 0.1 * spread[0]:
        raise FrameError("all board points found lie on one line, which leaves the tilt open")
    rotation, translation, rms = _choose_tilt(_two_poses(points, pixels, K), points, pixels, K, depth)
    # One badly read marker is within the homography's tolerance, and pulls the pose by millimetres.
    error = _reprojection(points, pixels, rotation, translation, K)
    exact = error < max(_STRAY * float(np.median(error)), _STRAY * _CORNER_NOISE)
    if exact.sum() >= max(_MIN_POINTS, _MIN_AGREEING * len(points)) and not exact.all():
        points, pixels = points[exact], pixels[exact]
        rotation, translation = cv2.solvePnPRefineLM(points, pixels, K, None, rotation, translation)
        rms = float(np.sqrt(np.square(_reprojection(points, pixels, rotation, translation, K)).mean()))
    if rms > _MAX_RMS:
        raise FrameError(f"reprojection error {rms:.1f} px, wanted {_MAX_RMS} or less: blurred, or a bent board")
    board_in_camera = rigid_transform(cv2.Rodrigues(rotation)[0], translation.ravel())
    return BoardPose(
        camera_in_board=np.linalg.inv(board_in_camera),
        rms=rms,
        used=len(points),
        seen=seen,
        information=reprojection_information(points, board_in_camera, K, max(rms, _CORNER_NOISE)),
        points=points,
        pixels=pixels,
    )


def _on_one_plane(points: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(N,) bool: points whose pixels one homography of the board explains."""
    H, _ = cv2.findHomography(points[:, :2], pixels, cv2.RANSAC, _OUTLIER, maxIters=2000, confidence=0.9999)
    if H is None:
        return np.zeros(len(points), bool)
    mapped = np.concatenate([points[:, :2], np.ones((len(points), 1))], axis=1) @ H.T
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - pixels, axis=1)
    return np.nan_to_num(error, nan=np.inf) < _OUTLIER


def _two_poses(points: np.ndarray, pixels: np.ndarray, K: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Rotation vector, translation and rms pixels of the poses that fit, best first."""
    _, rotations, translations, _ = cv2.solvePnPGeneric(points, pixels, K, None, flags=cv2.SOLVEPNP_IPPE)
    found = []
    for rotation, translation in zip(rotations, translations, strict=True):
        r, t = cv2.solvePnPRefineLM(points, pixels, K, None, rotation.copy(), translation.copy())
        error = _reprojection(points, pixels, r, t, K)
        # The board is looked at from above: a pose that sees its back is no pose.
        if t[2, 0] > 0 and (cv2.Rodrigues(r)[0][:, 2] @ t.ravel()) < 0:
            found.append((r, t, float(np.sqrt(np.square(error).mean()))))
    if not found:
        raise FrameError("the board would be seen from behind: are the markers mirrored?")
    return sorted(found, key=lambda pose: pose[2])


def _reprojection(points: np.ndarray, pixels: np.ndarray, r: np.ndarray, t: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N,) distances in pixels."""
    return np.linalg.norm(cv2.projectPoints(points, r, t, K, None)[0].reshape(-1, 2) - pixels, axis=1)


def _choose_tilt(
    poses: list[tuple[np.ndarray, np.ndarray, float]],
    points: np.ndarray,
    pixels: np.ndarray,
    K: np.ndarray,
    depth: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, float]:
    first, *others = poses
    if not others or others[0][2] > _AMBIGUOUS * max(first[2], _CORNER_NOISE) or depth is None:
        return first
    measured = depth_at(depth, pixels)
    known = measured > 0
    if known.sum() < _MIN_POINTS:
        return first

    def disagreement(pose: tuple[np.ndarray, np.ndarray, float]) -> float:
        z = (points @ cv2.Rodrigues(pose[0])[0].T + pose[1].ravel())[:, 2]
        ratio = measured[known] / z[known]  # a wrong depth scale is no evidence about the tilt
        return float(np.median(np.abs(ratio / np.median(ratio) - 1)))

    return min(poses[:2], key=disagreement)


def depth_at(depth: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Median of the valid depth in the 3 x 3 pixels around each of `pixels` (N, 2): (N,) metres, 0 where there is none.

    A single pixel at a black and white edge is often wrong; rounding, not truncation, finds the right one.
    """
    height, width = depth.shape
    column, row = np.round(pixels).astype(int).T
    offsets = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    columns, rows = column[:, None] + offsets[:, 0], row[:, None] + offsets[:, 1]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    values = np.where(inside, depth[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)], 0)
    values = np.where(values > 0, values, np.nan)
    enough = np.isfinite(values).sum(axis=1) >= 5
    result = np.zeros(len(pixels))
    result[enough] = np.nanmedian(values[enough], axis=1)
    return result


def reprojection_information(
    points: np.ndarray, frame_in_camera: np.ndarray, K: np.ndarray, noise: float
) -> np.ndarray:
    """(6, 6) inverse covariance of the camera's motion in its own axes, from points seen to `noise` pixels.

    Args:
        points: (N, 3) metres, in any frame.
        frame_in_camera: (4, 4) of that frame.
        K: (3, 3) intrinsics.
        noise: standard deviation, pixels.
    """
    x, y, z = (points @ frame_in_camera[:3, :3].T + frame_in_camera[:3, 3]).T
    zero = np.zeros_like(z)
    du = np.stack([K[0, 0] / z, zero, -K[0, 0] * x / z**2], axis=1)
    dv = np.stack([zero, K[1, 1] / z, -K[1, 1] * y / z**2], axis=1)
    in_camera = np.stack([x, y, z], axis=1)
    # A camera that moves by (w, t) sees a point p at p - w x p - t.
    J = np.concatenate([np.concatenate([np.cross(in_camera, d), -d], axis=1) for d in (du, dv)])
    J[:, :3] *= -1
    return J.T @ J / noise**2
