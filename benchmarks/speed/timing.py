"""Wall clocks: host arrays in, pose on the host out, so that nothing is left running when a call returns."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch


def time_calls(call: Callable[[], object], repeats: int, warm_ups: int = 2) -> np.ndarray:
    """Milliseconds of each call (repeats,), after `warm_ups` that are not counted. The calls end with a result on the
    host."""
    for _ in range(warm_ups):
        call()
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return np.array(milliseconds)


def percentiles(milliseconds: np.ndarray) -> dict[str, float]:
    """Columns of a table."""
    return {f"p{p} ms": float(np.percentile(milliseconds, p)) for p in (10, 50, 90)}


def median(call: Callable[[], object], repeats: int, warm_ups: int = 2) -> float:
    """Milliseconds; see `time_calls`."""
    return float(np.median(time_calls(call, repeats, warm_ups)))


def until_done(call: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """`call`, and waiting for the device: for work that leaves its result there."""

    def work() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return work


def call_ms(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Milliseconds of one call; on CUDA of one of ten calls in a row, so that the queue stays filled."""
    calls = 10 if device.type == "cuda" else 1

    def row() -> None:
        for _ in range(calls):
            call()

    return median(until_done(row, device), repeats, warm_ups=1) / calls
