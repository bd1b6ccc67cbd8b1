"""Rendered sequences in which an object moves fast."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.accuracy.scenes import EvaluationScene, ScenePool, View
from benchmarks.accuracy.suites import IMAGE_SIZE, INTRINSICS, Suite
from pose6d.geometry.transforms import make_transform, random_rotations, so3_exp
from pose6d.rendering.interface import Shading

FRAMES = 20
LARGEST_STEP = 0.3  # diameters between frames
LARGEST_TURN = np.radians(30.0)  # between frames
_SMALLEST_SHARE = 0.2  # of the largest, so that no frame stands still
_MARGIN = 90.0  # pixels from the image's border that the object's centre keeps
_DISTRACTORS = 3
_LEAST_SEEN = 0.95  # of the object's silhouette, in every frame


def make_sequence(pool: ScenePool, suite: Suite, seed: int, index: int) -> EvaluationScene:
    """Sequence number `index`: the object moves in front of others that stand still, with nothing in between."""
    assert suite.noise is not None
    target = index % pool.meshes.objects
    rng = np.random.default_rng(suite.seed(seed, index))
    poses = _trajectory(rng, suite.config.pixels_per_diameter)  # (F, 4, 4) in diameters
    K = torch.tensor([[INTRINSICS[0], 0, INTRINSICS[2]], [0, INTRINSICS[1], INTRINSICS[3]], [0, 0, 1.0]])
    while True:  # a tilted table may come in between
        background, meshes = _background(rng, pool, poses)
        meshes = torch.cat([torch.tensor([target]), meshes])
        if _seen_throughout(pool, K, poses, background, meshes):
            break
    shading = Shading(ambient=float(rng.uniform(0.4, 0.8)), headlight=float(rng.uniform(0.2, 0.6)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    views: list[View] = []
    for pose in poses:
        rendering = pool.draw(K, torch.cat([pose[None], background]), meshes, shading)
        if not views:
            mask = (rendering.instance[0] == 0).numpy()
        colors, depths = suite.noise.capture(rendering.color.permute(0, 3, 1, 2), rendering.depth, generator)
        views.append(
            View(
                (colors[0].permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy(),
                (depths[0] * pool.diameters[target]).numpy(),
                K.numpy(),
                pool.in_metres(pose.numpy(), target),
            )
        )
    return EvaluationScene(target, tuple(views), mask, 1.0)


def _seen_throughout(
    pool: ScenePool, K: torch.Tensor, poses: torch.Tensor, background: torch.Tensor, meshes: torch.Tensor
) -> bool:
    """Whether nothing of the background hides the object, which is the first of the meshes, at any of its poses."""
    behind = pool.draw(K, background, meshes[1:]).depth[0]
    for pose in poses:
        own = pool.draw(K, pose[None], meshes[:1]).depth[0]
        shown = own > 0
        if ((behind > 0) & (behind < own) & shown).sum() > (1 - _LEAST_SEEN) * shown.sum():
            return False
    return True


def _trajectory(rng: np.random.Generator, pixels_per_diameter: tuple[float, float]) -> torch.Tensor:
    """(F, 4, 4) float32, a random walk that stays in the picture and within the given apparent sizes."""
    nearest, farthest = INTRINSICS[0] / pixels_per_diameter[1], INTRINSICS[0] / pixels_per_diameter[0]
    rotation = random_rotations(1, torch.Generator().manual_seed(int(rng.integers(2**62))))[0]
    z = rng.uniform(nearest, farthest)
    position = np.array([rng.uniform(-0.15, 0.15) * z, rng.uniform(-0.1, 0.1) * z, z])
    poses = [(rotation, position)]
    while len(poses) < FRAMES:
        step = position + _direction(rng) * LARGEST_STEP * rng.uniform(_SMALLEST_SHARE, 1.0)
        u = INTRINSICS[0] * step[0] / step[2] + INTRINSICS[2]
        v = INTRINSICS[1] * step[1] / step[2] + INTRINSICS[3]
        inside = _MARGIN < u < IMAGE_SIZE[1] - _MARGIN and _MARGIN < v < IMAGE_SIZE[0] - _MARGIN
        if not (inside and nearest < step[2] < farthest):
            continue
        turn = _direction(rng) * LARGEST_TURN * rng.uniform(_SMALLEST_SHARE, 1.0)
        rotation = so3_exp(torch.tensor(turn, dtype=torch.float32)[None])[0] @ rotation
        position = step
        poses.append((rotation, position))
    translations = torch.tensor(np.stack([p for _, p in poses]), dtype=torch.float32)
    return make_transform(torch.stack([r for r, _ in poses]), translations)


def _background(rng: np.random.Generator, pool: ScenePool, poses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses (I, 4, 4), scale included, and meshes (I,) of objects, a table and a wall behind all that moves."""
    behind = float(poses[:, 2, 3].max()) + 0.6
    count = _DISTRACTORS + 2
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rotations = random_rotations(count, generator)
    scales = torch.tensor(rng.uniform(0.6, 1.5, count), dtype=torch.float32)
    depth = behind + rng.uniform(0.2, 1.5, count)
    position = np.stack([rng.uniform(-0.35, 0.35, count) * depth, rng.uniform(-0.25, 0.25, count) * depth, depth], 1)
    # A table that rises towards the back, below the picture's middle, and a wall across the view; planes have side 2.
    tilt = torch.tensor([[rng.uniform(1.1, 1.4), 0, 0], [rng.uniform(-0.3, 0.3), rng.uniform(-0.3, 0.3), 0]])
    rotations[-2:] = so3_exp(tilt.float())
    position[-2] = [0.0, behind * 0.3 + 1.2, behind + 1.0]
    position[-1] = [0.0, 0.0, behind + 4.0]
    scales[-2:] = torch.tensor([8.0, 14.0])
    meshes = np.concatenate(
        [
            rng.integers(pool.meshes.objects, size=_DISTRACTORS),
            pool.meshes.objects + rng.integers(pool.meshes.planes, size=2),
        ]
    )
    transform = make_transform(rotations * scales[:, None, None], torch.tensor(position, dtype=torch.float32))
    return transform, torch.from_numpy(meshes)


def _direction(rng: np.random.Generator) -> np.ndarray:
    direction = rng.normal(size=3)
    return direction / np.linalg.norm(direction)
