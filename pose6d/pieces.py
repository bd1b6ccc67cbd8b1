"""Work in pieces that do not need each other, on as many threads as PyTorch may use.

PyTorch splits each operation among its threads, which wait for each other after every one and spin meanwhile: hundreds
of times in a frame, and for long where another process has the core of one of them. Here a thread takes a piece, does
all that there is to do with it, and takes the next; one that is held up holds up nobody but itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TypeVar

import torch

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")
_MOST = 256  # threads
_here = threading.local()  # .threads: how many this thread may use for pieces


def threads() -> int:
    """How many the calling thread may use."""
    return getattr(_here, "threads", None) or torch.get_num_threads()


@contextmanager
def pieces_only() -> Iterator[None]:
    """Inside, pieces have the threads that PyTorch had, and PyTorch computes each operation in the calling one."""
    with _use(threads(), 1):
        yield


@contextmanager
def operations_only() -> Iterator[None]:
    """Inside, PyTorch's operations have the threads that pieces had: for what cannot be done in pieces."""
    with _use(1, threads()):
        yield


@contextmanager
def _use(for_pieces: int, for_operations: int) -> Iterator[None]:
    before = getattr(_here, "threads", None), torch.get_num_threads()
    _here.threads = for_pieces
    torch.set_num_threads(for_operations)
    try:
        yield
    finally:
        _here.threads = before[0]
        torch.set_num_threads(before[1])


def run_pieces(work: Callable[[_Piece], _Result], pieces: Sequence[_Piece]) -> list[_Result]:
    """`[work(piece) for piece in pieces]`, shared among threads; the calling thread is one of them.

    Pieces of a piece have the threads that are left, where there are more threads than pieces.

    Raises:
        What `work` raises; the other pieces may have been done.
    """
    available = threads()
    sharing = min(available, len(pieces))
    if sharing <= 1:
        return [work(piece) for piece in pieces]
    results: dict[int, _Result] = {}
    remaining = iter(list(enumerate(pieces)))
    inference = torch.is_inference_mode_enabled()

    def take() -> None:
        with _use(available // sharing, 1), torch.inference_mode(inference):
            for index, piece in remaining:
                results[index] = work(piece)

    helpers = [_pool().submit(take) for _ in range(sharing - 1)]
    try:
        take()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()
    return [results[index] for index in range(len(pieces))]


def even_slices(count: int, largest: int) -> list[slice]:
    """Slices that cover `count` rows, of nearly the same length, at most `largest`, and for every thread as many."""
    number = -(-count // largest)
    number = min(count, -(-number // threads()) * threads())
    ends = [count * i // max(number, 1) for i in range(number + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def long_slices(count: int, least: int) -> list[slice]:
    """Slices that share `count` rows among the threads, each of at least `least` rows, the last perhaps of less."""
    size = max(least, -(-count // threads()))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST, "pieces")  # made as they are needed
