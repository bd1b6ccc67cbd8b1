"""Train ScoreNetMultiPair on the hypotheses that a trained refiner leaves.

`python -m learning.training.train_scorer --refiner runs/refiner/refiner.safetensors --run_folder runs/scorer`, or with
torchrun on several GPUs. A run folder that holds a checkpoint is resumed.
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
from learning.datasets.scenes.pose_perturbation import Perturbation, scoring_hypotheses
from learning.datasets.scenes.scene_batches import TRAINING_SCENES, SceneBatch, SceneConfig, sample_scenes
from learning.datasets.surfaces.mesh_faults import TRAINING_FAULTS, MeshFaults, apply_faults, sample_faults
from learning.inference.inputs import apply_update, pair_inputs
from learning.models.blocks import channels_last
from learning.models.config import NetworkConfig
from learning.models.loading import load_network, start_from
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from learning.training.loop import LoopConfig, TrainingLoop, start_run
from learning.training.losses import add_error, add_s_error, confidence_loss, scorer_loss
from learning.training.sample_sheet import HARD_BATCHES, save_hardest, save_samples
from learning.training.visible_difference import visible_difference
from pose6d.command import run_command_line
from pose6d.random_draws import Draw
from pose6d.rendering.interface import Renderer
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses
from pose6d.weights import save_weights

_LEAST_VISIBLE = 0.2  # for the ranking
_LEAST_TELLING = 0.05  # for the confidence, which has to learn what little evidence is worth
_RIGHT = 0.1  # diameters
_CONFIDENCE_WEIGHT = 0.3
# Shares of each scene's hypotheses that went through 3 refiner steps, and through 1; the rest stay as sampled.
_REFINED_SHARES = ((0.4, 3), (0.7, 1))
# The losses set the scale of the ranking, so what a texture adds to it is the same for all scorers trained here.
_NETWORK = NetworkConfig(kind="scorer", dropout=0.0, confidence=True, appearance_weight=3.0)


@dataclass(frozen=True)
class ScorerConfig:
    """Everything a run depends on; written to config.json in the run folder."""

    run_folder: Path
    """where weights, log, pictures and checkpoint go; a run that is there goes on from its checkpoint"""
    refiner: Path
    """safetensors of the refiner whose results are to be scored"""
    scenes_per_step: int = 32
    """of each process"""
    hypotheses: int = 16
    """of each scene, ranked against each other"""
    impostors: float = 0.12
    """share of scenes that show another object than the one whose poses are judged"""
    start: Path | None = None
    """weights to start from in place of random ones; a refiner's trunk will do"""
    network: NetworkConfig = field(default_factory=lambda: _NETWORK)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=3e-4, warmup_steps=300))
    pool: PoolConfig = field(default_factory=PoolConfig)
    scenes: SceneConfig = TRAINING_SCENES
    faults: MeshFaults = TRAINING_FAULTS
    perturbation: Perturbation = field(default_factory=Perturbation)
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""


class _Refiner:
    """The refiner as a source of hypotheses."""

    def __init__(self, path: Path, device: torch.device):
        network = load_network(path, "refiner")
        assert isinstance(network, RefineNet)
        self.config = network.config
        self.network = channels_last(network.to(device))

    def step(
        self, renderer: Renderer, scenes: SceneBatch, poses: torch.Tensor, mesh_index: torch.Tensor
    ) -> torch.Tensor:
        """One update of (N, L, 4, 4) hypotheses."""
        count, group = poses.shape[:2]
        flat = poses.reshape(-1, 4, 4)
        diameter = torch.ones(len(flat), device=flat.device)
        A, B = _group_inputs(renderer, scenes, poses, mesh_index, self.config)
        with torch.autocast(flat.device.type, dtype=torch.bfloat16):
            trans, rot = self.network(torch.nan_to_num(A), torch.nan_to_num(B))
        updated = apply_update(flat, trans, rot, diameter, self.config.rotation_limit)
        return updated.view(count, group, 4, 4)


@dataclass
class ScorerBatch:
    """N scenes of L hypotheses.

    Attributes:
        A, B: (N * L, 6, s, s) network inputs.
        error: (N, L) pose errors in diameters; what no picture tells from the truth has none.
        shown: (N,) bool, false where the scene shows another object.
        visible: (N,) float32, the part of the object that nothing hides.
    """

    A: torch.Tensor
    B: torch.Tensor
    error: torch.Tensor
    shown: torch.Tensor
    visible: torch.Tensor


def scorer_samples(pool: MeshPool, refiner: _Refiner, config: ScorerConfig, generator: torch.Generator) -> ScorerBatch:
    """Scenes, hypotheses, what the network sees of them, and how wrong they are."""
    draw = Draw(pool.device, generator)
    scenes = sample_scenes(pool, config.scenes_per_step, generator, config.scenes)
    count = len(scenes.poses)
    ones = torch.ones(count, device=pool.device)
    shown = draw.uniform((count,)) >= config.impostors
    mesh_index = torch.where(shown, scenes.mesh_index, draw.index((count,), pool.objects))
    poses = scoring_hypotheses(scenes.poses, ones, config.hypotheses, generator, config.perturbation)
    start = 0
    for share, steps in _REFINED_SHARES:
        end = round(share * config.hypotheses)
        part = poses[:, start:end]
        for _ in range(steps):
            part = refiner.step(pool.renderer, scenes, part, mesh_index)
        poses = torch.cat([poses[:, :start], part, poses[:, end:]], dim=1)
        start = end
    faults = sample_faults(draw, count, config.faults)
    A, B = _group_inputs(pool.renderer, scenes, poses, mesh_index, config.network)
    A = apply_faults(A, faults.repeat(config.hypotheses))
    error = _pose_errors(pool, scenes, poses, faults.colored, config.network)
    return ScorerBatch(torch.nan_to_num(A), torch.nan_to_num(B), error, shown, scenes.visible)


