"""Steps of one kind in threads: numpy, OpenCV and compiled loops leave the interpreter to others while they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What a function makes of each item, in as many threads as PyTorch uses.

    Raises:
        What the function raises, for the first item of which it does.
    """
    count = min(torch.get_num_threads(), len(items))
    if count < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))


def parts_of(count: int, least: int) -> list[slice]:
    """Slices that share `count` items among the threads, each of at least `least` items, the last perhaps of less."""
    size = max(least, -(-count // torch.get_num_threads()))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
