"""Accuracy against time of many schedules of register, on the same scenes in one run.

`python -m benchmarks.schedules --weights base --device cuda --mesh-folder MESHES --symmetric bowl --output out.json`

prints a table and leaves it beside the records as out.md, with the curve out.png; `--from-json out.json` makes both
again from the records. A schedule is named by its starts and its stages: 60/1k24/1k8 starts from the 60 rotations that
fit depth and mask best, refines them once, keeps 24, refines these once, keeps 8, and gives these the steps that are
left; 60/1k24a25 keeps those first that are 25 degrees apart; 60/1k24a25s leaves the stage to the scouts, where the
weights have some; and all/1k24 starts from all 252.

No schedule falls back to another one while it is measured. What the fallback would have given below any confidence
follows from the thorough schedule's result of the same scene, if that is surer; its time, from the sum of both.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.evaluation import Effort, begin_record, register_scene
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene
from benchmarks.accuracy.scoreboard import SceneChoice, Scoreboard
from benchmarks.accuracy.scores import score
from benchmarks.result_file import facts_lines, print_result, read_result
from benchmarks.schedule_plot import pareto_front, write_schedule_plot
from benchmarks.versions import versions
from estimater import FoundationPose
from many_objects import EstimatorFactory
from pose6d.command import run_command_line
from pose6d.errors import FrameError, OptionError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.paired_difference import difference_of_shares
from pose6d.evaluation.record import RIGHT, Record, column
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.json_file import write_json
from pose6d.search.schedule import FALLBACK, SCHEDULES, Schedule, Stage

_ALL = "all"
_FULL = "full"
_PERMITTED_LOSS = 0.5  # points
_SAVE_EVERY = 30.0  # seconds
_WANTED_SPEED = 4  # times as fast as full


@dataclass
class Options(SceneChoice):
    """What to compare on what."""

    schedules: tuple[str, ...] = (
        "pruned",
        "40/1k12a25s",
        "60/1k12a25",
        "60/1k24a25s",
        "60/2k12a15s",
        "120/1k12a25s",
        "all/2k24a15s",
    )
    """besides full and thorough; named ones, or STARTS/STEPSkKEEP[aAPART][s][/...], STARTS a number or all"""
    sure: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.95)
    """the confidences below which the thorough schedule follows; 0: never"""
    scenes: int = 500
    """of each suite"""
    weights: str = "auto"
    """a released set's name, or a folder"""
    device: str = "auto"
    iterations: int = 5
    """refinement steps that each result shall have taken"""
    output: Path | None = None
    """JSON of all records; the table and the curve go beside it as .md and .png"""
    from_json: Path | None = None
    """print the table of an earlier run's JSON, and compute nothing"""


