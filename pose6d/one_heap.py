"""One heap for all threads, so that the memory of a long run does not grow."""

from __future__ import annotations

import ctypes
import os
import sys

_ARENAS_AT_MOST = -8  # glibc's M_ARENA_MAX


def use_one_heap() -> bool:
    """Let all threads that begin from now on take their memory from one heap; where the C library is not glibc, or the
    variable MALLOC_ARENA_MAX says otherwise, nothing happens.

    By default each thread has a heap of its own, and keeps what another one could use: while threads share the pieces
    of frame after frame (`pose6d.pieces`), a process grows by a twentieth in thousands of frames. For programs at their
    start.

    Returns:
        Whether it is so now.
    """
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return False
    limit = getattr(ctypes.CDLL(None), "mallopt", None)
    return limit is not None and limit(_ARENAS_AT_MOST, 1) == 1
