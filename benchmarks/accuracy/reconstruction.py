"""What a scan would have made of a mesh: coarse, smooth, noisy, in other colours and of a slightly wrong size."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, diags

from pose6d.mesh.mesh import Mesh

_CELL = 1 / 60  # diameters; voxels of a few millimetres are usual
_NOISE = 0.003  # diameters
_SMOOTHING_STEPS = 2
_SCALE_ERROR = 0.01
_MOST_SPLITS = 24


def reconstruct_mesh(mesh: Mesh, seed: int) -> Mesh:
    """A mesh as from a scan of the object, in the frame of the original.

    1. Cut faces until none is longer than a cell, and take the colours at their corners.
    2. Merge the corners within each cell of a grid (Rossignac and Borrel, Multi-resolution 3D approximations for
       rendering complex scenes, 1993).
    3. Smooth by moving vertices towards their neighbours, and add noise.
    4. Shift gain and offset of each colour channel, and grow or shrink by 1 %.

    Args:
        mesh: metres.
        seed: decides the noise, the colours and the sign of the scale error.
    """
    rng = np.random.default_rng([seed, len(mesh.vertices)])
    cell = _CELL * mesh.diameter
    corners, colors = _fine_corners(mesh, cell)
    vertices, colors, faces = _merge(corners, colors, cell)
    vertices = _smooth(vertices, faces) + rng.normal(0, _NOISE * mesh.diameter, vertices.shape)
    scale = 1 + rng.choice([-_SCALE_ERROR, _SCALE_ERROR])
    center = mesh.center.astype(np.float64)
    gain, offset = rng.uniform(0.8, 1.2, 3), rng.uniform(-15, 15, 3)
    return Mesh(
        (vertices - center) * scale + center,
        faces,
        colors=np.clip(colors * gain + offset, 0, 255).round().astype(np.uint8),
        name=mesh.name,
    )


def _fine_corners(mesh: Mesh, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3 F, 3) and their colours of faces without an edge over `longest`."""
    look = mesh.colors if mesh.uv is None or mesh.texture is None else mesh.uv
    assert look is not None
    soup = np.concatenate([mesh.vertices, look], axis=1).astype(np.float64)[mesh.faces]  # (F, 3, 5 or 6)
    done = []
    for _ in range(_MOST_SPLITS):
        edges = np.linalg.norm(soup[:, [1, 2, 0], :3] - soup[..., :3], axis=2)
        fine = edges.max(axis=1) <= longest
        done.append(soup[fine])
        coarse, start = soup[~fine], edges[~fine].argmax(axis=1)
        if not len(coarse):
            break
        a, b, c = (coarse[np.arange(len(coarse)), (start + k) % 3] for k in range(3))
        middle = (a + b) / 2
        soup = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
    corners = np.concatenate(done).reshape(-1, soup.shape[2])
    if mesh.texture is None or mesh.uv is None:
        return corners[:, :3], corners[:, 3:]
    height, width = mesh.texture.shape[:2]
    column = np.floor(corners[:, 3] % 1.0 * width).astype(np.int64).clip(0, width - 1)
    row = np.floor((1 - corners[:, 4] % 1.0) * height).astype(np.int64).clip(0, height - 1)
    return corners[:, :3], mesh.texture[row, column].astype(np.float64)


def _merge(corners: np.ndarray, colors: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One vertex per occupied cell, the mean of its corners; faces that lie within one or two cells vanish."""
    keys = np.floor((corners - corners.min(axis=0)) / cell).astype(np.int64)
    _, vertex, count = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    vertex = vertex.ravel()
    means = [np.bincount(vertex, values) / count for values in np.concatenate([corners, colors], axis=1).T]
    faces = vertex.reshape(-1, 3)
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    return np.stack(means[:3], axis=1), np.stack(means[3:], axis=1), faces[np.sort(first)]


def _smooth(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Half way to the mean of the neighbours, a few times."""
    i, j = faces[:, [0, 1, 2, 1, 2, 0]].ravel(), faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    joined = (coo_matrix((np.ones(len(i)), (i, j)), shape=(len(vertices),) * 2) > 0).astype(np.float64)
    degree = np.asarray(joined.sum(axis=1)).ravel()
    alone = degree == 0
    mean = diags(1 / np.where(alone, 1, degree)) @ joined
    for _ in range(_SMOOTHING_STEPS):
        vertices = np.where(alone[:, None], vertices, 0.5 * (vertices + mean @ vertices))
    return vertices