@dataclass(frozen=True)
class Results:
    """All schedules on the same scenes.

    Attributes:
        pairs: as of `count_pairs`, by schedule.
        records: by schedule, scene by scene in the same order; `full` and `FALLBACK` are among them, and nothing fell
            back to the latter.
        facts: what they were made with.
    """

    pairs: dict[str, int]
    records: dict[str, list[Record]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A schedule with its fallback: milliseconds, percent of right poses, points lost against full.

    Attributes:
        schedule: its name.
        sure: the confidence below which `FALLBACK` follows.
        pairs: without the fallback.
        p50, p90, mean: milliseconds of register, fallback included.
        add, error: ADD-0.1d and ADD(-S)-0.1d, percent.
        fallback: in how many scenes that happened, percent.
        add_change, error_change: difference to full in points, and its 95 % interval.
    """

    schedule: str
    sure: float
    pairs: int
    p50: float
    p90: float
    mean: float
    add: float
    error: float
    fallback: float
    add_change: tuple[float, float, float]
    error_change: tuple[float, float, float]


def parse_schedule(text: str) -> Schedule:
    """The schedule of a name, without fallback.

    Raises:
        OptionError: there is none of that name.
    """
    if text in SCHEDULES:
        return replace(SCHEDULES[text], min_confidence=0.0)
    start, *stages = text.split("/")
    matches = [re.fullmatch(r"([1-9]\d*)k([1-9]\d*)(?:a([1-9]\d*))?(s?)", stage) for stage in stages]
    if not (start == _ALL or re.fullmatch(r"[1-9]\d*", start)) or not all(matches):
        known = f"{', '.join(SCHEDULES)}, or STARTS/STEPSkKEEP[aAPART][s][/...] with STARTS a number or {_ALL}"
        raise OptionError(f"--schedules {text}: unknown; choose {known}")
    plan = tuple(Stage(int(m[1]), int(m[2]), float(m[3] or 10), bool(m[4])) for m in matches if m)
    return Schedule(text, None if start == _ALL else int(start), plan)


def run(options: Options) -> Results:
    """Register every scene with every schedule, each of which takes its turn to be the first.

    What is known is in the JSON every half minute.
    """
    schedules = [parse_schedule(name) for name in dict.fromkeys((_FULL, FALLBACK, *options.schedules))]
    pairs = {schedule.name: count_pairs(schedule, options.iterations) for schedule in schedules}
    records: dict[str, list[Record]] = {name: [] for name in pairs}
    results = Results(pairs, records, {"options": asdict(options), **versions(options.device)})
    effort = Effort(options.iterations)

    with SceneWorkers(options.workers) as workers, ThreadPoolExecutor(1) as aside:
        # Networks of its own for each schedule: it finds its recorded CUDA graphs as its last call left them.
        making = [aside.submit(EstimatorFactory, options.weights, options.device, schedule=s) for s in schedules]
        # One object after the other, so that the estimators of one are all there are at a time.
        board = Scoreboard(options, workers, by_object=True)
        board.begin()
        factories = {s.name: made.result() for s, made in zip(schedules, making, strict=True)}
        saved = time.monotonic()
        for suite in board.suites:
            shown = None
            estimators: dict[str, FoundationPose] = {}
            scenes = zip(board.indices(suite), board.scenes(suite), strict=True)
            progress = tqdm(scenes, total=board.count(suite), desc=suite.name, unit="scene", mininterval=1.0)
            for turn, (index, (target, scene, _)) in enumerate(progress):
                if shown is not target:
                    estimators.clear()
                    for factory in factories.values():
                        factory.forget()
                    estimators = {name: factory(target.for_estimator) for name, factory in factories.items()}
                    _warm_up(list(estimators.values()), scene, options.iterations)
                    shown = target
                names = list(estimators)
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    record = begin_record(suite.name, index, target, scene)
                    records[name].append(register_scene(record, estimators[name], target, scene, effort))
                if options.output and time.monotonic() - saved > _SAVE_EVERY:
                    write_results(options.output, results)
                    saved = time.monotonic()
    return results


def _warm_up(estimators: Sequence[FoundationPose], scene: EvaluationScene, iterations: int) -> None:
    """Compile and record what registrations need; on the CPU nothing depends on the schedule."""
    on_cpu = estimators[0].device.type == "cpu"
    view = scene.views[0]
    with suppress(FrameError):  # such a scene is refused again when it is measured
        for estimator in estimators[-1:] if on_cpu else estimators:
            if hasattr(estimator, "warm_up"):
                estimator.warm_up(*view.depth.shape)
            for steps in (1,) if on_cpu else (iterations, iterations):
                estimator.register(view.K, view.rgb, view.depth, scene.mask, iteration=steps)


def count_pairs(schedule: Schedule, iterations: int) -> int:
    """How many pairs of images the networks see in one registration of a textured object without symmetries."""
    rotations = len(rotation_hypotheses())
    return schedule.pairs(iterations, min(schedule.starts or rotations, rotations))


def with_fallback(own: Sequence[Record], second: Sequence[Record], sure: float) -> tuple[list[Record], np.ndarray]:
    """What a schedule gives if a second one follows below a confidence and the surer of both counts, and in which
    scenes (N,) bool it follows.

    The time is that of both registrations; a real fallback saves checking and filtering the frame again.
    """
    doubtful = np.array([r.confidence is not None and r.confidence < sure for r in own])
    records = [
        replace(s if _confidence(s) > _confidence(o) else o, seconds=o.seconds + s.seconds) if doubt else o
        for o, s, doubt in zip(own, second, doubtful, strict=True)
    ]
    return records, doubtful


def _confidence(record: Record) -> float:
    return -1.0 if record.confidence is None else record.confidence


def outcomes(results: Results, sure: Sequence[float]) -> list[Outcome]:
    """Every schedule at every threshold, full first; it and thorough have no fallback."""
    full, second = results.records[_FULL], results.records[FALLBACK]
    found = []
    for name, own in results.records.items():
        judged = any(record.confidence is not None for record in own)
        for threshold in sure if judged and name not in (_FULL, FALLBACK) else (0.0,):
            records, doubtful = with_fallback(own, second, threshold)
            milliseconds = np.array([1e3 * record.seconds for record in records if not record.failure])
            scores = score(records)
            found.append(
                Outcome(
                    name,
                    threshold,
                    results.pairs[name],
                    *(float(np.percentile(milliseconds, p)) if len(milliseconds) else math.nan for p in (50, 90)),
                    mean=float(milliseconds.mean()) if len(milliseconds) else math.nan,
                    add=scores.add,
                    error=scores.error,
                    fallback=100 * float(doubtful.mean()),
                    add_change=_points(records, full, "add"),
                    error_change=_points(records, full, "error"),
                )
            )
    return found


def _points(records: Sequence[Record], reference: Sequence[Record], error: str) -> tuple[float, float, float]:
    """Difference of the shares of right poses in points, and its 95 % interval."""
    own, other = (column(rows, error) < RIGHT for rows in (records, reference))
    return difference_of_shares(own, other)


def markdown(results: Results, found: Sequence[Outcome]) -> str:
    """The table for people; a star marks what none beats in both mean time and ADD-0.1d."""
    front = set(pareto_front([o.mean for o in found], [o.add for o in found]))
    heads = ["schedule", "sure", "pairs", "p50 ms", "p90 ms", "mean ms", "x faster", "fallback %"]
    rows = [[*heads, "ADD-0.1d %", "to full [95 %]", "ADD(-S)-0.1d %", "to full [95 %]", "best"]]
    for i, o in enumerate(found):
        times = [f"{value:.1f}" for value in (o.p50, o.p90, o.mean)]
        changes = [f"{a:+.1f} [{b:+.1f}, {c:+.1f}]" for a, b, c in (o.add_change, o.error_change)]
        numbers = [f"{o.sure:g}", str(o.pairs), *times, f"{found[0].mean / o.mean:.1f}", f"{o.fallback:.1f}"]
        accuracy = [f"{o.add:.1f}", changes[0], f"{o.error:.1f}", changes[1]]
        rows.append([o.schedule, *numbers, *accuracy, "*" if i in front else ""])
    return "\n".join([*facts_lines(results.facts), *markdown_table(rows)])


def write_plot(path: Path, results: Results, found: Sequence[Outcome]) -> None:
    """Write the curves as PNG, with lines at what a quicker schedule should reach."""
    full, panels, wanted = found[0], {}, {}
    for accuracy, key in (("ADD-0.1d", "add"), ("ADD(-S)-0.1d", "error")):
        curves: dict[str, list[tuple[float, float]]] = {}
        for o in found:
            curves.setdefault(o.schedule, []).append((o.mean, getattr(o, key)))
        panels[accuracy] = curves
        wanted[accuracy] = (full.mean / _WANTED_SPEED, getattr(full, key) - _PERMITTED_LOSS)
    scenes = len(results.records[_FULL])
    title = f"weights {results.facts['options']['weights']}, {results.facts['device']}, {scenes} scenes"
    write_schedule_plot(path, panels, title, wanted)


def write_results(path: Path, results: Results) -> None:
    """Write all as JSON."""
    records = {name: [asdict(record) for record in own] for name, own in results.records.items()}
    write_json(path, {**results.facts, "pairs": results.pairs, "records": records})


def read_results(path: Path) -> Results:
    """What `write_results` wrote.

    Raises:
        ResultsError: the file is missing, or of another form.
    """

    def parse(facts: dict[str, Any]) -> Results:
        records = {name: [Record(**entry) for entry in own] for name, own in facts.pop("records").items()}
        pairs = {name: int(count) for name, count in facts.pop("pairs").items()}
        names = dict.fromkeys((_FULL, FALLBACK, *records))
        return Results({name: pairs[name] for name in names}, {name: records[name] for name in names}, facts)

    return read_result(path, parse)


def main(options: Options) -> None:
    options.check("register")
    results = run(options) if options.from_json is None else read_results(options.from_json)
    if options.output:
        write_results(options.output, results)
    found = outcomes(results, options.sure)
    text = markdown(results, found)
    print_result(text, lambda path: write_plot(path, results, found), options.output, options.from_json)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
