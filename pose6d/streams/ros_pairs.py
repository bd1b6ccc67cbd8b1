"""Which depth picture goes with which colour picture: the nearest in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from pose6d.errors import FrameError
from pose6d.streams.ros_messages import RosMessage

_AHEAD = 30  # pictures that wait for the other kind; those of a second
_AGE = 10**20  # nanoseconds, longer than any recording

Pair = tuple[RosMessage, RosMessage]


class StampPairs:
    """Pairs of colour and depth by their stamps, each picture in one pair at most; iterated over once.

    Where the clock of a topic jumps back, a new age begins for it, and pairs are of one age.

    Args:
        messages: of both topics, as they were recorded.
        color_topic: tells colour from depth.
        longest: nanoseconds between the two of a pair.

    Attributes:
        pairs: how many were found so far.
        lonely: how many colour pictures had no depth.
        repeated: how many colour pictures had the stamp of the one before, and were left out.
        nearest: nanoseconds from a lonely one to the nearest depth, the least of all; None where there was none.
    """

    def __init__(self, messages: Iterable[RosMessage], color_topic: str, longest: int) -> None:
        self._messages, self._color_topic, self._longest = messages, color_topic, longest
        self.pairs = self.lonely = self.repeated = 0
        self.nearest: int | None = None
        self._colors: deque[tuple[int, RosMessage]] = deque()  # each with nanoseconds that only grow
        self._depths: deque[tuple[int, RosMessage]] = deque()
        self._age = 0  # of the colour picture given out last

    def __iter__(self) -> Iterator[Pair | FrameError]:
        """Pairs, and an error, not raised, for each time that the clock of the colour pictures jumps back."""
        last, age = {True: -1, False: -1}, {True: 0, False: 0}
        for message in self._messages:
            is_color, stamp = message.topic == self._color_topic, message.stamp
            if stamp == last[is_color]:
                self.repeated += is_color
                continue  # the same picture once more
            age[is_color] += stamp < last[is_color]
            last[is_color] = stamp
            (self._colors if is_color else self._depths).append((stamp + age[is_color] * _AGE, message))
            yield from self._match()
        yield from self._match(final=True)

    def _match(self, final: bool = False) -> Iterator[Pair | FrameError]:
        """The pairs that no later message can change; with `final`, all."""
        colors, depths = self._colors, self._depths
        while colors and (final or len(colors) > _AHEAD or (depths and depths[-1][0] >= colors[0][0])):
            time, color = colors.popleft()
            if time // _AGE > self._age:
                self._age = time // _AGE
                yield FrameError(
                    f"{color.topic}: the clock jumps back to {color.stamp / 1e9:.3f} s: was it set, or the bag joined "
                    "from several? Frames go on by the new clock; to be rid of this, split the bag there"
                )
            if not depths:
                self.lonely += 1
                continue
            nearest = min(depths, key=lambda depth: abs(depth[0] - time))
            apart = abs(nearest[0] - time)
            while depths[0] is not nearest:
                depths.popleft()
            if apart <= self._longest:
                depths.popleft()
                self.pairs += 1
                yield color, nearest[1]
            else:
                self.lonely += 1
                self.nearest = apart if self.nearest is None else min(apart, self.nearest)
        while len(depths) > _AHEAD:
            depths.popleft()
