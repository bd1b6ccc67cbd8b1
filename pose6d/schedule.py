"""How a registration spends its work: from which rotations it starts, and which hypotheses are refined how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Grid = Literal["views", "icosahedron", "covering_120", "covering_168"]
"""Starting rotations by name; `pose6d.geometry.viewpoints.starting_rotations` makes them."""


@dataclass(frozen=True)
class Stage:
    """Refine what is left, score it, and go on with the best.

    Attributes:
        steps: refinement steps of each hypothesis.
        keep: how many distinct hypotheses go on; all where None.
    """

    steps: int
    keep: int | None = None


@dataclass(frozen=True)
class Schedule:
    """The stages of a registration.

    Attributes:
        name: what `--schedule` calls it.
        grid: where it starts: the 252 rotations of the published method, which leave none further than 35.7 degrees;
            the 60 that turn an icosahedron onto itself, 44.5 degrees; or optimised ones, 120 with 37.2 degrees and 168
            with 32.8.
        stages: all but the last, which takes the steps that the others leave.
        sure: a result of less confidence is not believed, and the full schedule follows.
    """

    name: str
    grid: Grid
    stages: tuple[Stage, ...] = ()
    sure: float = 0.0

    def plan(self, steps: int) -> Iterator[Stage]:
        """The stages when the result shall have taken so many steps."""
        for stage in self.stages:
            if steps <= stage.steps:
                break
            yield stage
            steps -= stage.steps
        yield Stage(steps)


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("full", "views"),
        Schedule("pruned", "icosahedron", (Stage(2, keep=12),), sure=0.9),
    )
}
