"""What the user asks for in the viewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ViewerEventKind = Literal["find_again", "point", "box", "record", "stop"]


@dataclass(frozen=True)
class ViewerEvent:
    """One press of a button, or one place that was chosen.

    Attributes:
        kind: find_again: look for the object everywhere; point, box: the object is here; record: begin or end to record
            what the camera delivers; stop: end the program.
        name: of the object; "" for record and stop.
        place: pixels of the picture; (x, y) for point, (x, y, w, h) for box, else ().
        on: for record: begin, else end.
    """

    kind: ViewerEventKind
    name: str = ""
    place: tuple[int, ...] = ()
    on: bool = True
