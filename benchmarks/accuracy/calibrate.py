"""Fit the confidence of trained weights, and how their last hypotheses are weighed against each other.

    python -m benchmarks.accuracy.calibrate --weights FOLDER

registers held-out procedural objects, which neither training nor the scoreboard uses, in cluttered and occluded scenes
and where they are absent, each time with its mesh and with one in the colours of another camera; compares what each
search leaves in pairs, as the search itself does; and writes into
scorer.json what makes the right pose likeliest: `confidence_scale`, `confidence_offset` and `choice_weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.accuracy.objects import HELD_OUT_SEED, TargetObject, recolored
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool
from benchmarks.accuracy.suites import SUITES
from estimater import FoundationPose
from learning.datasets.objects.random_objects import make_objects
from learning.training.predict_score import ScorePredictor
from many_objects import EstimatorFactory
from pose6d import json_file
from pose6d.command import run_command_line
from pose6d.errors import FrameError, ResultsError, WeightsError
from pose6d.evaluation.pose_errors import add
from pose6d.evaluation.record import RIGHT
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import observe
from pose6d.search.alternatives import weigh
from pose6d.search.interfaces import ChoiceWeights, Hypotheses
from pose6d.search.look_alike import is_round, look_alike
from pose6d.search.pair_evidence import PairEvidence, compare_poses
from pose6d.search.schedule import SCHEDULES
from pose6d.search.texture_correlation import texture_correlation

_FIRST_SEED = HELD_OUT_SEED + 2_000_000
_DIAMETER = 0.2  # metres
_START = (0.5, 1.0, 1.0, 1.0, 1.0)
_RIDGE = 1e-3  # times the square of the weights
_STEPS, _RATE = 600, 0.03
_POINTS = 1000  # of the surface


@dataclass
class Options:
    """Whose confidence, and what to fit it on."""

    weights: Path
    """folder with refiner.* and scorer.*; scorer.json gets the new numbers"""
    objects: int = 120
    scenes: int = 200
    """of each suite: cluttered, occluded and absent"""
    absent: float = 0.2
    """what a scene without the object counts: such masks are rarer in use than one in three"""
    device: str = "auto"
    workers: int | None = None
    """processes that make scenes"""
    seed: int = 5


class Choices(NamedTuple):
    """What searches left, M of N hypotheses each, and which are right.

    Attributes:
        ranking, texture: (M, N) of the scorer, and `texture_correlation`.
        logit, judged: (M, N) of the confidence of `predict` and of `judge`, with scale 1 and offset 0.
        color, shape: (M, N, N) `PairEvidence`.
        right: (M, N) bool, within 0.1 diameter of the truth, or the same as such a one; none if the object is absent.
        present: (M,) bool, the object is there.
    """

    ranking: Tensor
    texture: Tensor
    logit: Tensor
    judged: Tensor
    color: Tensor
    shape: Tensor
    right: Tensor
    present: Tensor


def main(options: Options) -> None:
    file = options.weights / "scorer.json"
    config = json_file.read_json(file, WeightsError)
    before = (config.get("confidence_scale", 1.0), config.get("confidence_offset", 0.0))
    before = (*before, ChoiceWeights(*(config.get("choice_weights") or _START)))
    choices = collect(options)
    if not (choices.right.any(dim=1) & ~choices.right.all(dim=1)).any():
        raise ResultsError(
            f"{len(choices.right)} scenes, and in none a right and a wrong pose are left: raise --scenes"
        )
    after = fit(choices, options.absent)
    for name, numbers in (("before", before), ("after", after)):
        value = float(loss(choices, *numbers, options.absent))
        print(f"{name}: mean negative logarithm of the probability of what is right: {value:.3f}")
    config |= dict(zip(("confidence_scale", "confidence_offset", "choice_weights"), after, strict=True))
    config["choice_weights"] = list(after[2])
    json_file.write_json(file, config)
    print(f"{file}: scale {after[0]}, offset {after[1]}, {after[2]}")


def collect(options: Options) -> Choices:
    """What the searches leave, scene by scene."""
    meshes = make_objects(range(_FIRST_SEED, _FIRST_SEED + options.objects))
    targets = [TargetObject(mesh.scaled(_DIAMETER)) for mesh in meshes]
    pool = ScenePool.from_meshes([target.mesh for target in targets])
    tasks = [(SUITES[name], i) for i in range(options.scenes) for name in ("cluttered", "occluded", "absent")]
    pruned = replace(SCHEDULES["pruned"], min_confidence=0.0)
    factory = EstimatorFactory(options.weights, options.device, schedule=pruned)
    assert isinstance(factory.scorer, ScorePredictor)
    if factory.scorer.choice_weights is None:  # it shall judge as it will once it has them
        factory.scorer.config = factory.scorer.config.replace(choice_weights=_START)
    other_camera = {target: recolored(target.mesh, seed) for seed, target in enumerate(targets)}
    found = []
    with SceneWorkers(options.workers) as workers:
        scenes = workers.scenes(tasks, {"given": pool}, options.seed)
        for scene in tqdm(scenes, total=len(tasks), desc="searches", unit="scene", mininterval=2.0):
            target = targets[scene.object_index]
            for given in (target.mesh, other_camera[target]):
                with suppress(FrameError):  # too little depth under the mask
                    found.append(_choice(factory(given), target, scene))
    if not found:
        raise ResultsError("no scene could be searched: raise --scenes")
    return Choices(*(torch.stack(parts) for parts in zip(*found, strict=True)))


@torch.inference_mode()
def _choice(estimator: FoundationPose, target: TargetObject, scene: EvaluationScene) -> Choices:
    """Of one scene, without M: the evidence between the poses that a search left, as the search itself takes it."""
    view, device = scene.views[0], estimator.device
    estimator.register(view.K, view.rgb, view.depth, scene.mask)
    assert estimator.poses is not None
    original = torch.as_tensor(estimator.poses)
    poses = original.clone()
    poses[:, :3, 3] += original[:, :3, :3] @ torch.as_tensor(np.asarray(estimator.object.center), dtype=torch.float32)
    poses = poses.to(device)
    depth = filter_depth(torch.as_tensor(view.depth, device=device))
    frame = observe(torch.as_tensor(view.rgb, device=device), depth, view.K)
    scores = estimator.scorer.predict(Hypotheses(poses), estimator.object, frame)
    if scores.confidence is None:
        raise WeightsError("these weights have no confidence: train a scorer with one (docs/training.md)")
    assert isinstance(estimator.scorer, ScorePredictor)
    config = estimator.scorer.config
    judged = estimator.scorer.judge(Hypotheses(poses), estimator.object, frame).confidence
    assert judged is not None
    logit, judged = (
        (x.logit(1e-7) - config.confidence_offset) / config.confidence_scale for x in (scores.confidence, judged)
    )
    textured = estimator.object.textured
    evidence = compare_poses(poses, estimator.object, frame, torch.as_tensor(scene.mask, device=device))
    texture = texture_correlation(poses, estimator.object, frame)
    if not textured:
        evidence, texture = evidence._replace(color=torch.zeros_like(evidence.color)), torch.zeros_like(texture)
    right = torch.zeros(len(poses), dtype=torch.bool)
    if view.truth is not None:
        errors = add(original.numpy(), view.truth, target.mesh.sample_surface(_POINTS, seed=0)) / target.mesh.diameter
        right = torch.as_tensor(errors < RIGHT)
        alike = look_alike(poses, estimator.object, is_round(estimator.object, device)).cpu()
        right = alike[right].any(dim=0) if right.any() else right
    present = torch.tensor(view.truth is not None)
    return Choices(*(x.cpu() for x in (scores.ranking, texture, logit, judged, *evidence, right, present)))


def loss(
    choices: Choices, scale: float | Tensor, offset: float | Tensor, weights: Sequence[float] | Tensor, absent: float
) -> Tensor:
    """Mean negative logarithm of the probability of what is right: one of the poses, or none of them."""
    poses = choices.ranking.new_empty(*choices.ranking.shape, 0)
    hypotheses = Hypotheses(poses, choices.ranking, torch.sigmoid(scale * choices.logit + offset))
    evidence = PairEvidence(choices.color, choices.shape)
    judged = torch.sigmoid(scale * choices.judged + offset)
    _, probability = weigh(hypotheses, judged, choices.texture, evidence, ChoiceWeights(*weights))
    of_right = (probability * choices.right).sum(dim=1)
    of_right = torch.where(choices.right.any(dim=1), of_right, 1 - probability.sum(dim=1))
    share = torch.where(choices.present, 1.0, absent)
    return -((of_right + 1e-6).log() * share).sum() / share.sum()


def fit(choices: Choices, absent: float) -> tuple[float, float, ChoiceWeights]:
    """Scale and offset of the confidence, and the weights, by gradient descent on `loss`."""
    parameters = [torch.tensor(x, requires_grad=True) for x in (1.0, 0.0, _START)]
    optimizer = torch.optim.Adam(parameters, lr=_RATE)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        (loss(choices, *parameters, absent) + _RIDGE * parameters[2].square().sum()).backward()
        optimizer.step()
    scale, offset, weights = (parameter.tolist() for parameter in parameters)
    return round(scale, 3), round(offset, 3), ChoiceWeights(*(round(x, 3) for x in weights))


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
