"""As many threads as there are cores free for them, while other processes come and go.

OpenMP's threads wait for each other hundreds of times in a frame. A thread that is waited for but has no core to run on
holds up all others, which spin meanwhile: beside as many busy processes as there are cores, a frame takes up to sixty
times as long. Fewer threads then are faster. Shorter spinning would help as well, but costs time where all cores are
free: threads that sleep wake up late, and often on the core of the one that waits for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch

_WINDOW = 0.2  # seconds over which use is measured; Linux counts in hundredths
_FORGOTTEN = 1.0  # seconds after which what was begun to measure is out of date
_SLACK = 0.3  # of a core, that others may use without costing a thread


def available_seconds() -> float | None:
    """Seconds that the cores of this process were idle or busy with it, since some fixed time; None if unknown.

    Linux alone tells, in /proc/stat (proc(5)).
    """
    try:
        cores = os.sched_getaffinity(0)
        lines = Path("/proc/stat").read_text().splitlines()
        ticks = 0
        for name, *values in (line.split() for line in lines if line.startswith("cpu")):
            if name != "cpu" and int(name[3:]) in cores:
                ticks += int(values[3]) + int(values[4])  # idle, and idle while waiting for disks
        return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()
    except (AttributeError, OSError, ValueError, IndexError):
        return None


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch uses one thread inside: for many small pieces of work, such as the tensors of a network that is loaded.

    More threads hardly shorten these, and where a core is busy they wait for one another at the end of each.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class FreeCores:
    """Inside of `with`, PyTorch (and the renderer, which follows it) uses only as many threads as cores are free.

    Never more than PyTorch was set to use on entering, which is restored on leaving. `look` measures, and changes the
    number where it has to; a call that comes too early does nothing and takes no time.

    Args:
        available: like `available_seconds`, whose differences are measured.
        clock: seconds.
    """

    def __init__(
        self, available: Callable[[], float | None] = available_seconds, clock: Callable[[], float] = time.perf_counter
    ):
        self._available, self._clock = available, clock
        self._since = -float("inf")
        self._before: float | None = None
        self._free: int | None = None  # None: all
        self._most: int | None = None  # threads on entering; None outside

    def __enter__(self) -> FreeCores:
        self._most = torch.get_num_threads()
        if self._clock() - self._since > _FORGOTTEN:
            self._begin()
        self._set_threads()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._most is not None
        torch.set_num_threads(self._most)
        self._most = None

    def look(self) -> None:
        """Measure how many cores were free since the last time, if that is long enough ago."""
        if self._most is None or (span := self._clock() - self._since) < _WINDOW:
            return
        before = self._before
        self._begin()
        if before is not None and self._before is not None:
            self._free = max(1, int((self._before - before) / span + _SLACK))
            self._set_threads()

    def _begin(self) -> None:
        self._since, self._before = self._clock(), self._available()

    def _set_threads(self) -> None:
        assert self._most is not None
        wanted = self._most if self._free is None else min(self._free, self._most)
        if wanted != torch.get_num_threads():
            torch.set_num_threads(wanted)
