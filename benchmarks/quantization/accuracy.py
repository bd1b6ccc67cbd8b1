"""What quantising costs in accuracy: variants of the networks on the same scenes, compared scene by scene.

`python -m benchmarks.quantization.accuracy --weights lite --mesh-folder MESHES --output a.json`

Each process runs all variants on its share of the scenes. The JSON is written after every scene, so that a run may be
stopped at any time; started again with the same output it goes on, and may add scenes, variants, or another device's
results. The table goes beside it as .md; `python -m benchmarks.quantization --accuracy a.json` puts it into its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.accuracy.evaluation import Effort, begin_record, register_scene
from benchmarks.accuracy.objects import TargetObject, load_objects
from benchmarks.accuracy.report import read_records, write_records
from benchmarks.accuracy.scene_workers import default_workers, make
from benchmarks.accuracy.scenes import ScenePool
from benchmarks.accuracy.scores import score
from benchmarks.accuracy.suites import SUITES
from benchmarks.quantization.measurements import BASELINE, FASTEST, PLAIN, available
from benchmarks.versions import versions
from learning.inference.variants import VARIANTS
from many_objects import EstimatorFactory
from pose6d.command import run_command_line
from pose6d.device import fast_dtype, resolve_device
from pose6d.errors import OptionError, OutputError, WeightsError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.paired_difference import difference_of_means, difference_of_shares
from pose6d.evaluation.ray_workers import ray_session
from pose6d.evaluation.record import RIGHT, Record, column
from pose6d.search.schedule import SCHEDULES, Schedule
from pose6d.whole_file import write_whole

_Task = tuple[int, tuple[str, ...]]  # number of a scene, variants
_SAME = ("weights", "suite", "schedule", "fall_back", "mesh_folder", "symmetric", "seed")  # in all runs of an output


@dataclass(frozen=True)
class Options:
    """Which variants to compare on what."""

    output: Path
    """JSON of all records; continued if it is there"""
    variants: tuple[str, ...] = (BASELINE, "torch-int8", "onnx-int8")
    """torch-fp32, the weights as they are, is what the others are compared with"""
    scenes: int = 200
    weights: str = "lite"
    """a released set's name, or a folder"""
    device: str = "cpu"
    workers: int | None = None
    """processes, of Ray where there are several; all cores but two if omitted"""
    threads: int = 1
    """of each process"""
    suite: str = "cluttered"
    schedule: str = "pruned"
    """of register"""
    fall_back: bool = True
    """search again thoroughly where the pruned schedule leaves doubt, as the estimator does"""
    mesh_folder: Path | None = None
    """folder that is searched for meshes in metres; procedural objects if omitted"""
    symmetric: tuple[str, ...] = ()
    """parts of the names of objects that look the same from several sides; ADD(-S) counts ADD-S for these"""
    seed: int = 7


@dataclass(frozen=True)
class Comparison:
    """A variant's results on the scenes that the baseline has too.

    Attributes:
        scenes: how many.
        add, error, area: ADD-0.1d, ADD(-S)-0.1d, and the area under the curve of ADD(-S) up to 0.1 diameters; percent.
        add_difference, error_difference, area_difference: to the baseline, with both ends of its 95 % interval; points.
        median: ADD(-S) in diameters.
        seconds: mean of register.
    """

    scenes: int
    add: float
    error: float
    area: float
    add_difference: tuple[float, float, float]
    error_difference: tuple[float, float, float]
    area_difference: tuple[float, float, float]
    median: float
    seconds: float


def main(options: Options) -> None:
    _check(options)
    try:
        run(options)
    except KeyboardInterrupt:
        if options.output.is_file():
            write_table(options.output)
        raise
    write_table(options.output)


def write_table(output: Path) -> None:
    """Print the table of what an output holds so far, and leave it beside it."""
    records, facts = read_records(output)
    text = markdown(compare(records), facts)
    write_whole(output.with_suffix(".md"), text)
    print(text)


def run(options: Options) -> None:
    """Evaluate what the output lacks; it holds every result as soon as there is one.

    Raises:
        OutputError: the output is of a run with other scenes, weights or schedule.
    """
    records, facts = _earlier(options)
    done = {(record.quantized, record.index) for record in records}
    tasks = []
    for index in range(options.scenes):
        missing = tuple(name for name in options.variants if (name, index) not in done)
        if missing:
            tasks.append((index, missing))
    if not tasks:
        return
    facts["runs"].append(
        {"variants": options.variants, "threads of each process": options.threads, **versions(options.device)}
    )
    workers = min(len(tasks), _workers() if options.workers is None else options.workers)
    total = sum(len(missing) for _, missing in tasks)
    with tqdm(total=total, desc=f"{workers} processes", unit="pose", mininterval=2.0) as bar:
        for found in _results(tasks, options, workers):
            records += found
            write_records(options.output, records, facts)
            bar.set_postfix({name: f"{score(rows).error:.1f} %" for name, rows in _by_variant(records)})
            bar.update(len(found))


