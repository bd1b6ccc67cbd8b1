"""From a volume of signed distances to one closed surface, with what was not seen filled and marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import open3d as o3d
from scipy import ndimage
from scipy.spatial import cKDTree

from mesh_creation.fusion.tsdf_volume import TsdfVolume
from pose6d.errors import SceneError
from pose6d.geometry.rotation_grids import icosphere

_MIN_SHARE = 0.01  # of the weight of the voxel seen most
_MIN_WEIGHT = (0.1, 0.6)
_HULL_SLACK = 0.002  # metres that the surface may lie outside the convex hull of the points seen


@dataclass
class ClosedSurface:
    """A watertight triangle mesh.

    Attributes:
        vertices: (V, 3) float64 metres, in the volume's frame.
        faces: (F, 3) int64, outside anticlockwise.
        filled: (F,) bool, faces that no camera has seen.
    """

    vertices: np.ndarray
    faces: np.ndarray
    filled: np.ndarray


def least_weight(volume: TsdfVolume) -> float:
    """The weight from which on a voxel is known."""
    return float(np.clip(_MIN_SHARE * volume.weight.max().item(), *_MIN_WEIGHT))


def close_surface(volume: TsdfVolume, points: np.ndarray, floor: float | None) -> ClosedSurface:
    """Extract the object's surface; what no ray has proved empty counts as solid.

    Unseen space is bounded by the convex hull of the seen surface, so that an unseen back is flat and not a ghost, and
    by the board. Only the largest piece is kept, and cavities that no ray has entered are closed.

    Args:
        volume: distances; its frame has z up.
        points: (P, 3) the surface seen, whose convex hull bounds the unseen.
        floor: height up to which the board hides the object, metres: below, the outline at this height goes straight
            down to z = 0. None where the underside was seen too.

    Raises:
        SceneError: nothing is left.
    """
    values, known = volume.distances(least_weight(volume))
    if floor is not None:  # under what is seen may be a wall that was not: only rays tell that there is none
        points = np.concatenate([points, points * [1.0, 1.0, 0.0]])
    values[~_in_hull(volume, points) & ~(known & (values < 0))] = 1.0
    if floor is not None:
        z = volume.axis(2)
        first = int(np.searchsorted(z, floor))
        values[:, :, :first] = values[:, :, first : first + 1]
        known[:, :, :first] = False
        values[:, :, z < 0] = 1.0
    values = _keep_one_piece(values)
    values = ndimage.gaussian_filter(values, 0.6, mode="nearest")
    values = np.pad(values, 1, constant_values=1.0)
    if not (values < 0).any():
        raise SceneError("no surface is left of the scan: fewer than two views agree on any of it; film more slowly")
    tensor: Any = o3d.core.Tensor  # its type information does not know arrays
    extracted = o3d.t.geometry.TriangleMesh.create_isosurfaces(tensor(np.ascontiguousarray(values)), [0.0])
    # Open3D returns the array's axes in reverse; undoing it mirrors the mesh, which turns its faces outwards.
    index = extracted.vertex.positions.numpy()[:, ::-1].astype(np.float64) - 1.0
    faces = extracted.triangle.indices.numpy().astype(np.int64)
    seen = _measured_vertices(known, index)
    vertices = volume.origin + volume.voxel * index
    if floor is not None:
        vertices[:, 2] = np.maximum(vertices[:, 2], 0.0)
    return ClosedSurface(vertices, faces, ~seen[faces].all(axis=1))


def decimate(surface: ClosedSurface, faces: int) -> ClosedSurface:
    """The surface with at most about `faces` triangles, by quadric error; marks are carried over by nearness."""
    if len(surface.faces) <= faces:
        return surface
    mesh = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(surface.vertices), o3d.utility.Vector3iVector(surface.faces.astype(np.int32))
    )
    small = mesh.simplify_quadric_decimation(faces)
    small.remove_degenerate_triangles()
    # Decimation leaves slivers of a few faces where thin parts have collapsed.
    labels, counts, _ = small.cluster_connected_triangles()
    small.remove_triangles_by_mask(np.asarray(labels) != int(np.argmax(counts)))
    small.remove_unreferenced_vertices()
    vertices, triangles = np.asarray(small.vertices), np.asarray(small.triangles).astype(np.int64)
    nearest = cKDTree(surface.vertices[surface.faces].mean(axis=1)).query(vertices[triangles].mean(axis=1))[1]
    return ClosedSurface(vertices, triangles, surface.filled[nearest])


def _in_hull(volume: TsdfVolume, points: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: voxels within the convex hull of `points`, bounded by 162 planes."""
    inside = np.ones(volume.shape, bool)
    x, y, z = (volume.axis(i).astype(np.float32) for i in range(3))
    for normal in icosphere(2):
        limit = float(np.max(points @ normal)) + _HULL_SLACK
        extent = (normal[0] * x)[:, None, None] + (normal[1] * y)[None, :, None] + (normal[2] * z)[None, None, :]
        inside &= extent <= limit
    return inside


def _keep_one_piece(values: np.ndarray) -> np.ndarray:
    """Distances with all solid pieces but the largest made empty, and enclosed cavities made solid."""
    labels, count = ndimage.label(values < 0)
    if count > 1:
        largest = int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
        values = np.where((labels != largest) & (values < 0), 1.0, values)
    labels, count = ndimage.label(values >= 0)
    if count > 1:
        border = np.ones(values.shape, bool)
        border[1:-1, 1:-1, 1:-1] = False
        open_air = np.unique(labels[border & (labels > 0)])
        values = np.where((labels > 0) & ~np.isin(labels, open_air), -1.0, values)
    return values.astype(np.float32)


def _measured_vertices(known: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(V,) bool: vertices (voxel coordinates) between voxels of which all have been measured."""
    low = np.floor(index + 1e-4).astype(int)
    high = np.ceil(index - 1e-4).astype(int)
    limit = np.array(known.shape) - 1
    seen = np.ones(len(index), bool)
    for corner in (low, high):
        inside = ((corner >= 0) & (corner <= limit)).all(axis=1)
        seen &= inside & known[tuple(np.clip(corner, 0, limit).T)]
    return seen
