"""Signals that ask a program to end, as the KeyboardInterrupt that a Ctrl-C raises: what is done by then is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows lacks one


class Stopped(KeyboardInterrupt):
    """A signal has asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


@contextmanager
def stopping_by_signals() -> Iterator[None]:
    """Raise `Stopped` inside at the first SIGTERM (`docker stop`, a scheduler) or SIGHUP (a lost terminal).

    Later ones are ignored, so that what the first one has begun to save is saved. Signals that somebody handles or
    ignores already (`nohup`) stay as they are. Without a handler, the first process of a container gets no SIGTERM.
    """
    ours = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # only there Python lets one handle signals
        ours = []

    def stop(number: int, _: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
