"""Measure what the quantised variants are worth: sizes, times, drift and, where it was measured, accuracy.

`python -m benchmarks.quantization --weights lite` writes a table (.md), its numbers (.json) and a figure (.png).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.accuracy.objects import load_objects
from benchmarks.accuracy.report import read_records
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool, make_scene
from benchmarks.accuracy.suites import SUITES
from benchmarks.quantization.accuracy import compare, estimators_of
from benchmarks.quantization.measurements import (
    BASELINE,
    DIAMETER,
    FASTEST,
    Row,
    available,
    drift,
    markdown,
    megabytes,
    open_runner,
    per_pair_milliseconds,
    refine_once,
    setup_seconds,
)
from benchmarks.quantization.variants_plot import write_quantization_plot
from benchmarks.versions import versions
from estimater import FoundationPose
from learning.datasets.objects.training_pool import HELD_OUT_SEED
from learning.inference.variants import VARIANTS
from learning.models.config import Kind
from pose6d.command import run_command_line
from pose6d.device import fast_dtype, resolve_device
from pose6d.errors import FrameError, WeightsError
from pose6d.json_file import write_json
from pose6d.whole_file import write_whole
from quantization.calibration_pairs import calibration_pairs, calibration_pool

_KINDS: tuple[Kind, Kind] = ("refiner", "scorer")


@dataclass
class Report:
    """Measure variants and write a table (.md), its numbers (.json) and a figure (.png)."""

    weights: str = "lite"
    """a released set's name, or a folder"""
    variants: tuple[str, ...] = tuple(name for name, variant in VARIANTS.items() if not variant.tensorrt)
    """torch-fp32, the weights as they are, always comes first; torch-fp16 or torch-bf16 follows where that is what the
    device computes in unless told otherwise. onnx-tensorrt, where it is installed, if named"""
    output: Path = Path("debug/quantization/report")
    """without a suffix"""
    device: str = "auto"
    batches: tuple[int, ...] = (1, 16, 252)
    """numbers of pairs for which the networks alone are timed"""
    pairs: int = 128
    """held-out pairs on which the drift is measured"""
    scenes: int = 10
    """of the accuracy benchmark, in which the first frame and tracking are timed; 0 leaves them out"""
    mesh_folder: Path | None = None
    """meshes in metres; procedural objects if omitted"""
    schedule: str = "auto"
    """of register"""
    track_frames: int = 10
    accuracy: Path | None = None
    """output of benchmarks.quantization.accuracy, for the column of the accuracy"""
    cpu_time: bool = False
    """count CPU seconds of this process instead of those on the wall, where others use the machine too; best with
    OMP_NUM_THREADS=1 and NUMBA_NUM_THREADS=1"""


def report(options: Report) -> None:
    unknown = [name for name in options.variants if name not in VARIANTS]
    if unknown:
        raise WeightsError(f"--variants {' '.join(unknown)}: wanted some of {', '.join(VARIANTS)}")
    device = resolve_device(options.device)
    ready, missing = available(options.weights, options.variants, device.type)
    print("\n".join(missing))
    dtype = fast_dtype(device)
    plain = (BASELINE, FASTEST[dtype]) if dtype in FASTEST else (BASELINE,)
    torch.backends.cudnn.allow_tf32 = False  # float32 shall be float32
    rows = [Row(name) for name in (*plain, *ready)]
    accuracy = add_accuracy(rows, options)  # first: it may not fit, and measuring takes long
    measure_networks(rows, options, device)
    if options.scenes:
        measure_estimator(rows, options)
    facts = [f"{key}: {value}" for key, value in versions(device).items()] + accuracy
    facts.append(
        f"weights {options.weights}; drift of one refinement step on {options.pairs} held-out pairs, an object of "
        f"{1e3 * DIAMETER:.0f} mm; first frame and tracking: median of {options.scenes} cluttered scenes, schedule "
        f"{options.schedule}; times are {'CPU seconds' if options.cpu_time else 'seconds on the wall'}"
    )
    facts += missing
    text = markdown(rows, facts)
    print(text)
    write_whole(options.output.with_suffix(".md"), text)
    content = {"options": asdict(options), "facts": facts, "rows": [asdict(row) for row in rows]}
    write_json(options.output.with_suffix(".json"), content)
    largest = max(options.batches)
    panels = {
        "files, MB": [row.megabytes for row in rows],
        f"refiner alone, ms/pair of {largest}": [row.per_pair.get(largest, float("nan")) for row in rows],
        "first frame, s": [row.first_frame for row in rows],
        "tracking, frames/s": [row.frames_per_second for row in rows],
        "drift of a step, degrees": [row.degrees for row in rows],
        "ADD(-S)-0.1d, %": [row.add for row in rows],
    }
    panels = {heading: values for heading, values in panels.items() if not all(map(math.isnan, values))}
    names = [row.name for row in rows]
    print(write_quantization_plot(options.output.with_suffix(".png"), names, panels, f"{options.weights}: {facts[0]}"))


