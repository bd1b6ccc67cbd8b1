"""A frame as the search for regions sees it: fewer pixels, points in space, colours that compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import torch

from pose6d.geometry.depth import FAR, erode_depth, is_measured
from pose6d.segmentation.planes import point_normals

WORKING_WIDTH = 320  # pixels; larger pictures are looked at in about this width


@dataclass(frozen=True)
class SmallPicture:
    """A frame of fewer pixels.

    Attributes:
        lab: (h, w, 3) float32 CIE Lab.
        points: (h, w, 3) float32 metres, camera axes.
        known: (h, w) bool, where there is depth.
        normals: (h, w, 3) unit, 0 where there is none.
    """

    lab: np.ndarray
    points: np.ndarray
    known: np.ndarray
    normals: np.ndarray


def shrink_frame(rgb: np.ndarray, depth: np.ndarray, K: np.ndarray) -> tuple[SmallPicture, int]:
    """A frame in about 320 columns: of every few pixels the nearest depth, so that thin things stay.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres, 0 = missing.
        K: (3, 3) intrinsics of both.

    Returns:
        The small picture, and how many pixels of the frame, in a row and in a column, are one of it.
    """
    step = max(1, round(depth.shape[1] / WORKING_WIDTH))
    clean = np.where(is_measured(depth), depth, 0).astype(np.float32)
    clean = erode_depth(torch.from_numpy(clean)).numpy()
    clean = np.asarray(cv2.medianBlur(_fill_holes(_fill_holes(clean)), 3), dtype=np.float32)
    height, width = (length // step for length in clean.shape)
    clean = reduce_blocks(np.minimum, np.where(clean > 0, clean, np.float32(FAR)), step)
    clean[clean >= FAR] = 0
    known = clean > 0
    v, u = (np.mgrid[:height, :width].astype(np.float32) + 0.5) * step - 0.5
    fx, skew, cx, fy, cy = (float(value) for value in (K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]))
    y = (v - cy) / fy
    points = np.stack([(u - cx - skew * y) / fx * clean, y * clean, clean], axis=-1).astype(np.float32)
    small = cv2.resize(rgb[: height * step, : width * step], (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.medianBlur(small, 3).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return SmallPicture(lab, points, known, point_normals(points, known)), step


def reduce_blocks(
    operation: Callable[[np.ndarray, np.ndarray], np.ndarray], image: np.ndarray, step: int
) -> np.ndarray:
    """An image (H, W) of which `operation` has made one pixel of every step x step; what is left at the ends is not."""
    height, width = (length // step * step for length in image.shape)
    return reduce(operation, [image[i:height:step, j:width:step] for i in range(step) for j in range(step)])


def _fill_holes(depth: np.ndarray) -> np.ndarray:
    """Depth (H, W) whose missing pixels have the nearest of the depths around them."""
    nearest = cv2.erode(np.where(depth > 0, depth, np.float32(FAR)), np.ones((3, 3), np.uint8))
    return np.where((depth == 0) & (nearest < FAR), nearest, depth)
