"""Importing large packages without looking for garbage meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import inside, with the garbage collector at rest; what is there afterwards it never looks at again.

    The million objects of PyTorch's modules stay as long as the program, and looking through all of them again and
    again takes a fifth of the time of importing them. For programs at their start: of what lives when this ends,
    cycles that nothing refers to any more are not found.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
