"""Running an estimator over scenes, and measuring what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.real_fit import measure_fit
from benchmarks.accuracy.scenes import EvaluationScene, View
from pose6d.errors import FrameError
from pose6d.evaluation.equivalent_poses import EquivalentPoses
from pose6d.evaluation.pose_errors import add, nearest_symmetric_truth
from pose6d.evaluation.record import LIKELY, Record
from pose6d.geometry.observation import Observation
from pose6d.mesh.mesh import Mesh
from pose6d.search.interfaces import Hypotheses, ObjectModel, Progress, Refiner

_POINTS = 1000  # of the surface, for ADD and ADD-S
_ROUGH_POINTS = 200  # enough to tell which hypotheses may be the best
_CANDIDATES = 8  # hypotheses whose ADD is taken over all points
_LOST = 0.5  # diameters; no refiner comes back from there


class BenchmarkedEstimator(Protocol):
    """What the scoreboard asks of an estimator; `FoundationPose` is the real one.

    It may also have `confidence`, and `alternatives` with `none_probability`, which sum to one.
    """

    poses: np.ndarray | None

    def register(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, ob_mask: np.ndarray, iteration: int = ...
    ) -> np.ndarray: ...

    def track_one(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int | None = ..., judge: bool = ...
    ) -> np.ndarray: ...

    def start_from(self, object_in_camera: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Effort:
    """How much work the estimator may do."""

    iterations: int = 5
    track_iterations: int | None = None


class FewerHypotheses:
    """A refiner that drops all but a few hypotheses first, keeping those that differ most in rotation.

    Args:
        refiner: does the work.
        count: how many to keep.
    """

    def __init__(self, refiner: Refiner, count: int) -> None:
        if count < 1:
            raise ValueError(f"{count} hypotheses: at least one is needed")
        self.refiner, self.count, self.recordable = refiner, count, False

    def predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        steps: int = 5,
        progress: Progress | None = None,
    ) -> Tensor:
        """As the refiner's own."""
        if len(hypotheses) > self.count:
            hypotheses = hypotheses.take(most_different(hypotheses.poses[:, :3, :3], self.count))
        return self.refiner.predict(hypotheses, object, observation, steps, progress)


def most_different(rotations: Tensor, count: int) -> Tensor:
    """(count,) indices, each the one farthest from all before (Gonzalez, Theoretical Computer Science 1985)."""
    flat = rotations.reshape(-1, 9)
    nearest = torch.full((len(flat),), -torch.inf, device=flat.device)  # trace(A^T B) of the nearest kept rotation
    kept = [torch.zeros((), dtype=torch.int64, device=flat.device)]
    while len(kept) < count:
        nearest = torch.maximum(nearest, flat @ flat[kept[-1]])
        kept.append(nearest.argmin())
    return torch.stack(kept)


@cache
def _surface(target: TargetObject) -> np.ndarray:
    return target.mesh.sample_surface(_POINTS, seed=0)


def evaluate(
    suite: str,
    scenes: Iterator[tuple[TargetObject, EvaluationScene, str]],
    make_estimator: Callable[[Mesh], BenchmarkedEstimator],
    effort: Effort,
    find_equivalents: Callable[[TargetObject], EquivalentPoses] | None = None,
) -> Iterator[Record]:
    """Records as soon as they are known, one per scene, or one per tracked frame.

    Args:
        suite: its name.
        scenes: what to find, where, and the name of the recording if it is a real one.
        make_estimator: returns an estimator of a mesh.
        effort: iterations.
        find_equivalents: returns what finds the poses that no picture tells from the truth; without it, the measures
            against that set are left out, as they are in sequences.
    """
    for index, (target, scene, recording) in enumerate(scenes):
        record = begin_record(suite, index, target, scene, recording)
        estimator = make_estimator(target.for_estimator)
        if len(scene.views) == 1:
            yield register_scene(record, estimator, target, scene, effort, find_equivalents)
        else:
            yield from _track_scene(record, estimator, target, scene.views, effort)


def begin_record(suite: str, index: int, target: TargetObject, scene: EvaluationScene, recording: str = "") -> Record:
    """What is known before the estimator has seen the scene."""
    return Record(
        suite=suite,
        object=target.mesh.name,
        index=index,
        diameter=float(target.mesh.diameter),
        recording=recording,
        symmetric=target.symmetric,
        present=scene.visible > 0,
        visible=scene.visible,
    )


