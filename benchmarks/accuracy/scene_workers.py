"""Making scenes in other processes, ahead of the estimator that waits for them."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from types import TracebackType
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.scenes import EvaluationScene, ScenePool, make_scene
from benchmarks.accuracy.suites import Suite
from benchmarks.accuracy.trajectories import make_sequence
from pose6d.errors import MissingDependencyError
from pose6d.evaluation.ray_workers import ray_session

_AHEAD = 8  # scenes per worker that may wait for the estimator, 2.5 MB each
_SPARE_CORES = 2  # for the estimator

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
    """Processes of Ray that make scenes, as a context manager; they start at once, while the caller still loads meshes.

    Args:
        workers: how many processes, on the cluster that RAY_ADDRESS names, else on this machine, and None for
            `default_workers`; 0 makes the scenes in this one, as do all numbers where Ray is not installed.
    """

    def __init__(self, workers: int | None) -> None:
        workers = default_workers() if workers is None else workers
        self._session = ExitStack()
        self._ray: Any = None
        self._makers: list[Any] = []
        if workers < 1:
            return
        try:
            self._ray = self._session.enter_context(ray_session())
        except MissingDependencyError:
            print("scenes are made in this process; several are faster: pip install 'pose6d[ray]'", file=sys.stderr)
            return
        # A maker whose machine dies starts again on another one, and makes its scenes again, which are the same.
        maker = self._ray.remote(
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}},
        )(_Maker)
        self._makers = [maker.remote() for _ in range(workers)]

    def __enter__(self) -> SceneWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for maker in self._makers:
            self._ray.kill(maker)
        self._session.close()

    def scenes(self, tasks: Sequence[Task], pools: Mapping[str, ScenePool], seed: int) -> Iterator[EvaluationScene]:
        """The scenes of the tasks in their order; the first ones are begun before the first is asked for.

        Args:
            tasks: suite and number of each scene.
            pools: what scenes are made of, by `Suite.objects`.
            seed: of the scoreboard.
        """
        if not self._makers:
            return (make(pools[suite.objects], suite, seed, index) for suite, index in tasks)
        shared = {name: _share(self._ray, pool) for name, pool in pools.items()}
        waiting = deque(zip(cycle(self._makers), tasks))
        begun: deque[Any] = deque()

        def begin() -> None:
            while waiting and len(begun) < _AHEAD * len(self._makers):
                maker, (suite, index) = waiting.popleft()
                begun.append(maker.make.remote(shared, suite, seed, index))

        def take() -> Iterator[EvaluationScene]:
            while begun:
                scene = pickle.loads(self._ray.get(begun.popleft()))
                begin()
                yield scene

        begin()
        return take()


class _Maker:
    """Runs in a process of Ray."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._pools: dict[str, ScenePool] = {}

    def make(self, shared: Mapping[str, Any], suite: Suite, seed: int, index: int) -> bytes:
        """A pickled scene: arrays that Ray itself hands over cannot be written to."""
        if suite.objects not in self._pools:
            import ray

            self._pools[suite.objects] = ray.get(shared[suite.objects])
        return pickle.dumps(make(self._pools[suite.objects], suite, seed, index))


def _share(ray: Any, pool: ScenePool) -> Any:
    """Where the workers of a machine find the pool, all in the same memory: a scanned mesh's texture takes 64 MB."""
    ray.util.register_serializer(torch.Tensor, serializer=torch.Tensor.numpy, deserializer=_tensor)
    try:
        return ray.put(pool)
    finally:
        ray.util.deregister_serializer(torch.Tensor)


def _tensor(values: np.ndarray) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to
        return torch.from_numpy(values)
