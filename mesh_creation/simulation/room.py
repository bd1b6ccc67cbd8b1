"""The room in which recordings are simulated: table, walls, clutter, the printed board and a turntable.

World frame: that of the board before it turns. The table's top is just below z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from mesh_creation.board.layout import Board, Place
from pose6d.mesh.mesh import Mesh

TEXELS_PER_METRE = 4000
_MARGIN = 0.014  # metres of white paper around the pattern
_PAPER = 0.0004  # metres that paper lies above what it lies on
_TABLE, _DISC = 0.0, -0.010  # height of the table's top under a board on the table, and under a turntable
_FLOOR, _HALF_ROOM, _CEILING = -0.75, 2.4, 1.8


@dataclass
class Room:
    """Meshes and where they are.

    Attributes:
        meshes: all of them; the first is the board, the second a blank sheet of its size.
        in_world: (4, 4) of each; for those that turn with the board, at angle 0.
        turns: whether each one turns with the board.
    """

    meshes: list[Mesh] = field(default_factory=list)
    in_world: list[np.ndarray] = field(default_factory=list)
    turns: list[bool] = field(default_factory=list)

    def add(self, mesh: Mesh, position: tuple[float, float, float] = (0, 0, 0), turns: bool = False) -> None:
        pose = np.eye(4)
        pose[:3, 3] = position
        self.meshes.append(mesh)
        self.in_world.append(pose)
        self.turns.append(turns)


def make_room(board: Board, rng: np.random.Generator, *, turntable: bool, duplicates: bool) -> Room:
    """The room around a board; `duplicates` leaves two cut-out markers that the board has as well on the table."""
    room = Room()
    room.add(board_mesh(board), turns=True)
    width, height = board.size
    blank = np.full((8, 8, 3), 235, np.uint8)
    room.add(_sheet(width + 2 * _MARGIN, height + 2 * _MARGIN, blank, "paper"), turns=True)
    table = _DISC if turntable else _TABLE
    if turntable:
        radius = float(np.hypot(width, height)) / 2 + 0.025
        room.add(_disc(radius, -_DISC - _PAPER, _mottle(rng, 256, (0.30, 0.31, 0.33))), (0, 0, -_PAPER), turns=True)
    room.add(_sheet(1.5, 1.1, _mottle(rng, 1024, (0.55, 0.42, 0.30), stripes=True), "table"), (0, 0, table - _PAPER))
    for _ in range(7):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.34, 0.52)
        size = rng.uniform((0.05, 0.05, 0.015), (0.13, 0.13, 0.07))
        room.add(
            _box(size, _mottle(rng, 128, tuple(rng.uniform(0.15, 0.9, 3)))),
            (reach * np.cos(angle) * 1.2, reach * np.sin(angle), table - _PAPER + size[2] / 2),
        )
    room.add(
        _box(
            np.array([2 * _HALF_ROOM, 2 * _HALF_ROOM, _CEILING - _FLOOR]), _mottle(rng, 1024, (0.70, 0.69, 0.64), 0.5)
        ),
        (0.3, 0.2, (_CEILING + _FLOOR) / 2),
    )
    if duplicates:
        first = board.marker_places[0].id
        for number, place in ((first, (0.16, 0.10, table)), (first + 1, (-0.15, -0.13, table))):
            room.add(board_mesh(Board("markers", board.dictionary, marker=board.marker, places=(Place(number, 0, 0),))))
            room.in_world[-1][:3, 3] = place
    return room


def board_mesh(board: Board) -> Mesh:
    """A sheet of paper with the board's pattern, in the board's frame at z = 0."""
    width, height = (length + 2 * _MARGIN for length in board.size)
    columns, rows = round(width * TEXELS_PER_METRE), round(height * TEXELS_PER_METRE)
    fine = 4  # sub-texels, so that edges lie where they belong and not at the next texel
    picture = np.full((rows * fine, columns * fine), 235, np.uint8)
    for quad in board.black_quads():
        u = (quad[:, 0] / width + 0.5) * columns * fine - 0.5
        v = (0.5 - quad[:, 1] / height) * rows * fine - 0.5
        # fillPoly draws its outline too, half a sub-texel beyond the edge: shrink by that.
        points = np.stack([u, v], axis=1)
        centre = points.mean(axis=0)
        inward = np.where(points > centre, -0.5, 0.5) if np.ptp(u[[0, 3]]) < 1e-6 else 0.0
        cv2.fillPoly(picture, [np.round((points + inward) * 16).astype(np.int32)], 45, shift=4)
    texels = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    return _sheet(width, height, np.repeat(texels[..., None], 3, axis=2), "board")


def _sheet(width: float, height: float, texture: np.ndarray, name: str) -> Mesh:
    """A rectangle in the xy plane, centred on the origin, facing +z."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    vertices = np.concatenate([corners * [width, height], np.zeros((4, 1))], axis=1)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), uv=corners + 0.5, texture=texture, name=name)


def _box(size: np.ndarray, texture: np.ndarray) -> Mesh:
    """A box of (3,) metres centred on the origin; each side shows its own part of the texture."""
    vertices: list[np.ndarray] = []
    uv: list[np.ndarray] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for side in (-0.5, 0.5):
            a, b = [i for i in range(3) if i != axis]
            corners = np.zeros((4, 3))
            corners[:, axis] = side
            corners[:, [a, b]] = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
            start = len(vertices) * 4
            faces += [[start, start + 1, start + 2], [start, start + 2, start + 3]]
            uv.append((corners[:, [a, b]] + 0.5) * [0.33, 0.5] + [axis / 3, 0.5 if side > 0 else 0.0])
            vertices.append(corners * size)
    return Mesh(np.concatenate(vertices), np.array(faces), uv=np.concatenate(uv), texture=texture, name="box")


def _disc(radius: float, thickness: float, texture: np.ndarray) -> Mesh:
    """A turntable: top at z = 0, facing up, with a rim below."""
    angle = np.linspace(0, 2 * np.pi, 49)[:-1]
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    top = np.concatenate([[[0, 0, 0]], np.insert(ring * radius, 2, 0.0, axis=1)])
    rim = np.concatenate([np.insert(ring * radius, 2, z, axis=1) for z in (0.0, -thickness)])
    k = np.arange(48)
    n = (k + 1) % 48
    faces = [np.stack([np.zeros(48, int), 1 + k, 1 + n], 1)]
    faces += [np.stack([49 + k, 97 + k, 97 + n], 1), np.stack([49 + k, 97 + n, 49 + n], 1)]
    uv = np.concatenate([[[0.5, 0.5]], ring / 2 + 0.5, ring / 2 + 0.5, ring * 0.48 + 0.5])
    return Mesh(np.concatenate([top, rim]), np.concatenate(faces), uv=uv, texture=texture, name="turntable")


def _mottle(
    rng: np.random.Generator, size: int, colour: tuple[float, ...], contrast: float = 1.0, stripes: bool = False
) -> np.ndarray:
    """(size, size, 3) uint8: blotches of several sizes around one colour, so that nothing is featureless."""
    picture = np.zeros((size, size, 3), np.float32)
    for cells in (4, 12, 40, size // 4):
        cell = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        cell = 0.7 * cell.mean(axis=2, keepdims=True) + 0.3 * cell
        picture += cv2.resize(cell, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(0.07 * contrast)
    if stripes:
        rows = np.linspace(0, 60 * np.pi, size, dtype=np.float32)[:, None, None]
        picture += 0.06 * np.sin(rows + 6 * picture[..., :1])
    return (np.clip(np.array(colour, np.float32) * (1 + picture), 0, 1) * 255).astype(np.uint8)
