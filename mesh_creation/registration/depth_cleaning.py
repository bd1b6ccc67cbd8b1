"""Measured depth without the pixels that lie about the surface: rims, grazing views, lone points."""

from __future__ import annotations

import cv2
import numpy as np

_RIM = 0.02  # a step of this share of the distance within five pixels is the rim of something
_MIN_COSINE = 0.2  # seen flatter than 78 degrees, stereo depth is mostly the matcher's guess


def clean_depth(depth: np.ndarray, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the depth that cannot be trusted.

    Args:
        depth: (H, W) metres, 0 where nothing was measured.
        K: (3, 3) intrinsics.

    Returns:
        The depth (H, W) float32 with 0 in place of flying pixels, rims and surfaces seen at a grazing angle, and the
        cosine (H, W) float32 between the viewing ray and the surface normal, 0 where the depth is 0.
    """
    valid = depth > 0
    kernel = np.ones((5, 5), np.uint8)
    highest = cv2.dilate(depth, kernel)
    lowest = cv2.erode(np.where(valid, depth, np.float32(1e6)), kernel)
    valid &= highest - lowest < _RIM * depth
    valid = cv2.morphologyEx(valid.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    cosine = np.where(valid, _incidence(depth, valid, K), 0).astype(np.float32)
    valid &= cosine > _MIN_COSINE
    return np.where(valid, depth, 0).astype(np.float32), np.where(valid, cosine, 0).astype(np.float32)


def surface_normals(depth: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 unit normals in camera axes, turned towards the camera; from depth smoothed over 7 pixels.

    Meaningless where `depth` (H, W) is 0.
    """
    valid = (depth > 0).astype(np.float32)
    total = cv2.GaussianBlur(valid, (7, 7), 1.6)
    smooth = cv2.GaussianBlur(depth * valid, (7, 7), 1.6) / np.maximum(total, 1e-6)
    points = backproject_pixels(smooth, K)
    across = cv2.Sobel(points, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(points, cv2.CV_32F, 0, 1, ksize=3)
    normal = np.cross(down, across)
    length = np.linalg.norm(normal, axis=2, keepdims=True)
    return (normal / np.maximum(length, 1e-12)).astype(np.float32)


def backproject_pixels(depth: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 points in camera axes of a depth image (H, W); the origin where the depth is 0."""
    rays = pixel_rays(depth.shape, K)
    return rays * depth[..., None].astype(np.float32)


def pixels_of(points: np.ndarray, K: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column (P,) of the pixels that show points (P, 3) in camera axes, and which (P,) are inside the picture.

    Rows and columns of the others are 0.
    """
    height, width = shape[:2]
    z = np.maximum(points[:, 2], 1e-3)
    column = np.rint(K[0, 0] * points[:, 0] / z + K[0, 2])
    row = np.rint(K[1, 1] * points[:, 1] / z + K[1, 2])
    inside = (points[:, 2] > 0.01) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return np.where(inside, row, 0).astype(np.int32), np.where(inside, column, 0).astype(np.int32), inside


def pixel_rays(shape: tuple[int, ...], K: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 directions of the pixels with z = 1, camera axes."""
    height, width = shape[:2]
    u = (np.arange(width, dtype=np.float32) - np.float32(K[0, 2])) / np.float32(K[0, 0])
    v = (np.arange(height, dtype=np.float32) - np.float32(K[1, 2])) / np.float32(K[1, 1])
    rays = np.ones((height, width, 3), np.float32)
    rays[..., 0], rays[..., 1] = u[None, :], v[:, None]
    return rays


def _incidence(depth: np.ndarray, valid: np.ndarray, K: np.ndarray) -> np.ndarray:
    normal = surface_normals(np.where(valid, depth, 0).astype(np.float32), K)
    rays = pixel_rays(depth.shape, K)
    return np.clip(-(normal * rays).sum(axis=2) / np.linalg.norm(rays, axis=2), 0, 1)
