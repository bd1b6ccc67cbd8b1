"""The camera of simulated recordings: single frames as the D400 series sees them, in metres.

Frozen: the accuracy of scans that docs/mesh_creation.md states was measured with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

_BASELINE = 0.05  # metres between the two infrared cameras
_STEPS = 32  # of the matcher, per pixel of disparity


@dataclass(frozen=True)
class StereoCamera:
    """The camera of simulated recordings, with aligned depth.

    Attributes:
        width, height, fx, fy, ppx, ppy: pixels, as intrinsics.json has them (a D435 at 640x480).
        depth_scale: metres per unit of the depth images.
        disparity_noise: standard deviation in pixels; depth errors grow with the square of the distance.
        colour_noise: standard deviation of mid grey, of 1; 0 for a perfect sensor.
        exposure: seconds, during which motion blurs the picture.
    """

    width: int = 640
    height: int = 480
    fx: float = 606.757
    fy: float = 606.368
    ppx: float = 319.205
    ppy: float = 239.881
    depth_scale: float = 0.001
    disparity_noise: float = 0.08
    colour_noise: float = 0.008
    exposure: float = 0.008

    _LEAST_DISPARITY: ClassVar[float] = 3.0  # pixels; less is no match

    @property
    def K(self) -> np.ndarray:  # noqa: N802 - its name in the field
        """(3, 3) float64 intrinsics; integer pixel coordinates are pixel centres."""
        return np.array([[self.fx, 0, self.ppx], [0, self.fy, self.ppy], [0, 0, 1]])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def intrinsics(self) -> dict[str, float]:
        """What intrinsics.json says of this camera."""
        names = ("fx", "fy", "ppx", "ppy", "width", "height", "depth_scale")
        return {name: getattr(self, name) for name in names}

    def capture(
        self,
        linear: np.ndarray,
        depth: np.ndarray,
        gain: np.ndarray | float,
        rng: np.random.Generator,
        bias: np.ndarray | float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colour and depth of a frame as the camera reports them; see `expose` and `measure_depth`."""
        picture = self.expose(linear, gain, rng)
        return picture, self.measure_depth(depth, picture.max(axis=-1) / 255.0, rng, bias)

    def expose(self, linear: np.ndarray, gain: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
        """8-bit picture (H, W, 3): the lens' softness, noise, gamma 2.

        Args:
            linear: (H, W, 3) float32, linear light.
            gain: of all channels, or (3,).
            rng: source of the noise.
        """
        light = cv2.GaussianBlur(linear, (0, 0), 0.5) * np.asarray(gain, np.float32)
        # Shot noise grows with the root of the light; 0.25 is linear mid grey, whose code value has half this slope.
        return code_values(add_noise(light, rng, 3.8, 0.06, self.colour_noise))

    def measure_depth(
        self, depth: np.ndarray, brightness: np.ndarray, rng: np.random.Generator, bias: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """What a stereo camera reports, (H, W) uint16 in units of `depth_scale`, 0 where it finds no match.

        Disparity gets smooth and fine noise and the matcher's steps; edges are frayed, mixed or lost, the strip left of
        a near surface that the second camera does not see is lost, and so are parts of very dark surfaces.

        Args:
            depth: (H, W) float32 metres, 0 where there is nothing.
            brightness: (H, W) 0..1, of the colour picture.
            rng: source of the noise.
            bias: (H, W) relative error of distance of this camera's calibration.
        """
        disparity = np.where(depth > 0, self.fx * _BASELINE / np.maximum(depth, 1e-3), 0).astype(np.float32)
        measured, lost = self._match(disparity, brightness, rng)
        measured = np.round(measured * _STEPS) / _STEPS * (1 - bias)
        lost = lost | _hidden(disparity) | (measured < self._LEAST_DISPARITY)
        metres = np.where(lost, 0, self.fx * _BASELINE / np.maximum(measured, 1))
        units = np.round(metres / self.depth_scale)
        return np.where(units > np.iinfo(np.uint16).max, 0, units).astype(np.uint16)

    def draw_bias(self, rng: np.random.Generator, strength: float = 0.001) -> np.ndarray:
        """(H, W) float32 relative error of distance that varies slowly over the picture and never changes."""
        coarse = rng.standard_normal((4, 5)).astype(np.float32) * np.float32(strength)
        return cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)

    def _match(
        self, disparity: np.ndarray, brightness: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Disparity with edge effects and noise, and bool, where there is no match; both (H, W)."""
        wandering = displace(disparity, rng.standard_normal((*disparity.shape, 2), np.float32), 4.5)
        near, far = extremes(wandering, 3)
        chance = rng.random(disparity.shape, np.float32)
        edge = near - far > 1.5
        measured = np.where(edge & (chance < 0.12), far + (near - far) * (chance / np.float32(0.12)), wandering)
        smooth, fine = (
            cv2.GaussianBlur(rng.standard_normal(disparity.shape, np.float32), (0, 0), sigma) * scale
            for sigma, scale in ((2.0, 7.09), (0.7, 2.48))
        )
        dark = chance < np.clip((0.12 - brightness.astype(np.float32)) / 0.12, 0, 1) * (smooth > 0)
        lost = dark | (edge & (chance > 0.75)) | (smooth > 3.4)
        return measured + self.disparity_noise * (0.8 * smooth + 0.6 * fine), lost


def add_noise(
    light: np.ndarray, rng: np.random.Generator, shot: float, read: float, strength: float = 1.0
) -> np.ndarray:
    """Light with noise whose variance is `shot` per unit of light above `read`, times the square of `strength`."""
    noise = rng.standard_normal(light.shape, np.float32)
    return light + noise * (strength * np.sqrt(np.maximum(light, 0) * shot + read))


def code_values(light: np.ndarray) -> np.ndarray:
    """8-bit values of gamma 2."""
    return (np.sqrt(np.clip(light, 0, 1)) * 255 + 0.5).astype(np.uint8)


def displace(disparity: np.ndarray, noise: np.ndarray, pixels: float) -> np.ndarray:
    """Edges that wander: a matching window that straddles one answers with either side; `noise` is (H, W, 2)."""
    shift = cv2.GaussianBlur(noise, (0, 0), 1.5) * pixels
    y, x = np.mgrid[0 : disparity.shape[0], 0 : disparity.shape[1]].astype(np.float32)
    columns, rows = x + shift[..., 0], y + shift[..., 1]
    return cv2.remap(disparity, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def extremes(image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest and smallest value of each pixel's neighbourhood."""
    kernel = np.ones((size, size), np.uint8)
    return cv2.dilate(image, kernel), cv2.erode(image, kernel)


def _hidden(disparity: np.ndarray) -> np.ndarray:
    """(H, W) bool: nothing is there, or the second camera, to the left, does not see it beside a nearer surface."""
    there = disparity > 0
    column = np.where(there, np.arange(disparity.shape[1], dtype=np.float32) - disparity, np.inf)  # in its picture
    nearest = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    hidden = ~there
    hidden[:, :-1] |= nearest[:, 1:] <= column[:, :-1]
    return hidden
