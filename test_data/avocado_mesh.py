"""Half an avocado: own shape and own texture, in metres, the pit's centre at the origin, the cut face towards +z.

x runs along the fruit, its stem end at +x. The two halves of the flesh differ in colour and a ringed mark sits on one
flank of the skin, so no pose looks like another.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from learning.datasets.objects.shapes import Piece, assemble
from pose6d.mesh.mesh import Mesh

TEXTURE_SIZE = 512

_HALF_LENGTH, _HALF_WIDTH, _PEAR = 0.052, 0.0345, 0.26
_CENTRE = 0.013  # from the pit to the middle of the fruit, along x
_PIT, _PIT_HEIGHT = 0.0165, 0.0125
_SEGMENTS = 80  # around the outline; half of them along the skin
_FACE_SHARE = 0.62  # of the texture's height; the skin has the rest
_FACE_SPAN = 0.0575  # metres from the middle of the face chart to its left edge


def make_avocado() -> Mesh:
    """About 8,000 faces, 0.104 m long, always the same."""
    part = assemble([_pit(), _flesh(), _skin()], [])
    return Mesh(part.vertices, part.faces, part.normals(), part.uv, _texture(), name="avocado")


def _outline(phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the outline, phi = 0 at the stem."""
    x = _CENTRE + _HALF_LENGTH * np.cos(phi)
    return x, _HALF_WIDTH * np.sin(phi) * (1 - _PEAR * np.cos(phi) - 0.06 * np.cos(2 * phi))


def _face_uv(points: np.ndarray) -> np.ndarray:
    u = 0.5 + (points[..., 0] - _CENTRE) / (2 * _FACE_SPAN)
    v = 1 - _FACE_SHARE / 2 + points[..., 1] / (2 * _FACE_SPAN)
    return np.stack([u, v], axis=-1)


def _pit() -> Piece:
    phi = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    tilt = np.linspace(0, np.pi / 2, 12)[:, None]
    x, y = _outline(phi)
    direction = np.arctan2(y, x)
    radius = _PIT * np.sin(tilt)
    points = np.stack(np.broadcast_arrays(radius * np.cos(direction), radius * np.sin(direction), 0.0 * radius), -1)
    points[..., 2] = -0.0008 + _PIT_HEIGHT * np.cos(tilt)
    return points, _face_uv(points), 1, 0


def _flesh() -> Piece:
    phi = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    x, y = _outline(phi)
    edge = np.stack([x, y], 1)
    reach = np.linalg.norm(edge, axis=1, keepdims=True)
    inner = edge / reach * _PIT
    share = np.concatenate([np.linspace(0, 0.9, 11), [0.95, 0.98, 1.0]])[:, None, None]
    flat = inner + share * (edge - inner)
    to_rim, to_pit = (1 - share[..., 0]) * (reach.T - _PIT), share[..., 0] * (reach.T - _PIT)
    z = 0.0011 * (1 - np.exp(-to_rim / 0.0012)) - 0.0019 * np.exp(-to_pit / 0.0015)
    points = np.concatenate([flat, z[..., None]], axis=-1)
    return points, _face_uv(points), 1, 1


