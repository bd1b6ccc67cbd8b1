"""Which depth picture goes with which colour picture: the nearest in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from pose6d.errors import FrameError
from pose6d.streams.ros_messages import RosMessage

_AHEAD = 30  # pictures that wait for the other kind; those of a second

Pair = tuple[RosMessage, RosMessage]


class StampPairs:
    """Pairs of colour and depth by their stamps, each picture in one pair at most; iterated over once.

    Args:
        messages: of both topics, as they were recorded.
        color_topic: tells colour from depth.
        longest: nanoseconds between the two of a pair.

    Attributes:
        pairs: how many were found so far.
        lonely: how many colour pictures had no depth.
        nearest: nanoseconds from a lonely one to the nearest depth, the least of all; None where there was none.
    """

    def __init__(self, messages: Iterable[RosMessage], color_topic: str, longest: int) -> None:
        self._messages, self._color_topic, self._longest = messages, color_topic, longest
        self.pairs = self.lonely = 0
        self.nearest: int | None = None
        self._colors: deque[RosMessage] = deque()
        self._depths: deque[RosMessage] = deque()

    def __iter__(self) -> Iterator[Pair | FrameError]:
        """Pairs, and an error, not raised, for each time that the clock of the colour pictures jumps back."""
        last = {True: -1, False: -1}
        for message in self._messages:
            is_color = message.topic == self._color_topic
            queue, before = self._colors if is_color else self._depths, last[is_color]
            last[is_color] = message.stamp
            if message.stamp == before:
                continue  # the same picture once more
            if message.stamp < before:
                yield from self._match(final=True)
                self._depths.clear()
                if is_color:
                    yield FrameError(
                        f"{message.topic}: the clock jumps back by {(before - message.stamp) / 1e9:.3f} s, to "
                        f"{message.stamp / 1e9:.3f}: was the clock set, or the bag joined from several? Frames go "
                        "on by the new clock; to be rid of this, split the bag there"
                    )
            queue.append(message)
            yield from self._match()
        yield from self._match(final=True)

    def _match(self, final: bool = False) -> Iterator[Pair]:
        """The pairs that no later message can change; with `final`, all, and colour that is left is lonely."""
        colors, depths = self._colors, self._depths
        while colors and (final or len(colors) > _AHEAD or (depths and depths[-1].stamp >= colors[0].stamp)):
            color = colors.popleft()
            if not depths:
                self.lonely += 1
                continue
            nearest = min(depths, key=lambda depth: abs(depth.stamp - color.stamp))
            apart = abs(nearest.stamp - color.stamp)
            while depths[0] is not nearest:
                depths.popleft()
            if apart <= self._longest:
                depths.popleft()
                self.pairs += 1
                yield color, nearest
            else:
                self.lonely += 1
                self.nearest = apart if self.nearest is None else min(apart, self.nearest)
        while len(depths) > _AHEAD:
            depths.popleft()
