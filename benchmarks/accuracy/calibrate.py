"""Fit the confidence of trained weights, and how their last hypotheses are weighed against each other.

    python -m benchmarks.accuracy.calibrate --weights FOLDER

registers held-out procedural objects, which neither training nor the scoreboard uses, in cluttered, occluded and noisy
scenes and where they are absent, each time with its mesh and with one in the colours of another camera; compares what
each search leaves in pairs, as the search itself does; and writes into scorer.json what makes the right pose likeliest:
`confidence_scale`, `confidence_offset`, `judge_weights` and `choice_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from benchmarks.accuracy.objects import TargetObject, recolored
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool
from benchmarks.accuracy.suites import SUITES
from estimater import FoundationPose
from learning.datasets.objects.random_objects import make_objects
from learning.datasets.objects.training_pool import HELD_OUT_SEED
from learning.training.predict_score import JudgeWeights, ScorePredictor
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

_SUITES = ("cluttered", "occluded", "absent")
_FIRST_SEED = HELD_OUT_SEED + 2_000_000
_DIAMETERS = (0.03, 0.35)  # metres, the smallest and the largest
_START = (0.5, 1.0, 1.0, 1.0, 1.0)
# Of the judgement. Real pictures correlate less than simulated ones: fitted to these, texture would count half as
# much again, and right poses of glossy things would be doubted.
_TEXTURE = 6.0
_RIDGE = 1e-3  # times the square of the weights
_STEPS, _RATE = 200, 0.06
_POINTS = 1000  # of the surface
_CERTAIN = 1e-7  # nearest that a confidence comes to 0 or 1


@dataclass
class Options:
    """Whose confidence, and what to fit it on."""

    weights: Path
    """folder with refiner.* and scorer.*; scorer.json gets the new numbers"""
    objects: int = 120
    scenes: int = 200
    """of each suite: cluttered, occluded and absent"""
    absent: float = 0.1
    """what a scene without the object counts: such masks are rarer in use than one in three"""
    device: str = "auto"
    workers: int | None = None
    """processes that make scenes"""
    seed: int = 5


class Choices(NamedTuple):
    """What searches left, M of N hypotheses each, and which are right.

    Attributes:
        ranking: (M, N) of the scorer.
        logit, judged: (M, N) of the network as `predict` and as `judge` ask it.
        texture: (M, N) `texture_correlation`.
        color, shape: (M, N, N) `PairEvidence`.
        right: (M, N) bool, within 0.1 diameter of the truth, or the same as such a one; none if the object is absent.
        present: (M,) bool, the object is there.
    """

    ranking: Tensor
    logit: Tensor
    judged: Tensor
    texture: Tensor
    color: Tensor
    shape: Tensor
    right: Tensor
    present: Tensor


class Calibration(NamedTuple):
    """What is fitted, by the names of `NetworkConfig`."""

    confidence_scale: float
    confidence_offset: float
    judge_weights: tuple[float, ...]
    choice_weights: tuple[float, ...]


def main(options: Options) -> None:
    file = options.weights / "scorer.json"
    config = json_file.read_json(file, WeightsError)
    scale, offset = config.get("confidence_scale", 1.0), config.get("confidence_offset", 0.0)
    judge_weights = config.get("judge_weights") or (scale, 0.0, offset)
    before = Calibration(scale, offset, judge_weights, config.get("choice_weights") or _START)
    choices = collect(options)
    if not (choices.right.any(dim=1) & ~choices.right.all(dim=1)).any():
        raise ResultsError(
            f"{len(choices.right)} scenes, and in none a right and a wrong pose are left: raise --scenes"
        )
    after = fit(choices, options.absent)
    for name, numbers in (("before", before), ("after", after)):
        value = float(choice_loss(choices, numbers, options.absent))
        print(f"{name}: mean negative logarithm of the probability of what is right: {value:.3f}")
    json_file.write_json(file, config | after._asdict())
    print(f"{file}: {after}")


def collect(options: Options) -> Choices:
    """What the searches leave, scene by scene."""
    meshes = make_objects(range(_FIRST_SEED, _FIRST_SEED + options.objects))
    diameters = np.geomspace(*_DIAMETERS, len(meshes))[np.random.default_rng(options.seed).permutation(len(meshes))]
    targets = [TargetObject(mesh.scaled(size)) for mesh, size in zip(meshes, diameters, strict=True)]
    pool = ScenePool.from_meshes([target.mesh for target in targets])
    tasks = [(SUITES[name], i) for i in range(options.scenes) for name in _SUITES]
    pruned = replace(SCHEDULES["pruned"], min_confidence=0.0)
    factory = EstimatorFactory(options.weights, options.device, schedule=pruned)
    assert isinstance(factory.scorer, ScorePredictor)
    if not factory.scorer.has_confidence:
        raise WeightsError("these weights have no confidence: train a scorer with one (docs/training.md)")
    # The search shall leave and judge what it will once it has weights.
    plain = dict(confidence_scale=1.0, confidence_offset=0.0, judge_weights=JudgeWeights(1.0, 0.0, 0.0))
    choice_weights = factory.scorer.config.choice_weights or _START
    factory.scorer.config = factory.scorer.config.replace(choice_weights=choice_weights, **plain)
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
    scorer, hypotheses = estimator.scorer, Hypotheses(poses)
    assert isinstance(scorer, ScorePredictor)
    seen = hypotheses, estimator.object, frame
    scores, judged = scorer.predict(*seen), scorer.judge(*seen)
    assert scores.confidence is not None and judged.confidence is not None
    logits = scores.confidence.logit(_CERTAIN), judged.confidence.logit(_CERTAIN)
    texture = texture_correlation(poses, estimator.object, frame)
    evidence = compare_poses(poses, estimator.object, frame, torch.as_tensor(scene.mask, device=device))
    if not estimator.object.textured:
        evidence = evidence._replace(color=torch.zeros_like(evidence.color))
    right = torch.zeros(len(poses), dtype=torch.bool)
    if view.truth is not None:
        errors = add(original.numpy(), view.truth, target.mesh.sample_surface(_POINTS, seed=0)) / target.mesh.diameter
        right = torch.as_tensor(errors < RIGHT)
        alike = look_alike(poses, estimator.object, is_round(estimator.object, device)).cpu()
        right = alike[right].any(dim=0) if right.any() else right
    present = torch.tensor(view.truth is not None)
    return Choices(*(x.cpu() for x in (scores.ranking, *logits, texture, *evidence, right, present)))


def choice_loss(choices: Choices, numbers: Calibration | Sequence[Any], absent: float) -> Tensor:
    """Mean negative logarithm of the probability of what is right: one of the poses, or none of them."""
    scale, offset, judge_weights, choice_weights = numbers
    poses = choices.ranking.new_empty(*choices.ranking.shape, 0)
    hypotheses = Hypotheses(poses, choices.ranking, torch.sigmoid(scale * choices.logit + offset))
    judged = torch.sigmoid(JudgeWeights(*judge_weights).log_odds(choices.judged, choices.texture))
    evidence = PairEvidence(choices.color, choices.shape)
    _, probability = weigh(hypotheses, judged, choices.texture, evidence, ChoiceWeights(*choice_weights))
    of_right = (probability * choices.right).sum(dim=1)
    of_right = torch.where(choices.right.any(dim=1), of_right, 1 - probability.sum(dim=1))
    return _mean(-(of_right + 1e-6).log(), choices.present, absent)


def confidence_loss(choices: Choices, scale: float | Tensor, offset: float | Tensor, absent: float) -> Tensor:
    """Mean cross-entropy of `predict`'s confidence in the pose that ranks highest."""
    best = choices.ranking.argmax(dim=1, keepdim=True)
    logit, right = (x.gather(1, best).squeeze(1) for x in (choices.logit, choices.right))
    entropy = binary_cross_entropy_with_logits(scale * logit + offset, right.float(), reduction="none")
    return _mean(entropy, choices.present, absent)


