"""Evaluate on data sets: estimate poses, score them, check a file of them.

python -m pose6d.evaluation predict --dataset bop/ycbv --output runs/ycbv.csv
python -m pose6d.evaluation score --results runs/ycbv.csv --dataset bop/ycbv
python -m pose6d.evaluation check runs/ycbv.csv
python -m pose6d.evaluation predict --dataset synthetic:cluttered --mesh_folder MESHES --output runs/cluttered.csv

Exit code: 0 for success, 1 where check finds problems, 2 for bad input, 3 where some targets have no estimate,
130 where predict was interrupted (143 by SIGTERM); the same command continues it.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from pose6d.command import read_subcommand, run_command
from pose6d.device import resolve_device
from pose6d.errors import MissingDependencyError, Pose6DError, SceneError
from pose6d.evaluation.datasets import PoseDataset
from pose6d.evaluation.detections import DetectionFile, VisibleMasks
from pose6d.evaluation.open_dataset import open_dataset, refuse
from pose6d.evaluation.prediction import FoundPose, Job, PoseRequest, describe, predict
from pose6d.evaluation.results_file import check_results
from pose6d.evaluation.scoring import score, score_table
from pose6d.json_file import write_json
from pose6d.weights import find_weights

OK, PROBLEMS, SOME_TARGETS_FAILED = 0, 1, 3


@dataclass(frozen=True)
class SyntheticOptions:
    """Of synthetic data sets."""

    mesh_folder: Path | None = None
    """Of a synthetic data set: folder that is searched for meshes in metres. Default: procedural objects."""
    scenes: int | None = None
    """Of a synthetic data set: how many. Default: 100; of videos a tenth as many."""
    seed: int | None = None
    """Of a synthetic data set: what its scenes follow from. Default: 7."""
    symmetric: tuple[str, ...] = ()
    """Of a synthetic data set: parts of the names of objects that look the same from several sides, for ADD(-S)."""


@dataclass(frozen=True)
class DatasetOptions:
    """Which data set, and which part of it."""

    dataset: Path
    """Folder of the data set: BOP, LINEMOD, YCB-Video or YCBInEOAT; or synthetic:SUITE, such as synthetic:cluttered."""
    split: str | None = None
    """Part of a BOP data set, such as val. Default: the test images."""
    targets: Path | None = None
    """What to find, instead of the data set's own test_targets_bop19.json (or keyframe.txt)."""
    synthetic: Annotated[SyntheticOptions, tyro.conf.arg(name="")] = SyntheticOptions()

    def open(self, models: str | None = None) -> PoseDataset:
        """Open it."""
        name, _, suite = str(self.dataset).partition(":")
        options = {key: value for key, value in asdict(self.synthetic).items() if value not in (None, ())}
        if name != "synthetic":
            if options:
                given = ", ".join(f"--{key}" for key in options)
                raise SceneError(f"{given}: --dataset {self.dataset} is a folder, and only synthetic:SUITE has them")
            return open_dataset(self.dataset, split=self.split, targets_file=self.targets, models=models)
        refuse({"split": self.split, "targets": self.targets, "models": models}, "synthetic")
        try:
            from benchmarks.accuracy.dataset import SyntheticDataset
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"--dataset {self.dataset}: synthetic data sets are made by benchmarks/, which is not part of the "
                f"installed package ({error}): run this command in a checkout"
            ) from error
        return SyntheticDataset(suite, **options)


@dataclass(frozen=True)
class Predict:
    """Estimate the poses that a data set asks for; a run that was stopped goes on where it was."""

    data: Annotated[DatasetOptions, tyro.conf.arg(name="")]
    output: Path
    """The CSV of results; the other poses that objects may have go to <output>.alternatives.jsonl."""
    detections: Path | None = None
    """JSON of the BOP Challenge's default detections. Default: the data set's own visible masks."""
    models: str | None = None
    """Folder of meshes to find objects with, such as models_reconst. Default: the data set's usual one."""
    track: bool = False
    """Find each object in the first image of a scene and follow it through the others."""
    est_refine_iter: int = 5
    """Refinement steps where an object is found."""
    track_refine_iter: int = 2
    """Refinement steps where it is followed."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    weights: str = "auto"
    """Network weights: name of a set in weights/, or a folder."""
    symmetry: bool = True
    """Tell the estimator the symmetries that the data set states."""
    workers: int = 1
    """Processes; more than one need Ray (the extra [ray]) and use the cluster that RAY_ADDRESS names, if any."""


@dataclass(frozen=True)
class Score:
    """Score a file of results; writes scores.json."""

    results: Path
    """The CSV."""
    data: Annotated[DatasetOptions, tyro.conf.arg(name="")]
    output: Path | None = None
    """Default: the name of the results, with .scores.json in place of .csv."""
    device: str = "cpu"
    """That depth images are rendered on."""


@dataclass(frozen=True)
class Check:
    """List every problem of a file of results, by line."""

    results: tyro.conf.Positional[Path]
    """The CSV."""
    dataset: Path | None = None
    """Data set that it is about; without it, one estimate per target is expected."""
    split: str | None = None
    """Part of the data set."""
    targets: Path | None = None
    """What was to be found, instead of the data set's own file."""
    synthetic: Annotated[SyntheticOptions, tyro.conf.arg(name="")] = SyntheticOptions()


