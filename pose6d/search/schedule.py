"""How a registration spends its work: from which rotations it starts, and which hypotheses are refined how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pose6d.errors import Pose6DError

RIVALS = 6
"""hypotheses that turns of the object compete with"""
TURNED = 2
"""of these, the ones that are turned"""
TURN_STEPS = 2
"""refinement steps that turned hypotheses take by themselves"""
FINALISTS = 3
"""the best of both, which are turned finely, refined further and compared again"""
LAST_STEPS = 2
"""refinement steps of the finalists"""
DISTINCT = 25.0
"""degrees between the rivals, as far as there are such"""

Grid = Literal["views", "covering_120"]
"""Starting rotations by name; `pose6d.geometry.rotation_grids.starting_rotations` makes them."""


@dataclass(frozen=True)
class Stage:
    """Refine what is left, score it, and go on with the best.

    Attributes:
        steps: refinement steps of each hypothesis.
        keep: how many distinct hypotheses go on; all where None.
        apart: degrees by which rotations must differ to be distinct; the fewer steps, the farther hypotheses of one
            pose still are from each other.
        screen: how many distinct hypotheses are scored: those whose texture fits best, which takes a third of the time
            of scoring on a CPU, less on a GPU; all where None, and where there is no texture.
    """

    steps: int
    keep: int | None = None
    apart: float = 10.0
    screen: int | None = None


@dataclass(frozen=True)
class Schedule:
    """The stages of a registration.

    Attributes:
        name: what `--schedule` calls it.
        grid: where it starts: the 252 rotations of the published method, which leave none further than 35.7 degrees,
            or 120 optimised ones with 37.2 degrees.
        stages: all but the last, which takes the steps that the others leave.
        sure: a result of less confidence is doubted: the schedule `FALLBACK` follows, and the surer of both counts.
        turns: in the end, so many turns of the object that its texture favours compete with the best hypotheses; none
            where there is no texture.
    """

    name: str
    grid: Grid
    stages: tuple[Stage, ...] = ()
    sure: float = 0.0
    turns: int = 10

    def plan(self, steps: int) -> Iterator[Stage]:
        """The stages when what they leave shall have taken so many steps."""
        for stage in self.stages:
            if steps <= stage.steps:
                break
            yield stage
            steps -= stage.steps
        yield Stage(steps)

    def without_texture(self) -> Schedule:
        """The same for meshes without texture, and for scorers that do not let it have a say."""
        return replace(self, turns=0, stages=tuple(replace(stage, screen=None) for stage in self.stages))

    def pairs(self, steps: int, hypotheses: int) -> int:
        """How many pairs of images the networks will see of so many hypotheses."""
        pairs = 0
        for stage in self.plan(steps):
            pairs += hypotheses * stage.steps
            hypotheses = min(hypotheses, stage.screen or hypotheses)
            pairs += hypotheses
            hypotheses = min(hypotheses, stage.keep or hypotheses)
        if self.turns:
            pairs += self.turns * (TURN_STEPS + 1) + min(hypotheses, RIVALS) + FINALISTS * (LAST_STEPS + 1)
        return pairs


FALLBACK = "thorough"
"""the schedule that follows where another one leaves doubt"""

SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("full", "views"),
        Schedule(FALLBACK, "views", (Stage(2, keep=24, apart=15.0),)),
        Schedule("pruned", "covering_120", (Stage(1, keep=12, apart=25.0, screen=40),), sure=0.95),
    )
}


def choose_schedule(schedule: str | Schedule, judged: bool) -> Schedule:
    """The schedule that a name stands for.

    Args:
        schedule: `auto`, a name, or a Schedule, which is returned.
        judged: whether the scorer has a confidence; without one nobody would notice that a pruned search has missed.

    Raises:
        Pose6DError: no such schedule.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if schedule == "auto":
        schedule = "pruned" if judged else "full"
    if schedule not in SCHEDULES:
        raise Pose6DError(f"schedule is {schedule!r}: choose auto, {', '.join(SCHEDULES)}, or pass a Schedule")
    return SCHEDULES[schedule]


class PairCounter:
    """Turns "n more" into (done, in all) for a progress callback, and calls `watch` each time."""

    def __init__(self, report: Callable[[int, int], object] | None, watch: Callable[[], object]):
        self._report, self._watch, self._total, self._done = report, watch, 0, 0

    def expect(self, count: int) -> None:
        """So many pairs more will come."""
        self._total += count

    def __call__(self, count: int) -> None:
        """So many are done since the last call."""
        self._done += count
        self._watch()
        if self._report is not None:
            self._report(self._done, self._total)