def measure_networks(rows: list[Row], options: Report, device: torch.device) -> None:
    """Sizes, setup, times of the networks alone and drift."""
    pool = calibration_pool(HELD_OUT_SEED)
    for row in tqdm(rows, desc="setup", unit="variant"):
        row.megabytes = megabytes(row.name, options.weights)
        row.setup = setup_seconds(row.name, options.weights, device)
    for kind in _KINDS:
        runners = {row.name: open_runner(row.name, kind, options.weights, device) for row in rows}
        pairs = calibration_pairs(pool, runners[BASELINE].config, options.pairs, seed=1)
        with tqdm(total=4 * len(rows) * len(options.batches), desc=f"time {kind}", unit="run") as bar:
            times = per_pair_milliseconds(runners, pairs, options.batches, clock=_clock(options), tick=bar.update)
        for row in rows:
            if kind == "scorer":
                row.scorer_per_pair = times[row.name]
            else:
                row.per_pair = times[row.name]
                row.degrees, row.millimetres = drift(
                    refine_once(runners[row.name], pairs), refine_once(runners[BASELINE], pairs)
                )


def measure_estimator(rows: list[Row], options: Report) -> None:
    """First frame and tracking, end to end; the variants take turns scene by scene."""
    meshes = load_objects(options.mesh_folder, count=max(1, min(options.scenes, 16)))
    pool = ScenePool.from_meshes(meshes)
    estimators = {row.name: estimators_of(row.name, options.weights, options.device, options.schedule) for row in rows}
    first: dict[str, list[float]] = defaultdict(list)
    following: dict[str, list[float]] = defaultdict(list)
    with tqdm(total=options.scenes * len(rows), desc="register and track", unit="scene") as bar:
        for index in range(options.scenes):
            scene = make_scene(pool, SUITES["cluttered"], seed=7, index=index)
            for row in rows:
                estimator = estimators[row.name](meshes[scene.object_index])
                with contextlib.suppress(FrameError):
                    calls = _seconds(estimator, scene, options.track_frames if index == 0 else 2, _clock(options))
                    first[row.name].append(calls[0])
                    following[row.name] += calls[2:]  # the first call of track_one warms up
                bar.update()
    for row in rows:
        row.first_frame = statistics.median(first[row.name])
        row.frames_per_second = 1.0 / statistics.median(following[row.name])


def add_accuracy(rows: list[Row], options: Report) -> list[str]:
    """Fill in what benchmarks.quantization.accuracy found; returns what to say of it."""
    if options.accuracy is None:
        return []
    records, facts = read_records(options.accuracy)
    if facts["options"]["weights"] != options.weights:
        raise WeightsError(
            f"--accuracy {options.accuracy} is of the weights {facts['options']['weights']}, not of {options.weights}"
        )
    found = compare(records)
    for row in rows:
        if row.name in found:
            row.add, row.add_difference = found[row.name].error, found[row.name].error_difference[0]
    scenes = " or ".join(str(count) for count in sorted({comparison.scenes for comparison in found.values()}))
    return [f"ADD(-S) on {scenes} scenes: " + ", ".join(f"{key} {value}" for key, value in facts["options"].items())]


def _clock(options: Report) -> Callable[[], float]:
    return time.process_time if options.cpu_time else time.perf_counter


def _seconds(estimator: FoundationPose, scene: EvaluationScene, frames: int, clock: Callable[[], float]) -> list[float]:
    """Of register, and then of each call of track_one, all on the scene's frame."""
    view, times = scene.views[0], [clock()]
    estimator.register(view.K, view.rgb, view.depth, scene.mask)
    times.append(clock())
    for _ in range(frames):
        estimator.track_one(view.rgb, view.depth, view.K)
        times.append(clock())
    return [end - start for start, end in itertools.pairwise(times)]


if __name__ == "__main__":
    name = "python -m benchmarks.quantization"
    run_command_line(report, Report, prog=name, description=__doc__, use_underscores=True)
