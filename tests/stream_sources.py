"""Streams that are made up, for tests of what goes around them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np

from pose6d.scenes.frame import Frame

K = np.array([[90.0, 0, 31.5], [0, 90.0, 23.5], [0, 0, 1]])
SIZE = (48, 64)


def made_up_frame(index: int, fps: float = 30.0) -> Frame:
    """A frame that says which one it is: depth of (500 + index) mm, and grey of 10 times the index."""
    depth = np.full(SIZE, np.float32(500 + index) * np.float32(0.001), np.float32)
    depth[:5] = 0
    rgb = np.full((*SIZE, 3), 10 * index % 250, np.uint8)
    return Frame(f"{index:03d}", rgb, depth, K.copy(), seconds=index / fps)


class MadeUpStream:
    """Frames as `items` gives them; what is an exception is raised, and a FrameError does not end the stream.

    Attributes:
        read: how many items were asked for.
        closed: whether the block has ended.
        readers: the threads that asked.
    """

    name, size, fps, live, depth_unit = "made up", SIZE, 30.0, True, 0.001

    def __init__(self, items: Iterator[Frame | BaseException], wait: Callable[[int], None] | None = None) -> None:
        self.notes: list[str] = []
        self._items, self._wait = items, wait
        self.read, self.closed = 0, False
        self.readers: set[int] = set()

    def __enter__(self) -> MadeUpStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True

    def __iter__(self) -> MadeUpStream:
        return self

    def __next__(self) -> Frame:
        self.readers.add(threading.get_ident())
        if self._wait is not None:
            self._wait(self.read)
        item = next(self._items)
        self.read += 1
        if isinstance(item, BaseException):
            raise item
        return item