def _workers() -> int:
    """As many as there are spare cores, where Ray is there to run several."""
    if find_spec("ray") is not None:
        return default_workers()
    print("one process; several are faster: pip install 'pose6d[ray]'", file=sys.stderr)
    return 1


def _results(tasks: list[_Task], options: Options, workers: int) -> Iterator[list[Record]]:
    """Each task's records as they come: made here by one worker, by several in processes of Ray."""
    if workers == 1:
        bench = _Bench(options)
        yield from (bench.evaluate(*task) for task in tasks)
        return
    with ray_session() as ray:
        cuda = resolve_device(options.device).type == "cuda"
        bench = ray.remote(
            # Ray hides the GPUs from processes that reserve none.
            num_gpus=ray.cluster_resources().get("GPU", 0) / workers if cuda else 0,
            max_restarts=-1,  # where one dies, its scene is evaluated again
            max_task_retries=-1,
            scheduling_strategy="SPREAD",
            runtime_env={
                "env_vars": {"OMP_NUM_THREADS": str(options.threads), "NUMBA_NUM_THREADS": str(options.threads)}
            },
        )(_Bench)
        waiting = iter(tasks)
        running = {}
        for one, task in zip([bench.remote(options) for _ in range(workers)], waiting, strict=False):
            running[one.evaluate.remote(*task)] = one
        while running:
            finished = ray.wait(list(running), num_returns=1)[0][0]
            one = running.pop(finished)
            for task in islice(waiting, 1):
                running[one.evaluate.remote(*task)] = one
            yield ray.get(finished)


