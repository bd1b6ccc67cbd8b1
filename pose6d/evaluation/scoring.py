"""The second of the two loops: a results file in, scores out. Nothing but the file and the data set is needed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from pose6d.errors import SceneError
from pose6d.evaluation.auc import auc, recall
from pose6d.evaluation.average_recall import MSPD_WIDTH, average_recall, count_found, match
from pose6d.evaluation.datasets import ImageTargets, PoseDataset, Target
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.pose_errors import mspd, mssd, nearest_symmetric_truth
from pose6d.evaluation.record import RIGHT, Record, column
from pose6d.evaluation.results_file import Key, PoseEstimate, read_results
from pose6d.evaluation.tracking_errors import jitter, loss_statistics
from pose6d.evaluation.truth_check import check_truths
from pose6d.evaluation.visible_surface import TAUS, render_depth, shows_object, vsd
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.scenes.bop_folder import TrueInstance

# ceil(pi / 0.01) turns, as in the BOP toolkit: no point moves by more than 0.01 diameters from one to the next.
_SYMMETRY_STEP = 360 / 315
_LOST = 0.1  # diameters of ADD or ADD-S from which on a tracked frame counts as lost


class Instance(NamedTuple):
    """One true instance, and the estimate that it got.

    Attributes:
        record: its errors; its `failure` says so where there is no estimate.
        estimate: (4, 4), None where there is none.
        truth: (4, 4), of the poses that look like it the one nearest to the estimate.
    """

    record: Record
    estimate: np.ndarray | None
    truth: np.ndarray


@dataclass
class Tally:
    """Errors of some of the targets."""

    counts: list[dict[str, np.ndarray]] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

    def scores(self) -> dict[str, Any]:
        """AR, recalls, AUCs, and medians of what was found."""
        records = [instance.record for instance in self.instances]
        diameters = np.array([record.diameter for record in records])
        errors = {
            name: column(records, key) for name, key in (("ADD", "add"), ("ADD-S", "add_s"), ("ADD(-S)", "error"))
        }
        estimated = [record for record in records if not record.failure]
        return {
            "instances": len(records),
            "without_estimate": len(records) - len(estimated),
            **average_recall(self.counts, len(records)),
            **{f"recall_{name}_0.1d": recall(values, RIGHT) for name, values in errors.items()},
            **{f"AUC_{name}": auc(values * diameters) for name, values in errors.items()},
            "median_rotation_deg": _median(column(estimated, "degrees")),
            "median_translation_mm": _median(column(estimated, "millimetres")),
        }


class ResultsScorer:
    """Measures estimates against a data set's ground truth.

    Args:
        dataset: what is asked for.
        device: that the depth images of VSD are rendered on.

    Attributes:
        not_shown: how many true instances, of those whose target has an estimate, the depth images contradict so far.

    Raises:
        SceneError, MeshError: ground truth or meshes that cannot be; see `check_truths`.
    """

    def __init__(self, dataset: PoseDataset, device: str | torch.device = "cpu") -> None:
        self._dataset = dataset
        ids = dataset.object_ids
        self._mesh_index = {obj_id: index for index, obj_id in enumerate(ids)}
        self._meshes: dict[int, Mesh] = {obj_id: dataset.evaluation_mesh(obj_id) for obj_id in ids}
        check_truths(dataset, self._meshes)
        self._diameters = {obj_id: dataset.diameter(obj_id) for obj_id in ids}
        self._symmetries = {obj_id: dataset.symmetries(obj_id, _SYMMETRY_STEP) for obj_id in ids}
        self._symmetric = {obj_id: dataset.is_symmetric(obj_id) for obj_id in ids}
        self.not_shown = 0
        self._renderer = make_renderer(list(self._meshes.values()), device)

    def score_image(
        self, image: ImageTargets, estimates: dict[Key, list[PoseEstimate]]
    ) -> Iterable[tuple[Target, dict[str, np.ndarray], list[Instance]]]:
        """For each target what was found at each threshold, and the errors of each true instance.

        Of a target's estimates the `inst_count` with the highest scores count, of its true instances the `inst_count`
        most visible (BOP Challenge 2019).
        """
        frame = self._dataset.frame(image.scene_id, image.im_id)
        for target in image.targets:
            truths = self._dataset.best_visible(target)
            if not truths:
                raise SceneError(
                    f"scene {target.scene_id}, image {target.im_id}: the ground truth has no object {target.obj_id}, "
                    "which the targets ask for: do they belong to this split?"
                )
            ranked = sorted(estimates.get(target[:3], []), key=lambda estimate: -estimate.score)[: target.inst_count]
            poses = np.array([estimate.object_in_camera for estimate in ranked]).reshape(-1, 4, 4)
            errors = self._bop_errors(
                target.obj_id, poses, np.stack([truth.object_in_camera for truth in truths]), frame.depth, frame.K
            )
            yield target, count_found(errors), self._instances(target, ranked, truths, errors["mssd"])

    def _bop_errors(
        self, obj_id: int, poses: np.ndarray, truths: np.ndarray, scene_depth: np.ndarray, K: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Errors of each estimate (E, 4, 4) to each truth (G, 4, 4), in the units of `average_recall.THRESHOLDS`."""
        shape = (len(poses), len(truths))
        errors = {"vsd": np.ones((len(TAUS), *shape)), "mssd": np.empty(shape), "mspd": np.empty(shape)}
        if not len(poses):
            return errors
        points, symmetries = self._meshes[obj_id].vertices, self._symmetries[obj_id]
        diameter, size = self._diameters[obj_id], (scene_depth.shape[0], scene_depth.shape[1])
        center = np.append(self._meshes[obj_id].center, 1)
        drawn = render_depth(self._renderer, np.concatenate([poses, truths]), K, size, self._mesh_index[obj_id])
        self.not_shown += sum(not shows_object(truth, scene_depth, diameter) for truth in drawn[len(poses) :])
        for e, pose in enumerate(poses):
            errors["mssd"][e] = mssd(pose, truths, points, symmetries) / diameter
            errors["mspd"][e] = mspd(pose, truths, points, K, symmetries) * MSPD_WIDTH / size[1]
            for g, truth in enumerate(truths):
                # No two points on one ray, less than half a diameter apart, are on objects farther apart than this.
                if np.linalg.norm((pose - truth) @ center) < 2.5 * diameter:
                    errors["vsd"][:, e, g] = vsd(drawn[e], drawn[len(poses) + g], scene_depth, K, diameter)
        return errors

    def _instances(
        self, target: Target, ranked: list[PoseEstimate], truths: list[TrueInstance], distances: np.ndarray
    ) -> list[Instance]:
        """Each true instance; the surest estimate takes the one nearest by `distances` (E, G) first."""
        obj_id = target.obj_id
        points, symmetries = self._meshes[obj_id].vertices, self._symmetries[obj_id]
        instances = []
        for truth, index in zip(truths, match(distances, math.inf), strict=True):
            record = Record(
                self._dataset.name,
                str(obj_id),
                target.scene_id,
                self._diameters[obj_id],
                frame=target.im_id,
                symmetric=self._symmetric[obj_id],
                visible=truth.visible_fraction,
            )
            pose, there = None, truth.object_in_camera
            if index < 0:
                record.failure = "no estimate"
            else:
                pose, record.seconds = ranked[index].object_in_camera, ranked[index].seconds
                record.measure(pose, there, points, symmetries)
                there = nearest_symmetric_truth(pose, there, symmetries)
            instances.append(Instance(record, pose, there))
        return instances


