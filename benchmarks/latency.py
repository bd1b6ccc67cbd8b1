"""Time register and track_one, from host arrays to a pose on the host.

`python -m benchmarks.latency --weights base --device cuda --mesh MESH`
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.objects import load_objects
from benchmarks.accuracy.scene_workers import make
from benchmarks.accuracy.scenes import ScenePool
from benchmarks.accuracy.suites import SUITES
from benchmarks.versions import versions
from estimater import FoundationPose


@dataclass
class Options:
    """What to time."""

    mesh_folder: Path | None = None
    """folder with meshes in metres, the first of which is used; a procedural object if omitted"""
    weights: str = "auto"
    device: str = "auto"
    schedules: tuple[str, ...] = ("full", "pruned")
    """of register; the first is what the others are compared with"""
    register_iterations: int = 5
    track_iterations: int = 2
    repeats: int = 20
    """timed calls of register; track_one is timed five times as often"""
    output: Path | None = None
    """JSON beside the table"""


def time_calls(call: Callable[[], object], repeats: int) -> np.ndarray:
    """Seconds of each call, after two that are not counted. The calls end with a copy to the host."""
    seconds = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        call()
        if i >= 2:
            seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def measure(options: Options) -> dict[str, object]:
    """Percentiles of register with each schedule and of track_one in milliseconds, and the stages of the last calls."""
    mesh = load_objects(options.mesh_folder)[0]
    scene = make(ScenePool.from_meshes([mesh]), SUITES["cluttered"], seed=7, index=0)
    view, mask = scene.views[0], scene.mask
    rgb, depth, K = view.rgb, view.depth, view.K

    start = time.perf_counter()
    estimator = FoundationPose(mesh, device=options.device, weights=options.weights, schedule=options.schedules[0])
    setup = time.perf_counter() - start
    result: dict[str, object] = {"faces": len(mesh.faces), "setup_ms": 1e3 * setup}
    if estimator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(estimator.device)

    def note(name: str, call: Callable[[], object], repeats: int) -> None:
        milliseconds = 1e3 * time_calls(call, repeats)
        estimator.profile = True
        call()
        estimator.profile = False
        result[name] = {
            **{f"p{p}": float(np.percentile(milliseconds, p)) for p in (10, 50, 90)},
            "stages_ms": {stage: 1e3 * s for stage, s in estimator.timings.items()},
        }

    for schedule in options.schedules:
        estimator = FoundationPose(
            mesh, refiner=estimator.refiner, scorer=estimator.scorer, device=options.device, schedule=schedule
        )
        note(
            f"register, {schedule}",
            partial(estimator.register, K, rgb, depth, mask, iteration=options.register_iterations),
            options.repeats,
        )
    track = partial(estimator.track_one, rgb, depth, K, iteration=options.track_iterations)
    note("track", track, 5 * options.repeats)
    if estimator.device.type == "cuda":
        result["peak_gpu_mib"] = torch.cuda.max_memory_allocated(estimator.device) / 2**20
    return result


def main(options: Options) -> None:
    result = {**versions(options.device), **measure(options)}
    full = result[f"register, {options.schedules[0]}"]
    assert isinstance(full, dict)
    for key, value in result.items():
        if isinstance(value, dict) and "p50" in value:
            ratio = f"   {full['p50'] / value['p50']:.1f} x the first" if key.startswith("register") else ""
            print(f"{key:17s} p10 {value['p10']:9.2f}   p50 {value['p50']:9.2f}   p90 {value['p90']:9.2f} ms{ratio}")
            print("                  " + "   ".join(f"{stage} {ms:.2f}" for stage, ms in value["stages_ms"].items()))
        else:
            print(f"{key:14s} {value}")
    if options.output:
        options.output.write_text(json.dumps({"options": asdict(options), **result}, indent=1, default=str))


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options))
