"""Train ScoreNetMultiPair on the hypotheses that a trained refiner leaves.

`python -m learning.training.train_scorer --refiner runs/refiner/refiner.safetensors --run_folder runs/scorer`, or with
torchrun on several GPUs. A run folder that holds a checkpoint is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from learning.datasets.mesh_pool import MeshPool
from learning.datasets.pools import PoolConfig, make_pool
from learning.datasets.pose_perturbation import Perturbation, scoring_hypotheses
from learning.datasets.scene_batches import SceneBatch, SceneConfig, sample_scenes
from learning.inputs import apply_update, pair_inputs
from learning.models.blocks import channels_last
from learning.models.config import NetworkConfig
from learning.models.loading import load_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from learning.training.contact_sheet import save_contact_sheet
from learning.training.loop import LoopConfig, TrainingLoop, start_run
from learning.training.losses import add_error, add_s_error, scorer_loss
from learning.training.train_refiner import hide_color, observation_of
from pose6d.weights import save_weights

_LEAST_VISIBLE = 0.2
_GREY_SHARE = 0.1
# Shares of each scene's hypotheses that went through 3 refiner steps, and through 1; the rest stay as sampled.
_REFINED_SHARES = ((0.25, 3), (0.6, 1))


@dataclass(frozen=True)
class ScorerConfig:
    """Everything a run depends on; written to config.json in the run folder."""

    run_folder: Path
    refiner: Path
    """safetensors of the refiner whose results are to be scored"""
    scenes_per_step: int = 32
    hypotheses: int = 16
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(kind="scorer", dropout=0.0))
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=3e-4, warmup_steps=300))
    pool: PoolConfig = field(default_factory=PoolConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    perturbation: Perturbation = field(default_factory=Perturbation)
    device: str = "auto"


class _Refiner:
    """The refiner as a source of hypotheses."""

    def __init__(self, path: Path, device: torch.device):
        network = load_network(path, "refiner")
        assert isinstance(network, RefineNet)
        self.config = network.config
        self.network = channels_last(network.to(device))

    def step(self, pool: MeshPool, scenes: SceneBatch, poses: torch.Tensor) -> torch.Tensor:
        """One update of (N, L, 4, 4) hypotheses."""
        count, group = poses.shape[:2]
        flat = poses.reshape(-1, 4, 4)
        diameter = torch.ones(len(flat), device=flat.device)
        A, B = pair_inputs(
            pool.renderer,
            flat,
            observation_of(scenes),
            scenes.K.repeat_interleave(group, 0),
            diameter,
            self.config,
            mesh_index=scenes.mesh_index.repeat_interleave(group),
        )
        with torch.autocast(flat.device.type, dtype=torch.bfloat16):
            trans, rot = self.network(torch.nan_to_num(A), torch.nan_to_num(B))
        updated = apply_update(flat, trans, rot, diameter, self.config.rotation_limit)
        return updated.view(count, group, 4, 4)


def scorer_samples(
    pool: MeshPool, refiner: _Refiner, config: ScorerConfig, generator: torch.Generator
) -> tuple[SceneBatch, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scenes, hypotheses (N, L, 4, 4) and the network inputs A, B (N * L, 6, s, s)."""
    scenes = sample_scenes(pool, config.scenes_per_step, generator, config.scenes)
    ones = torch.ones(len(scenes.poses), device=pool.device)
    poses = scoring_hypotheses(scenes.poses, ones, config.hypotheses, generator, config.perturbation)
    start = 0
    for share, steps in _REFINED_SHARES:
        end = round(share * config.hypotheses)
        part = poses[:, start:end]
        for _ in range(steps):
            part = refiner.step(pool, scenes, part)
        poses = torch.cat([poses[:, :start], part, poses[:, end:]], dim=1)
        start = end
    flat = poses.reshape(-1, 4, 4)
    A, B = pair_inputs(
        pool.renderer,
        flat,
        observation_of(scenes),
        scenes.K.repeat_interleave(config.hypotheses, 0),
        torch.ones(len(flat), device=pool.device),
        config.network,
        mesh_index=scenes.mesh_index.repeat_interleave(config.hypotheses),
    )
    A = hide_color(A, _GREY_SHARE, generator)
    return scenes, poses, torch.nan_to_num(A), torch.nan_to_num(B)


def train(config: ScorerConfig) -> Path:
    """Run the training to its end and return the run folder."""
    workers = start_run(config)
    pool = make_pool(config.pool, workers.device, progress=workers.first)
    refiner = _Refiner(config.refiner, workers.device)
    network = channels_last(ScoreNetMultiPair(config.network).to(workers.device))

    def save(state: dict[str, torch.Tensor]) -> None:
        save_weights(config.run_folder, "scorer", state, config.network.to_dict())

    loop = TrainingLoop(network, config.loop, workers, config.run_folder, save)
    if workers.first:
        with torch.no_grad():
            _, _, A, B = scorer_samples(pool, refiner, config, loop.generator)
        save_contact_sheet(A, B, config.run_folder / "samples.png", samples=config.hypotheses)

    def step(model: Any, generator: torch.Generator, progress: float) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            scenes, poses, A, B = scorer_samples(pool, refiner, config, generator)
            points = pool.points[scenes.mesh_index][:, None].expand(-1, config.hypotheses, -1, -1)
            truth = scenes.poses[:, None].expand_as(poses)
            error = 0.5 * add_error(poses, truth, points) + 0.5 * add_s_error(poses, truth, points)
            weight = (scenes.visible > _LEAST_VISIBLE).float()
        with torch.autocast(workers.device.type, dtype=torch.bfloat16):
            logits = model(A, B, config.hypotheses)
        return scorer_loss(logits.float(), error, weight)

    loop.run(step, config.scenes_per_step * config.hypotheses)
    workers.close()
    return config.run_folder


if __name__ == "__main__":
    import tyro

    train(tyro.cli(ScorerConfig, config=(tyro.conf.FlagConversionOff,)))
