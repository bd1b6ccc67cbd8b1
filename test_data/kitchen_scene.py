"""What stands on the avocado's table, and how the camera moves. World frame: metres, z up, the table top at z = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learning.datasets.objects.random_objects import make_object
from learning.datasets.objects.shapes import Chart, Shape, assemble, box, join, superquadric, tube
from learning.datasets.surfaces.textures import make_palette, paint_texture
from pose6d.geometry.transforms import look_at, rigid_transform
from pose6d.mesh.mesh import Mesh
from test_data.avocado_mesh import make_avocado

_BOARD_TOP = 0.014
_CLUTTER = (  # seed, diameter, x, y, turn in degrees, gloss
    (1016, 0.135, 0.17, 0.17, 160.0, 0.25),
    (1014, 0.250, -0.17, 0.29, 40.0, 0.35),
    (1025, 0.230, 0.02, 0.36, 115.0, 0.10),
    (1012, 0.100, -0.25, 0.07, 10.0, 0.30),
    (1029, 0.190, 0.33, -0.02, 75.0, 0.30),
    (1020, 0.150, -0.20, -0.17, 62.0, 0.15),
    (1036, 0.200, 0.30, 0.38, 0.0, 0.15),
    (3, 0.270, -0.36, 0.42, 20.0, 0.20),
    (1001, 0.120, 0.16, -0.19, 200.0, 0.25),
)
_OCCLUSION = (0.47, 0.66)
"""Share of the recording during which a spoon passes in front of the avocado."""


@dataclass(frozen=True)
class Body:
    """A mesh, its pose in the world and how much it shines (0 matt, 1 mirror-like highlights)."""

    mesh: Mesh
    in_world: np.ndarray  # (4, 4)
    gloss: float = 0.1


def kitchen() -> list[Body]:
    """The bodies that do not move; the first is the avocado."""
    avocado = make_avocado()
    bodies = [Body(avocado, _pose_on(avocado, _turn("z", 62) @ _turn("x", 9) @ _turn("y", -5), 0, 0, _BOARD_TOP), 0.25)]
    bodies += [Body(_board(), np.eye(4), 0.05), Body(_table(), np.eye(4), 0.15), Body(_wall(), _wall_in_world(), 0.0)]
    for seed, size, x, y, degrees, gloss in _CLUTTER:
        mesh = make_object(seed, size, family="free")
        on_board = abs(x) < 0.15 and abs(y) < 0.10
        bodies.append(Body(mesh, _pose_on(mesh, _turn("z", degrees), x, y, _BOARD_TOP if on_board else 0.0), gloss))
    return bodies


def spoon() -> Mesh:
    """A wooden spoon along x, its bowl at the origin, the handle towards +x."""
    t = np.linspace(0, 1, 12)
    path = np.stack([0.028 + 0.30 * t, 0 * t, 0.012 * t], 1)
    handle = tube(path, 0.0055 - 0.001 * np.sin(np.pi * t), 14)
    bowl = superquadric(np.array([0.036, 0.024, 0.008]), 1.0, 1.0, 16, 28)
    for part in (handle, bowl):  # the grain runs along the spoon
        part.uv = 0.15 + np.stack([part.vertices[:, 0] + 0.04, part.vertices[:, 1] + 0.03], 1) * 1.8
    rng = np.random.default_rng(5)
    texture = paint_texture(rng, 128, 128, "wood", make_palette(rng))
    return _mesh_of([handle, bowl], texture, "spoon")


def spoon_in_world(time: float) -> np.ndarray | None:
    """Pose of the spoon, (4, 4), None while it is out of sight. `time` runs from 0 to 1 over the recording."""
    first, last = _OCCLUSION
    if not first < time < last:
        return None
    share = (time - first) / (last - first)
    eye = camera_in_world((first + last) / 2)
    # Held from outside the picture: in camera axes it crosses from the right edge over the fruit and leaves again.
    reach = np.sin(np.pi * share)
    place = [0.235 - 0.245 * reach, 0.075 - 0.09 * share, 0.36]
    return eye @ rigid_transform(_turn("z", -12 + 30 * share)[:3, :3], place)


def camera_in_world(time: float) -> np.ndarray:
    """Pose of the camera, (4, 4), OpenCV axes, on a smooth path 0.45 to 0.6 m from the avocado."""
    swing = 2 * np.pi * time
    azimuth = np.deg2rad(-90 + 30 * np.sin(swing * 0.8 - 0.6) + 6 * np.sin(swing * 1.9))
    elevation = np.deg2rad(41 + 6 * np.sin(swing * 1.1 + 0.5))
    distance = 0.525 + 0.07 * np.sin(swing * 0.9 + 1.2)
    target = np.array([0.05 * np.sin(swing * 1.3 + 0.4), 0.035 * np.cos(swing * 0.9), 0.03])
    eye = target + distance * np.array(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
    )
    return look_at(eye, target) @ _turn("z", 5 * np.sin(swing * 0.7))


def _turn(axis: str, degrees: float) -> np.ndarray:
    a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    pose = np.eye(4)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    pose[a, a], pose[a, b], pose[b, a], pose[b, b] = cos, -sin, sin, cos
    return pose


def _pose_on(mesh: Mesh, turn: np.ndarray, x: float, y: float, height: float) -> np.ndarray:
    """The pose in which the turned mesh stands on `height`, the middle of its box above (x, y)."""
    points = mesh.vertices.astype(np.float64) @ turn[:3, :3].T
    low, high = points.min(axis=0), points.max(axis=0)
    pose = turn.copy()
    pose[:3, 3] = np.array([x, y, height]) - [*((low + high) / 2)[:2], low[2]]
    return pose


def _mesh_of(parts: list[Shape], texture: np.ndarray, name: str) -> Mesh:
    whole = join(parts)
    return Mesh(whole.vertices, whole.faces, whole.normals(), whole.uv, texture, name=name)


def _board() -> Mesh:
    """A chopping board under the avocado, its grain along x."""
    part = box(np.array([0.34, 0.22, _BOARD_TOP]), 0.006).shift([0.0, 0.0, _BOARD_TOP / 2])
    part.uv = np.clip(0.5 + part.vertices[:, :2] / 0.36, 0, 1)
    rng = np.random.default_rng(11)
    return _mesh_of([part], paint_texture(rng, 512, 512, "wood", make_palette(rng)), "board")


def _plane(size: float, cells: int, repeats: float) -> Shape:
    """A square in the xy plane around the origin, facing +z; cut into cells, so that none of them is huge on screen."""
    ticks = np.linspace(-0.5, 0.5, cells + 1)
    x, y = np.meshgrid(ticks, ticks)
    uv = repeats * (np.stack([x, y], -1) + 0.5)
    part = assemble([(np.stack([x, y, 0 * x], -1) * size, uv, 1, 0)], [Chart((0.0, 0.0, 1.0, 1.0))])
    a, b, c = part.vertices[part.faces[0]]
    if np.cross(b - a, c - a)[2] < 0:
        part.faces = part.faces[:, ::-1]
    return part


def _table() -> Mesh:
    """A table cloth: a fine weave with stripes."""
    size = 512
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:size, 0:size]
    weave = 0.025 * (np.sin(2 * np.pi * x / 8) + np.sin(2 * np.pi * y / 8)) + rng.normal(0, 0.02, (size, size))
    cloth = np.full((size, size, 3), (0.74, 0.71, 0.66))
    for phase, colour in ((x, (0.30, 0.42, 0.55)), (y, (0.30, 0.42, 0.55)), (x + 40, (0.72, 0.40, 0.32))):
        band = ((phase % (size // 2)) < 26)[..., None]
        cloth = np.where(band, 0.45 * cloth + 0.55 * np.array(colour), cloth)
    texture = (np.clip(cloth * (1 + weave[..., None]), 0, 1) * 255).astype(np.uint8)
    return _mesh_of([_plane(2.4, 24, 5.0)], texture, "table")


def _wall() -> Mesh:
    rng = np.random.default_rng(8)
    palette = np.tile(np.array([[0.78, 0.80, 0.76]]), (6, 1))
    return _mesh_of([_plane(4.0, 16, 1.0)], paint_texture(rng, 256, 256, "near_uniform", palette), "wall")


def _wall_in_world() -> np.ndarray:
    """Upright behind the table, facing the camera."""
    pose = _turn("x", 90)
    pose[:3, 3] = [0.0, 1.15, 0.8]
    return pose
