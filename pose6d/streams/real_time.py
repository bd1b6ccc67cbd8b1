"""A recording at the pace at which it was taken, as if its camera were running."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event
from types import TracebackType

from pose6d.scenes.frame import Frame
from pose6d.streams.interface import FrameStream


class RealTimeStream:
    """Frames of another stream, none before its time: a `FrameStream`.

    The clock starts with the first frame. Who is slow gets every frame, late; `NewestFrames` around it skips, as it
    does with a camera. Where the recorded clock jumps back, or is unknown, the wait starts anew.

    Args:
        stream: whose frames have `seconds`; those without any come at its `fps`.
    """

    live = True

    def __init__(self, stream: FrameStream) -> None:
        self._stream, self._closed = stream, Event()
        self.name, self.size, self.fps = stream.name, stream.size, stream.fps
        self.depth_unit, self.notes = stream.depth_unit, stream.notes
        self._start = self._last = 0.0  # `_start` is the time.monotonic() at which the recorded clock is 0
        self._running = False

    def __enter__(self) -> RealTimeStream:
        self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._stream.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        """See `FrameStream`; after a FrameError the next frame follows."""
        return map(self._wait, iter(self._stream))

    def _wait(self, frame: Frame) -> Frame:
        seconds = frame.seconds if frame.seconds is not None else self._last + 1 / (self.fps or 30)
        if not self._running or seconds < self._last:
            self._start, self._running = time.monotonic() - seconds, True
        self._last = seconds
        self._closed.wait(max(self._start + seconds - time.monotonic(), 0))
        return frame
