"""Making scenes in other processes, ahead of the estimator that waits for them."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType

import torch

from benchmarks.accuracy.scenes import EvaluationScene, ScenePool, make_scene
from benchmarks.accuracy.suites import Suite
from benchmarks.accuracy.trajectories import make_sequence

_AHEAD = 8  # scenes per worker that may wait for the estimator, 2.5 MB each
_SPARE_CORES = 2  # for the estimator
_NICENESS = 5  # the estimator comes first

Task = tuple[Suite, int]


def default_workers() -> int:
    """One per core that this process may use, but for those that the estimator needs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - _SPARE_CORES)


def make(pool: ScenePool, suite: Suite, seed: int, index: int) -> EvaluationScene:
    """One scene or sequence, on one thread: the result must not depend on how many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return (make_sequence if suite.task == "track" else make_scene)(pool, suite, seed, index)
    finally:
        torch.set_num_threads(threads)


class SceneWorkers:
    """Processes that make scenes, as a context manager; they start at once, while the caller still loads meshes.

    Args:
        workers: how many processes; 0 makes the scenes in this one.
    """

    def __init__(self, workers: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pose6d_scenes_")
        self._executor: ProcessPoolExecutor | None = None
        if workers > 0:
            # Not fork: the caller holds CUDA and threads, neither of which survives it.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_be_quiet)
            self._ahead = _AHEAD * workers
            with _one_thread_each():
                for _ in range(workers):
                    self._executor.submit(os.getpid)

    def __enter__(self) -> SceneWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()

    def scenes(self, tasks: Sequence[Task], pools: Mapping[str, ScenePool], seed: int) -> Iterator[EvaluationScene]:
        """The scenes of the tasks in their order; the first ones are begun before the first is asked for.

        Args:
            tasks: suite and number of each scene.
            pools: what scenes are made of, by `Suite.objects`.
            seed: of the scoreboard.
        """
        if self._executor is None:
            return (make(pools[suite.objects], suite, seed, index) for suite, index in tasks)
        files = {}
        for name, pool in pools.items():
            files[name] = Path(self._folder.name) / f"{name}.pt"
            torch.save(pool, files[name])
        waiting = deque(tasks)
        begun: deque[Future[EvaluationScene]] = deque()

        def begin() -> None:
            while waiting and len(begun) < self._ahead:
                suite, index = waiting.popleft()
                assert self._executor is not None
                begun.append(self._executor.submit(_make_from_file, files[suite.objects], suite, seed, index))

        def take() -> Iterator[EvaluationScene]:
            while begun:
                scene = begun.popleft().result()
                begin()
                yield scene

        begin()
        return take()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile keep no idle thread for every core; libraries read this when they are imported."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _be_quiet() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(_NICENESS)


@cache
def _pool(file: Path) -> ScenePool:
    # Mapped, not read: the textures of scanned meshes take 64 MB each, and all processes share these pages.
    return torch.load(file, mmap=True, weights_only=False)


def _make_from_file(file: Path, suite: Suite, seed: int, index: int) -> EvaluationScene:
    return make(_pool(file), suite, seed, index)
