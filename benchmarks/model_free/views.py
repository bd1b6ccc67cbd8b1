"""Reference views of a mesh, as people take them: a structured-light camera, poses a little off, masks that bleed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch

from mesh_creation.reference_views.view import ReferenceView
from pose6d.camera_simulation.simulated_camera import SimulatedCamera
from pose6d.geometry.rotation_grids import icosphere
from pose6d.geometry.transforms import random_rotations, rigid_transform, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Shading

Directions = Literal["around", "above"]

_SIZE = 480, 640
_FOCAL = 600.0
_UNIT = 0.12  # metres; the simulated camera states its depth errors at five times that
_CAMERA = SimulatedCamera(
    awful_share=0.0,
    exposure=0.08,
    brightness=0.01,
    white_balance=0.02,
    gamma=0.05,
    saturation=0.05,
    contrast=0.05,
    vignetting=0.1,
    rolling=0.0,
    misaligned=0.2,
    motion_blur=0.1,
    defocus=0.8,
    color_noise=0.02,
)


@dataclass(frozen=True)
class ViewSimulation:
    """How reference views are taken."""

    views: int = 16
    directions: Directions = "around"
    """all around the object, or from 20 to 80 degrees above a table only"""
    rotation_error: float = 0.3
    """degrees by which the poses are off, standard deviation"""
    translation_error: float = 0.001
    """metres by which they are off"""
    mask_bleed: int = 2
    """most pixels by which a mask is too large or too small"""


def simulate_views(mesh: Mesh, simulation: ViewSimulation, seed: int) -> tuple[list[ReferenceView], np.ndarray]:
    """Views of a mesh (metres), and the true poses (N, 4, 4) of the camera in the object."""
    rng = np.random.default_rng([seed, simulation.views, simulation.directions == "above"])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    renderer = make_renderer(mesh, "cpu")
    K = torch.tensor([[_FOCAL, 0, _SIZE[1] / 2], [0, _FOCAL, _SIZE[0] / 2], [0, 0, 1]])
    shading = Shading(ambient=float(rng.uniform(0.6, 0.8)), headlight=float(rng.uniform(0.2, 0.4)))
    views, truth = [], []
    for i, direction in enumerate(_directions(simulation, rng)):
        object_in_camera = _look_at(direction, mesh, rng)
        drawn = renderer.render(torch.from_numpy(object_in_camera).float()[None], K, _SIZE, shading=shading)
        mask, depth, color = drawn.mask[0], drawn.depth[0].clone(), drawn.color[0].clone()
        back, wall = _background(object_in_camera, mesh, simulation.directions, rng)
        visible = mask & ((back <= 0) | (depth < back))
        color = torch.where(visible[..., None], color, wall)
        depth = torch.where(visible, depth, back)
        seen, measured = _CAMERA.capture(color.permute(2, 0, 1)[None], depth[None] / _UNIT, generator)
        camera_in_object = np.linalg.inv(object_in_camera)
        views.append(
            ReferenceView(
                f"{i:06d}",
                (seen[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy(),
                (measured[0] * _UNIT).numpy(),
                _bleed(visible.numpy(), simulation.mask_bleed, rng),
                K.double().numpy(),
                np.linalg.inv(_shake(object_in_camera, mesh.center, simulation, rng)),
            )
        )
        truth.append(camera_in_object)
    return views, np.stack(truth)


def _directions(simulation: ViewSimulation, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) unit vectors from the object to the cameras, spread out, greedily."""
    pool = icosphere(3).astype(np.float64)
    if simulation.directions == "above":
        pool = pool[(pool[:, 2] > np.sin(np.radians(20))) & (pool[:, 2] < np.sin(np.radians(80)))]
    else:
        pool = pool @ random_rotations(1, torch.Generator().manual_seed(int(rng.integers(2**62))))[0].double().numpy()
    chosen = [pool[rng.integers(len(pool))]]
    while len(chosen) < simulation.views:
        chosen.append(pool[np.argmin((pool @ np.array(chosen).T).max(axis=1))])
    return np.array(chosen)


def _look_at(direction: np.ndarray, mesh: Mesh, rng: np.random.Generator) -> np.ndarray:
    """Pose (4, 4) of the object in a camera in that direction, which does not aim exactly."""
    side = np.cross([0.0, 0.0, 1.0] if abs(direction[2]) < 0.95 else [0.0, 1.0, 0.0], direction)
    side /= np.linalg.norm(side)
    rotation = np.stack([side, np.cross(side, direction) * -1.0, -direction])
    rotation[1] = np.cross(rotation[2], rotation[0])
    distance = float(np.clip(3.5 * mesh.diameter, 0.35, 0.8) * rng.uniform(0.9, 1.1))
    place = np.array([*rng.uniform(-0.04, 0.04, 2) * distance, distance])
    return rigid_transform(rotation, place - rotation @ mesh.center)


def _background(
    object_in_camera: np.ndarray, mesh: Mesh, directions: Directions, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth (H, W) and colour (H, W, 3) of the table under the object, or of a wall behind it."""
    if directions == "above":
        normal = object_in_camera[:3, 2]
        point = object_in_camera[:3, :3] @ [*mesh.center[:2], mesh.vertices[:, 2].min()] + object_in_camera[:3, 3]
    else:
        normal = np.array([*rng.uniform(-0.3, 0.3, 2), -1.0])
        middle = object_in_camera[:3, :3] @ mesh.center + object_in_camera[:3, 3]
        point = middle + np.array([0.0, 0.0, 0.6 * mesh.diameter + rng.uniform(0.05, 0.5)])
    v, u = np.mgrid[: _SIZE[0], : _SIZE[1]]
    rays = np.stack([(u - _SIZE[1] / 2) / _FOCAL, (v - _SIZE[0] / 2) / _FOCAL, np.ones(_SIZE)], axis=-1)
    depth = (normal @ point) / np.minimum(rays @ normal, -1e-3)
    depth[depth > 2.5] = 0
    small = rng.uniform(0, 1, (12, 16, 3)).astype(np.float32)
    wall = cv2.resize(small, _SIZE[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1) * 0.6 + 0.1
    return torch.from_numpy(depth.astype(np.float32)), torch.from_numpy(wall)


def _bleed(mask: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """The mask grown or shrunk by up to so many pixels, more on one side than on the other."""
    pixels = int(rng.integers(-most, most + 1))
    kernel = np.ones((2 * abs(pixels) + 1,) * 2, np.uint8)
    changed = (cv2.dilate if pixels > 0 else cv2.erode)(mask.astype(np.uint8), kernel)
    shift = np.float32([[1, 0, rng.integers(-1, 2)], [0, 1, rng.integers(-1, 2)]])
    moved = cv2.warpAffine(changed, shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return (moved > 0) if most else mask


def _shake(
    object_in_camera: np.ndarray, center: np.ndarray, simulation: ViewSimulation, rng: np.random.Generator
) -> np.ndarray:
    """The pose turned about the object's middle and moved by as much as the poses are off."""
    axis = torch.from_numpy(rng.normal(0, np.radians(simulation.rotation_error), (1, 3)) / np.sqrt(3))
    turn = so3_exp(axis)[0].numpy()
    middle = object_in_camera[:3, :3] @ center + object_in_camera[:3, 3]
    moved = object_in_camera.copy()
    moved[:3, :3] = turn @ moved[:3, :3]
    offset = rng.normal(0, simulation.translation_error / np.sqrt(3), 3)
    moved[:3, 3] = middle + offset - moved[:3, :3] @ center
    return moved
