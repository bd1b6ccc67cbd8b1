"""Pairs of crops from the training data's generator, on which quantised networks are calibrated and compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.objects.training_pool import PoolConfig, make_pool
from learning.datasets.scenes.pose_perturbation import Perturbation, perturb_poses, scoring_hypotheses
from learning.datasets.scenes.scene_batches import TRAINING_SCENES, sample_scenes
from learning.inference.inputs import pair_inputs
from learning.models.config import NetworkConfig
from pose6d.errors import WeightsError
from pose6d.geometry.camera import backproject
from pose6d.geometry.observation import Observation
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses

CALIBRATION_SEED = 0  # objects that the networks were trained on
_LEAST = 64
_PER_SCENE = 4
_SCENES_AT_ONCE = 4


@dataclass(frozen=True)
class Pairs:
    """N hypotheses and what a network sees of them.

    Attributes:
        poses: (N, 4, 4) of objects of diameter 1.
        A, B: (N, 6, s, s) rendered and observed.
    """

    poses: Tensor
    A: Tensor
    B: Tensor

    def __len__(self) -> int:
        return len(self.A)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """A and B in parts of at most `size`."""
        yield from zip(self.A.split(size), self.B.split(size), strict=True)


def calibration_pool(seed: int = CALIBRATION_SEED) -> MeshPool:
    """A few procedural objects and backgrounds on the CPU."""
    config = PoolConfig(objects=16, backgrounds=8, seed=seed, hands=2, workers=1)
    return make_pool(config, torch.device("cpu"), progress=False)


def check_count(pairs: int) -> None:
    """Refuse too few pairs, before minutes are spent."""
    if pairs < _LEAST:
        raise WeightsError(
            f"--pairs {pairs}: too few to calibrate on and to compare with: ranges of activations would be guesses; "
            f"at least {_LEAST} are needed, 256 are good"
        )


def calibration_pairs(pool: MeshPool, config: NetworkConfig, count: int, seed: int = 0) -> Pairs:
    """Pairs as in training: poses near the truth for a refiner, wrong and turned ones too for a scorer.

    Args:
        pool: objects.
        config: of the network.
        count: how many pairs.
        seed: of all that is random.

    Raises:
        WeightsError: too few to calibrate on.
    """
    check_count(count)
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with tqdm(total=count, desc=f"{config.kind} pairs", unit="pair", leave=False) as bar:
        while (have := sum(len(poses) for poses, _, _ in parts)) < count:
            parts.append(_draw(pool, config, generator))
            bar.update(min(count - have, len(parts[-1][0])))
    poses, A, B = (torch.cat(values)[:count] for values in zip(*parts, strict=True))
    return Pairs(poses, A.contiguous(), B.contiguous())


def _draw(pool: MeshPool, config: NetworkConfig, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    scenes = sample_scenes(pool, _SCENES_AT_ONCE, generator, TRAINING_SCENES)
    diameter = torch.ones(len(scenes.poses))
    if config.kind == "refiner":
        truth = scenes.poses.repeat_interleave(_PER_SCENE, 0)
        poses = perturb_poses(truth, diameter.repeat_interleave(_PER_SCENE), generator, Perturbation())
    else:
        poses = scoring_hypotheses(scenes.poses, diameter, _PER_SCENE, generator, Perturbation()).flatten(0, 1)
    each = torch.arange(len(scenes.poses)).repeat_interleave(_PER_SCENE)
    xyz = backproject(scenes.depth, scenes.K).permute(0, 3, 1, 2)
    object = RenderedObject(pool.renderer, diameter[each], scenes.mesh_index[each])
    A, B = pair_inputs(Hypotheses(poses), object, Observation(scenes.rgb[each], xyz[each], scenes.K[each]), config)
    return poses, torch.nan_to_num(A), torch.nan_to_num(B)
