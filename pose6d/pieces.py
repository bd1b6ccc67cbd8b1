"""Work in pieces that share nothing, on as many threads as PyTorch may use.

PyTorch splits each operation among its threads, which wait for each other after every one and spin meanwhile: hundreds
of times in a frame, and for long where another process has the core of one of them. Here a thread takes a piece, does
all that there is to do with it, and takes the next; one that is held up holds up nobody but itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


def run_pieces(work: Callable[[_Piece], _Result], pieces: Sequence[_Piece]) -> list[_Result]:
    """`[work(piece) for piece in pieces]`, shared among threads; the calling thread is one of them.

    Inside, PyTorch has the calling thread's number of threads over the number of pieces, at least one; so work that is
    itself done in pieces, or by PyTorch's own threads, uses what is left.

    Raises:
        What `work` raises; the other pieces may have been done.
    """
    available = torch.get_num_threads()
    threads = min(available, len(pieces))
    if threads <= 1:
        return [work(piece) for piece in pieces]
    results: dict[int, _Result] = {}
    remaining = iter(list(enumerate(pieces)))
    inference = torch.is_inference_mode_enabled()

    def take() -> None:
        torch.set_num_threads(available // threads)  # of this thread alone
        with torch.inference_mode(inference):
            for index, piece in remaining:
                results[index] = work(piece)

    helpers = [_pool().submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
        torch.set_num_threads(available)
    for helper in started:
        helper.result()
    return [results[index] for index in range(len(pieces))]


def even_slices(count: int, largest: int) -> list[slice]:
    """Slices that cover `count` rows, of nearly the same length, at most `largest`, and for every thread as many."""
    threads = torch.get_num_threads()
    number = -(-count // largest)
    number = min(count, -(-number // threads) * threads)
    ends = [count * i // number for i in range(number + 1)] if number else [0]
    return [slice(begin, end) for begin, end in zip(ends, ends[1:], strict=False)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "pieces")