class Estimator:
    """Calls FoundationPose for the objects of a data set; networks are loaded once, each mesh at its first use."""

    def __init__(self, dataset: PoseDataset, options: Predict) -> None:
        from many_objects import EstimatorFactory

        self._dataset, self._options = dataset, options
        self._make = EstimatorFactory(options.weights, options.device)
        self._of_object = cache(self._estimator)

    def __call__(self, request: PoseRequest) -> FoundPose:
        estimator = self._of_object(request.target.obj_id)
        frame = request.frame
        if request.previous is None:
            pose = estimator.register(
                frame.K, frame.rgb, frame.depth, frame.mask, iteration=self._options.est_refine_iter
            )
            return FoundPose(pose, tuple(estimator.alternatives))
        estimator.start_from(request.previous)
        return FoundPose(
            estimator.track_one(frame.rgb, frame.depth, frame.K, iteration=self._options.track_refine_iter)
        )

    def _estimator(self, obj_id: int) -> Any:
        symmetries = self._dataset.symmetries(obj_id) if self._options.symmetry else None
        return self._make(self._dataset.mesh(obj_id), symmetries)


def make_job(options: Predict) -> Job:
    """What one process needs to estimate poses."""
    dataset = options.data.open(options.models)
    masks = DetectionFile(options.detections) if options.detections else VisibleMasks(dataset)
    return Job(dataset, masks, Estimator(dataset, options), options.track)


def run_predict(options: Predict) -> int:
    """Predict, and say what was done."""
    for name in ("est_refine_iter", "track_refine_iter", "workers"):
        if getattr(options, name) < 1:
            raise Pose6DError(f"--{name} is {getattr(options, name)}: at least 1 is needed")
    dataset = options.data.open(options.models)
    if options.detections is None:
        _check_truth(dataset)
    device = resolve_device(options.device)
    weights = find_weights(options.weights, "refiner", device.type).parent
    print(f"{dataset.name} {dataset.split}: {len(dataset.targets)} targets in {len(dataset.images())} images")
    settings = {
        "targets": str(options.data.targets) if options.data.targets else None,
        **{
            key: getattr(options, key)
            for key in ("models", "track", "est_refine_iter", "track_refine_iter", "symmetry")
        },
        "dataset": dataset.name,
        "split": dataset.split,
        "detections": str(options.detections) if options.detections else None,
        "weights": weights.name,
        "device": device.type,
        **dataset.settings,
    }
    import torch  # after the options have been checked

    gpus = min(1.0, torch.cuda.device_count() / options.workers) if device.type == "cuda" else 0.0
    summary = predict(
        partial(make_job, options),
        dataset.images(),
        options.output,
        settings,
        workers=options.workers,
        gpus_per_worker=gpus,
    )
    print(f"images: {summary.predicted} estimated, {summary.skipped} were done before; {options.output}")
    if summary.failures:
        names = [describe(target) for target in summary.failures]
        print(f"no estimate for {len(names)} target(s), the first: {names[0]}", file=sys.stderr)
    return SOME_TARGETS_FAILED if summary.failures else OK


def run_score(options: Score) -> int:
    """Score, write scores.json and print the table."""
    dataset = options.data.open()
    scores = score(dataset, options.results, resolve_device(options.device))
    output = options.output or options.results.with_suffix(".scores.json")
    write_json(output, scores)
    print(score_table(scores))
    for key, what in (("without_estimate", "instances without an estimate"), ("ignored_rows", "rows not asked for")):
        if scores[key]:
            print(f"{what}: {scores[key]}")
    if scores["truths_not_in_depth"] > scores["instances"] / 2:
        print(
            f"warning: at {scores['truths_not_in_depth']} of {scores['instances']} true instances the depth image "
            "shows nothing within a diameter: are translations, depth scale or intrinsics in another unit, or of other "
            "images? The scores mean nothing then",
            file=sys.stderr,
        )
    print(f"scores: {output}")
    return OK


def run_check(options: Check) -> int:
    """Print the problems."""
    instances = None
    if options.dataset is not None:
        dataset = DatasetOptions(options.dataset, options.split, options.targets, options.synthetic).open()
        instances = {target[:3]: target.inst_count for target in dataset.targets}
    problems = check_results(options.results, instances)
    for problem in problems:
        print(f"{options.results}, {problem}")
    print(f"{len(problems)} problem(s)" if problems else f"{options.results}: no problems")
    return PROBLEMS if problems else OK


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    commands: dict[Any, Any] = {"predict": Predict, "score": Score, "check": Check}
    options = read_subcommand(
        commands, prog="python -m pose6d.evaluation", args=args, description=__doc__, use_underscores=True
    )
    runs: dict[type, Any] = {Predict: run_predict, Score: run_score, Check: run_check}
    return run_command(
        lambda: runs[type(options)](options), "interrupted; what is done is kept, the same command continues"
    )


def _check_truth(dataset: PoseDataset) -> None:
    """Without detections the masks of the ground truth say where to look: say at once if there is none."""
    try:
        dataset.truths(*dataset.targets[0][:2])
    except SceneError as error:
        raise SceneError(f"no masks to look for objects in: {error}; or pass --detections") from error


if __name__ == "__main__":
    sys.exit(main())