def register_scene(
    record: Record,
    estimator: BenchmarkedEstimator,
    target: TargetObject,
    scene: EvaluationScene,
    effort: Effort,
    find_equivalents: Callable[[TargetObject], EquivalentPoses] | None = None,
) -> Record:
    """The record with what `register` gives in the scene's first view, and how long it takes."""
    view = scene.views[0]
    start = time.perf_counter()
    try:
        pose = estimator.register(view.K, view.rgb, view.depth, scene.mask, iteration=effort.iterations)
    except FrameError as error:
        record.failure = str(error)
        return record
    record.seconds = time.perf_counter() - start
    record.confidence = getattr(estimator, "confidence", None)
    likely = _note_alternatives(record, estimator, pose)
    if record.recording:
        record.pose = [float(value) for value in np.asarray(pose).ravel()]
        measure_fit(record, target, pose, view, scene.mask)
    if view.truth is not None:
        others = [replace(record) for _ in likely]
        for other, alternative in zip(others, likely, strict=True):
            _measure(other, target, alternative, view.truth)
        record.best_alternative = min(other.error for other in others if other.error is not None)
        _measure(record, target, pose, view.truth)
        if find_equivalents is not None:
            found = find_equivalents(target).find(view.truth, view.K, view.depth, scene.mask, likely)
            record.texture = found.texture
            record.measure_set(likely, found.poses, _surface(target))
        hypotheses = pose[None] if estimator.poses is None else np.concatenate([pose[None], estimator.poses])
        record.best_add = _least_add(hypotheses, view.truth, target) / record.diameter
    return record


def _note_alternatives(record: Record, estimator: BenchmarkedEstimator, pose: np.ndarray) -> np.ndarray:
    """Fill in the alternatives that an estimator leaves open; returns the likely poses (A, 4, 4), the given one first.

    An estimator that gives only one pose has one likely pose, and no alternatives.
    """
    alternatives = getattr(estimator, "alternatives", None)
    if not alternatives:
        return np.asarray(pose, dtype=np.float64)[None]
    record.alternatives = [float(alternative.probability) for alternative in alternatives]
    record.none_probability = getattr(estimator, "none_probability", None)
    if record.recording and len(alternatives) > 1:
        record.second_pose = [float(value) for value in np.asarray(alternatives[1].pose).ravel()]
    others = [np.asarray(other.pose) for other in alternatives[1:] if other.probability > LIKELY]
    return np.stack([np.asarray(pose), *others]).astype(np.float64)


def _track_scene(
    first: Record, estimator: BenchmarkedEstimator, target: TargetObject, views: Sequence[View], effort: Effort
) -> Iterator[Record]:
    """Start from the truth, follow, and start again after each loss, so that one loss costs one frame.

    Resets as in Kristan et al., The Visual Object Tracking VOT2013 challenge results, ICCVW 2013.
    """
    assert views[0].truth is not None
    estimator.start_from(views[0].truth)
    for frame, view in enumerate(views[1:], start=1):
        record = Record(**{**vars(first), "frame": frame})
        start = time.perf_counter()
        try:
            pose = estimator.track_one(view.rgb, view.depth, view.K, iteration=effort.track_iterations, judge=True)
        except FrameError as error:
            record.failure = str(error)
            yield record
            continue
        record.seconds = time.perf_counter() - start
        record.confidence = getattr(estimator, "confidence", None)
        assert view.truth is not None
        _measure(record, target, pose, view.truth)
        assert record.error is not None
        record.lost = record.error > _LOST
        if record.lost:
            estimator.start_from(view.truth)
        yield record


def _measure(record: Record, target: TargetObject, pose: np.ndarray, truth: np.ndarray) -> None:
    known = target.symmetries is not None
    record.measure(pose, truth, _surface(target), target.symmetries, add_of_nearest=known)


def _least_add(poses: np.ndarray, truth: np.ndarray, target: TargetObject) -> float:
    """The least ADD of some poses in metres; the first pose is always among those that are measured exactly."""
    points = _surface(target)
    closest = nearest_symmetric_truth(poses, truth, target.symmetries)
    rough = add(poses, closest, points[:_ROUGH_POINTS])
    chosen = np.unique(np.concatenate([[0], np.argsort(rough)[:_CANDIDATES]]))
    return float(add(poses[chosen], closest[chosen], points).min())
