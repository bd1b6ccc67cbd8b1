"""The newest frame of a live stream: a thread reads, and who is slow skips instead of falling behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Thread
from types import TracebackType

from pose6d.errors import FrameError
from pose6d.scenes.frame import Frame
from pose6d.streams.interface import FrameStream

_LAST_CALL = 0.5  # seconds for the reading thread to end before the stream is closed under it
_PATIENCE = 10.0  # seconds for it to end afterwards; a camera that hangs must not hang the program


class NewestFrames:
    """Frames of a live stream, each the newest one there is: a `FrameStream`.

    A thread reads from the first frame asked for until the block ends. Frames, and frames that cannot be used, which
    come while nobody asks are replaced by the next. Other errors of the stream are raised after the last frame.

    Args:
        stream: a camera, or a `RealTimeStream`; of a recording at full speed nearly all would be skipped.

    Attributes:
        skipped: how many frames were replaced so far.
        arrived: time.perf_counter() at which the last frame given out came from the stream.
    """

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self.name, self.size, self.fps, self.live = stream.name, stream.size, stream.fps, stream.live
        self.depth_unit, self.notes = stream.depth_unit, stream.notes
        self.skipped, self.arrived = 0, 0.0
        self._tap: Callable[[Frame], object] | None = None
        self._changed = Condition()
        self._newest: tuple[Frame | FrameError, float] | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._thread = Thread(target=self._read, name=f"frames of {stream.name}", daemon=True)

    def __enter__(self) -> NewestFrames:
        self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, and close the stream."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        begun = self._thread.ident is not None
        if begun:
            self._thread.join(_LAST_CALL)
        self._stream.__exit__(kind, error, trace)  # which ends a wait for a frame
        if begun:
            self._thread.join(_PATIENCE)

    def __iter__(self) -> NewestFrames:
        if self._thread.ident is None:
            self._thread.start()
        return self

    def __next__(self) -> Frame:
        """The newest frame that was not given out yet; waits for one.

        Raises:
            FrameError: it cannot be used; the next may.
            Pose6DError: what ended the stream.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            newest, self._newest = self._newest, None
        if newest is None:
            if self._error is not None:
                raise self._error
            raise StopIteration
        item, self.arrived = newest
        if isinstance(item, FrameError):
            raise item
        return item

    def set_tap(self, tap: Callable[[Frame], object] | None) -> None:
        """Let a function have every frame, also those that are skipped, from the one that nobody has asked for yet.

        Args:
            tap: called as frames come, in the reading thread; it must not wait. What it raises ends the stream. None
                for nothing.
        """
        with self._changed:
            self._tap = tap
            if tap is not None and self._newest is not None and isinstance(self._newest[0], Frame):
                tap(self._newest[0])

    def _read(self) -> None:
        """What the thread does."""
        item: Frame | FrameError
        try:
            frames = iter(self._stream)
            while not self._ended:
                try:
                    item = next(frames)
                except FrameError as error:
                    item = error
                with self._changed:
                    if self._tap is not None and isinstance(item, Frame):
                        self._tap(item)
                    self.skipped += self._newest is not None
                    self._newest = item, time.perf_counter()
                    self._changed.notify_all()
        except StopIteration:
            pass
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
