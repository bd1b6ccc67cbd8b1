"""How long one waits for the first pose of a new process."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.speed.bench import Bench, Table
from benchmarks.speed.fresh_process import REPOSITORY, first_pose


def cold_start(bench: Bench) -> Table:
    """`import estimater`, and every step from the start of a process to its first pose."""
    rows = [{"of": 'python -c "import estimater"', "step": "all", "seconds": _import_seconds()}]
    steps = first_pose(bench, bench.frame())
    rows += [{"of": "process start to first pose", "step": step, "seconds": seconds} for step, seconds in steps.items()]
    return Table(
        rows,
        note="Of the second of two fresh processes: compiled kernels and files are cached. device: the CUDA context; "
        "estimator: the mesh on the device and the grid of hypotheses.",
    )


def _import_seconds() -> float:
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import estimater"], cwd=REPOSITORY, check=True, capture_output=True)
    return time.perf_counter() - start
