"""From how far a refiner finds back to the pose, and how many hypotheses it therefore needs.

`python -m benchmarks.reach --weights lite runs/refiner_90 --mesh-folder MESHES --symmetric bowl --output reach.json`

starts all 252 rotations of the full schedule in each scene, refines them, and counts which end within 0.1 diameter by
ADD: by how far they were off at the start, and as the best of the N that differ most. Weights need no scorer. The table
and the figure go beside the JSON as .md and .png; `--from-json a.json b.json` makes both from several runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.accuracy.evaluation import most_different
from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene
from benchmarks.accuracy.scoreboard import SceneChoice, Scoreboard
from benchmarks.reach_plot import write_reach_plot
from benchmarks.result_file import print_result, read_result
from benchmarks.versions import versions
from estimater import FoundationPose
from learning.training.predict_pose_refine import PoseRefinePredictor
from pose6d.command import run_command_line
from pose6d.device import resolve_device
from pose6d.errors import FrameError, OptionError, ResultsError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.record import RIGHT
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import rotation_angle, transform_points
from pose6d.json_file import write_json
from pose6d.search.interfaces import Hypotheses, ObjectModel, Progress, Refiner, Scores

_EDGES = tuple(range(0, 181, 15))  # degrees
_COUNTS = (6, 12, 24, 48, 96, 252)
_POINTS = 500  # of the surface, for ADD
_NEAR = 45.0  # degrees


@dataclass
class Options(SceneChoice):
    """Which refiners to compare on what."""

    weights: tuple[str, ...] = ("auto",)
    """released sets' names, or folders"""
    device: str = "auto"
    steps: int = 5
    """refinement steps"""
    symmetric: tuple[str, ...] = ()
    """parts of the names of objects that look the same from several sides; they are left out, since how far a rotation
    is off means nothing for them"""
    output: Path | None = None
    """JSON of the results; the table and the figure go beside it as .md and .png"""
    from_json: tuple[Path, ...] = ()
    """print the table of earlier runs' JSON, as far as `suites` go, and compute nothing"""


@dataclass(frozen=True)
class Reach:
    """What one refiner does in one suite; shares are in percent, and right means within 0.1 diameter by ADD.

    Attributes:
        weights, suite: their names; of a folder the last part.
        scenes: how many.
        edges: (B + 1,) degrees, the borders of the bins of initial rotation errors.
        right: (B,) of the hypotheses that start in each bin, the share that ends right; None where none starts there.
        counts: (C,) numbers of hypotheses.
        any_right: (steps, C) share of scenes with a right one among so many, after 1, 2, ... steps.
        near_right: share of the hypotheses that start less than 45 degrees off that end right.
        median: of the ADD of the best of all hypotheses, diameters.
        degrees: median of that hypothesis' rotation error.
    """

    weights: str
    suite: str
    scenes: int
    edges: list[float]
    right: list[float | None]
    counts: list[int]
    any_right: list[list[float]]
    near_right: float
    median: float
    degrees: float


class _IndifferentScorer:
    """Prefers nothing."""

    has_confidence, texture_weight, choice_weights, recordable = False, 0.0, None, False

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        """Zeros."""
        return Scores(hypotheses.poses.new_zeros(len(hypotheses)), None)

    judge = predict


@dataclass
class Paths:
    """(S, N) initial and final rotation errors in degrees and (S, N, steps + 1) ADD in diameters of all scenes; the
    hypotheses are in the order in which each is the farthest from all before."""

    start: np.ndarray
    end: np.ndarray
    add: np.ndarray


def run(options: Options) -> tuple[list[Reach], dict[str, Any]]:
    """Follow all hypotheses of all refiners, and sum up; and with what it was done."""
    device = resolve_device(options.device)
    refiners = {name: PoseRefinePredictor(name, device) for name in dict.fromkeys(options.weights)}
    found: list[Reach] = []
    with SceneWorkers(options.workers) as workers:
        board = Scoreboard(options, workers, by_object=True)
        board.begin()
        for suite in board.suites:
            paths: dict[str, list[Paths]] = {name: [] for name in refiners}
            shown: TargetObject | None = None
            estimators: dict[str, FoundationPose] = {}
            for target, scene, _ in tqdm(board.scenes(suite), total=board.count(suite), desc=suite.name, unit="scene"):
                if target.symmetric:
                    continue
                if target is not shown:
                    shown, estimators = target, {n: _estimator(target, r, device) for n, r in refiners.items()}
                for name, estimator in estimators.items():
                    with_path = _follow(estimator, target, scene, options.steps)
                    paths[name] += [with_path] if with_path else []
            found += [summary(name, suite.name, own) for name, own in paths.items() if own]
    if not found:
        raise FrameError("all objects are symmetric, or every frame was refused: nothing to measure")
    return found, {"options": asdict(options), **versions(device)}


def _estimator(target: TargetObject, refiner: Refiner, device: torch.device) -> FoundationPose:
    return FoundationPose(
        target.for_estimator, refiner=refiner, scorer=_IndifferentScorer(), device=device, schedule="full", profile=True
    )


