"""Unwrapping a mesh into charts, and painting the texture that they index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import open3d as o3d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pose6d.mesh.mesh import Mesh
from pose6d.pieces import long_slices, run_pieces

_GUTTER = 3.0  # texels between charts, so that filtering never mixes them
_STRETCH = 0.5  # 0 keeps all lengths and makes many small charts
_PARTS = 16  # of the surface, unwrapped each by itself: fifty times faster than in one piece
_USED = 0.6  # share of an atlas that charts cover
_SPREAD_FROM, _WIDE_FROM = 50_000, 500  # points that colours are spread from at most, into cracks and into holes
_SPREAD_OVER = 12  # of them, the nearest, whose mean a point takes on
_DOUBTED = 0.3  # share of the known points, those trusted least, that no hole takes on
_HOLE = 0.25  # of the radius of the wide neighbourhood: farther from all that is known, a point is within a hole
_SPREAD_SLACK = 0.3  # share by which a point may be farther than the nearest: exact search takes minutes far from all
_PIECE = 20_000  # texels that a thread paints at least
_SIZES = (256, 512, 1024, 2048, 4096)

Colors = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def atlas_size(mesh: Mesh, texel: float) -> int:
    """Side of the square texture, texels, in which one texel covers about `texel` metres of the mesh."""
    a, b, c = np.moveaxis(mesh.vertices.astype(np.float64)[mesh.faces], 1, 0)
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    wanted = np.sqrt(area / _USED) / texel
    return next((size for size in _SIZES if size >= 0.85 * wanted), _SIZES[-1])


def unwrap(mesh: Mesh, size: int) -> Mesh:
    """The mesh with uv; vertices on the seams of charts are doubled. Charts by Open3D's UVAtlas.

    Zhou, Snyder, Guo and Shum, "Iso-charts: Stretch-driven Mesh Parameterization using Spectral Analysis" (2004).
    """
    corners = _manifold_corners(mesh.faces)
    _, first = np.unique(corners, return_index=True)
    # UVAtlas joins what lies at the same place: a micrometre keeps apart what was split.
    apart = np.random.default_rng(0).uniform(-1e-6, 1e-6, (len(first), 3))
    tensor = _tensor_mesh(mesh.vertices[mesh.faces.reshape(-1)[first]] + apart, corners)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        tensor.compute_uvatlas(size=size, gutter=_GUTTER, max_stretch=_STRETCH, parallel_partitions=_PARTS)
    corner_uv = tensor.triangle.texture_uvs.numpy().reshape(-1, 2).astype(np.float64)
    keys = np.concatenate([mesh.faces.reshape(-1, 1), np.round(corner_uv * 1e6)], axis=1).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    old = mesh.faces.reshape(-1)[first]
    return Mesh(
        vertices=mesh.vertices[old],
        faces=inverse.reshape(-1, 3),
        normals=mesh.normals[old],
        uv=corner_uv[first],
        colors=None if mesh.colors is None else mesh.colors[old],
        name=mesh.name,
    )


def paint(mesh: Mesh, size: int, colors: Colors) -> tuple[Mesh, float]:
    """Paint the texture of a mesh with uv.

    Args:
        mesh: with uv.
        size: side of the texture, texels.
        colors: gives colours (P, 3) of 0..255 and trusts (P,) at surface points (P, 3) with normals (P, 3).

    Returns:
        The mesh with its texture, and the share of texels that `colors` knew; the others are guessed (`spread_colors`).
    """
    positions, normals, row, column = _texels(mesh, size)
    parts = long_slices(len(positions), _PIECE)
    found = run_pieces(lambda part: colors(positions[part], normals[part]), parts)
    values, trust = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    values = spread_colors(positions, values, trust)
    # Texels between the charts repeat the nearest chart, for filtering and smaller mip levels.
    empty = np.ones((size, size), np.uint8)
    empty[row, column] = 0
    _, nearest = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    number = np.zeros(int(nearest.max()) + 1, np.int64)
    number[nearest[row, column]] = np.arange(len(row))
    texture = values[number[nearest]]
    textured = Mesh(
        vertices=mesh.vertices,
        faces=mesh.faces,
        normals=mesh.normals,
        uv=mesh.uv,
        texture=np.round(texture).astype(np.uint8),
        name=mesh.name,
    )
    return textured, float((trust > 0).mean())


def spread_colors(positions: np.ndarray, values: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Colours of points without trust, guessed from those around them.

    Cracks take on what is next to them. Holes take on the mean of a wide neighbourhood without the points trusted
    least: at the rim of what was seen colours are at their worst, and would run over the hole in streaks.

    Args:
        positions: (P, 3) metres.
        values: (P, 3) colours; those without trust are not read.
        trust: (P,) in the colours, 0 where nothing is known.

    Returns:
        (P, 3) colours; grey (128) if none is known.
    """
    known = trust > 0
    if known.all():
        return values
    if not known.any():
        return np.full_like(values, 128.0)
    source, unknown = np.random.default_rng(0).permutation(np.flatnonzero(known)), positions[~known]
    spread = source[trust[source] >= np.quantile(trust[source], _DOUBTED)][:_WIDE_FROM]
    few, source = cKDTree(positions[spread]), source[:_SPREAD_FROM]
    many = cKDTree(positions[source])
    radius = float(np.median(_nearest(few, positions[spread])[0][:, -1]))
    hole = np.clip(_nearest(many, unknown, 1)[0] / max(_HOLE * radius, 1e-6), 0, 1)  # (U, 1)
    reach, near = _nearest(few, unknown)
    guess = _mean_color(values[spread[near]], trust[spread[near]] / (reach**2 + reach[:, :1] ** 2 + 1e-8))
    crack = hole[:, 0] < 1
    reach, near = _nearest(many, unknown[crack])
    close = _mean_color(values[source[near]], 1 / (reach + 1e-4))
    guess[crack] = hole[crack] * guess[crack] + (1 - hole[crack]) * close
    filled = values.copy()
    filled[~known] = guess
    return filled


