"""What is looked up in a frame around the object, and the points of it that other frames are laid on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.registration.depth_cleaning import backproject_pixels, clean_depth, surface_normals
from pose6d.scenes.frame import Frame

OTHER, UNKNOWN, OBJECT = -1, 0, 1
"""labels of pixels: something else, undecided, the object"""
LEVELS = 3  # of the pyramid; each has half the size of the one before

_CONTRAST = 0.4  # share of the points that are taken where the picture has most contrast
_MOST_POINTS = 2400
_BLUR = 2.5  # pixels of a level, by which it is blurred


@dataclass
class Picture:
    """A window of a frame.

    Attributes:
        corner: (row, column) of the window in the frame.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres, as measured.
        K: (3, 3) of the window.
        grey: by level of the pyramid, (H, W, 3) float32: the grey value 0..255, and how it changes per pixel of that
            level along x and y. Pixel (u, v) of the window is (u, v) / 2**level there.
    """

    corner: tuple[int, int]
    rgb: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    grey: list[np.ndarray]


def cut_picture(frame: Frame, center: np.ndarray | None, radius: float) -> Picture:
    """The window around a ball, or the whole frame.

    Args:
        frame: the frame.
        center: (3,) metres, camera axes; None for the whole frame.
        radius: metres, of the ball.
    """
    height, width = frame.depth.shape
    top, left, bottom, right = 0, 0, height, width
    if center is not None and center[2] > 0.01:
        half = radius * frame.K[0, 0] / center[2]
        u, v = (frame.K @ center)[:2] / center[2]
        top, bottom = int(np.clip(v - half, 0, height - 32)), int(np.clip(v + half, 32, height))
        left, right = int(np.clip(u - half, 0, width - 32)), int(np.clip(u + half, 32, width))
    rgb = frame.rgb[top:bottom, left:right]
    K = frame.K.copy()
    K[:2, 2] -= [left, top]
    level = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (3, 3), 0.8)
    grey = []
    for _ in range(LEVELS):
        across = cv2.Sobel(level, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
        down = cv2.Sobel(level, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
        grey.append(np.ascontiguousarray(np.stack([level, across, down], axis=2)))
        level = cv2.pyrDown(level)
    return Picture((top, left), rgb, np.ascontiguousarray(frame.depth[top:bottom, left:right]), K, grey)


@dataclass
class SurfacePoints:
    """Points seen in a picture, in its camera's axes.

    Attributes:
        points: (P, 3) float32 metres.
        normals: (P, 3) float32 unit, towards the camera.
        values: (P, LEVELS) float32 grey values 0..255, by level of the pyramid; negative where what lies beside the
            surface shines through, as each level is blurred.
    """

    points: np.ndarray
    normals: np.ndarray
    values: np.ndarray


@dataclass
class Surface:
    """What a picture's depth says of the surfaces in it: (H, W) maps of the window.

    Attributes:
        depth: metres without rims and grazing views, 0 where nothing is left.
        normals: (H, W, 3).
        points: (H, W, 3) metres of the depth as measured, camera axes.
    """

    depth: np.ndarray
    normals: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, picture: Picture) -> Surface:
        depth = clean_depth(picture.depth, picture.K)[0]
        return cls(depth, surface_normals(depth, picture.K), backproject_pixels(picture.depth, picture.K))


def choose_points(picture: Picture, surface: Surface, wanted: np.ndarray, rng: np.random.Generator) -> SurfacePoints:
    """Points of the wanted pixels (H, W) bool: some where the picture has contrast, the others everywhere."""
    rows, columns = np.nonzero(wanted & (surface.depth > 0))
    inside = cv2.distanceTransform(wanted.astype(np.uint8), cv2.DIST_L2, 5)[rows, columns]
    if len(rows) > _MOST_POINTS:
        contrast = np.abs(picture.grey[0][rows, columns, 1:]).sum(axis=1) * (inside > _BLUR)
        edge = np.argsort(-contrast * rng.uniform(0.5, 1, len(rows)))[: int(_MOST_POINTS * _CONTRAST)]
        free = np.ones(len(rows), bool)
        free[edge] = False
        chosen = np.concatenate([edge, rng.permutation(np.flatnonzero(free))[: _MOST_POINTS - len(edge)]])
        rows, columns, inside = rows[chosen], columns[chosen], inside[chosen]
    values = [
        cv2.remap(
            np.ascontiguousarray(level[..., 0]),
            (columns / 2**i).astype(np.float32)[None],
            (rows / 2**i).astype(np.float32)[None],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )[0]
        if len(rows)
        else np.zeros(0, np.float32)
        for i, level in enumerate(picture.grey)
    ]
    for i, value in enumerate(values):
        value[inside <= _BLUR * 2**i] = -1
    return SurfacePoints(
        np.ascontiguousarray(surface.points[rows, columns]),
        np.ascontiguousarray(surface.normals[rows, columns]),
        np.ascontiguousarray(np.stack(values, axis=1), dtype=np.float32),
    )
