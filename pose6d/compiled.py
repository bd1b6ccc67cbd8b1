"""Compiling loops with numba, whose cache on disk not every machine lets it write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

_log = logging.getLogger(__name__)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """The decorator `numba.njit(cache=True, **options)`, or without the cache where numba finds no folder for it.

    numba tries the folder in NUMBA_CACHE_DIR, the one beside the source file and the user's cache. In a read-only
    installation of a user without a home there is none, and numba would refuse to import the module.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            _warn_once()
            return numba.njit(**options)(function)

    return decorate


@cache
def _warn_once() -> None:
    _log.warning(
        "no folder for compiled code can be written, so compiling takes 10 to 20 s at each start: "
        "set NUMBA_CACHE_DIR to a folder that can"
    )
