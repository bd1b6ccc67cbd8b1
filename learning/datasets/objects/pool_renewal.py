"""New objects while training runs: other processes make them, and they replace the oldest of the pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import torch

from learning.datasets.objects.object_processes import ObjectProcesses
from learning.datasets.objects.random_objects import make_object, usable_cores
from learning.datasets.objects.training_pool import HELD_OUT_SEED, PoolConfig, make_pool, read_own_files, wear_images
from pose6d.errors import OptionError
from pose6d.mesh.mesh import Mesh

_LOTS_AHEAD = 3


class RenewedPool:
    """A mesh pool some of whose procedural objects are replaced every so many steps.

    What the pool holds at a step depends on the configuration, the step and the process's rank alone, so that a run
    that is resumed goes on with the objects it would have had. Object number k lies at index k modulo the number of
    objects. Use as a context manager, or close it: it holds processes.

    Attributes:
        pool: the pool; its renderer's buffers change with `renew`.

    Args:
        step: at which the run starts or goes on.
        rank, ranks: this process and how many train together; each has objects of its own.

    Raises:
        OptionError: fewer than 0 steps or fewer than 1 object per renewal; see also `make_pool`.
    """

    def __init__(
        self, config: PoolConfig, device: torch.device, step: int = 0, rank: int = 0, ranks: int = 1,
        progress: bool = True,
    ):  # fmt: skip
        if config.renew_every < 0 or config.renewed < 1:
            raise OptionError(
                f"renew_every is {config.renew_every} and renewed {config.renewed}: wanted 0 or more steps, and 1 "
                "object or more"
            )
        self._config, self._rank, self._ranks = config, rank, ranks
        self._make = partial(make_object, marked_share=config.marked_share)
        self._lot = min(config.renewed, config.objects)
        self._done = self._asked = self._due(step)
        self._own = read_own_files(config)
        newest = self._done * self._lot + config.objects
        numbers = sorted(range(newest - config.objects, newest), key=lambda number: number % config.objects)
        self.pool = make_pool(config, device, progress, self._own, [self._seed(number) for number in numbers])
        self._processes: ObjectProcesses | None = None
        self._lots: deque[Callable[[], list[Mesh]]] = deque()
        if config.renew_every:
            self._start()

    def __enter__(self) -> RenewedPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def renew(self, step: int) -> None:
        """Bring the pool to what it holds at this step; waits where the objects are not ready.

        Raises:
            TrainingError: a process that makes objects was killed.
        """
        while self._done < self._due(step):
            if not self._lots:
                self._ask()
            meshes, seeds = self._lots.popleft()(), self._seeds(self._done)
            meshes = wear_images(meshes, seeds, self._own.images, self._config.own_share)
            first = self._done * self._lot % self._config.objects
            before_the_end = self._config.objects - first
            self.pool.replace_objects(first, meshes[:before_the_end])
            if meshes[before_the_end:]:
                self.pool.replace_objects(0, meshes[before_the_end:])
            self._done += 1
            self._ask()

    def close(self) -> None:
        """End the processes; the pool stays as it is."""
        if self._processes:
            self._processes.close()
            self._processes = None

    def _due(self, step: int) -> int:
        """Lots that have been replaced before a step."""
        return step // self._config.renew_every if self._config.renew_every else 0

    def _seed(self, number: int) -> int:
        first, number = self._config.seed, number * self._ranks + self._rank
        return first + number % (HELD_OUT_SEED - first) if first < HELD_OUT_SEED else first + number

    def _seeds(self, lot: int) -> Sequence[int]:
        start = self._config.objects + lot * self._lot
        return [self._seed(number) for number in range(start, start + self._lot)]

    def _start(self) -> None:
        workers = self._config.workers
        if workers is None or workers > 1:  # otherwise this process makes them, as in make_objects
            self._processes = ObjectProcesses(self._make, workers or max(1, usable_cores() // self._ranks - 1))
            for _ in range(_LOTS_AHEAD):
                self._ask()

    def _ask(self) -> None:
        """Have one more lot made: by other processes, or by this one when it is needed."""
        seeds = self._seeds(self._asked)
        if self._processes:
            self._lots.append(partial(_finish, [self._processes.submit(seed) for seed in seeds]))
        else:
            self._lots.append(lambda: [self._make(seed) for seed in seeds])
        self._asked += 1


def _finish(lot: Sequence[Future[Mesh]]) -> list[Mesh]:
    return [mesh.result() for mesh in lot]
