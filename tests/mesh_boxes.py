"""Boxes: a plain one for any test, and one with a colour on each side, to be written in many dialects."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pose6d.mesh.mesh import Mesh, texture_colors

SIZE = np.array([0.1, 0.06, 0.04])
NORMALS = np.concatenate([np.eye(3), -np.eye(3)])
COLORS = np.array([[220, 30, 30], [30, 200, 40], [40, 60, 220], [220, 210, 40], [200, 50, 200], [40, 200, 210]])


def _corners() -> np.ndarray:
    """(6, 4, 3) the corners of each side, counter-clockwise from outside."""
    sides = []
    for normal in NORMALS:
        along = np.roll(np.abs(normal), 1)
        across = np.cross(normal, along)
        sides.append([normal + s * along + t * across for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    return np.array(sides) * SIZE / 2


QUADS = _corners()
VERTICES = QUADS.reshape(24, 3)
VERTEX_COLORS = COLORS.repeat(4, axis=0)
# Each side has a tile of its own, six beside each other.
TEXTURE = COLORS.astype(np.uint8).repeat(16, axis=0)[None].repeat(16, axis=0)
UV = np.array([[(side + s) / 6, t] for side in range(6) for s, t in ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))])


def make_box(sides: object, colors: np.ndarray | int = 180, name: str = "box") -> Mesh:
    """Twelve triangles around the origin with `sides` in metres; `colors` (8, 3), or one value for all."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * sides / 2
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))])
    return Mesh(corners, faces, colors=np.broadcast_to(np.uint8(colors), (8, 3)).copy(), name=name)


def bilinear(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Texture colours 0..1 at uv (..., 2), v up, repeating."""
    height, width = texture.shape[:2]
    x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    rows, columns = (y0 % height, (y0 + 1) % height), (x0 % width, (x0 + 1) % width)
    upper = texture[rows[0], columns[0]] * (1 - fx) + texture[rows[0], columns[1]] * fx
    lower = texture[rows[1], columns[0]] * (1 - fx) + texture[rows[1], columns[1]] * fx
    return (upper * (1 - fy) + lower * fy) / 255


def save_texture(path, texture: np.ndarray = TEXTURE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(texture).save(path)


def check_box(mesh: Mesh, colors: np.ndarray | None = COLORS, atol: float = 2) -> None:
    """The mesh is the box, its outside outside, each side in its colour; `colors` (6, 3), or None for any."""
    np.testing.assert_allclose(mesh.bounds[1] - mesh.bounds[0], SIZE, rtol=1e-4)
    a, b, c = np.moveaxis(mesh.vertices.astype(np.float64)[mesh.faces], 1, 0)
    cross = np.cross(b - a, c - a)
    x, y, z = SIZE
    np.testing.assert_allclose(np.linalg.norm(cross, axis=1).sum() / 2, 2 * (x * y + y * z + z * x), rtol=1e-4)
    side = (cross @ NORMALS.T).argmax(axis=1)
    middle = np.stack([a, b, c]).mean(axis=0) - mesh.center
    assert ((middle * NORMALS[side]).sum(axis=1) > 0).all(), "some side is inside out"
    if colors is None:
        return
    shown = texture_colors(mesh).astype(float)[mesh.faces].mean(axis=1)
    np.testing.assert_allclose(shown, np.asarray(colors)[side], atol=atol)
