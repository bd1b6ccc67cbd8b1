"""Train RefineNet on procedural scenes: `python -m learning.training.train_refiner --run_folder runs/refiner`.

With several GPUs: `torchrun --nproc_per_node 4 -m learning.training.train_refiner ...`. A run folder that holds a
checkpoint is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.objects.pool_renewal import RenewedPool
from learning.datasets.objects.training_pool import PoolConfig
from learning.datasets.scenes.pose_perturbation import Perturbation, perturb_poses
from learning.datasets.scenes.scene_batches import TRAINING_SCENES, SceneConfig, sample_scenes
from learning.datasets.surfaces.mesh_faults import TRAINING_FAULTS, MeshFaults, apply_faults, sample_faults
from learning.inference.inputs import apply_update, pair_inputs, update_target
from learning.models.blocks import channels_last
from learning.models.config import NetworkConfig
from learning.models.loading import start_from
from learning.models.refine_network import RefineNet
from learning.training.loop import LoopConfig, TrainingLoop, start_run
from learning.training.losses import add_error, refiner_loss
from learning.training.sample_sheet import HARD_BATCHES, save_hardest, save_samples
from pose6d.command import run_command_line
from pose6d.geometry.transforms import rotation_angle
from pose6d.random_draws import Draw
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses
from pose6d.weights import save_weights

_LEAST_VISIBLE = 0.2
_BETA = (0.25, 0.02)  # of smooth-L1, at the start of a fresh network and from 60 % of its training on


@dataclass(frozen=True)
class RefinerConfig:
    """Everything a run depends on; written to config.json in the run folder."""

    run_folder: Path
    """where weights, log, pictures and checkpoint go; a run that is there goes on from its checkpoint"""
    batch_size: int = 256
    """pairs of pictures in a step, of each process"""
    poses_per_scene: int = 2
    """wrong poses of each scene; scenes cost more time than poses"""
    start: Path | None = None
    """weights to start from in place of random ones"""
    network: NetworkConfig = field(
        default_factory=lambda: NetworkConfig(kind="refiner", rotation_limit=0.7, dropout=0.0)
    )
    loop: LoopConfig = field(default_factory=LoopConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    scenes: SceneConfig = TRAINING_SCENES
    faults: MeshFaults = TRAINING_FAULTS
    perturbation: Perturbation = field(default_factory=Perturbation)
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""


@dataclass
class RefinerBatch:
    """N pairs: wrong poses (N, 4, 4), the true ones, the meshes (N,), inputs A and B (N, 6, s, s), weights (N,)."""

    poses: torch.Tensor
    truth: torch.Tensor
    mesh_index: torch.Tensor
    A: torch.Tensor
    B: torch.Tensor
    weight: torch.Tensor


def refiner_samples(pool: MeshPool, config: RefinerConfig, generator: torch.Generator) -> RefinerBatch:
    """Scenes, perturbed poses and what the network sees of them."""
    times = config.poses_per_scene
    scenes = sample_scenes(pool, config.batch_size // times, generator, config.scenes)
    truth, mesh_index = scenes.poses.repeat_interleave(times, 0), scenes.mesh_index.repeat_interleave(times)
    diameter = torch.ones(len(truth), device=pool.device)
    poses = perturb_poses(truth, diameter, generator, config.perturbation)
    object = RenderedObject(pool.renderer, diameter, mesh_index)
    A, B = pair_inputs(Hypotheses(poses), object, scenes.observation(times), config.network)
    A = apply_faults(A, sample_faults(Draw(pool.device, generator), len(A), config.faults))
    weight = (scenes.visible > _LEAST_VISIBLE).float().repeat_interleave(times)
    return RefinerBatch(poses, truth, mesh_index, torch.nan_to_num(A), torch.nan_to_num(B), weight)


@torch.no_grad()
def hard_samples(
    network: RefineNet, pool: MeshPool, config: RefinerConfig, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches of A, B and the ADD (N,) that a trained network leaves after one step, in diameters."""
    for _ in range(HARD_BATCHES):
        batch = refiner_samples(pool, config, generator)
        diameter = torch.ones(len(batch.poses), device=pool.device)
        with torch.autocast(pool.device.type, dtype=torch.bfloat16):
            trans, rot = network(batch.A, batch.B)
        refined = apply_update(batch.poses, trans, rot, diameter, config.network.rotation_limit)
        error = add_error(refined, batch.truth, pool.points[batch.mesh_index])
        yield batch.A, batch.B, error * batch.weight


def train(config: RefinerConfig) -> Path:
    """Run the training to its end and return the run folder."""
    workers = start_run(config)
    network = channels_last(RefineNet(config.network).to(workers.device))
    if config.start:
        start_from(network, config.start)

    def save(state: dict[str, torch.Tensor]) -> None:
        save_weights(config.run_folder, "refiner", state, config.network.to_dict())

    loop = TrainingLoop(network, config.loop, workers, config.run_folder, save)
    renewed = RenewedPool(config.pool, workers.device, loop.step, workers.rank, workers.size, progress=workers.first)
    pool = renewed.pool
    if workers.first:
        batch = refiner_samples(pool, config, loop.generator)
        save_samples(batch.A, batch.B, config.run_folder / "samples.png")

    def step(model: Any, generator: torch.Generator, progress: float) -> dict[str, torch.Tensor]:
        renewed.renew(loop.step)
        with torch.no_grad():
            batch = refiner_samples(pool, config, generator)
            diameter = torch.ones(len(batch.poses), device=workers.device)
            trans_target, rotation_target = update_target(batch.poses, batch.truth, diameter)
            points = pool.points[batch.mesh_index, :64]
        with torch.autocast(workers.device.type, dtype=torch.bfloat16):
            trans, rot = model(batch.A, batch.B)
        trans, rot = trans.float(), rot.float()
        limit = config.network.rotation_limit
        refined = apply_update(batch.poses, trans, rot, diameter, limit)
        softening = 0.0 if config.start else max(0.0, 1.0 - progress / 0.6)
        beta = _BETA[1] + (_BETA[0] - _BETA[1]) * softening
        losses = refiner_loss(
            trans,
            torch.tanh(rot) * limit,
            trans_target,
            rotation_target,
            refined,
            batch.truth,
            points,
            batch.weight,
            beta,
        )
        with torch.no_grad():
            losses["add_before"] = add_error(batch.poses, batch.truth, points).mean()
            angle = rotation_angle(refined[:, :3, :3].detach(), batch.truth[:, :3, :3])
            losses["degrees"] = torch.rad2deg(angle).mean()
            losses["median_degrees"] = torch.rad2deg(angle).median()
        return losses

    with renewed:
        loop.run(step, config.batch_size)
    if workers.first:
        network.load_state_dict(loop.average)
        hard = hard_samples(network.eval(), pool, config, loop.generator)
        save_hardest(hard, config.run_folder / "hard_samples.png")
    workers.close()
    return config.run_folder


if __name__ == "__main__":
    import tyro

    name, config = "python -m learning.training.train_refiner", (tyro.conf.FlagConversionOff,)
    said = "interrupted; the same command goes on from the last checkpoint"
    run_command_line(train, RefinerConfig, prog=name, description=__doc__, config=config, interrupted=said)
