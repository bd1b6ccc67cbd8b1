"""What is timed, and how often; the CPU's defaults are small enough for two cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pose6d.search.schedule import SCHEDULES

Section = Literal["stages", "register", "track", "objects", "image sizes", "mesh sizes", "hypotheses", "cold start"]
SECTIONS: tuple[Section, ...] = (
    "stages",
    "register",
    "track",
    "objects",
    "image sizes",
    "mesh sizes",
    "hypotheses",
    "cold start",
)


@dataclass(frozen=True)
class Options:
    """What to time. What is None depends on the device: all of it on CUDA, less on the CPU."""

    sections: tuple[Section, ...] = SECTIONS
    mesh_folder: Path | None = None
    """folder with textured meshes in metres, the first of which is the object; procedural objects if omitted"""
    weights: str = "auto"
    device: str = "auto"
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    """of register; the first is what the others are compared with"""
    register_iterations: int = 5
    track_iterations: int = 2
    repeats: int | None = None
    """timed calls of register; track_one is timed five times as often, with many objects a tenth as often"""
    warm_ups: int | None = None
    """calls before them that do not count; besides the estimator's own warm_up"""
    objects: tuple[int, ...] | None = None
    """in one frame"""
    image_sizes: tuple[str, ...] | None = None
    """WIDTHxHEIGHT"""
    mesh_faces: tuple[int, ...] | None = None
    hypotheses: tuple[int, ...] | None = None
    hypothesis_steps: int | None = None
    """refinement steps before the hypotheses are scored"""
    piece_hypotheses: int | None = None
    """in the pieces that are timed one by one"""
    output: Path | None = None
    """JSON file; the tables (.md) and the figure (.png) are put beside it"""
    from_json: Path | None = None
    """measure nothing: print and draw again what this file holds"""

    def for_device(self, device_type: str) -> Options:
        """The options with the device's defaults in place of None."""
        return replace(self, **{k: v for k, v in _DEFAULTS[device_type].items() if getattr(self, k) is None})


_SIZES = ("640x480", "1280x720", "1920x1080")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "cuda": {
        "repeats": 20,
        "warm_ups": 2,
        "objects": (1, 2, 4, 8, 16),
        "image_sizes": _SIZES,
        "mesh_faces": (1_000, 20_000, 100_000, 1_000_000),
        "hypotheses": (12, 24, 60, 120, 252, 504),
        "hypothesis_steps": 5,
        "piece_hypotheses": 252,
    },
    "cpu": {
        "repeats": 1,
        "warm_ups": 0,
        "objects": (1, 2),
        "image_sizes": _SIZES,
        "mesh_faces": (1_000, 20_000, 100_000),
        "hypotheses": (12, 24, 60, 120),
        "hypothesis_steps": 1,
        "piece_hypotheses": 32,
    },
}
