"""Building blocks of random objects: closed surfaces with uv charts, smoothing groups and outward normals.

A part's uv live in the unit square (v up), divided into charts that are painted one by one; vertices that lie at the
same place and carry the same smoothing group share a normal, so seams stay invisible and edges stay sharp.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from learning.datasets.surfaces.marks import Mark

DISC_CHARTS = [(0.02, 0.02, 0.31, 0.27), (0.35, 0.02, 0.64, 0.27), (0.68, 0.02, 0.98, 0.27)]
SIDE_CHART = (0.0, 0.30, 1.0, 1.0)


@dataclass
class Chart:
    """A rectangle of the unit square of a part's uv, and the width / height that it has on the surface."""

    box: tuple[float, float, float, float]  # u0, v0, u1, v1
    aspect: float = 1.0
    role: str = "side"  # "side" carries the design; "end" is a lid, a base or an inside
    marks: tuple[Mark, ...] = ()  # over the design, the last on top


@dataclass
class Shape:
    """One closed surface.

    Attributes:
        vertices: (V, 3) float64.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        uv: (V, 2) float64 in 0..1.
        weld: (V,) int64, vertices with equal numbers share a normal.
        charts: how the unit square is divided.
        paint: the painter that the part's design needs; any if None.
        palette: (n, 3) RGB in 0..1 for that painter; any if None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    weld: np.ndarray
    charts: list[Chart] = field(default_factory=lambda: [Chart((0.0, 0.0, 1.0, 1.0))])
    paint: str | None = None
    palette: np.ndarray | None = None

    def normals(self) -> np.ndarray:
        """(V, 3) unit normals, area-weighted over the faces that meet in a welded vertex."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        cross = np.cross(b - a, c - a)
        corner = self.weld[self.faces].T.ravel()
        count = int(self.weld.max()) + 1
        total = np.stack([np.bincount(corner, np.tile(cross[:, i], 3), count) for i in range(3)], axis=1)
        return (total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-300))[self.weld]

    def volume(self) -> float:
        """Signed volume; positive where the faces are counter-clockwise seen from outside."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    def transform(self, rotation: np.ndarray, translation: ArrayLike, scale: float | np.ndarray = 1.0) -> Shape:
        """Scaled, then rotated, then translated."""
        vertices = (self.vertices * scale) @ np.asarray(rotation).T + np.asarray(translation)
        return replace(self, vertices=vertices)

    def shift(self, translation: ArrayLike) -> Shape:
        return self.transform(np.eye(3), translation)

    def rotate(self, rotation: np.ndarray) -> Shape:
        return self.transform(rotation, np.zeros(3))

    def scale(self, factor: float | np.ndarray) -> Shape:
        """By one factor or by one for each axis."""
        return self.transform(np.eye(3), np.zeros(3), factor)

    def with_paint(self, paint: str | None, palette: np.ndarray | None = None) -> Shape:
        """With a surface of its own."""
        return replace(self, paint=paint, palette=palette)

    def with_marks(self, marks: dict[int, list[Mark]]) -> Shape:
        """With marks on some of its charts, by their index."""
        charts = [replace(chart, marks=(*chart.marks, *marks.get(i, ()))) for i, chart in enumerate(self.charts)]
        return replace(self, charts=charts)

    def with_flat_faces(self) -> Shape:
        """With flat shading: every face has its own three vertices."""
        corners = self.faces.ravel()
        own = np.arange(len(corners)).reshape(-1, 3)
        return replace(
            self, vertices=self.vertices[corners], uv=self.uv[corners], faces=own, weld=np.repeat(own[:, 0], 3)
        )


def join(parts: list[Shape]) -> Shape:
    """Parts of one kind (legs, blades) as a single one: they share the first one's charts and look."""
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    welds = np.cumsum([0] + [int(part.weld.max()) + 1 for part in parts[:-1]])
    return replace(
        parts[0],
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        uv=np.concatenate([part.uv for part in parts]),
        weld=np.concatenate([part.weld + start for part, start in zip(parts, welds, strict=True)]),
    )