def score(dataset: PoseDataset, results: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Score a results file.

    Args:
        dataset: what was asked for.
        results: the CSV.
        device: that VSD renders on.

    Returns:
        The content of scores.json: counts, scores of all targets, and by object and by scene; where the data set is
        made of videos also how tracking went. Rows that are not asked for are counted as ignored.

    Raises:
        ResultsError: the file has a problem; the message names the line.
        SceneError: the data set is incomplete or keeps its ground truth private.
    """
    instances = {target[:3]: target.inst_count for target in dataset.targets}
    rows = read_results(results, instances)
    estimates: dict[Key, list[PoseEstimate]] = defaultdict(list)
    for row in rows:
        estimates[row.key].append(row)
    scorer = ResultsScorer(dataset, device)
    everything = Tally()
    objects: dict[int, Tally] = defaultdict(Tally)
    scenes: dict[int, Tally] = defaultdict(Tally)
    for image in tqdm(dataset.images(), desc="score", unit="image", mininterval=0.5):
        for target, counts, errors in scorer.score_image(image, estimates):
            for tally in (everything, objects[target.obj_id], scenes[target.scene_id]):
                tally.counts.append(counts)
                tally.instances += errors
    times = {row.key[:2]: row.seconds for row in rows if row.seconds >= 0 and row.key in instances}
    scores = {
        "dataset": dataset.name,
        "split": dataset.split,
        "results": results.name,
        "targets": len(dataset.targets),
        "truths_not_in_depth": scorer.not_shown,
        "ignored_rows": sum(row.key not in instances for row in rows),
        "mean_seconds_per_image": float(np.mean(list(times.values()))) if times else math.nan,
        **everything.scores(),
        "objects": {str(obj_id): tally.scores() for obj_id, tally in sorted(objects.items())},
        "scenes": {str(scene_id): tally.scores() for scene_id, tally in sorted(scenes.items())},
    }
    if dataset.frame_seconds is not None:
        scores["tracking"] = {
            str(scene_id): _tracking(tally.instances, dataset.frame_seconds)
            for scene_id, tally in sorted(scenes.items())
        }
    return _without_nan(scores)


def score_table(scores: dict[str, Any]) -> str:
    """The scores by object as text for people."""
    columns = ("AR", "AR_VSD", "AR_MSSD", "AR_MSPD", "recall_ADD(-S)_0.1d", "AUC_ADD", "AUC_ADD-S")
    titles = ("object", "instances", "AR", "VSD", "MSSD", "MSPD", "ADD(-S)<0.1d", "AUC ADD", "AUC ADD-S")
    lines = [titles]
    for name, part in (*scores["objects"].items(), ("all", scores)):
        values = ("-" if part[column] is None else f"{part[column]:.4f}" for column in columns)
        lines.append((name, str(part["instances"]), *values))
    return "\n".join(markdown_table(lines)[:-1])


def _tracking(instances: Sequence[Instance], frame_seconds: float) -> dict[str, Any]:
    """Of one video with one object in it, its frames in order."""
    losses = loss_statistics(column([instance.record for instance in instances], "error"), _LOST, frame_seconds)
    shaking = [
        jitter(np.stack([a.estimate, b.estimate]), np.stack([a.truth, b.truth]))
        for a, b in pairwise(instances)
        if a.estimate is not None and b.estimate is not None and b.record.frame == a.record.frame + 1
    ]
    return {
        "frames": len(instances),
        "lost_rate": losses.lost_rate,
        "losses": losses.losses,
        "mean_seconds_to_loss": losses.mean_time_to_loss,
        "first_loss_seconds": losses.first_loss,
        "jitter_deg": math.degrees(_rms([j.rotation for j in shaking])),
        "jitter_mm": 1000 * _rms([j.translation for j in shaking]),
    }


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else math.nan


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan


def _without_nan(value: Any) -> Any:
    """JSON knows neither NaN nor infinity: None stands for both."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
