"""Whether anything moves: the picture of an object compared with what it was."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from pose6d.scenes.frame import Frame

_SIZE, _CELL = 64, 8  # pixels that the diameter is drawn with, at most; and of the cells whose motion is told apart
_LEAST_SIZE = 2 * _CELL  # of the part of the object that is in the picture
_BLUR = 1.0  # pixels
_STILL = 0.04  # pixels, root mean square: motion up to which nothing counts as moved, 0.0006 diameters
_NOISE = 1.2, 0.1  # times the motion that noise alone would feign, which counts as noise; pixels, if it is no more
_CORRELATED = 4 * math.pi * _BLUR**2  # pixels that are alike in what the blur leaves of white noise
_FLAT = 1.0  # squared gradient, grey levels a pixel: half of a cell's motion is believed, and a picture shows nothing
_EXPOSURE = 0.5, 2.0  # times, between which a picture may have become darker or brighter
_IN_MOTION = 3  # frames in a row that something moved in, from which on only every other frame is looked at


class _View(NamedTuple):
    """What is remembered of one frame.

    Attributes:
        window: rows and columns around the object, and the shape of the picture.
        gray: (S, S) of that window, blurred, without its mean.
        across, down: (S, S) its gradients; xx, xy, yy: the means of their products in each cell.
    """

    window: tuple[slice, slice]
    shape: tuple[int, ...]
    gray: np.ndarray
    across: np.ndarray
    down: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


class StillPicture:
    """Tells whether an object, its camera and what is around it have kept still since a frame.

    The window around the object is compared with that of the frame in which it last came to rest, so that creeping is
    seen, too. What differs is explained by a shift of each cell (Lucas and Kanade 1981); how large these shifts are, by
    the gradients that they were found at, is compared with what noise would feign. A change of exposure is no motion.
    Whatever else changes, such as a shadow, counts as motion. While something keeps moving, every other frame is
    compared with the one before it: rest is noticed a frame later, for half the time.

    Args:
        center: (3,) metres, the middle of the object in the mesh frame.
        diameter: metres.
    """

    def __init__(self, center: np.ndarray, diameter: float):
        self._center, self._diameter = np.asarray(center, dtype=np.float64), diameter
        self.forget()

    def forget(self) -> None:
        """The next frame is the first one."""
        self._view: _View | None = None
        self._rests, self._moved = False, 0

    def is_still(self, frame: Frame, pose: np.ndarray, busy: bool = False) -> bool:
        """Whether nothing has moved since the frame that is remembered; if something has, this frame is, from now on.

        Args:
            frame: with colour.
            pose: (4, 4) of the object in it, original mesh in camera.
            busy: this frame has cost much already: what moved until now is taken to move, without a look.
        """
        if busy and not self._rests:
            return False
        view = self._view
        self._rests = view is not None and view.shape == frame.rgb.shape and _is_same(view, frame.rgb)
        if self._rests:
            self._moved = 0
            return True
        self._moved += view is not None
        if view is not None and self._moved > _IN_MOTION:
            self._view = None
        else:
            window = self._window(frame, pose)
            self._view = None if window is None else _look(frame.rgb, window)
        return False

    def _window(self, frame: Frame, pose: np.ndarray) -> tuple[slice, slice] | None:
        """The part of the picture that the object may fill; None where that is too little to tell."""
        x, y, z = pose[:3, :3] @ self._center + pose[:3, 3]
        if not z > 0:
            return None
        u, v, _ = frame.K @ (x / z, y / z, 1.0)
        radius = 0.5 * self._diameter * frame.K[0, 0] / z
        height, width = frame.rgb.shape[:2]
        left, right = max(round(u - radius), 0), min(round(u + radius) + 1, width)
        top, bottom = max(round(v - radius), 0), min(round(v + radius) + 1, height)
        if min(right - left, bottom - top) < _LEAST_SIZE:
            return None
        return slice(top, bottom), slice(left, right)


def _gray(rgb: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    """(S, S) float32, the window's brightness, blurred, without its mean."""
    gray = cv2.cvtColor(np.ascontiguousarray(rgb[window]), cv2.COLOR_RGB2GRAY)
    height, width = (max(round(length * min(_SIZE / max(gray.shape), 1.0)), _LEAST_SIZE) for length in gray.shape)
    small = cv2.resize(gray.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), _BLUR)
    return small - small.mean()


def _look(rgb: np.ndarray, window: tuple[slice, slice]) -> _View:
    gray = _gray(rgb, window)
    across, down = (cv2.Sobel(gray, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    products = _cells(across * across), _cells(across * down), _cells(down * down)
    return _View(window, rgb.shape, gray, across, down, *products)


def _is_same(view: _View, rgb: np.ndarray) -> bool:
    """Whether a picture shows what the view did, but for noise and exposure."""
    now = _gray(rgb, view.window)
    exposure = float((view.gray * now).sum()) / max(float((view.gray * view.gray).sum()), 1e-6)
    change = now - exposure * view.gray
    x, y = _cells(view.across * change), _cells(view.down * change)
    xx, yy = view.xx + _FLAT, view.yy + _FLAT
    # Of the mean square change in each cell what the best shift of it explains, and what is left.
    explained = (yy * x * x - 2 * view.xy * x * y + xx * y * y) / (xx * yy - view.xy * view.xy)
    left = float(np.median(_cells(change * change) - explained))
    strength = float((view.xx + view.yy).mean()) / 2
    if strength < _FLAT or not _EXPOSURE[0] < exposure < _EXPOSURE[1]:
        return False
    motion = math.sqrt(max(float(explained.mean()), 0.0) / strength)
    noise = math.sqrt(2 * _CORRELATED / _CELL**2 * max(left, 0.0) / strength)
    times, most = _NOISE
    return noise <= most and motion < max(_STILL, times * noise)


def _cells(values: np.ndarray) -> np.ndarray:
    """The mean of each cell; what does not fill a cell at the right and lower border is left out."""
    rows, columns = (length // _CELL for length in values.shape)
    return cv2.resize(values[: rows * _CELL, : columns * _CELL], (columns, rows), interpolation=cv2.INTER_AREA)