def _follow(estimator: FoundationPose, target: TargetObject, scene: EvaluationScene, steps: int) -> Paths | None:
    """The paths of one scene's hypotheses; None where the frame is refused."""
    view = scene.views[0]
    assert view.truth is not None
    path: list[Tensor] = []  # before the first step, and after each

    def watch(step: str, poses: Tensor, parents: Tensor) -> None:
        if step in ("start", "refine"):
            path.append(poses)

    try:
        estimator.register(view.K, view.rgb, view.depth, scene.mask, iteration=steps, watch=watch)
    except FrameError:
        return None
    order = most_different(path[0][:, :3, :3], len(path[0]))
    truth = torch.as_tensor(view.truth, dtype=torch.float32).to(order.device)
    points = torch.from_numpy(target.mesh.sample_surface(_POINTS, seed=0).astype(np.float32)).to(order.device)
    diameter = float(target.mesh.diameter)
    there = transform_points(truth, points)
    off = [(transform_points(poses[order], points) - there).norm(dim=-1).mean(dim=-1) for poses in path]
    errors = torch.stack(off, dim=-1) / diameter
    angles = [rotation_angle(path[i][order, :3, :3], truth[:3, :3]).rad2deg().cpu().numpy() for i in (0, -1)]
    return Paths(angles[0][None], angles[1][None], errors.cpu().numpy()[None])


def summary(weights: str, suite: str, scenes: Sequence[Paths]) -> Reach:
    """The shares and medians of all scenes."""
    paths = Paths(*(np.concatenate([getattr(path, name) for path in scenes]) for name in ("start", "end", "add")))
    final = paths.add[..., -1]
    right = final < RIGHT
    bins = np.digitize(paths.start, _EDGES[1:-1])
    members = [right[bins == i] for i in range(len(_EDGES) - 1)]
    counts = [count for count in _COUNTS if count <= right.shape[1]]
    steps = range(1, paths.add.shape[2])
    any_right = [[100 * float((paths.add[:, :n, k] < RIGHT).any(1).mean()) for n in counts] for k in steps]
    best = np.arange(len(final)), final.argmin(1)
    return Reach(
        weights=Path(weights).name,
        suite=suite,
        scenes=len(final),
        edges=[float(edge) for edge in _EDGES],
        right=[100 * float(own.mean()) if len(own) else None for own in members],
        counts=counts,
        any_right=any_right,
        near_right=100 * float(right[paths.start < _NEAR].mean()),
        median=float(np.median(final[best])),
        degrees=float(np.median(paths.end[best])),
    )


def markdown(found: Sequence[Reach], facts: Mapping[str, Any]) -> str:
    """Both tables for people."""
    lines = [f"{facts.get('device')}; torch: {facts.get('torch')}; commit: {facts.get('commit')}", ""]
    edges = found[0].edges
    heads = [f"{a:.0f}-{b:.0f}" for a, b in pairwise(edges)]
    rows = [["weights", "suite", "scenes", "best: median d", "deg", "< 45 deg: right %", *heads]]
    for r in found:
        shares = ["" if share is None else f"{share:.1f}" for share in r.right]
        head = [r.weights, r.suite, str(r.scenes), f"{r.median:.4f}", f"{r.degrees:.2f}", f"{r.near_right:.1f}"]
        rows.append([*head, *shares])
    lines += [
        "Right hypotheses in the end, percent, by initial rotation error in degrees:",
        "",
        *markdown_table(rows),
        "",
    ]
    rows = [["weights", "suite", "steps", *(f"of {count}" for count in found[0].counts)]]
    rows += [
        [r.weights, r.suite, str(k), *(f"{share:.1f}" for share in shares)]
        for r in found
        for k, shares in enumerate(r.any_right, start=1)
    ]
    return "\n".join([*lines, "Scenes with a right hypothesis, percent:", "", *markdown_table(rows)])


def write_plot(path: Path, found: Sequence[Reach], facts: Mapping[str, Any]) -> None:
    """The figure; the second panel has the first, third and last step."""
    several = len({r.suite for r in found}) > 1
    by_error, by_count = {}, {}
    for r in found:
        name = f"{r.weights}, {r.suite}" if several else r.weights
        middles = [(a + b) / 2 for a, b in pairwise(r.edges)]
        pairs = [(x, y) for x, y in zip(middles, r.right, strict=True) if y is not None]
        by_error[name] = ([x for x, _ in pairs], [y for _, y in pairs])
        shown = sorted({1, min(3, len(r.any_right)), len(r.any_right)})
        by_count[name] = {k: (r.counts, r.any_right[k - 1]) for k in shown}
    scenes = "" if several else f"suite {found[0].suite}, {found[0].scenes} scenes, "
    write_reach_plot(path, by_error, by_count, f"{scenes}{len(found[0].any_right)} refinement steps, {facts['device']}")


def read_results(path: Path) -> tuple[list[Reach], dict[str, Any]]:
    """What an earlier run wrote.

    Raises:
        ResultsError: the file is missing, or of another form.
    """
    return read_result(path, lambda facts: ([Reach(**entry) for entry in facts.pop("reach")], facts))


def main(options: Options) -> None:
    options.check("register")
    if options.steps < 1:
        raise OptionError(f"--steps {options.steps}: at least one is needed")
    if options.from_json:
        earlier = [read_results(path) for path in options.from_json]
        found, facts = [r for own, _ in earlier for r in own if r.suite in options.suites], earlier[0][1]
        if not found:
            raise ResultsError(
                f"--from-json: no result of suite {' or '.join(options.suites)}; name others by --suites"
            )
    else:
        found, facts = run(options)
    text = markdown(found, facts)
    if options.output:
        write_json(options.output, {**facts, "reach": [asdict(reach) for reach in found]})
    print_result(text, lambda path: write_plot(path, found, facts), options.output, *options.from_json)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