def _nearest(places: cKDTree, points: np.ndarray, count: int = _SPREAD_OVER) -> tuple[np.ndarray, np.ndarray]:
    """Distances (P, K) and indices (P, K) of about the nearest places to points (P, 3); K is `count`, or all."""
    count = min(count, places.n)
    distance, near = places.query(points, k=count, eps=_SPREAD_SLACK, workers=-1)
    return distance.reshape(len(points), count), near.reshape(len(points), count)


def _mean_color(colors: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(P, 3) means of colours (P, K, 3) by weights (P, K)."""
    mean: np.ndarray = (colors * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    return mean


def vertex_colors(mesh: Mesh, colors: Colors) -> tuple[np.ndarray, float]:
    """Colours (V, 3) uint8 of the vertices, and the share of them that `colors` knew (see `paint`)."""
    points = mesh.vertices.astype(np.float64)
    values, trust = colors(points, mesh.normals.astype(np.float64))
    filled = spread_colors(points, values, trust)
    return np.clip(np.round(filled), 0, 255).astype(np.uint8), float((trust > 0).mean())


def _manifold_corners(faces: np.ndarray) -> np.ndarray:
    """(F, 3) vertex numbers under which the faces (F, 3) form a manifold, as charts need it.

    Corners of faces stay one vertex only where an edge of exactly two faces, in opposite directions, joins them. Faces
    at edges that are shared by more even so are charts of their own.
    """
    alone = np.zeros(len(faces), bool)
    while True:
        corners = _joined_corners(faces, alone)
        edge, *_ = _edges(corners)
        _, inverse, uses = np.unique(edge, return_inverse=True, return_counts=True)
        crowded = (uses[inverse] > 2).reshape(-1, 3).any(axis=1) & ~alone
        if not crowded.any():
            return corners
        alone |= crowded


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the 3 F directed edges: a number that both directions share, the first vertex, and the second."""
    start, end = faces.ravel().astype(np.int64), np.roll(faces, -1, axis=1).ravel().astype(np.int64)
    return np.minimum(start, end) * (int(faces.max()) + 1) + np.maximum(start, end), start, end


def _joined_corners(faces: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """(F, 3) numbers of the corners, joined over manifold edges between faces that are not `alone` (F,)."""
    corner = np.arange(faces.size).reshape(-1, 3)
    at_start, at_end = corner.ravel(), np.roll(corner, -1, axis=1).ravel()
    edge, start, end = _edges(faces)
    order = np.argsort(edge, kind="stable")
    _, first, uses = np.unique(edge[order], return_index=True, return_counts=True)
    one, other = order[first[uses == 2]], order[first[uses == 2] + 1]
    joined = (start[one] == end[other]) & ~alone[one // 3] & ~alone[other // 3]
    one, other = one[joined], other[joined]
    pairs = np.concatenate(
        [np.stack([at_start[one], at_end[other]], axis=1), np.stack([at_end[one], at_start[other]], axis=1)]
    )
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(faces.size, faces.size))
    return connected_components(graph, directed=False)[1].reshape(-1, 3)


def _tensor_mesh(vertices: np.ndarray, faces: np.ndarray) -> Any:
    return o3d.t.geometry.TriangleMesh(_tensor(vertices.astype(np.float32)), _tensor(faces.astype(np.int64)))


def _tensor(values: np.ndarray) -> Any:
    made: Any = o3d.core.Tensor  # its type information does not know arrays
    return made(np.ascontiguousarray(values))


def _texels(mesh: Mesh, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points (P, 3), unit normals (P, 3), rows (P,) and columns (P,) of the texels whose centre a face covers."""
    assert mesh.uv is not None
    # Row 0 of a texture is its top, v = 1; the centre of texel (r, c) lies at ((c + 0.5) / size, 1 - (r + 0.5) / size).
    corners = np.stack([mesh.uv[:, 0], 1 - mesh.uv[:, 1]], axis=1).astype(np.float64)[mesh.faces] * size - 0.5
    found = run_pieces(lambda part: _covered(corners[part], size, part.start), long_slices(len(corners), 1000))
    face, row, column, second, third = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    owner = np.zeros(size * size, np.int64)
    owner[row * size + column] = np.arange(len(row))
    first = owner[row * size + column] == np.arange(len(row))  # a texel on an edge has two faces
    face, row, column = face[first], row[first], column[first]
    shares = np.stack([1 - second - third, second, third], axis=1)[first]
    places, normals = mesh.vertices.astype(np.float64), mesh.normals.astype(np.float64)
    parts = long_slices(len(face), _PIECE)
    found = run_pieces(lambda part: _inside(mesh.faces[face[part]], shares[part], places, normals), parts)
    return (*(np.concatenate(arrays) for arrays in zip(*found, strict=True)), row, column)


def _inside(
    corners: np.ndarray, shares: np.ndarray, places: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) and unit normals (P, 3) at shares (P, 3) of the corners (P, 3) of triangles."""
    point, normal = (
        values[corners[:, 0]] * shares[:, :1]
        + values[corners[:, 1]] * shares[:, 1:2]
        + values[corners[:, 2]] * shares[:, 2:]
        for values in (places, normals)
    )
    return point, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)


def _covered(corners: np.ndarray, size: int, start: int) -> tuple[np.ndarray, ...]:
    """Texels of a square texture whose centre lies in triangles (F, 3, 2), texels, of which the first has number start.

    Returns:
        The triangle's number (P,), row (P,), column (P,), and the shares (P,) of its second and third corner.
    """
    low = np.maximum(np.ceil(corners.min(axis=1)), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(axis=1)), size - 1).astype(np.int64)
    wide, tall = np.maximum(high - low + 1, 0).T
    face = np.repeat(np.arange(len(low)), wide * tall)
    number = np.arange(len(face)) - np.repeat(np.cumsum(wide * tall) - wide * tall, wide * tall)
    column = low[face, 0] + number % np.maximum(wide[face], 1)
    row = low[face, 1] + number // np.maximum(wide[face], 1)
    # Barycentric coordinates are linear in the texel's place.
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = b - a, c - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    scale = 1 / np.where(np.abs(area) < 1e-12, np.inf, area)
    x, y = column - a[face, 0], row - a[face, 1]
    second = (x * ac[face, 1] - y * ac[face, 0]) * scale[face]
    third = (y * ab[face, 0] - x * ab[face, 1]) * scale[face]
    inside = (second >= 0) & (third >= 0) & (second + third <= 1) & (area[face] != 0)
    return face[inside] + start, row[inside], column[inside], second[inside], third[inside]
