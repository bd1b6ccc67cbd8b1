"""Light and soft shadows for rendered scenes: one key light and a few broad ones, by variance shadow maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

_RESOLUTION = 768  # of shadow maps, pixels to each side
DepthFrom = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(camera_in_world (4, 4), K (3, 3), size) -> (size, size) metres along the axis, 0 where there is nothing."""


@dataclass(frozen=True)
class Light:
    """A small lamp.

    Attributes:
        in_world: (4, 4) pose of a camera in its place that sees the scene.
        colour: (3,) linear brightness.
        softness: width of the shadows' edges, in pixels of the shadow map.
        highlights: whether glossy surfaces mirror it.
    """

    in_world: np.ndarray
    colour: tuple[float, float, float]
    softness: float
    highlights: bool = False


class LightRig:
    """Shades points of a scene whose shadows are known from depth maps seen by the lights.

    Shadow maps keep the blurred depth and squared depth, so that one look-up gives a soft edge (Donnelly and Lauritzen,
    Variance Shadow Maps, 2006).
    """

    def __init__(self, lights: list[Light], ambient: tuple[float, float, float]) -> None:
        self.lights = lights
        self.ambient = np.array(ambient, np.float32)
        focal, middle = _RESOLUTION * 0.8, _RESOLUTION / 2
        self.K = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])

    def shadow_maps(self, depth_from: DepthFrom) -> list[np.ndarray]:
        """(size, size, 2) blurred depth and squared depth for each light."""
        maps = []
        for light in self.lights:
            depth = depth_from(light.in_world, self.K, _RESOLUTION).astype(np.float32)
            depth[depth == 0] = depth.max()
            moments = np.stack([depth, depth * depth], axis=-1)
            maps.append(cv2.GaussianBlur(moments, (0, 0), light.softness))
        return maps

    def shade(
        self,
        albedo: np.ndarray,
        points: np.ndarray,
        normals: np.ndarray,
        gloss: np.ndarray,
        eye: np.ndarray,
        maps: list[np.ndarray],
    ) -> np.ndarray:
        """Linear colour (H, W, 3) float32 of points (H, W, 3) with normals (H, W, 3) in the world, seen from `eye`."""
        towards_eye = eye.astype(np.float32) - points
        towards_eye /= np.linalg.norm(towards_eye, axis=-1, keepdims=True) + 1e-9
        sky = 0.65 + 0.35 * normals[..., 2:]  # less light reaches what looks downwards
        brightness = self.ambient * sky
        highlight = np.zeros_like(albedo)
        for light, shadow in zip(self.lights, maps, strict=True):
            place = light.in_world[:3, 3].astype(np.float32)
            towards = place - points
            towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
            slope = np.einsum("hwc,hwc->hw", normals, towards)
            seen = self._visible(points, light.in_world, shadow)
            colour = np.array(light.colour, np.float32)
            brightness = brightness + (np.clip(slope, 0, 1) * seen)[..., None] * colour
            if light.highlights:  # Blinn-Phong
                half = towards + towards_eye
                half /= np.linalg.norm(half, axis=-1, keepdims=True) + 1e-9
                shine = np.clip(np.einsum("hwc,hwc->hw", normals, half), 0, 1) ** 40
                highlight = highlight + (gloss * shine * seen * (slope > 0))[..., None] * colour
        return albedo * brightness + highlight

    def _visible(self, points: np.ndarray, light_in_world: np.ndarray, shadow: np.ndarray) -> np.ndarray:
        """(H, W) share of the light that reaches each point."""
        world_in_light = np.linalg.inv(light_in_world)
        seen = points @ world_in_light[:3, :3].T.astype(np.float32) + world_in_light[:3, 3].astype(np.float32)
        depth = np.maximum(seen[..., 2], 1e-3)
        u = self.K[0, 0] * seen[..., 0] / depth + self.K[0, 2]
        v = self.K[1, 1] * seen[..., 1] / depth + self.K[1, 2]
        moments = cv2.remap(
            shadow, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mean = moments[..., 0]
        variance = np.maximum(moments[..., 1] - mean * mean, 4e-6)
        behind = depth - mean - 0.003
        bound = variance / (variance + behind * behind)
        # Chebyshev's bound never quite reaches 0: what it leaves of the light in full shadow is cut off.
        return np.where(behind <= 0, 1.0, np.clip((bound - 0.25) / 0.75, 0, 1)).astype(np.float32)