Piece = tuple[np.ndarray, np.ndarray, int, int]
"""A grid of points (rows, cols, 3), their uv (rows, cols, 2), its orientation +-1 and its smoothing group."""


def assemble(pieces: list[Piece], charts: list[Chart]) -> Shape:
    """Join grids to one surface.

    Faces without area (at poles) are dropped, and the whole surface is turned so that its normals point outwards.
    """
    vertices, uv, faces, groups = [], [], [], []
    start = 0
    for points, chart_uv, orientation, group in pieces:
        rows, cols = points.shape[:2]
        index = start + np.arange(rows * cols).reshape(rows, cols)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
        quads = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
        faces.append(quads if orientation > 0 else quads[:, ::-1])
        vertices.append(points.reshape(-1, 3))
        uv.append(chart_uv.reshape(-1, 2))
        groups.append(np.full(rows * cols, group))
        start += rows * cols
    xyz, triangles, group_of = np.concatenate(vertices), np.concatenate(faces), np.concatenate(groups)
    key = np.concatenate([np.round(xyz / (np.ptp(xyz, axis=0).max() * 1e-6)), group_of[:, None]], axis=1)
    weld = np.unique(key.astype(np.int64), axis=0, return_inverse=True)[1].ravel()
    a, b, c = np.moveaxis(xyz[triangles], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    part = Shape(xyz, triangles[area > 1e-9 * area.max()], np.concatenate(uv), weld, charts)
    if part.volume() < 0:
        part.faces = part.faces[:, ::-1]
    return part


def _chart_uv(u: np.ndarray, v: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    u0, v0, u1, v1 = box
    return np.stack([u0 + u * (u1 - u0), v0 + v * (v1 - v0)], axis=-1)


def superquadric(size: np.ndarray, e_side: float, e_top: float, rows: int = 24, cols: int = 36) -> Shape:
    """Superellipsoid with semi-axes `size` (Barr 1981); exponents 1 give an ellipsoid, towards 0 a box."""
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    longitude = np.linspace(0, 2 * np.pi, cols)[None]

    def circle(angle: np.ndarray, exponent: float) -> tuple[np.ndarray, np.ndarray]:
        # Sampled uniformly in the polar angle, not in Barr's parameter, which starves the corners of vertices.
        x, y = np.cos(angle), np.sin(angle)
        radius = (np.abs(x) ** (2 / exponent) + np.abs(y) ** (2 / exponent)) ** (-exponent / 2)
        return x * radius, y * radius

    (ring, height), (x, y) = circle(latitude, e_top), circle(longitude, e_side)
    ring[[0, -1]] = 0.0
    points = np.stack(np.broadcast_arrays(ring * x, ring * y, height), -1) * size
    u, v = np.broadcast_arrays(longitude / (2 * np.pi), (latitude / np.pi) + 0.5)
    aspect = np.pi * (size[0] + size[1]) / (2 * size[2] + size[0])
    box = (0.0, 0.0, 1.0, 1.0)
    return assemble([(points, _chart_uv(u, v, box), 1, 0)], [Chart(box, aspect)])


Band = tuple[str, np.ndarray]
"""A stretch of a lathe's profile: "side", "end" (flat, reaches the axis) or "inside", and its (n, 2) radii, heights."""


def lathe(bands: list[Band], cols: int = 48, flatness: float = 1.0, squareness: float = 1.0) -> Shape:
    """Surface of revolution about z through consecutive bands, which must start and end on the axis.

    Args:
        bands: edges between bands are sharp, the profile within a band is smooth.
        cols: vertices around.
        flatness: scale of y, for flat bottles.
        squareness: exponent of the cross-section's supercircle, 1 a circle, 0.3 a rounded square.
    """
    angle = np.linspace(0, 2 * np.pi, cols)
    x, y = np.cos(angle), np.sin(angle)
    rim = (np.abs(x) ** (2 / squareness) + np.abs(y) ** (2 / squareness)) ** (-squareness / 2)
    sides = [points for kind, points in bands if kind == "side"]
    lengths = [np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in sides]
    total, done = sum(lengths), 0.0
    widest = max(float(p[:, 0].max()) for p in sides)
    only_sides = all(kind == "side" for kind, _ in bands)
    side_box = (0.0, 0.0, 1.0, 1.0) if only_sides else SIDE_CHART
    charts = [Chart(side_box, 2 * np.pi * widest / total)]
    ends = iter(DISC_CHARTS)
    pieces = []
    for group, (kind, profile) in enumerate(bands):
        r, z = profile[:, 0:1], profile[:, 1:2]
        points = np.stack(np.broadcast_arrays(r * rim * x, r * rim * y * flatness, z), -1)
        if kind == "end":
            charts.append(Chart(next(ends), 1.0, "end"))
            reach = 0.5 / (profile[:, 0].max() + 1e-12)
            uv = _chart_uv(0.5 + points[..., 0] * reach, 0.5 + points[..., 1] * reach / flatness, charts[-1].box)
            uv = np.clip(uv, *np.array(charts[-1].box).reshape(2, 2))
        else:
            step = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
            if kind == "side":
                v, box = (done + step) / total, side_box
                done += step[-1]
            else:
                v, box = step / step[-1], DISC_CHARTS[2]
                charts.append(Chart(box, 2.0, "end"))
            u, v = np.broadcast_arrays(angle / (2 * np.pi), v[:, None])
            uv = _chart_uv(u, v, box)
        pieces.append((points, uv, 1, group))
    return assemble(pieces, charts)


def disc(radius: float, height: float, *, outwards: bool, rows: int = 4, dome: float = 0.0) -> Band:
    """An end band from the axis to the radius (outwards) or back, `dome` higher on the axis than at its rim."""
    r = np.linspace(0, radius, rows)
    profile = np.stack([r, height + dome * (1 - (r / radius) ** 2)], axis=1)
    return "end", profile if outwards else profile[::-1]


def extrusion(outline: np.ndarray, corners: np.ndarray, height: float, taper: float = 1.0, rows: int = 8) -> Shape:
    """Prism over an outline that is star-shaped about the origin.

    Args:
        outline: (n, 2) points, counter-clockwise, not closed.
        corners: (n,) bool, where the side has a sharp edge.
        height: along z, centred.
        taper: scale of the top outline.
    """
    n = len(outline)
    closed = np.concatenate([outline, outline[:1]])
    step = np.linalg.norm(np.diff(closed, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(step)])
    t = np.linspace(0, 1, rows)[:, None]
    breaks = np.unique(np.concatenate([[0], np.flatnonzero(corners), [n]]))
    pieces = []
    smooth_seam = not corners[0]
    for group, (first, last) in enumerate(pairwise(breaks)):
        segment = closed[first : last + 1]
        scale = 1 + (taper - 1) * t
        x, y = segment[:, 0] * scale, segment[:, 1] * scale
        points = np.stack([x, y, np.broadcast_to((t - 0.5) * height, x.shape)], -1)
        u, v = np.broadcast_arrays(along[first : last + 1] / along[-1], t)
        pieces.append((points, _chart_uv(u, v, SIDE_CHART), 1, 0 if smooth_seam and last == n else group))
    reach = 0.5 / np.abs(closed).max()
    for end, (z, spread) in enumerate([(-height / 2, 1.0), (height / 2, taper)]):
        ring = np.linspace(0, 1, 4)[:, None]
        x, y = closed[:, 0] * ring, closed[:, 1] * ring
        points = np.stack([x * spread, y * spread, np.full(x.shape, z)], -1)
        uv = _chart_uv(0.5 + x * reach, 0.5 + y * reach, DISC_CHARTS[end])
        pieces.append((points, uv, -1 if end else 1, 1000 + end))
    charts = [Chart(SIDE_CHART, along[-1] / height), *(Chart(box, 1.0, "end") for box in DISC_CHARTS[:2])]
    return assemble(pieces, charts)


def box(size: np.ndarray, radius: float = 0.0, cells: int = 8) -> Shape:
    """Box with edges `size`, rounded by `radius`; each face has its own chart in a 3 x 2 layout."""
    size = np.asarray(size, float)
    radius = min(radius, 0.49 * size.min())
    inner = size / 2 - radius
    pieces, charts = [], []
    for face in range(6):
        axis, sign = face // 2, 1.0 if face % 2 else -1.0
        u_axis, v_axis = [(1, 2), (0, 2), (0, 1)][axis]
        grids = []
        for a in (u_axis, v_axis):
            ticks = np.linspace(-inner[a], inner[a], cells + 1)
            if radius > 0:  # three more columns bend around the edge, to half of the right angle on each face
                bend = radius * np.tan(np.array([15.0, 30.0, 45.0]) * np.pi / 180)
                ticks = np.concatenate([-inner[a] - bend[::-1], ticks, inner[a] + bend])
            grids.append(ticks)
        gu, gv = np.meshgrid(*grids)
        points = np.empty((*gu.shape, 3))
        points[..., u_axis], points[..., v_axis], points[..., axis] = gu, gv, sign * size[axis] / 2
        if radius > 0:
            core = np.clip(points, -inner, inner)
            offset = points - core
            points = core + radius * offset / np.linalg.norm(offset, axis=-1, keepdims=True)
        column, row = face % 3, face // 3
        chart = (column / 3, row / 2, (column + 1) / 3, (row + 1) / 2)
        u, v = (gu - gu.min()) / np.ptp(gu), (gv - gv.min()) / np.ptp(gv)
        mirrored = (sign > 0) != (axis != 1)  # seen from outside, text must run from left to right
        uv = _chart_uv(1 - u if mirrored else u, v, chart)
        right_handed = axis != 1  # u x v points along +axis but for y
        pieces.append((points, uv, 1 if (sign > 0) == right_handed else -1, 0 if radius > 0 else face))
        charts.append(Chart(chart, size[u_axis] / size[v_axis], "side"))
    return assemble(pieces, charts)


def tube(path: np.ndarray, radii: np.ndarray, cols: int = 16, flatness: float = 1.0, closed: bool = False) -> Shape:
    """A tube along a path (n, 3) with radius (n,), flat-capped unless closed into a ring."""
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangent = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    frame = np.empty((len(path), 2, 3))
    first = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    for i, t in enumerate(tangent):  # parallel transport: no twist
        first = first - t * (first @ t)
        first = first / np.linalg.norm(first)
        frame[i] = first, np.cross(t, first)
    if closed:
        path, radii, frame = (np.concatenate([a, a[:1]]) for a in (path, radii, frame))
    angle = np.linspace(0, 2 * np.pi, cols)
    ring = np.cos(angle)[:, None] * frame[:, None, 0] + flatness * np.sin(angle)[:, None] * frame[:, None, 1]
    points = path[:, None] + radii[:, None, None] * ring
    step = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    u, v = np.broadcast_arrays(step[:, None] / step[-1], angle[None] / (2 * np.pi))
    whole = (0.0, 0.0, 1.0, 1.0)
    side = whole if closed else SIDE_CHART
    charts = [Chart(side, step[-1] / (2 * np.pi * radii.mean()))]
    pieces = [(points, _chart_uv(u, v, side), 1, 0)]
    if not closed:
        for end in (0, -1):
            spokes = np.linspace(0, 1, 2)[:, None, None]
            cap = path[end] + spokes * (points[end] - path[end])
            planar = spokes * np.stack([np.cos(angle), np.sin(angle)], -1)
            box_ = DISC_CHARTS[end]
            charts.append(Chart(box_, 1.0, "end"))
            pieces.append(
                (cap, _chart_uv(0.5 + planar[..., 0] / 2, 0.5 + planar[..., 1] / 2, box_), -1 if end else 1, 1 - end)
            )
    return assemble(pieces, charts)
