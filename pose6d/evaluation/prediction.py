"""The first of the two loops: a data set in, a results file out. Which estimator is used is the caller's business."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from pose6d.errors import SceneError
from pose6d.evaluation.datasets import ImageTargets, PoseDataset, Target, scenes_of
from pose6d.evaluation.detections import MaskSource
from pose6d.evaluation.ray_workers import predict_with_ray
from pose6d.evaluation.results_file import PoseEstimate
from pose6d.evaluation.results_writer import ResultsWriter
from pose6d.scenes.frame import Frame


@dataclass(frozen=True, eq=False)
class PoseRequest:
    """One pose to estimate.

    Attributes:
        target: what is asked for.
        frame: the images; `frame.mask` is where the object is, None while tracking.
        previous: (4, 4) pose in the frame before, metres, where it is to be tracked; None where it is to be found anew.
    """

    target: Target
    frame: Frame
    previous: np.ndarray | None = None


class FoundPose(NamedTuple):
    """What an estimator answers.

    Attributes:
        pose: (4, 4) object in camera, metres.
        alternatives: the distinct poses that it may have, each with its probability, `pose` first; empty where the
            estimator names none.
    """

    pose: np.ndarray
    alternatives: Sequence[tuple[np.ndarray, float]] = ()


Estimate = Callable[[PoseRequest], FoundPose]  # SceneError where it is impossible


@dataclass
class ImageResult:
    """The rows of one image, and a message for each target that has none."""

    image: ImageTargets
    rows: list[PoseEstimate] = field(default_factory=list)
    failures: dict[Target, str] = field(default_factory=dict)


@dataclass
class Job:
    """What is needed to work on scenes, in this process or another.

    Attributes:
        dataset: the images.
        masks: where to look.
        estimate: the estimator.
        track: find each object in the first image of a scene and follow it through the others.
    """

    dataset: PoseDataset
    masks: MaskSource
    estimate: Estimate
    track: bool = False

    def __post_init__(self) -> None:
        several = next((target for target in self.dataset.targets if target.inst_count > 1), None)
        if self.track and several is not None:
            raise SceneError(f"{describe(several)}: {several.inst_count} instances cannot be told apart while tracking")

    def predict_scene(
        self, images: list[ImageTargets], done: dict[tuple[int, int], list[PoseEstimate]]
    ) -> Iterator[ImageResult]:
        """Work on the images of one scene that are not done, in order.

        Args:
            images: of one scene.
            done: rows of images that are finished; tracking goes on from them.
        """
        last: dict[int, np.ndarray] = {}
        for image in images:
            rows = done.get((image.scene_id, image.im_id))
            if rows is None:
                result = self._predict_image(image, last if self.track else {})
                rows = result.rows
                yield result
            last.update({row.obj_id: row.object_in_camera for row in rows})

    def _predict_image(self, image: ImageTargets, last: dict[int, np.ndarray]) -> ImageResult:
        result = ImageResult(image)
        try:
            frame = self.dataset.frame(image.scene_id, image.im_id)
        except SceneError as error:
            result.failures = {target: str(error) for target in image.targets}
            return result
        found: list[tuple[Target, float, FoundPose]] = []
        detector_seconds = 0.0
        start = time.perf_counter()
        for target in image.targets:
            try:
                if target.obj_id in last:
                    frame.mask = None
                    found.append((target, 1.0, self.estimate(PoseRequest(target, frame, last[target.obj_id]))))
                    continue
                for detection in self.masks.find(target, frame.rgb.shape[:2]):
                    frame.mask = detection.mask
                    detector_seconds = max(detector_seconds, detection.seconds)
                    found.append((target, detection.score, self.estimate(PoseRequest(target, frame))))
            except SceneError as error:
                result.failures[target] = str(error)
        # The BOP Challenge counts the time of the whole image, detector included, and wants it in each row.
        seconds = time.perf_counter() - start + detector_seconds
        for target, score, answer in found:
            pose = np.asarray(answer.pose, np.float64)
            result.rows.append(PoseEstimate(*target[:3], score, pose, seconds, alternatives=answer.alternatives))
        return result


@dataclass
class Summary:
    """What a run did.

    Attributes:
        skipped: images that an earlier run had finished.
        predicted: images of this run that have rows now.
        failures: message by target.
    """

    skipped: int = 0
    predicted: int = 0
    failures: dict[Target, str] = field(default_factory=dict)


def predict(
    make_job: Callable[[], Job],
    images: list[ImageTargets],
    output: Path,
    settings: dict[str, Any],
    *,
    workers: int = 1,
    gpus_per_worker: float = 0.0,
) -> Summary:
    """Write the poses of all targets to a results file, and their alternatives beside it; images that it already holds
    are skipped.

    A target that fails leaves no row and is named; a later run tries its image again if no other target of it has one.

    Args:
        make_job: called once here, or once in each worker.
        images: what is asked for, scene by scene.
        output: the CSV.
        settings: what the rows depend on; see `ResultsWriter`.
        workers: 1 works here; more spread the scenes over processes of Ray, on this machine or a cluster.
        gpus_per_worker: that Ray reserves.

    Raises:
        OutputError, ResultsError: see `ResultsWriter`.
        MissingDependencyError: several workers without Ray.
    """
    writer = ResultsWriter(output, images, settings)
    for repair in writer.repairs:
        print(f"{output}: {repair}", file=sys.stderr)
    summary = Summary(skipped=sum((image.scene_id, image.im_id) in writer.done for image in images))
    if summary.skipped == len(images):
        return summary
    scenes = [scene for scene in scenes_of(images) if any(image[:2] not in writer.done for image in scene)]
    with tqdm(total=len(images), initial=summary.skipped, desc="predict", unit="image", mininterval=0.5) as bar:
        for result in _results(make_job, scenes, writer, workers, gpus_per_worker):
            writer.write(result.rows)
            summary.predicted += bool(result.rows)
            summary.failures.update(result.failures)
            for target, message in result.failures.items():
                tqdm.write(f"{describe(target)}: {message}", file=sys.stderr)
            bar.update()
    return summary


def describe(target: Target) -> str:
    """A target in words."""
    return f"scene {target.scene_id}, image {target.im_id}, object {target.obj_id}"


def _results(
    make_job: Callable[[], Job], scenes: list[list[ImageTargets]], writer: ResultsWriter, workers: int, gpus: float
) -> Iterable[ImageResult]:
    """Results as they come; the rows of finished images are handed over as they were on opening."""
    done = {key: list(rows) for key, rows in writer.done.items()}
    if workers > 1:
        return predict_with_ray(make_job, scenes, done, min(workers, len(scenes)), gpus)
    job = make_job()
    return (result for scene in scenes for result in job.predict_scene(scene, done))
