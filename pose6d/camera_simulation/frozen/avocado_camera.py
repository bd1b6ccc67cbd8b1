"""The camera of the demo's scene. Frozen: poses of that scene are published."""

from __future__ import annotations

import cv2
import numpy as np

from pose6d.camera_simulation.frozen.stereo_camera import StereoCamera, add_noise, code_values, displace, extremes


class AvocadoCamera(StereoCamera):
    """More flying pixels, holes and highlights than `StereoCamera`."""

    _LEAST_DISPARITY = 1.0

    def expose(self, linear: np.ndarray, gain: np.ndarray | float, rng: np.random.Generator) -> np.ndarray:
        height, width = linear.shape[:2]
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        off_axis = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2)[..., None]
        light = cv2.GaussianBlur(linear.astype(np.float32), (0, 0), 0.55) * (gain * (1 - 0.28 * off_axis))
        light = add_noise(light, rng, 1.1e-4, 4e-6)
        return code_values(np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2), light))

    def _match(
        self, disparity: np.ndarray, brightness: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        def smooth(sigma: float) -> np.ndarray:
            """(H, W) float64 noise of unit deviation."""
            noise = cv2.GaussianBlur(rng.standard_normal(disparity.shape, np.float32), (0, 0), sigma)
            return noise * (sigma * 2 * np.sqrt(np.pi))

        jitter = rng.standard_normal((2, *disparity.shape), np.float32).transpose(1, 2, 0)
        frayed = displace(disparity, jitter, 5.0)
        near, far = extremes(frayed, 5)
        edge = near - far > 2.5
        flying = edge & (rng.random(disparity.shape) < 0.3)
        measured = np.where(flying, cv2.blur(frayed, (5, 5)), frayed) + 0.09 * (0.8 * smooth(2.5) + 0.6 * smooth(0.8))
        dark, blown = np.clip((0.10 - brightness) / 0.10, 0, 1), np.clip((brightness - 0.97) / 0.03, 0, 1)
        holes = smooth(4.0) > 3.1 - 2.0 * dark - 2.6 * blown
        return measured, holes | (edge & (rng.random(disparity.shape) < 0.2))
