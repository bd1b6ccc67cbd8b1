"""Lens distortion: what the usual models mean, and pictures as a pinhole camera would have taken them.

All models here say where a pinhole camera's ray (x, y, 1) appears in the distorted picture. That holds for RealSense's
"inverse" Brown-Conrady too: its documentation calls it an undistortion, but the SDK projects with it just as with the
modified model, aligns depth so, and inverts it by iteration (rs2_project_point_to_pixel, rs2_deproject_pixel_to_point
since 2.45; `tests/test_lens.py` holds the SDK's numbers).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pose6d.errors import SceneError

_Distortion = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _brown_conrady(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's 4, 5, 8, 12 or 14 coefficients: k1 k2 p1 p2 k3, denominators k4 k5 k6, thin prism, tilt."""
    if len(k) not in (4, 5, 8, 12, 14):
        raise ValueError(f"{len(k)} coefficients, wanted 4, 5, 8, 12 or 14 (k1 k2 p1 p2 k3 ...)")
    rays = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1)
    places, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), k)
    return places[:, 0, 0].reshape(x.shape), places[:, 0, 1].reshape(x.shape)


def _modified_brown_conrady(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RealSense: the tangential part is applied to what the radial part gives."""
    k1, k2, p1, p2, k3 = k
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    x, y = x * radial, y * radial
    return x + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)


def _kannala_brandt(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's fisheye, ROS' equidistant: a polynomial of the angle."""
    k1, k2, k3, k4 = k[:4]
    r = np.maximum(np.hypot(x, y), 1e-9)
    angle = np.arctan(r)
    t = angle * angle
    scale = angle * (1 + t * (k1 + t * (k2 + t * (k3 + t * k4)))) / r
    return x * scale, y * scale


def _f_theta(x: np.ndarray, y: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r = np.maximum(np.hypot(x, y), 1e-9)
    scale = np.arctan(2 * r * np.tan(k[0] / 2)) / (k[0] * r)
    return x * scale, y * scale


# Name (letters and digits only) -> the model, and how many coefficients it has at least; the names are those of
# RealSense (also by number), OpenCV, ROS and COLMAP.
_MODELS: dict[str, tuple[_Distortion, int]] = {
    **dict.fromkeys(("brownconrady", "plumbbob", "radtan", "opencv", "fullopencv", "4"), (_brown_conrady, 4)),
    **dict.fromkeys(("rationalpolynomial", "rational"), (_brown_conrady, 8)),
    **dict.fromkeys(("modifiedbrownconrady", "inversebrownconrady", "1", "2"), (_modified_brown_conrady, 5)),
    **dict.fromkeys(
        ("kannalabrandt4", "kannalabrandt", "equidistant", "fisheye", "opencvfisheye", "5"), (_kannala_brandt, 4)
    ),
    **dict.fromkeys(("ftheta", "3"), (_f_theta, 1)),
}
_LEAST_SEEN = 0.5  # of a picture without distortion that a lens saw; a fisheye sees more than all of it
_NOWHERE = -1e4  # pixels: outside any picture
_WITHOUT = ("none", "pinhole", "nodistortion", "0")


@dataclass(frozen=True)
class Lens:
    """A lens that distorts.

    Attributes:
        model: as its file names it.
        coefficients: of that model.
    """

    model: str
    coefficients: tuple[float, ...]

    def distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rays (x, y, 1) of any shape appear, as rays of a pinhole camera with the same K."""
        model, _ = _MODELS[_plain(self.model)]
        return model(x, y, np.array(self.coefficients))


def find_lens(model: object, coefficients: Sequence[float], source: str) -> Lens | None:
    """The lens that a camera file states, None for one without distortion.

    Args:
        model: a name or RealSense's number; None where the file has coefficients only, which are then OpenCV's.
        coefficients: all 0 for no distortion.
        source: the file to name in messages.

    Raises:
        SceneError: the model is unknown, or its coefficients are not as many as it has, or not finite.
    """
    if not any(coefficients):
        return None
    name = "brown_conrady" if model is None else str(model).removeprefix("distortion.").removeprefix("RS2_DISTORTION_")
    stated = f"{source}: lens distortion {name!r} with coefficients {list(coefficients)}"
    cure = "undistort colour, depth and masks yourself, and set the coefficients to 0"
    if _plain(name) in _WITHOUT:
        raise SceneError(f"{stated} contradicts itself: name the model, or set the coefficients to 0 if there is none")
    if _plain(name) not in _MODELS:
        known = "brown_conrady, inverse_brown_conrady, plumb_bob, rational_polynomial, equidistant, kannala_brandt4"
        raise SceneError(f"{stated} is unknown: wanted {known} or ftheta; or {cure}")
    lens, least = Lens(name, tuple(coefficients)), _MODELS[_plain(name)][1]
    if not np.isfinite(coefficients).all() or len(coefficients) < least:
        raise SceneError(f"{stated} is none: wanted at least {least} finite numbers; or {cure}")
    try:
        with np.errstate(all="ignore"):
            if not np.isfinite(lens.distort(np.full(1, 0.1), np.zeros(1))).all():
                raise ValueError("no ray appears anywhere with it")
    except ValueError as error:
        raise SceneError(f"{stated} is none: {error}; or {cure}") from error
    return lens


class Undistortion:
    """Takes the distortion out of pictures of one camera; K stays as it is.

    Args:
        lens: the camera's.
        K: (3, 3) intrinsics.
        size: (height, width) of the pictures.

    Attributes:
        shift: by how many pixels the lens moves what is seen at the picture's border, at most.
        seen: the share of the pinhole camera's picture that the lens saw, 0..1.
    """

    def __init__(self, lens: Lens, K: np.ndarray, size: tuple[int, int]) -> None:
        v, u = np.mgrid[: size[0], : size[1]].astype(np.float64)
        y = (v - K[1, 2]) / K[1, 1]
        x = (u - K[0, 2] - K[0, 1] * y) / K[0, 0]
        seen_x, seen_y = lens.distort(x, y)
        across, down = K[0, 0] * seen_x + K[0, 1] * seen_y + K[0, 2], K[1, 1] * seen_y + K[1, 2]
        # Far outside, a polynomial turns back and would show the picture once more.
        farther_x, farther_y = lens.distort(1.001 * x, 1.001 * y)
        sound = (farther_x - seen_x) * x + (farther_y - seen_y) * y >= 0
        self.shift = float(np.hypot(across - u, down - v)[sound].max(initial=0))
        inside = (np.abs(across - size[1] / 2) <= size[1] / 2) & (np.abs(down - size[0] / 2) <= size[0] / 2)
        self.seen = float((sound & inside).mean())
        self._map = np.float32(np.where(sound, across, _NOWHERE)), np.float32(np.where(sound, down, _NOWHERE))

    def smooth(self, image: np.ndarray) -> np.ndarray:
        """Colour (H, W, 3), interpolated; black where the lens did not see."""
        return cv2.remap(image, *self._map, cv2.INTER_LINEAR)

    def exact(self, image: np.ndarray) -> np.ndarray:
        """Depth or mask (H, W), each pixel as its nearest one; 0 where the lens did not see."""
        plain = image.astype(np.uint8) if image.dtype == bool else image
        return cv2.remap(plain, *self._map, cv2.INTER_NEAREST).astype(image.dtype)


def make_undistortion(lens: Lens, K: np.ndarray, size: tuple[int, int], source: str) -> Undistortion:
    """An `Undistortion` that leaves something of the picture.

    Args:
        lens: the camera's.
        K: (3, 3) intrinsics.
        size: (height, width) of the pictures.
        source: the file to name in messages.

    Raises:
        SceneError: less than half of the picture is left, so that the coefficients are those of another lens.
    """
    undistortion = Undistortion(lens, K, size)
    if undistortion.seen < _LEAST_SEEN:
        raise SceneError(
            f"{source}: with the distortion of its lens ({lens.model}, {list(lens.coefficients)}), "
            f"{100 * undistortion.seen:.0f} % of the picture is left: are the coefficients those of this camera, in "
            "the model's order (k1 k2 p1 p2 k3)?"
        )
    return undistortion


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
