"""What an RGB-D camera makes of a perfect picture: motion blur, exposure, noise, and the errors of stereo depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_BASELINE = 0.05  # metres between the infrared cameras of a D400
_LONGEST_BLUR = 24.0  # pixels; more than that is a thrown camera


@dataclass(frozen=True)
class CameraModel:
    """An RGB-D camera with aligned depth.

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

    @property
    def K(self) -> np.ndarray:  # noqa: N802 - its name in the field
        """(3, 3) float64 intrinsics; integer pixel coordinates are pixel centres."""
        return np.array([[self.fx, 0, self.ppx], [0, self.fy, self.ppy], [0, 0, 1]])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width


def image_motion(xyz: np.ndarray, motion: np.ndarray, K: np.ndarray) -> np.ndarray:
    """How far each pixel's point moves in the picture while the shutter is open.

    Args:
        xyz: (H, W, 3) float32 points in camera axes, 0 where there is nothing.
        motion: (4, 4) that takes points from the middle of the exposure to its end, camera axes.
        K: (3, 3).

    Returns:
        (H, W, 2) float32 pixels from the middle to the end; the first half is taken to be the same backwards.
    """
    there = xyz[..., 2] > 0
    moved = xyz @ motion[:3, :3].T.astype(np.float32) + motion[:3, 3].astype(np.float32)
    z, z_moved = np.where(there, xyz[..., 2], 1), np.maximum(np.where(there, moved[..., 2], 1), 1e-3)
    u = np.float32(K[0, 0]) * (moved[..., 0] / z_moved - xyz[..., 0] / z)
    v = np.float32(K[1, 1]) * (moved[..., 1] / z_moved - xyz[..., 1] / z)
    flow = np.stack([u, v], axis=-1) * there[..., None]
    return np.clip(flow, -_LONGEST_BLUR / 2, _LONGEST_BLUR / 2).astype(np.float32)


def blur_by_motion(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Average a picture (H, W, 3) float32 along `flow` (H, W, 2), in steps of at most about a pixel."""
    reach = float(np.percentile(np.abs(flow).max(axis=-1), 99))
    steps = int(np.ceil(2 * reach)) + 1
    if reach < 0.15:
        return image
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    total = np.zeros_like(image)
    shares = (np.arange(steps) + 0.5) / steps * 2 - 1
    for share in shares.astype(np.float32):
        total += cv2.remap(
            image,
            columns + share * flow[..., 0],
            rows + share * flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return total / steps


def expose(linear: np.ndarray, gain: np.ndarray, camera: CameraModel, rng: np.random.Generator) -> np.ndarray:
    """8-bit picture (H, W, 3) of linear light (H, W, 3): the lens' softness, gain per channel (3,), noise, gamma 2."""
    light = cv2.GaussianBlur(linear, (0, 0), 0.5) * gain.astype(np.float32)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    # Shot noise grows with the root of the light; 0.25 is linear mid grey, whose code value has half this slope.
    light = light + noise * (camera.colour_noise * np.sqrt(0.06 + np.maximum(light, 0) * 3.8))
    return (np.sqrt(np.clip(light, 0, 1)) * 255 + 0.5).astype(np.uint8)


def measure_depth(
    depth: np.ndarray, brightness: np.ndarray, bias: np.ndarray, camera: CameraModel, rng: np.random.Generator
) -> np.ndarray:
    """What a stereo camera reports, (H, W) uint16 in units of `camera.depth_scale`, 0 where it finds no match.

    Disparity gets smooth and fine noise and the matcher's steps; edges are frayed, mixed or lost, the strip left of a
    near surface that the second camera does not see is lost, and so are parts of very dark surfaces.

    Args:
        depth: (H, W) float32 metres, 0 where there is nothing.
        brightness: (H, W) 0..1, of the colour picture.
        bias: (H, W) relative error of distance of this camera's calibration.
        camera: the camera.
        rng: source of the noise.
    """
    shape = depth.shape
    there = depth > 0
    disparity = np.where(there, camera.fx * _BASELINE / np.maximum(depth, 1e-3), 0).astype(np.float32)
    v, u = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    # A matching window that straddles an edge answers with one side or the other: edges wander by a pixel or so.
    shift = cv2.GaussianBlur(rng.standard_normal((*shape, 2), dtype=np.float32), (0, 0), 1.5) * np.float32(4.5)
    wandering = cv2.remap(
        disparity, u + shift[..., 0], v + shift[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    near, far = cv2.dilate(wandering, np.ones((3, 3), np.uint8)), cv2.erode(wandering, np.ones((3, 3), np.uint8))
    chance = rng.random(shape, dtype=np.float32)
    edge = near - far > 1.5
    measured = np.where(edge & (chance < 0.12), far + (near - far) * (chance / np.float32(0.12)), wandering)

    smooth = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 2.0) * np.float32(7.09)
    fine = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 0.7) * np.float32(2.48)
    measured = measured + np.float32(camera.disparity_noise) * (np.float32(0.8) * smooth + np.float32(0.6) * fine)
    measured = np.round(measured * 32) / 32 * (1 - bias)

    column = np.where(there, u - disparity, np.inf)  # where the second camera, to the left, sees the point
    nearest = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(shape, bool)
    hidden[:, :-1] = nearest[:, 1:] <= column[:, :-1]
    dark = chance < np.clip((0.12 - brightness) / 0.12, 0, 1) * (smooth > 0)
    lost = hidden | dark | (edge & (chance > 0.75)) | (smooth > 3.4) | ~there | (measured < 3)
    metres = np.where(lost, 0, camera.fx * _BASELINE / np.maximum(measured, 1))
    units = np.round(metres / camera.depth_scale)
    return np.where(units > np.iinfo(np.uint16).max, 0, units).astype(np.uint16)


def calibration_bias(camera: CameraModel, rng: np.random.Generator, strength: float = 0.001) -> np.ndarray:
    """(H, W) float32 relative error of distance that varies slowly over the picture and never changes."""
    coarse = rng.standard_normal((4, 5)).astype(np.float32) * np.float32(strength)
    return cv2.resize(coarse, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
