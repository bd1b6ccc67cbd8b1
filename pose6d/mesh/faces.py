"""Faces and colours as mesh files write them: polygons, corners with several indices, and colours of many ranges."""

from __future__ import annotations

import warnings

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.part import GREY


def numbers(lines: list[bytes], what: str) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of the lines (N,) float64, and how many each line has (L,).

    Raises:
        MeshError: something is not a number; `what` names the file and its section.
    """
    counts = np.fromiter((len(line.split()) for line in lines), np.int64, len(lines))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # how older NumPy says that there is something else
        try:
            values = np.fromstring(b" ".join(lines), dtype=np.float64, sep=" ")
        except ValueError:
            values = np.empty(0)
    if len(values) != counts.sum():
        line = next((line for line in lines if _not_a_number(line) is not None), b"")
        word = _not_a_number(line) or b""
        comma = "; write decimals with a point" if b"," in word else ""
        raise MeshError(
            f"{what} has {word[:40].decode('latin-1')!r} where a number is wanted, in "
            f"{line[:60].decode('latin-1')!r}: it is damaged; export it again{comma}"
        )
    return values, counts


def _not_a_number(line: bytes) -> bytes | None:
    """The first word that is none."""
    for word in line.split():
        try:
            float(word)
        except ValueError:
            return word
        if b"_" in word:  # which Python allows
            return word
    return None


def table(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(L, widest) of the numbers of lines, NaN where a line is shorter."""
    widest = int(counts.max(initial=0))
    if (counts == widest).all():
        return values.reshape(len(counts), widest)
    rows = np.full((len(counts), widest), np.nan, values.dtype)
    rows[np.arange(widest) < counts[:, None]] = values
    return rows


def triangulate(vertices: np.ndarray, corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of polygons; concave ones are cut so that nothing is covered that they do not cover.

    Args:
        vertices: (V, 3) positions.
        corners: (C,) index of the vertex at each corner, polygon after polygon.
        counts: (P,) corners of each polygon; those of fewer than three have no triangles.

    Returns:
        (T, 3) indices of corners, in the order of the polygons, and (T,) the polygon of each.
    """
    starts = np.cumsum(counts) - counts
    triangles, owners = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for count in np.unique(counts[counts >= 3]):
        chosen = np.flatnonzero(counts == count)
        around = starts[chosen][:, None] + np.arange(count)  # (P, count)
        fan = np.stack([np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], axis=1)
        cut = np.broadcast_to(fan, (len(chosen), *fan.shape))
        if count > 3:
            points = vertices[corners[around]]
            cut = cut.copy()
            for i in np.flatnonzero(_concave(points)):
                cut[i] = _ears(points[i])
        triangles.append(around[np.arange(len(chosen))[:, None, None], cut].reshape(-1, 3))
        owners.append(np.repeat(chosen, count - 2))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(triangles)[order], owner[order]


def _concave(points: np.ndarray) -> np.ndarray:
    """(P,) whether polygons (P, N, 3) turn the other way at some corner."""
    edges = np.roll(points, -1, axis=1) - points
    turns = np.cross(np.roll(edges, 1, axis=1), edges)
    across = (turns * _newell(points)[:, None]).sum(axis=2)
    return across.min(axis=1) < -1e-6 * np.abs(across).max(axis=1)


def _newell(points: np.ndarray) -> np.ndarray:
    """(P, 3) normals of polygons (P, N, 3), as long as twice their area."""
    centred = points - points[:, :1]
    return np.cross(centred, np.roll(centred, -1, axis=1)).sum(axis=1)


def _ears(points: np.ndarray) -> np.ndarray:
    """(N - 2, 3) triangles of one polygon (N, 3): ears are cut off one by one (Meisters 1975, two ears theorem)."""
    normal = _newell(points[None])[0]
    left = list(range(len(points)))
    cut = []
    while len(left) > 3:
        for i in range(len(left)):
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            others = points[left]  # but for the corners, and what a bridge to a hole has in the same place
            others = others[(others[:, None] != points[[a, b, c]]).any(axis=2).all(axis=1)]
            if _side(points[a], points[b], points[c], normal) <= 0:
                continue
            inside = [_side(points[p], points[q], others, normal) >= 0 for p, q in ((a, b), (b, c), (c, a))]
            if not np.logical_and.reduce(inside).any():
                break
        else:
            i = 1  # it crosses itself: any cut is as good
        cut.append((left[i - 1], left[i], left[(i + 1) % len(left)]))
        del left[i]
    return np.array([*cut, left])


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return np.cross(b - a, c - a) @ normal


def strip_triangles(strip: np.ndarray) -> np.ndarray:
    """(T, 3) vertex indices of a triangle strip (N,) in which -1 begins a new one; every second triangle is turned."""
    breaks = np.flatnonzero(strip < 0)
    first = np.arange(max(len(strip) - 2, 0))
    triangles = np.stack([first, first + 1, first + 2], axis=1)
    begins = np.concatenate([[0], breaks + 1])
    odd = (first - begins[np.searchsorted(breaks, first)]) % 2 == 1
    triangles[odd] = triangles[odd][:, [1, 0, 2]]
    found = strip[triangles]
    flat = (found[:, 0] == found[:, 1]) | (found[:, 1] == found[:, 2]) | (found[:, 0] == found[:, 2])
    return found[(found >= 0).all(axis=1) & ~flat]


def join_corners(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (C,) that agree in all columns of integers, the first >= 0 and the others >= -1, become one vertex.

    Returns:
        (V,) one corner of each vertex, in the order of the columns' values, and (C,) the vertex of each corner.
    """
    key = columns[0].astype(np.int64)
    for column in columns[1:]:
        width = int(column.max(initial=-1)) + 2
        if width == 1:  # absent everywhere
            continue
        if int(key.max(initial=0)) >= 2**62 // width:
            key = np.unique(key, return_inverse=True)[1]
        key = key * width + (column + 1)
    if int(key.max(initial=0)) < 4 * len(key):  # then counting is faster than sorting
        first = np.full(int(key.max()) + 1, -1)
        first[key[::-1]] = np.arange(len(key))[::-1]  # the last one written is the first one there
        return first[first >= 0], (np.cumsum(first >= 0) - 1)[key]
    _, first, vertex = np.unique(key, return_index=True, return_inverse=True)
    return first, vertex


def color_bytes(values: np.ndarray, what: str) -> np.ndarray:
    """(N, 3) uint8 of colours (N, 3 or more) of 0..1, 0..255 or 0..65535, whichever their largest value tells.

    NaN becomes grey.

    Raises:
        MeshError: they are none of these.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values[:, :3])
    values = np.asarray(values[:, :3], np.float64)
    absent = np.isnan(values).any(axis=1)
    values = np.where(absent[:, None], 0, values)
    top, low = float(values.max(initial=0)), float(values.min(initial=0))
    if low < -0.5 or top > 65535.5:
        raise MeshError(
            f"{what} has colours from {low:g} to {top:g}: wanted 0 to 1, 0 to 255 or 0 to 65535; export it again"
        )
    whole = bool((values == np.rint(values)).all())
    # Colours of 0 to 1 may overshoot somewhat; whole numbers never do.
    limit = 1.0 if top <= (1.0 if whole else 1.5) else 255.0 if top <= 255.5 else 65535.0
    colors = np.rint(255 / limit * np.clip(values, 0, limit)).astype(np.uint8)
    colors[absent] = GREY
    return colors
