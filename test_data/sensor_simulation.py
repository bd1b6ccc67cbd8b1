"""What a colour and a stereo depth sensor make of a perfect picture."""

from __future__ import annotations

import cv2
import numpy as np

BASELINE = 0.05
"""Metres between the two infrared cameras."""

_SUBPIXEL = 0.09  # standard deviation of the disparity, pixels
_STEP = 1.0 / 32  # the matcher's resolution, pixels


def expose(linear: np.ndarray, rng: np.random.Generator, gain: float = 1.0) -> np.ndarray:
    """8-bit picture (H, W, 3) of linear colour (H, W, 3): vignetting, blur, shot and read noise, gamma 2."""
    height, width = linear.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    off_axis = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2)[..., None]
    light = cv2.GaussianBlur(linear.astype(np.float32), (0, 0), 0.55) * (gain * (1 - 0.28 * off_axis))
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    light = light + noise * np.sqrt(np.maximum(light, 0) * 1.1e-4 + 4e-6)
    light = np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2), light)  # highlights roll off
    return (np.sqrt(np.clip(light, 0, 1)) * 255 + 0.5).astype(np.uint8)


def measure_depth(depth: np.ndarray, brightness: np.ndarray, focal: float, rng: np.random.Generator) -> np.ndarray:
    """Depth as a stereo camera reports it, (H, W) metres in whole millimetres, 0 where it finds no match.

    Disparity focal * BASELINE / z gets noise and the matcher's steps, so that the error grows with z squared. Edges
    lose the strip that only one of the cameras sees, get points that fly between front and back, and are frayed; dark
    and blown-out surfaces have holes.

    Args:
        depth: (H, W) metres, 0 where there is nothing.
        brightness: (H, W) 0..1, of the colour picture.
        focal: pixels.
        rng: source of the noise.
    """
    shape = depth.shape
    there = depth > 0
    disparity = np.where(there, focal * BASELINE / np.maximum(depth, 1e-3), 0).astype(np.float32)
    # Windows of the matcher see two surfaces at an edge and take one of them, or something between.
    jitter = cv2.GaussianBlur(rng.standard_normal((2, *shape), dtype=np.float32).transpose(1, 2, 0), (0, 0), 1.5) * 5.0
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    frayed = cv2.remap(
        disparity, x + jitter[..., 0], y + jitter[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    mixed = cv2.blur(frayed, (5, 5))
    kernel = np.ones((5, 5), np.uint8)
    edge = cv2.dilate(frayed, kernel) - cv2.erode(frayed, kernel) > 2.5
    flying = edge & (rng.random(shape) < 0.3)
    measured = np.where(flying, mixed, frayed)

    coarse = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 2.5) * (2.5 * 2 * np.sqrt(np.pi))
    fine = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 0.8) * (0.8 * 2 * np.sqrt(np.pi))
    measured = measured + _SUBPIXEL * (0.8 * coarse + 0.6 * fine)
    measured = np.round(measured / _STEP) * _STEP

    # The second camera, to the left, does not see what lies just left of a nearer surface.
    position = np.where(there, x - disparity, np.inf)  # column in the second camera's picture
    from_right = np.minimum.accumulate(position[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(shape, bool)
    hidden[:, :-1] = from_right[:, 1:] <= position[:, :-1]

    blobs = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 4.0) * (4.0 * 2 * np.sqrt(np.pi))
    dark, blown = np.clip((0.10 - brightness) / 0.10, 0, 1), np.clip((brightness - 0.97) / 0.03, 0, 1)
    holes = blobs > 3.1 - 2.0 * dark - 2.6 * blown
    lost = hidden | holes | (edge & (rng.random(shape) < 0.2)) | ~there | (measured < 1.0)
    metres = np.where(lost, 0, focal * BASELINE / np.maximum(measured, 1.0))
    return (np.round(metres * 1000) / 1000).astype(np.float32)
