"""How a registration spends its work: from which rotations it starts, and which hypotheses are refined how often."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pose6d.errors import Pose6DError
from pose6d.search.axis_rotations import QUARTER_TURNS


@dataclass(frozen=True)
class Stage:
    """Refine what is left, and go on with those that score best.

    Attributes:
        steps: refinement steps of each hypothesis.
        top_k: how many distinct hypotheses go on; all, and nothing is scored, where None.
        nms_degrees: by how much rotations must differ to be distinct; the fewer steps, the farther hypotheses of one
            pose still are from each other.
        scouted: whether the estimator's scouts do it, where it has some.
    """

    steps: int
    top_k: int | None = None
    nms_degrees: float = 10.0
    scouted: bool = False


@dataclass(frozen=True)
class RotationStage:
    """In the end, rotations of the object about its axes compete with the best hypotheses.

    Attributes:
        proposals: how many rotations that the object's texture favours; none where there is no texture.
        quarter_turns: how many of the best one's quarter and half turns about the three axes compete as well: those
            whose texture agrees best, all nine where there is no texture.
        competitors: hypotheses that they compete with.
        rotated: of these, the ones that are rotated to where the texture favours.
        lines: poses along the line that was seen that compete as well, if the object is long; an even number.
        steps: refinement steps that rotated hypotheses take by themselves.
        finalists: the best distinct ones, which are rotated finely, refined further, aligned and compared again.
        final_steps: refinement steps of the finalists.
        nms_degrees, final_nms_degrees: between the competitors and the finalists, as far as there are such.
    """

    proposals: int = 5
    quarter_turns: int = 4
    competitors: int = 6
    rotated: int = 2
    lines: int = 6
    steps: int = 1
    finalists: int = 5
    final_steps: int = 2
    nms_degrees: float = 25.0
    final_nms_degrees: float = 20.0

    @property
    def rotations(self) -> int:
        """How many compete."""
        return self.proposals + self.quarter_turns


@dataclass(frozen=True)
class Schedule:
    """The stages of a registration.

    Attributes:
        name: what `--schedule` calls it.
        starts: how many of the 252 rotations of the published method it starts from: those that fit depth and mask
            best, each where it fits best; all of them, behind the middle of the mask, where None.
        stages: all but the last, which takes the steps that the others leave.
        min_confidence: a result of less confidence is doubted: the schedule `FALLBACK` follows, and the surer of both
            counts.
        rotations: what is done about sides that look alike by shape; nothing where None.

    Raises:
        Pose6DError: `starts` is no such number.
    """

    name: str
    starts: int | None = None
    stages: tuple[Stage, ...] = ()
    min_confidence: float = 0.0
    rotations: RotationStage | None = RotationStage()

    def __post_init__(self) -> None:
        if self.starts is not None and not (isinstance(self.starts, int) and self.starts > 0):
            raise Pose6DError(
                f"schedule {self.name!r}: starts is {self.starts!r}; give a number from 1, or None for all rotations"
            )

    def plan(self, steps: int) -> Iterator[Stage]:
        """The stages when what they leave shall have taken so many steps."""
        for stage in self.stages:
            if steps <= stage.steps:
                break
            yield stage
            steps -= stage.steps
        yield Stage(steps)

    def without_texture(self, rotations: bool) -> Schedule:
        """The same for objects without texture, and for scorers that do not let it have a say.

        Args:
            rotations: whether rotations compete nevertheless, since more than texture decides between them.
        """
        last = None
        if rotations and self.rotations is not None:
            last = replace(self.rotations, proposals=0, quarter_turns=QUARTER_TURNS)
        return replace(self, rotations=last)

    def pairs(self, steps: int, hypotheses: int, long_body: bool = False) -> int:
        """How many pairs of images the networks will see of so many hypotheses."""
        pairs = 0
        for stage in self.plan(steps):
            pairs += hypotheses * stage.steps
            if stage.top_k is not None:
                pairs += hypotheses
                hypotheses = min(hypotheses, stage.top_k)
        pairs += hypotheses
        if self.rotations is not None:
            last = self.rotations
            competing = min(hypotheses, last.competitors) + last.rotations + (last.lines if long_body else 0)
            pairs += last.rotations * last.steps + competing
            pairs += min(competing, last.finalists) * (last.final_steps + 1)
        return pairs


FALLBACK = "thorough"
"""the schedule that follows where another one leaves doubt"""

SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("full"),
        Schedule(
            FALLBACK,
            120,
            (
                Stage(2, top_k=24, nms_degrees=15.0, scouted=True),
                Stage(1, top_k=12, nms_degrees=15.0, scouted=True),
            ),
        ),
        Schedule("pruned", 60, (Stage(1, top_k=12, nms_degrees=25.0, scouted=True),), min_confidence=0.7),
    )
}


def choose_schedule(schedule: str | Schedule, has_confidence: bool) -> Schedule:
    """The schedule that a name stands for.

    Args:
        schedule: `auto`, a name, or a Schedule, which is returned.
        has_confidence: of the scorer; without one nobody would notice that a pruned search has missed.

    Raises:
        Pose6DError: no such schedule.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if schedule == "auto":
        schedule = "pruned" if has_confidence else "full"
    if schedule not in SCHEDULES:
        raise Pose6DError(f"schedule is {schedule!r}: choose auto, {', '.join(SCHEDULES)}, or pass a Schedule")
    return SCHEDULES[schedule]


class PairCounter:
    """Turns "n more" into (done, in all) for a progress callback, which the thread that made it calls."""

    def __init__(self, report: Callable[[int, int], object] | None):
        self._report, self._total = report, 0
        self._done = deque[int]()  # from any thread
        self._sum, self._thread = 0, threading.get_ident()

    def expect(self, count: int) -> None:
        """So many pairs more will come."""
        self._total += count

    def __call__(self, count: int) -> None:
        """So many are done since the last call."""
        if count:
            self._done.append(count)
        if self._report is not None and self._done and threading.get_ident() == self._thread:
            while self._done:
                self._sum += self._done.popleft()
            self._report(self._sum, self._total)
