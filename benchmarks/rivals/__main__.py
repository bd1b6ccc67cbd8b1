"""Ours against other ways to find an object, on the same frames.

`python -m benchmarks.rivals --weights lite --mesh-folder MESHES --symmetric bowl foam_brick --output rivals.json`

prints a table and leaves it beside the records as rivals.md, with the picture rivals.png; `--from-json rivals.json`
makes both again. The rivals:

- published: 252 hypotheses x 5 steps + scoring in plain PyTorch, with our networks
- icp: point-to-plane ICP of Open3D from the same 252 rotations
- ppf: point pair features and ICP of OpenCV's contributed modules, which have an environment of their own:
  `python -m venv ppf && ppf/bin/pip install opencv-contrib-python-headless`, then `--ppf-python ppf/bin/python`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter
from tqdm import tqdm

from benchmarks.accuracy.evaluation import BenchmarkedEstimator, Effort, begin_record, register_scene
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene
from benchmarks.accuracy.scoreboard import SceneChoice, Scoreboard
from benchmarks.accuracy.scores import score
from benchmarks.result_file import facts_lines, print_result, read_result
from benchmarks.rivals.icp_from_views import IcpFromViews
from benchmarks.rivals.point_pair_features import PointPairFeatures
from benchmarks.rivals.published_schedule import PublishedSchedule
from benchmarks.rivals.resources import EnergyMeter, MemoryPeak
from benchmarks.versions import versions
from many_objects import EstimatorFactory
from pose6d.command import run_command_line
from pose6d.device import resolve_device
from pose6d.errors import FrameError, OptionError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.record import Record
from pose6d.json_file import write_json
from pose6d.mesh.mesh import Mesh
from pose6d.search.schedule import SCHEDULES
from pose6d.whole_file import whole_file

NAMES = {
    "pruned": "ours",
    "full": "ours, full schedule",
    "published": "published schedule, plain PyTorch",
    "icp": "ICP from 252 starts",
    "ppf": "point pair features + ICP",
}
_MIB = 2**20


@dataclass
class Options(SceneChoice):
    """Whom to compare on what."""

    rivals: tuple[str, ...] = ("pruned", "full", "published", "icp")
    """of pruned and full, which are ours, published, icp and ppf"""
    scenes: int = 30
    """of each suite"""
    weights: str = "auto"
    """a released set's name, or a folder"""
    device: str = "auto"
    """of the networks; icp and ppf compute on the CPU"""
    ppf_python: Path | None = None
    """interpreter of an environment with opencv-contrib-python, for ppf"""
    output: Path | None = None
    """JSON of all records; the table and the picture go beside it as .md and .png"""
    from_json: Path | None = None
    """print the table of an earlier run's JSON, and compute nothing"""


@dataclass
class RivalOutcome:
    """What one rival did.

    Attributes:
        records: scene by scene, in the same order for all.
        memory: bytes at most, None where unknown.
        joules: of the GPU in all its registrations, None where unknown.
    """

    records: list[Record] = field(default_factory=list)
    memory: int | None = None
    joules: float | None = None


def main(options: Options) -> None:
    options.check("register")
    unknown = [name for name in options.rivals if name not in NAMES]
    if unknown or not options.rivals:
        raise OptionError(f"--rivals {' '.join(unknown)}: unknown; there are {', '.join(NAMES)}")
    if "ppf" in options.rivals and options.ppf_python is None and options.from_json is None:
        raise OptionError("--rivals ppf needs --ppf-python, the Python of an environment with opencv-contrib-python")
    outcomes, facts = run(options) if options.from_json is None else _read(options.from_json)
    text = markdown(outcomes, facts)
    print_result(text, lambda path: write_picture(path, outcomes, facts), options.output, options.from_json)


def run(options: Options) -> tuple[dict[str, RivalOutcome], dict[str, Any]]:
    """All rivals on all frames, each of which begins with another one."""
    facts = {"options": asdict(options), **versions(options.device)}
    device = resolve_device(options.device)
    outcomes = {name: RivalOutcome() for name in options.rivals}
    meter = EnergyMeter(device)
    with SceneWorkers(options.workers) as workers, ThreadPoolExecutor(1) as aside:
        making = aside.submit(_factories, options)
        board = Scoreboard(options, workers, by_object=True)
        board.begin()
        factories = making.result()
        for suite in board.suites:
            shown, estimators = None, dict[str, BenchmarkedEstimator]()
            scenes = zip(board.indices(suite), board.scenes(suite), strict=True)
            for turn, (index, (target, scene, _)) in enumerate(tqdm(scenes, total=board.count(suite), unit="scene")):
                if shown is not target:
                    estimators.clear()
                    estimators = {name: make(target.for_estimator) for name, make in factories.items()}
                    for name in estimators:
                        _warm_up(estimators[name], scene)
                    shown = target
                names = list(estimators)
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    # The classical ones use no GPU: their memory is the processes', and nobody counts their energy.
                    on_gpu = device if name not in ("icp", "ppf") else resolve_device("cpu")
                    peak, before = MemoryPeak(on_gpu), meter.read()
                    peak.start()
                    record = begin_record(suite.name, index, target, scene)
                    register_scene(record, estimators[name], target, scene, Effort())
                    outcome, after = outcomes[name], meter.read()
                    outcome.records.append(record)
                    used = peak.read(getattr(estimators[name], "process", None))
                    outcome.memory = used if outcome.memory is None else max(outcome.memory, used or 0)
                    if before is not None and after is not None and on_gpu.type == "cuda":
                        outcome.joules = (outcome.joules or 0.0) + after - before
            if options.output:
                _write(options.output, outcomes, facts)
    return outcomes, facts