def _group_inputs(
    renderer: Renderer, scenes: SceneBatch, poses: torch.Tensor, mesh_index: torch.Tensor, network: NetworkConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B (N * L, 6, s, s) of hypotheses (N, L, 4, 4) of meshes (N,)."""
    group = poses.shape[1]
    diameter = torch.ones(poses.shape[0] * group, device=poses.device)
    object = RenderedObject(renderer, diameter, mesh_index.repeat_interleave(group))
    return pair_inputs(Hypotheses(poses.reshape(-1, 4, 4)), object, scenes.observation(group), network)


def _pose_errors(
    pool: MeshPool, scenes: SceneBatch, poses: torch.Tensor, colored: torch.Tensor, network: NetworkConfig
) -> torch.Tensor:
    """(N, L) ADD, or what is visible of it where that is less; never less than ADD-S."""
    points = pool.points[scenes.mesh_index][:, None].expand(-1, poses.shape[1], -1, -1)
    truth = scenes.poses[:, None].expand_as(poses)
    seen = visible_difference(
        pool.renderer, poses, scenes.poses, scenes.K, scenes.hidden, colored, network, scenes.mesh_index
    )
    add, add_s = add_error(poses, truth, points), add_s_error(poses, truth, points)
    return torch.minimum(add, torch.maximum(add_s, seen))


@torch.no_grad()
def hard_samples(
    network: ScoreNetMultiPair,
    pool: MeshPool,
    refiner: _Refiner,
    config: ScorerConfig,
    generator: torch.Generator,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches of what a trained network chose, one pair per scene, and by how much a better choice was there (N,)."""
    for _ in range(HARD_BATCHES):
        batch = scorer_samples(pool, refiner, config, generator)
        with torch.autocast(pool.device.type, dtype=torch.bfloat16):
            ranking = network(batch.A, batch.B, config.hypotheses).ranking
        best = ranking.argmax(1, keepdim=True)
        regret = batch.error.gather(1, best)[:, 0] - batch.error.amin(1)
        ranked = batch.shown & (batch.visible > _LEAST_VISIBLE)
        rows = best[:, 0] + config.hypotheses * torch.arange(len(best), device=best.device)
        yield batch.A[rows], batch.B[rows], regret * ranked


def train(config: ScorerConfig) -> Path:
    """Run the training to its end and return the run folder."""
    workers = start_run(config)
    refiner = _Refiner(config.refiner, workers.device)
    network = channels_last(ScoreNetMultiPair(config.network).to(workers.device))

    def save(state: dict[str, torch.Tensor]) -> None:
        save_weights(config.run_folder, "scorer", state, config.network.to_dict())

    if config.start:
        start_from(network, config.start)
    loop = TrainingLoop(network, config.loop, workers, config.run_folder, save)
    renewed = RenewedPool(config.pool, workers.device, loop.step, workers.rank, workers.size, progress=workers.first)
    pool = renewed.pool
    if workers.first:
        with torch.no_grad():
            batch = scorer_samples(pool, refiner, config, loop.generator)
        save_samples(batch.A, batch.B, config.run_folder / "samples.png", samples=config.hypotheses)

    def step(model: Any, generator: torch.Generator, progress: float) -> dict[str, torch.Tensor]:
        renewed.renew(loop.step)
        with torch.no_grad():
            batch = scorer_samples(pool, refiner, config, generator)
        with torch.autocast(workers.device.type, dtype=torch.bfloat16):
            ranking, confidence, _ = model(batch.A, batch.B, config.hypotheses)
        ranked = (batch.shown & (batch.visible > _LEAST_VISIBLE)).float()
        losses = scorer_loss(ranking.float(), batch.error, ranked)
        if confidence is not None:
            right = (batch.error < _RIGHT) & batch.shown[:, None]
            judged = (batch.visible > _LEAST_TELLING).float()
            losses["confidence"] = confidence_loss(confidence.float(), right, judged)
            losses["loss"] = losses["loss"] + _CONFIDENCE_WEIGHT * losses["confidence"]
        return losses

    with renewed:
        loop.run(step, config.scenes_per_step * config.hypotheses)
    if workers.first:
        network.load_state_dict(loop.average)
        hard = hard_samples(network.eval(), pool, refiner, config, loop.generator)
        save_hardest(hard, config.run_folder / "hard_samples.png")
    workers.close()
    return config.run_folder


if __name__ == "__main__":
    import tyro

    name, config = "python -m learning.training.train_scorer", (tyro.conf.FlagConversionOff,)
    said = "interrupted; the same command goes on from the last checkpoint"
    run_command_line(train, ScorerConfig, prog=name, description=__doc__, config=config, interrupted=said)
