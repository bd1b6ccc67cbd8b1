"""What tests of several steps share: drawn boards, and small simulated scans of 320 x 240, a dozen or two frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mesh_creation.board.layout import Board
from mesh_creation.simulation.simulate import Simulation, simulate
from pose6d.camera_simulation.frozen.stereo_camera import StereoCamera
from pose6d.geometry.transforms import look_at
from pose6d.mesh.mesh import Mesh

CAMERA = StereoCamera(width=320, height=240, fx=303.4, fy=303.2, ppx=159.6, ppy=119.9)
CHARUCO = Board("charuco", columns=5, rows=7, square=0.036, marker=0.027)


def block() -> Mesh:
    """A house of 90 x 60 x 80 mm with a different pattern on every side, so that it is like itself in one pose only."""
    x, y, z, top = 0.045, 0.03, 0.05, 0.08
    quads = [
        [(-x, -y, 0), (x, -y, 0), (x, -y, z), (-x, -y, z)],
        [(x, -y, 0), (x, y, 0), (x, y, z), (x, -y, z)],
        [(x, y, 0), (-x, y, 0), (-x, y, z), (x, y, z)],
        [(-x, y, 0), (-x, -y, 0), (-x, -y, z), (-x, y, z)],
        [(-x, -y, z), (x, -y, z), (x, 0, top), (-x, 0, top)],
        [(x, y, z), (-x, y, z), (-x, 0, top), (x, 0, top)],
        [(x, -y, z), (x, y, z), (x, 0, top), (x, 0, top)],
        [(-x, y, z), (-x, -y, z), (-x, 0, top), (-x, 0, top)],
        [(-x, y, 0), (x, y, 0), (x, -y, 0), (-x, -y, 0)],
    ]
    vertices = np.array(quads).reshape(-1, 3)
    corners = np.arange(len(vertices)).reshape(-1, 4)
    faces = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    rng = np.random.default_rng(3)
    tile, uv = 1 / len(quads), []
    cells = rng.integers(40, 230, (8, 8 * len(quads), 3)).astype(np.uint8)
    texture = np.kron(cells, np.ones((8, 8, 1), np.uint8))
    for number in range(len(quads)):
        left, right = (number + 0.02) * tile, (number + 0.98) * tile
        uv += [(left, 0.02), (right, 0.02), (right, 0.98), (left, 0.98)]
    area = np.linalg.norm(np.cross(*(vertices[faces[:, i]] - vertices[faces[:, 0]] for i in (1, 2))), axis=1)
    return Mesh(vertices, faces[area > 0], uv=np.array(uv), texture=texture, name="house")


def scan(folder: Path, mesh: Mesh | None = None, **settings: object) -> Path:
    """Simulate a scan of 16 frames unless told otherwise."""
    values = {"frames": 16, "camera": CAMERA, "tremor": 0.3, "lost": 0.0, **settings}
    return simulate(mesh or block(), folder, Simulation(**values), progress=False)  # type: ignore[arg-type]


def house_scan(folder: Path) -> Path:
    """A scan of the house, made once in a folder that test files share; it may be registered already."""
    return scan(folder / "house_scan", frames=18)


def camera(azimuth: float, elevation: float, distance: float = 0.5, height: float = 0.0) -> np.ndarray:
    """Camera in board (4, 4), looking at `height` over its centre; degrees and metres."""
    a, e = np.radians([azimuth, elevation])
    target = np.array([0, 0, height])
    return look_at(target + distance * np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)]), target)


def pose_errors(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Millimetres between camera centres and degrees between camera axes."""
    R = found[:3, :3].T @ true[:3, :3]
    angle = np.degrees(np.arccos(np.clip((np.trace(R) - 1) / 2, -1, 1)))
    return 1000 * float(np.linalg.norm(found[:3, 3] - true[:3, 3])), float(angle)


def draw_board(board: Board, pixels_per_metre: float) -> tuple[np.ndarray, np.ndarray]:
    """A frontal picture of the board with a margin, and the 2x3 map from the board's xy to its pixels."""
    fine = 8
    width, height = (round((length + 0.03) * pixels_per_metre) for length in board.size)
    to_pixels = np.array([[pixels_per_metre, 0, width / 2 - 0.5], [0, -pixels_per_metre, height / 2 - 0.5]])
    picture = np.full((height * fine, width * fine), 255, np.uint8)
    for quad in board.black_quads():
        points = (quad @ to_pixels[:, :2].T + to_pixels[:, 2] + 0.5) * fine - 0.5
        cv2.fillPoly(picture, [np.round(points * 256).astype(np.int32)], 0, shift=8)
    light = cv2.resize(picture.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_AREA)
    light = cv2.GaussianBlur(light, (0, 0), 0.6)
    return (255 * light ** (1 / 2.2) + 0.5).astype(np.uint8), to_pixels
