"""Train RefineNet on procedural scenes: `python -m learning.training.train_refiner --run_folder runs/refiner`.

With several GPUs: `torchrun --nproc_per_node 4 -m learning.training.train_refiner ...`. A run folder that holds a
checkpoint is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from learning.datasets.mesh_pool import MeshPool
from learning.datasets.pools import PoolConfig, make_pool
from learning.datasets.pose_perturbation import Perturbation, perturb_poses
from learning.datasets.scene_batches import SceneBatch, SceneConfig, sample_scenes
from learning.inputs import apply_update, pair_inputs, update_target
from learning.models.blocks import channels_last
from learning.models.config import NetworkConfig
from learning.models.refine_network import RefineNet
from learning.training.contact_sheet import save_contact_sheet
from learning.training.loop import LoopConfig, TrainingLoop, start_run
from learning.training.losses import add_error, refiner_loss
from pose6d.geometry.camera import backproject
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import rotation_angle
from pose6d.weights import save_weights

_LEAST_VISIBLE = 0.2
_GREY_SHARE = 0.1
_BETA = (0.25, 0.02)  # of smooth-L1, at the start and from 60 % of the training on


@dataclass(frozen=True)
class RefinerConfig:
    """Everything a run depends on; written to config.json in the run folder."""

    run_folder: Path
    batch_size: int = 256
    network: NetworkConfig = field(
        default_factory=lambda: NetworkConfig(kind="refiner", rotation_limit=0.7, dropout=0.0)
    )
    loop: LoopConfig = field(default_factory=LoopConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    perturbation: Perturbation = field(default_factory=Perturbation)
    device: str = "auto"


def observation_of(scenes: SceneBatch) -> Observation:
    """The scenes as the networks' inputs want them."""
    return Observation(scenes.rgb, backproject(scenes.depth, scenes.K).permute(0, 3, 1, 2))


def hide_color(A: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Show a share of the rendered sides as untextured grey, as a mesh without colours would look.

    The shade comes from the slope of the xyz map, so the renderer need not draw twice.
    """
    grey = torch.rand((len(A), 1, 1, 1), device=A.device, generator=generator) < share
    xyz, shown = A[:, 3:], (A[:, 3:].abs().sum(1, keepdim=True) > 0)
    dx = torch.roll(xyz, -1, 3) - xyz
    dy = torch.roll(xyz, -1, 2) - xyz
    normal = torch.linalg.cross(dx, dy, dim=1)
    facing = normal[:, 2:].abs() / normal.norm(dim=1, keepdim=True).clamp(min=1e-9)
    shade = (0.5 * (0.8 + 0.5 * facing)).clamp(0, 1) * shown
    return torch.cat([torch.where(grey, shade, A[:, :3]), xyz], dim=1)


def refiner_samples(
    pool: MeshPool, config: RefinerConfig, generator: torch.Generator
) -> tuple[SceneBatch, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scenes, perturbed poses (N, 4, 4) and the network inputs A, B (N, 6, s, s)."""
    scenes = sample_scenes(pool, config.batch_size, generator, config.scenes)
    diameter = torch.ones(config.batch_size, device=pool.device)
    poses = perturb_poses(scenes.poses, diameter, generator, config.perturbation)
    A, B = pair_inputs(
        pool.renderer, poses, observation_of(scenes), scenes.K, diameter, config.network, mesh_index=scenes.mesh_index
    )
    A = hide_color(A, _GREY_SHARE, generator)
    return scenes, poses, torch.nan_to_num(A), torch.nan_to_num(B)


def train(config: RefinerConfig) -> Path:
    """Run the training to its end and return the run folder."""
    workers = start_run(config)
    pool = make_pool(config.pool, workers.device, progress=workers.first)
    network = channels_last(RefineNet(config.network).to(workers.device))

    def save(state: dict[str, torch.Tensor]) -> None:
        save_weights(config.run_folder, "refiner", state, config.network.to_dict())

    loop = TrainingLoop(network, config.loop, workers, config.run_folder, save)
    if workers.first:
        _, _, A, B = refiner_samples(pool, config, loop.generator)
        save_contact_sheet(A, B, config.run_folder / "samples.png")

    def step(model: Any, generator: torch.Generator, progress: float) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            scenes, poses, A, B = refiner_samples(pool, config, generator)
            diameter = torch.ones(len(poses), device=poses.device)
            trans_target, rotation_target = update_target(poses, scenes.poses, diameter)
            points = pool.points[scenes.mesh_index, :64]
            weight = (scenes.visible > _LEAST_VISIBLE).float()
        with torch.autocast(workers.device.type, dtype=torch.bfloat16):
            trans, rot = model(A, B)
        trans, rot = trans.float(), rot.float()
        refined = apply_update(poses, trans, rot, diameter, config.network.rotation_limit)
        beta = _BETA[0] + (_BETA[1] - _BETA[0]) * min(1.0, progress / 0.6)
        rotvec = torch.tanh(rot) * config.network.rotation_limit
        losses = refiner_loss(trans, rotvec, trans_target, rotation_target, refined, scenes.poses, points, weight, beta)
        with torch.no_grad():
            losses["add_before"] = add_error(poses, scenes.poses, points).mean()
            angle = rotation_angle(refined[:, :3, :3].detach(), scenes.poses[:, :3, :3])
            losses["degrees"] = torch.rad2deg(angle).mean()
        return losses

    loop.run(step, config.batch_size)
    workers.close()
    return config.run_folder


if __name__ == "__main__":
    import tyro

    train(tyro.cli(RefinerConfig, config=(tyro.conf.FlagConversionOff,)))