def _mean(values: Tensor, present: Tensor, absent: float) -> Tensor:
    share = torch.where(present, 1.0, absent)
    return (values * share).sum() / share.sum()


def fit(choices: Choices, absent: float) -> Calibration:
    """All numbers, where the losses are least: first `predict`'s, which the others build upon."""
    single = _least(lambda scale: confidence_loss(choices, *scale, absent), (1.0, 0.0))[0]

    def rest(judge: Tensor, weights: Tensor) -> Tensor:
        numbers = (*single, JudgeWeights(judge[0], _TEXTURE, judge[1]), weights)
        return choice_loss(choices, numbers, absent) + _RIDGE * weights.square().sum()

    (network, offset), weights = _least(rest, (1.0, 0.0), _START)
    return Calibration(*single, JudgeWeights(network, _TEXTURE, offset), tuple(weights))


def _least(loss: Callable[..., Tensor], *starts: Sequence[float]) -> list[list[float]]:
    """What makes a function of one or several lists of numbers least."""
    parameters = [torch.tensor(start, requires_grad=True) for start in starts]
    optimizer = torch.optim.Adam(parameters, lr=_RATE)  # the best hypothesis changes by jumps: no line search
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss(*parameters).backward()
        optimizer.step()
    return [[round(x, 3) for x in parameter.tolist()] for parameter in parameters]


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