def _skin_points(phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Points of the skin, (..., 3): psi runs from one edge of the cut (0, +y) under the fruit to the other (pi)."""
    x, y = np.broadcast_arrays(*_outline(phi))
    dent = 0.0009 * np.sin(150 * x + 3) * np.sin(psi) + 0.0007 * np.sin(95 * x + 5 * psi) * np.sin(psi)
    radius = y + dent * np.minimum(1, y / 0.015)
    return np.stack(np.broadcast_arrays(x, radius * np.cos(psi), -0.97 * radius * np.sin(psi)), -1)


def _skin() -> Piece:
    phi = np.linspace(0, np.pi, _SEGMENTS // 2 + 1)[:, None]
    psi = np.linspace(0, np.pi, 45)[None]
    u, v = np.broadcast_arrays(phi / np.pi, (1 - _FACE_SHARE) * 0.985 * psi / np.pi)
    return _skin_points(phi, psi), np.stack([u, v], -1), 1, 2


def _texture() -> np.ndarray:
    rng = np.random.default_rng(20240)
    face_rows = round(TEXTURE_SIZE * _FACE_SHARE)
    picture = np.concatenate([_paint_face(rng, face_rows), _paint_skin(rng, TEXTURE_SIZE - face_rows)])
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _mottle(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    field = gaussian_filter(rng.normal(0, 1, shape), sigma, mode="wrap")
    return field / field.std()


def _blend(base: np.ndarray, colour: tuple[float, float, float], share: np.ndarray) -> np.ndarray:
    return base + (np.array(colour) - base) * np.clip(share, 0, 1)[..., None]


def _paint_face(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Flesh from pale yellow to green under the skin, a bruise, and the pit."""
    shape = (rows, TEXTURE_SIZE)
    column, row = np.meshgrid(np.arange(TEXTURE_SIZE) + 0.5, np.arange(rows) + 0.5)
    x = _CENTRE + (column / TEXTURE_SIZE - 0.5) * 2 * _FACE_SPAN
    y = (_FACE_SHARE / 2 - row / TEXTURE_SIZE) * 2 * _FACE_SPAN
    phi = np.linspace(0, 2 * np.pi, 720)
    edge = np.stack(_outline(phi), 1)
    depth = cKDTree(edge).query(np.stack([x, y], -1))[0]  # metres to the skin
    angle = np.arctan2(y, x)
    fibres = np.sin(60 * angle + 2.5 * _mottle(rng, shape, 12)) * _mottle(rng, shape, 5)

    depth = depth * (1 + 0.10 * _mottle(rng, shape, 10))
    picture = np.empty((*shape, 3))
    picture[:] = (0.90, 0.83, 0.47)
    picture = _blend(picture, (0.78, 0.80, 0.36), np.exp(-((depth / 0.010) ** 2)))
    picture = _blend(picture, (0.48, 0.62, 0.16), 1.05 * np.exp(-((depth / 0.0042) ** 2)))
    picture = _blend(picture, (0.14, 0.22, 0.05), 1.4 * np.exp(-((depth / 0.0011) ** 2)))
    picture *= (1 + 0.035 * fibres + 0.02 * _mottle(rng, shape, 2.0))[..., None]
    bruise = np.exp(-(((x - 0.038) / 0.011) ** 2 + ((y + 0.010) / 0.006) ** 2)) + 0.35 * np.exp(
        -(((x + 0.022) / 0.006) ** 2 + ((y - 0.021) / 0.004) ** 2)
    )
    picture = _blend(picture, (0.50, 0.36, 0.16), bruise * (0.75 + 0.25 * _mottle(rng, shape, 4)))
    for place in ((0.046, 0.006), (0.049, 0.003), (0.044, -0.001), (0.051, 0.006)):  # vessels cut near the stem
        spot = np.hypot(x - place[0], y - place[1])
        picture = _blend(picture, (0.35, 0.25, 0.10), 1.2 * np.exp(-((spot / 0.0009) ** 2)))

    away = np.hypot(x, y) / _PIT
    veins = np.sin(7 * angle + 9 * away + 1.5 * _mottle(rng, shape, 9))
    pit = np.array((0.44, 0.25, 0.12)) * (1 + 0.16 * veins + 0.10 * _mottle(rng, shape, 3))[..., None]
    pit = _blend(pit, (0.68, 0.50, 0.30), np.exp(-(((x + 0.004) / 0.005) ** 2 + ((y - 0.006) / 0.003) ** 2)) * 0.8)
    picture = _blend(picture, (0.42, 0.30, 0.14), 0.9 * np.exp(-(((away - 1.03) / 0.07) ** 2)))
    return np.where((away < 1.0)[..., None], pit, picture)


def _paint_skin(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Pebbled dark green skin with a lighter flank, a stem scar and a ringed mark."""
    shape = (rows, TEXTURE_SIZE)
    phi = (np.arange(TEXTURE_SIZE) + 0.5) / TEXTURE_SIZE * np.pi
    # Row 0 of this half lies against the face chart: psi falls downwards, as v does.
    psi = np.clip((rows - np.arange(rows) - 0.5) / rows / 0.985, 0, 1) * np.pi
    points = _skin_points(phi[None], psi[:, None])
    seeds = _skin_points(np.arccos(rng.uniform(-1, 1, 4500)), rng.uniform(-0.1, np.pi + 0.1, 4500))
    distance, nearest = cKDTree(seeds).query(points.reshape(-1, 3), k=2)
    pebble = np.clip((distance[:, 1] - distance[:, 0]) / 0.0008, 0, 1).reshape(shape)
    tone = rng.normal(0, 1, len(seeds))[nearest[:, 0]].reshape(shape)

    flank = np.clip(0.5 + 18 * points[..., 1] + 0.35 * _mottle(rng, shape, 20), 0, 1)
    picture = np.empty((*shape, 3))
    picture[:] = (0.13, 0.17, 0.08)
    picture = _blend(picture, (0.30, 0.36, 0.13), flank)
    picture *= (0.65 + 0.55 * pebble + 0.15 * tone * pebble)[..., None]
    scar = np.exp(-((np.linalg.norm(points - [0.02, -0.022, -0.020], axis=-1) / 0.010) ** 2))
    picture = _blend(picture, (0.42, 0.32, 0.18), 0.9 * scar * (0.8 + 0.3 * _mottle(rng, shape, 3)))
    stem = points[..., 0] - (_CENTRE + _HALF_LENGTH)
    picture = _blend(picture, (0.38, 0.27, 0.14), (stem > -0.0022).astype(float))
    picture = _blend(picture, (0.10, 0.07, 0.04), (stem > -0.0006).astype(float))
    mark = np.linalg.norm(points - _skin_points(np.array(1.75), np.array(0.75)), axis=-1)
    for radius, colour in ((0.0080, (0.93, 0.92, 0.86)), (0.0068, (0.86, 0.36, 0.10)), (0.0030, (0.95, 0.85, 0.30))):
        picture = _blend(picture, colour, (radius - mark) / 0.0003 + 0.5)
    return picture