def _check(options: Options) -> None:
    unknown = [name for name in options.variants if name not in (*PLAIN, *VARIANTS)]
    if unknown:
        raise WeightsError(f"--variants {' '.join(unknown)}: wanted some of {', '.join((*PLAIN, *VARIANTS))}")
    if options.suite not in SUITES or SUITES[options.suite].task != "register" or SUITES[options.suite].reconstructed:
        raise WeightsError(f"--suite {options.suite}: unknown, or not about registration with the given mesh")
    if options.schedule not in SCHEDULES:
        raise WeightsError(f"--schedule {options.schedule}: wanted one of {', '.join(SCHEDULES)}")
    for name in ("workers", "threads", "scenes"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise OptionError(f"--{name} {value}: at least one is needed")
    device = resolve_device(options.device)
    computed = (BASELINE, FASTEST.get(fast_dtype(device)))
    wrong = [name for name in options.variants if name in PLAIN and name not in computed]
    if wrong:
        raise WeightsError(
            f"--variants {' '.join(wrong)}: {device} computes in {' or '.join(filter(None, computed))}; torch-fp16 is "
            "for CUDA, torch-bf16 for CPUs with AMX"
        )
    missing = available(options.weights, [name for name in options.variants if name not in PLAIN], device.type)[1]
    if missing:
        raise WeightsError("; ".join(missing))


def _earlier(options: Options) -> tuple[list[Record], dict[str, Any]]:
    settings = {name: getattr(options, name) for name in _SAME}
    settings |= {"mesh_folder": str(options.mesh_folder), "symmetric": list(options.symmetric)}
    if not options.output.is_file():
        return [], {"options": settings, "runs": []}
    records, facts = read_records(options.output)
    if facts.get("options") != settings:
        raise OutputError(
            f"--output {options.output} is of a run with {facts.get('options')}, and this one has {settings}: choose "
            "another file"
        )
    print(f"{options.output}: going on after {len(records)} poses")
    return records, facts


def estimators_of(name: str, weights: str, device: str, schedule: str | Schedule) -> EstimatorFactory:
    """Estimators with a variant's networks, or those of PLAIN."""
    quantized = None if name in PLAIN else name
    return EstimatorFactory(weights, device, schedule=schedule, quantized=quantized, amp=PLAIN.get(name, True))


class _Bench:
    """What a process keeps: the objects, and an estimator of each for each variant."""

    def __init__(self, options: Options) -> None:
        torch.set_num_threads(options.threads)
        torch.backends.cudnn.allow_tf32 = False  # float32 shall be float32
        self._options, self._factories = options, dict[str, EstimatorFactory]()

    @cached_property  # not made on construction, where Ray would report bad input as the death of a process
    def _objects(self) -> tuple[list[TargetObject], ScenePool]:
        meshes = load_objects(self._options.mesh_folder)
        symmetric = [any(part in mesh.name for part in self._options.symmetric) for mesh in meshes]
        targets = [TargetObject(m, symmetric=same) for m, same in zip(meshes, symmetric, strict=True)]
        return targets, ScenePool.from_meshes(meshes)

    def estimators(self, name: str) -> EstimatorFactory:
        if name not in self._factories:
            options, schedule = self._options, SCHEDULES[self._options.schedule]
            if not options.fall_back:
                schedule = replace(schedule, min_confidence=0.0)
            self._factories[name] = estimators_of(name, options.weights, options.device, schedule)
        return self._factories[name]

    def evaluate(self, index: int, names: tuple[str, ...]) -> list[Record]:
        """Records of one scene."""
        suite = SUITES[self._options.suite]
        targets, pool = self._objects
        scene = make(pool, suite, self._options.seed, index)
        target = targets[scene.object_index]
        found = []
        for name in names:
            record = begin_record(suite.name, index, target, scene)
            record.quantized = name
            found.append(register_scene(record, self.estimators(name)(target.mesh), target, scene, Effort()))
        return found


def _by_variant(records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    for name in dict.fromkeys(record.quantized for record in records):
        yield name, [record for record in records if record.quantized == name]


def compare(records: Sequence[Record]) -> dict[str, Comparison]:
    """Each variant with the baseline, by name.

    Raises:
        WeightsError: there are no results of the baseline.
    """
    by_name = {name: {record.index: record for record in rows} for name, rows in _by_variant(records)}
    if BASELINE not in by_name:
        raise WeightsError(f"nothing to compare with: run --variants {BASELINE} into the same output")
    found = {}
    for name in (BASELINE, *[name for name in by_name if name != BASELINE]):
        common = sorted(by_name[name].keys() & by_name[BASELINE].keys())
        if not common:
            continue
        rows, wanted = ([by_name[key][index] for index in common] for key in (name, BASELINE))
        scores = score(rows)
        found[name] = Comparison(
            scenes=len(common),
            add=scores.add,
            error=scores.error,
            area=scores.auc_diameter,
            add_difference=difference_of_shares(_right(rows, "add"), _right(wanted, "add")),
            error_difference=difference_of_shares(_right(rows, "error"), _right(wanted, "error")),
            area_difference=difference_of_means(_closeness(rows), _closeness(wanted)),
            median=scores.median,
            seconds=float(np.mean([record.seconds for record in rows])),
        )
    return found


def _right(records: Sequence[Record], name: str) -> np.ndarray:
    return column(records, name) < RIGHT


def _closeness(records: Sequence[Record]) -> np.ndarray:
    """1 for no error, 0 from 0.1 diameters on; its mean is the area under the curve."""
    return np.clip(1 - column(records, "error") / RIGHT, 0, 1)


def _with_interval(difference: tuple[float, float, float]) -> str:
    """`-0.5 (-1.9 to 0.9)`."""
    value, low, high = difference
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def markdown(found: dict[str, Comparison], facts: dict[str, Any]) -> str:
    """The table, and below it what it was made with."""
    metrics = (("ADD-0.1d", "add"), ("ADD(-S)-0.1d", "error"), ("AUC 0.1d", "area"))
    heads = [part for title, _ in metrics for part in (f"{title} %", "points to fp32 (95 %)")]
    rows = [["variant", "scenes", *heads, "median ADD(-S)/d", "register s"]]
    for name, row in found.items():
        cells = [name, str(row.scenes)]
        for _, key in metrics:
            difference = "" if name == BASELINE else _with_interval(getattr(row, f"{key}_difference"))
            cells += [f"{getattr(row, key):.1f}", difference]
        rows.append([*cells, f"{row.median:.4f}", f"{row.seconds:.2f}"])
    lines = markdown_table(rows)
    lines += ["- " + ", ".join(f"{key} {value}" for key, value in facts["options"].items())]
    lines += ["- " + ", ".join(f"{key} {value}" for key, value in run.items()) for run in facts["runs"]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from benchmarks.quantization import accuracy  # Ray's processes find its classes, and not those of __main__

    run_command_line(accuracy.main, accuracy.Options, description=__doc__)
