"""Points with normals on the surface that views show, up to the rims that depth cameras lose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from mesh_creation.reference_views.view import ReferenceView, object_window
from mesh_creation.registration.depth_cleaning import backproject_pixels, clean_depth, pixel_rays, surface_normals
from pose6d.pieces import run_pieces

_OUTLIER = 0.004  # metres from all given points, from which on depth is not of the object
_AROUND = 4  # pixels around a pixel that its normal depends on
_RIM = 8  # pixels by which the surface is continued up to the edge of the mask
_RIM_DEPTH = 0.02  # metres that it may lead away over these
_GRAZING = -0.2  # towards the ray; surfaces seen flatter are not continued
_CELLS = 60  # of one of which one point is kept, along the longest side


def sample_surface(views: Sequence[ReferenceView], points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Spread points evenly over the surface seen.

    Args:
        views: posed pictures.
        points: (P, 3) metres, object frame: depth that is not near any of these is left out.
        most: how many at most.

    Returns:
        (N, 3) float64 points and their unit normals (N, 3), object frame; N may be 0.
    """
    tree = cKDTree(points)
    parts = run_pieces(lambda view: _view_samples(view, tree), [view for view in views if view.mask.any()])
    samples = np.concatenate(parts) if parts else np.zeros((0, 2, 3))
    if not len(samples):
        return np.zeros((0, 3)), np.zeros((0, 3))
    rng = np.random.default_rng(0)
    samples = samples[rng.permutation(len(samples))]
    cell = max(float(np.ptp(samples[:, 0], axis=0).max()) / _CELLS, 1e-6)
    cells = np.floor(samples[:, 0] / cell).astype(np.int64)
    x, y, z = (cells - cells.min(axis=0)).T
    _, first = np.unique((x * (y.max() + 1) + y) * (z.max() + 1) + z, return_index=True)
    samples = samples[rng.permutation(first)[:most]]
    return samples[:, 0], samples[:, 1]


def _view_samples(view: ReferenceView, tree: cKDTree) -> np.ndarray:
    """(N, 2, 3) points and normals of one view; beside the depth, on the plane that touches the nearest of it."""
    window, K = object_window(view, _AROUND)
    mask = view.mask[window]
    depth, _ = clean_depth(np.where(mask, view.depth[window], 0), K)
    seen, normals, rays = backproject_pixels(depth, K), surface_normals(depth, K), pixel_rays(depth.shape, K)
    R, t = view.camera_in_object[:3, :3], view.camera_in_object[:3, 3]
    known = depth > 0
    known[known] = tree.query(seen[known] @ R.T + t)[0] < _OUTLIER
    if not known.any():
        return np.zeros((0, 2, 3))
    away, (row, column) = ndimage.distance_transform_edt(~known, return_indices=True)
    touched, normals = seen[row, column], normals[row, column]
    slope = (normals * rays).sum(axis=-1)
    z = (normals * touched).sum(axis=-1) / np.minimum(slope, _GRAZING)
    used = mask & (away <= _RIM) & (slope < _GRAZING) & (np.abs(z - touched[..., 2]) < _RIM_DEPTH)
    return np.stack([(rays * z[..., None])[used] @ R.T + t, normals[used] @ R.T], axis=1)
