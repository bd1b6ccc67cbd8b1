"""Space that is taken to be empty: beside the masks, below what the object stands on, deep behind its narrow parts.

From one side, a fork or the leg of a stool hides all that is behind it, and nothing proves that empty. A ball inside of
the object appears as a disc inside of every mask. Where no mask has room for a wide disc, no part is thick.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from scipy import ndimage

from mesh_creation.fusion.tsdf_volume import TsdfVolume, projected_axes, slabs
from mesh_creation.fusion.volume_loops import mark_between
from mesh_creation.reference_views.view import ReferenceView, object_depth, object_window
from pose6d.geometry.masks import mask_window
from pose6d.pieces import run_pieces

_DEEPER = 1.5  # times as deep as wide: a round bar that leads away from the camera by 48 degrees is that deep
_LEAST_WIDTH = 2.0  # pixels
_BESIDE = 3.0  # pixels outside of a mask's edge about which nothing is known: masks bleed, poses err


def local_width(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32 pixels: diameter of the widest disc within a mask (H, W) bool that covers each pixel; 0 outside.

    Hildebrand and Rüegsegger, "A new method for the model-independent assessment of thickness" (1997), in the plane.
    """
    width = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return width
    box = mask_window(mask)
    inside = np.pad(mask[box].astype(np.uint8), 1)
    radii = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    found = np.zeros_like(radii)
    for radius in np.arange(1.0, np.ceil(radii.max()) + 1):
        centres = (radii >= radius - 0.5).astype(np.uint8)
        if centres.any():
            away = cv2.distanceTransform(1 - centres, cv2.DIST_L2, 5)
            found[(away <= radius) & (inside > 0)] = 2 * radius
    width[box] = found[1:-1, 1:-1]
    return width


def behind_narrow_parts(volume: TsdfVolume, views: Sequence[ReferenceView]) -> torch.Tensor:
    """(X, Y, Z) bool: voxels that lie deeper behind a narrow part of the object than it is wide.

    Args:
        volume: its grid counts.
        views: pictures in its frame.
    """
    behind = np.zeros(volume.shape, bool)
    found = run_pieces(lambda view: _deepest(view, volume.truncation), views)
    for view, deepest in zip(views, found, strict=True):
        if deepest is not None:
            _mark_between(volume, view, deepest, np.full_like(deepest, np.inf), behind)
    return torch.from_numpy(behind).to(volume.total.device)


def beside_masks(volume: TsdfVolume, views: Sequence[ReferenceView]) -> torch.Tensor:
    """(X, Y, Z) bool: voxels that a view shows beside the object, before whatever is there.

    Args:
        volume: its grid counts.
        views: pictures in its frame.
    """
    beside = np.zeros(volume.shape, bool)
    for view in views:
        away = cv2.distanceTransform((~view.mask).astype(np.uint8), cv2.DIST_L2, 5) > _BESIDE
        first = np.where(away, 0, np.inf).astype(np.float32)
        last = np.where(view.depth > 0, view.depth, np.inf).astype(np.float32)
        _mark_between(volume, view, first, last, beside)
    return torch.from_numpy(beside).to(volume.total.device)


def below_supports(volume: TsdfVolume, supports: Sequence[np.ndarray | None]) -> torch.Tensor:
    """(X, Y, Z) bool: voxels that lie more than their size below a plane that the object stands on in a view.

    Args:
        volume: its grid counts.
        supports: of `find_supports`.
    """
    below = torch.zeros_like(volume.total, dtype=torch.bool)
    x, y, z = (torch.from_numpy(volume.axis(i)).to(volume.total) for i in range(3))
    for plane in supports:
        if plane is not None:
            a, b, c, d = (float(value) for value in plane)
            heights = (a * x + d)[:, None, None] + (b * y)[None, :, None] + (c * z)[None, None, :]
            below |= heights < -volume.voxel
    return below


def _deepest(view: ReferenceView, slack: float) -> np.ndarray | None:
    """(H, W) float32 metres along the camera's axis that the object may reach to, infinite beside it."""
    window, _ = object_window(view, 0)
    depth, mask = object_depth(view)[0][window], view.mask[window]
    if not (depth > 0).any():
        return None
    row, column = ndimage.distance_transform_edt(depth == 0, return_distances=False, return_indices=True)
    depth = depth[row, column]
    metres = np.maximum(local_width(mask), _LEAST_WIDTH) * depth / view.K[0, 0]
    deepest = np.full(view.mask.shape, np.inf, np.float32)
    deepest[window] = np.where(mask, depth + _DEEPER * metres + slack, np.inf)
    return deepest


def _mark_between(
    volume: TsdfVolume, view: ReferenceView, first: np.ndarray, last: np.ndarray, marks: np.ndarray
) -> None:
    """Set those of `marks` (X, Y, Z) whose depth is between the two (H, W) metres of their pixel."""
    limits = np.stack([first.ravel(), last.ravel()], axis=1)
    x, y, z = projected_axes(volume, view.K, view.camera_in_object)
    run_pieces(lambda part: mark_between(marks[part], x[:, part], y, z, limits, first.shape), slabs(volume))
