"""Processes that make objects, and of which each may be killed at any moment."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from pose6d.errors import TrainingError
from pose6d.mesh.mesh import Mesh


class ObjectProcesses:
    """Calls a function in other processes. Use as a context manager, or close it.

    Each process has a pipe of its own, and a thread here that waits for it. The processes of a `ProcessPoolExecutor`
    share one: if one of them is killed while it sends, the rest of its message is waited for for ever.

    Args:
        make: the function, of a seed; it can be pickled.
        count: of processes.
    """

    def __init__(self, make: Callable[[int], Mesh], count: int):
        self._make = make
        # Not fork: this process may hold CUDA and threads, neither of which survives it.
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(count, "objects", self._begin)

    def __enter__(self) -> ObjectProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, seed: int) -> Future[Mesh]:
        """What the function makes of the seed, when it is done; TrainingError if its process was killed.

        Raises:
            RuntimeError: it has been closed.
        """
        return self._threads.submit(self._ask, seed)

    def close(self) -> None:
        """End the processes; what is not done will not be done."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._end_processes()  # so that no thread waits for what one of them still makes
        self._threads.shutdown(wait=True)
        self._end_processes()  # those that a thread began meanwhile
        for process in self._processes:
            process.join()

    def _end_processes(self) -> None:
        for process in list(self._processes):
            process.terminate()

    def _begin(self) -> None:
        self._own.pipe, far_end = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(far_end, self._make), daemon=True)
        process.start()
        self._processes.append(process)
        far_end.close()  # so that the end of the process is the end of the pipe

    def _ask(self, seed: int) -> Mesh:
        pipe: Connection = self._own.pipe
        try:
            pipe.send(seed)
            made, error = pipe.recv()
        except (EOFError, OSError) as lost:
            raise TrainingError(
                "a process that makes objects was killed, perhaps for lack of memory: with fewer workers "
                "(--pool.workers of the trainers) it takes less; training goes on from its last checkpoint"
            ) from lost
        if error is not None:
            raise error
        return made


def _serve(pipe: Connection, make: Callable[[int], Mesh]) -> None:
    """Answer seeds with what is made of them, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; whoever asks ends this process
    while True:
        try:
            seed = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = make(seed), None
        except Exception as error:
            answer = None, error  # type: ignore[assignment]
        try:
            pipe.send(answer)
        except OSError:  # nobody waits for it any more
            return
