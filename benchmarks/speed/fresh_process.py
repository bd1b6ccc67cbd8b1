"""A process of its own: the time from its start to the first pose, and the memory that a registration needs.

`first_pose` and `measure_memory` start one; as a script, this file is what runs inside.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.speed.bench import Bench
    from benchmarks.speed.frames import TimedFrame

REPOSITORY = Path(__file__).resolve().parents[2]
_MIB = 2**20


@dataclass(frozen=True)
class Request:
    """What the process shall do: register one object in one frame."""

    mesh: str
    frame: str
    weights: str
    device: str
    iterations: int
    without_doubt: bool


def first_pose(bench: Bench, frame: TimedFrame, runs: int = 2) -> dict[str, float]:
    """Seconds of each step up to the first pose, in the last of so many fresh processes; the others fill caches."""
    with tempfile.TemporaryDirectory() as folder:
        request = _write_request(bench, frame, Path(folder), without_doubt=False)
        for _ in range(runs):
            answer = _run(request)
    return answer["seconds"]


def measure_memory(bench: Bench, frame: TimedFrame) -> dict[str, float]:
    """MiB of main memory before a registration, and beyond that at its peak."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(_write_request(bench, frame, Path(folder), without_doubt=True))["memory"]


def _write_request(bench: Bench, frame: TimedFrame, folder: Path, without_doubt: bool) -> Request:
    import numpy as np

    from pose6d.mesh.mesh_files import save_mesh

    if bench.options.mesh_folder is not None:
        mesh = (bench.options.mesh_folder / bench.mesh.name).resolve()
    else:
        mesh = folder / "mesh.obj"
        save_mesh(bench.mesh, mesh)
    np.savez(folder / "frame.npz", K=frame.K, rgb=frame.rgb, depth=frame.depth, mask=frame.masks[0])
    weights = Path(bench.options.weights)
    return Request(
        mesh=str(mesh),
        frame=str(folder / "frame.npz"),
        weights=str(weights.resolve()) if weights.exists() else bench.options.weights,
        device=str(bench.device),
        iterations=bench.options.register_iterations,
        without_doubt=without_doubt,
    )


def _run(request: Request) -> dict:
    command = [sys.executable, "-m", "benchmarks.speed.fresh_process", json.dumps(asdict(request))]
    started = str(time.time())
    done = subprocess.run([*command, started], cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a fresh process failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _inside(request: Request, started: float) -> dict[str, dict[str, float]]:
    """The steps of a program that uses the estimator, timed from the moment its process was asked for."""
    seconds: dict[str, float] = {}
    last = started

    def lap(name: str) -> None:
        nonlocal last
        now = time.time()  # the only clock that two processes share everywhere
        seconds[name], last = now - last, now

    from pose6d.quick_imports import quick_imports

    with quick_imports():  # as run_demo.py does
        import numpy as np
        import torch

        from many_objects import EstimatorFactory
        from pose6d.mesh.mesh_files import load_mesh

    lap("Python and imports")
    torch.zeros(1, device=request.device)
    lap("device")
    mesh = load_mesh(request.mesh)
    lap("mesh")
    make = EstimatorFactory(request.weights, request.device)
    lap("weights")
    estimator = make(mesh)
    lap("estimator")
    frame = np.load(request.frame)
    images = [frame[name] for name in ("K", "rgb", "depth", "mask")]
    lap("frame")
    if estimator.device.type == "cuda":  # as run_demo.py does
        estimator.warm_up(*images[2].shape, request.iterations, judge=True)
        lap("warm-up")
    if request.without_doubt:
        from dataclasses import replace

        estimator.schedule = replace(estimator.schedule, min_confidence=0.0)
    before = _status("VmRSS") or _peak_mib()
    with suppress(OSError):  # let the peak start anew where the system can; elsewhere loading counts too
        Path("/proc/self/clear_refs").write_text("5")
    last = time.time()
    estimator.register(*images, iteration=request.iterations)
    lap("first register")
    seconds["all"] = last - started
    memory = {"before register MiB": before, "register MiB": max(0.0, _peak_mib() - before)}
    return {"seconds": seconds, "memory": memory}


def _status(key: str) -> float | None:
    """MiB that Linux reports of this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), None)


def _peak_mib() -> float:
    # ru_maxrss of a child starts at what its parent held, so it is only the second choice.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or peak / (_MIB if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    answer = _inside(Request(**json.loads(sys.argv[1])), float(sys.argv[2]))
    sys.stdout.flush()
    os.write(1, (json.dumps(answer) + "\n").encode())
