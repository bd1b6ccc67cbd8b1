"""Blur of single pictures by motion of the camera or the scene while the shutter is open."""

from __future__ import annotations

import cv2
import numpy as np

_LONGEST = 24.0  # pixels; more than that is a thrown camera


def image_motion(xyz: np.ndarray, motion: np.ndarray, K: np.ndarray) -> np.ndarray:
    """How far each pixel's point moves in the picture while the shutter is open.

    Args:
        xyz: (H, W, 3) float32 points in camera axes, 0 where there is nothing.
        motion: (4, 4) that takes points from the middle of the exposure to its end, camera axes.
        K: (3, 3).

    Returns:
        (H, W, 2) float32 pixels from the middle to the end; the first half is taken to be the same backwards.
    """
    there = xyz[..., 2] > 0
    moved = xyz @ motion[:3, :3].T.astype(np.float32) + motion[:3, 3].astype(np.float32)
    z, z_moved = np.where(there, xyz[..., 2], 1), np.maximum(np.where(there, moved[..., 2], 1), 1e-3)
    u = np.float32(K[0, 0]) * (moved[..., 0] / z_moved - xyz[..., 0] / z)
    v = np.float32(K[1, 1]) * (moved[..., 1] / z_moved - xyz[..., 1] / z)
    flow = np.stack([u, v], axis=-1) * there[..., None]
    return np.clip(flow, -_LONGEST / 2, _LONGEST / 2).astype(np.float32)


def blur_by_motion(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Average a picture (H, W, 3) float32 along `flow` (H, W, 2), in steps of at most about a pixel."""
    longest = float(np.percentile(np.abs(flow).max(axis=-1), 99))
    steps = int(np.ceil(2 * longest)) + 1
    if longest < 0.15:
        return image
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    total = np.zeros_like(image)
    shares = (np.arange(steps) + 0.5) / steps * 2 - 1
    for share in shares.astype(np.float32):
        x, y = columns + share * flow[..., 0], rows + share * flow[..., 1]
        total += cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return total / steps
