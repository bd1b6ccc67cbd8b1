"""The procedural mesh pool that both trainers draw from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from learning.datasets.mesh_pool import MeshPool
from learning.datasets.procedural_objects import make_objects
from learning.datasets.procedural_textures import make_textures


@dataclass(frozen=True)
class PoolConfig:
    """How many procedural meshes and backgrounds to make, and from which seeds."""

    objects: int = 2500
    backgrounds: int = 300
    seed: int = 0
    """objects use the seeds from here on; evaluation uses seeds from 1,000,000 on"""
    workers: int | None = None
    """processes; all cores where omitted"""


def make_pool(config: PoolConfig, device: torch.device, progress: bool = True) -> MeshPool:
    """Make the meshes and upload them."""
    seeds = range(config.seed, config.seed + config.objects)
    objects = make_objects(seeds, workers=config.workers, progress=progress)
    return MeshPool(objects, make_textures(config.backgrounds, seed=config.seed), device)