def _factories(options: Options) -> dict[str, Callable[[Mesh], BenchmarkedEstimator]]:
    weights, device = options.weights, options.device
    makers: dict[str, Callable[[], Callable[[Mesh], BenchmarkedEstimator]]] = {
        "pruned": lambda: EstimatorFactory(weights, device, schedule=SCHEDULES["pruned"]),
        "full": lambda: EstimatorFactory(weights, device, schedule=SCHEDULES["full"]),
        "published": lambda: PublishedSchedule(weights, device),
        "icp": lambda: IcpFromViews,
        "ppf": lambda: lambda mesh: PointPairFeatures(mesh, options.ppf_python or Path()),
    }
    return {name: makers[name]() for name in options.rivals}


def _warm_up(estimator: BenchmarkedEstimator, scene: EvaluationScene) -> None:
    """Compile and record what a registration needs."""
    view = scene.views[0]
    with suppress(FrameError):  # such a scene is refused again when it is measured
        for _ in range(2 if torch.cuda.is_available() else 1):
            estimator.register(view.K, view.rgb, view.depth, scene.mask, iteration=5)


def markdown(outcomes: dict[str, RivalOutcome], facts: dict[str, Any]) -> str:
    """The table for people."""
    rows = [["", "right %", "by ADD-S %", "median ms", "p90 ms", "MiB at most", "joules"]]
    for name, outcome in outcomes.items():
        scores, times = score(outcome.records), milliseconds(outcome.records)
        memory = "-" if outcome.memory is None else f"{outcome.memory / _MIB:.0f}"
        joules = "-" if outcome.joules is None else f"{outcome.joules / max(len(times), 1):.1f}"
        shares = [f"{scores.error:.1f}", f"{scores.add_s:.1f}"]
        rows.append([NAMES[name], *shares, *(f"{np.percentile(times, p):.1f}" for p in (50, 90)), memory, joules])
    return "\n".join([*facts_lines(facts), *markdown_table(rows)])


def milliseconds(records: Sequence[Record]) -> np.ndarray:
    """(N,) of the frames that were not refused; NaN if all were."""
    times = np.array([1e3 * record.seconds for record in records if not record.failure])
    return times if len(times) else np.array([np.nan])


def write_picture(path: Path, outcomes: dict[str, RivalOutcome], facts: dict[str, Any]) -> None:
    """Write a PNG: how often each is right, over its time."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.add_subplot()
    for name, outcome in outcomes.items():
        time, right = float(np.median(milliseconds(outcome.records))), score(outcome.records).error
        ours = name in SCHEDULES
        axis.plot(time, right, "o", markersize=10, color="tab:green" if ours else "tab:gray")
        axis.annotate(NAMES[name], (time, right), xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for write_labels in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        write_labels(ScalarFormatter())
    axis.margins(x=0.3, y=0.18)
    axis.grid(color="0.92")
    axis.set_axisbelow(True)
    scenes = len(next(iter(outcomes.values())).records)
    weights = Path(str(facts.get("options", {}).get("weights"))).name
    axis.set(xlabel="time of register, ms, median", ylabel="right by ADD(-S), %")
    axis.set_title(f"{scenes} frames, weights {weights}, {facts.get('device')}", fontsize=10)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=120)


def _write(path: Path, outcomes: dict[str, RivalOutcome], facts: dict[str, Any]) -> None:
    write_json(path, {**facts, "rivals": {name: asdict(outcome) for name, outcome in outcomes.items()}})


def _read(path: Path) -> tuple[dict[str, RivalOutcome], dict[str, Any]]:
    """Raises ResultsError: the file is missing, or of another form."""

    def parse(facts: dict[str, Any]) -> tuple[dict[str, RivalOutcome], dict[str, Any]]:
        rivals = facts.pop("rivals")
        found = {
            name: RivalOutcome([Record(**entry) for entry in own["records"]], own["memory"], own["joules"])
            for name, own in rivals.items()
            if name in NAMES
        }
        return found, facts

    return read_result(path, parse)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
