"""From a volume of signed distances to one closed surface, with what was not seen filled and marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import open3d as o3d
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from mesh_creation.fusion.tsdf_volume import TsdfVolume
from pose6d.errors import SceneError
from pose6d.geometry.rotation_grids import icosphere
from pose6d.pieces import run_pieces

try:
    import fast_simplification
except ModuleNotFoundError:
    fast_simplification = None

_MIN_SHARE = 0.01  # of the weight of the voxel seen most
_MIN_WEIGHT = (0.1, 0.6)
_GAP = 5  # voxels that may lie between two pieces of one object
_LARGE_PIECE = 0.02  # of the largest piece; less are specks
_MOST_PIECES, _SMALLEST_PIECE = 60, 3  # that are looked at, and voxels of a stepping stone
_BRIDGE = -0.5  # value of voxels that join pieces
_PIECE = 1000  # points; what one step computes then stays in the processor's cache
_HASTE = 2  # of 0 to 10; the less, the nearer the mesh of fewer triangles comes
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
    doubtful = (values < 1) & ~(known & (values < 0))
    values[doubtful & ~_in_hull(volume, points)] = 1.0
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
    """The surface with at most about `faces` triangles, by quadric error; marks are carried over by nearness.

    Where the package fast-simplification is missing, Open3D does it, which takes several times as long.
    """
    if len(surface.faces) <= faces:
        return surface
    small = _simplified(surface, faces)
    # Decimation leaves slivers of a few faces where thin parts have collapsed; what they held together stays.
    labels, counts, _ = small.cluster_connected_triangles()
    large = np.asarray(counts) >= _LARGE_PIECE * np.max(counts)
    small.remove_triangles_by_mask(~large[np.asarray(labels)])
    small.remove_unreferenced_vertices()
    vertices, triangles = np.asarray(small.vertices), np.asarray(small.triangles).astype(np.int64)
    tree = cKDTree(surface.vertices[surface.faces].mean(axis=1))
    nearest = tree.query(vertices[triangles].mean(axis=1), workers=-1)[1]
    return ClosedSurface(vertices, triangles, surface.filled[nearest])


def _simplified(surface: ClosedSurface, faces: int) -> Any:
    """An Open3D mesh of fewer triangles."""
    if fast_simplification is None:
        small = _open3d_mesh(surface.vertices, surface.faces).simplify_quadric_decimation(faces)
        small.remove_degenerate_triangles()
        return small
    middle = surface.vertices.mean(axis=0)
    vertices, triangles = fast_simplification.simplify(
        (surface.vertices - middle).astype(np.float32), surface.faces.astype(np.int32), target_count=faces, agg=_HASTE
    )
    # Where a thin part has collapsed, its two sides lie on each other: no surface, on which unwrapping fails.
    _, same, uses = np.unique(np.sort(triangles, axis=1), axis=0, return_inverse=True, return_counts=True)
    return _open3d_mesh(vertices + middle, triangles[uses[same.ravel()] == 1])


def _open3d_mesh(vertices: np.ndarray, faces: np.ndarray) -> Any:
    return o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(vertices.astype(np.float64)), o3d.utility.Vector3iVector(faces.astype(np.int32))
    )


def _in_hull(volume: TsdfVolume, points: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool: which voxels lie in the convex hull of `points`, bounded by 162 planes.

    Where x and y are known, each plane is a limit of z.
    """
    normals = icosphere(2)
    pieces = [points[i : i + _PIECE] for i in range(0, len(points), _PIECE)]
    limits = np.max(run_pieces(lambda piece: (normals @ piece.T).max(axis=1), pieces), axis=0) + _HULL_SLACK
    x, y, z = (volume.axis(i) for i in range(3))
    level, up, down = (normals[:, 2] == 0), (normals[:, 2] > 0), (normals[:, 2] < 0)
    inside = np.zeros(volume.shape, bool)

    def fill(i: int) -> None:
        room = limits - normals[:, 0] * x[i] - y[:, None] * normals[:, 1]
        top = (room[:, up] / normals[up, 2]).min(axis=1)
        bottom = (room[:, down] / normals[down, 2]).max(axis=1)
        among = (room[:, level] >= 0).all(axis=1)
        inside[i] = (z >= bottom[:, None]) & (z <= top[:, None]) & among[:, None]

    run_pieces(fill, range(len(x)))
    return inside


def _keep_one_piece(values: np.ndarray) -> np.ndarray:
    """Distances (X, Y, Z) with all solid pieces but one made empty, and enclosed cavities made solid.

    Where a part is as thin as the noise of its depth, it breaks: large pieces across a narrow gap are joined.
    """
    labels, count = ndimage.label(values < 0)
    if count > 1:
        values, kept = _join_pieces(values, labels)
        values = np.where((values < 0) & ~kept, 1.0, values)
    labels, count = ndimage.label(values >= 0)
    if count > 1:
        border = np.ones(values.shape, bool)
        border[1:-1, 1:-1, 1:-1] = False
        open_air = np.unique(labels[border & (labels > 0)])
        values = np.where((labels > 0) & ~np.isin(labels, open_air), -1.0, values)
    return values.astype(np.float32)


def _join_pieces(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances with bridges from the largest of the labelled pieces to other large ones, and where all these are.

    Small pieces count only as stepping stones on the shortest way.
    """
    sizes = np.bincount(labels.ravel())[1:]
    order = [int(i) for i in np.argsort(-sizes, kind="stable")[:_MOST_PIECES] if sizes[i] >= _SMALLEST_PIECE]
    kept = labels == int(np.argmax(sizes)) + 1
    large = [i for i, label in enumerate(order) if sizes[label] >= _LARGE_PIECE * sizes.max()]
    if len(large) < 2:
        return values, kept
    boxes = ndimage.find_objects(labels)
    rims = [_rim(labels, label + 1, boxes[label]) for label in order]
    trees = [cKDTree(rim) for rim in rims]
    gaps, ends = np.zeros((len(order),) * 2), {}
    for i, rim in enumerate(rims):
        for j in range(i):
            distance, nearest = trees[j].query(rim, distance_upper_bound=_GAP)
            here = int(np.argmin(distance))
            if np.isfinite(distance[here]):
                gaps[i, j], ends[i, j] = distance[here], (rim[here], rims[j][nearest[here]])
    _, before = dijkstra(csr_matrix(gaps), directed=False, indices=0, return_predecessors=True)
    values = values.copy()
    for i in large[1:]:
        while before[i] >= 0:
            one, other = ends[max(i, before[i]), min(i, before[i])]
            kept |= labels == order[i] + 1
            bridge = tuple(np.rint(np.linspace(one, other, 2 * _GAP)).astype(int).T)
            for offset in np.ndindex(3, 3, 3):
                at = tuple(
                    np.clip(axis + step - 1, 0, size - 1)
                    for axis, step, size in zip(bridge, offset, values.shape, strict=True)
                )
                values[at] = np.minimum(values[at], _BRIDGE)
                kept[at] = True
            i = int(before[i])
    return values, kept


def _rim(labels: np.ndarray, label: int, box: tuple[slice, ...]) -> np.ndarray:
    """(N, 3) voxels of the surface of a labelled piece that lies in a box."""
    piece = labels[box] == label
    return np.argwhere(piece & ~ndimage.binary_erosion(piece)) + [part.start for part in box]


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
