"""What all sections share: the object, its frames, and networks that are loaded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from benchmarks.accuracy.objects import load_objects
from benchmarks.accuracy.scenes import ScenePool
from benchmarks.speed.frames import TimedFrame, cluttered_frame
from benchmarks.speed.options import Options
from benchmarks.speed.timing import median
from estimater import FoundationPose
from many_objects import EstimatorFactory
from pose6d.device import resolve_device
from pose6d.errors import OptionError
from pose6d.mesh.mesh import Mesh
from pose6d.search.schedule import Schedule

_MOST_OBJECTS = 16


@dataclass
class Table:
    """What a section has measured.

    Attributes:
        rows: column -> text or number; columns that a row lacks are left empty.
        note: what the numbers mean, for people.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""


class Bench:
    """The object and its networks on one device.

    Attributes:
        options: with no None left.
        device: where everything runs.
    """

    def __init__(self, options: Options):
        self.device = resolve_device(options.device)
        self.options = options.for_device(self.device.type)
        self._frames: dict[str, TimedFrame] = {}

    @cached_property
    def meshes(self) -> list[Mesh]:
        """The objects that one frame can show."""
        return load_objects(self.options.mesh_folder, _MOST_OBJECTS)

    @cached_property
    def mesh(self) -> Mesh:
        """The object of all sections but `objects` and `mesh sizes`."""
        return self.meshes[0] if self.options.mesh_folder else load_objects(None, 1)[0]

    @cached_property
    def networks(self) -> EstimatorFactory:
        """The refiner, the scorer and the scouts of all estimators."""
        return EstimatorFactory(self.options.weights, self.device)

    @cached_property
    def _pool(self) -> ScenePool:
        return ScenePool.from_meshes([self.mesh])

    def frame(self, size: str = "640x480") -> TimedFrame:
        """The object among others, WIDTHxHEIGHT."""
        if size not in self._frames:
            width, height = parse_size(size)
            self._frames[size] = cluttered_frame(self._pool, width, height)
        return self._frames[size]

    def estimator(self, mesh: Mesh | None = None, schedule: str | Schedule = "auto", **more: Any) -> FoundationPose:
        """An estimator with the shared networks, unless `more` says otherwise."""
        if "weights" not in more:
            more = {name: getattr(self.networks, name) for name in ("refiner", "scorer", "scouts")} | more
        return FoundationPose(mesh or self.mesh, device=self.device, schedule=schedule, **more)

    def estimator_without_doubt(self, mesh: Mesh | None = None, **more: Any) -> FoundationPose:
        """One whose schedule never falls back to another one, so that rows of a table did the same work."""
        estimator = self.estimator(mesh, **more)
        estimator.schedule = replace(estimator.schedule, min_confidence=0.0)
        return estimator

    def warm_up(self, estimator: FoundationPose, frame: TimedFrame) -> None:
        """Compile, load and record what the calls below need, and start tracking from the true pose."""
        estimator.warm_up(*frame.depth.shape, self.options.register_iterations, self.options.track_iterations)
        estimator.start_from(frame.truths[0])

    def register_call(self, estimator: FoundationPose, frame: TimedFrame) -> Callable[[], object]:
        steps = self.options.register_iterations
        return lambda: estimator.register(frame.K, frame.rgb, frame.depth, frame.masks[0], iteration=steps)

    def track_call(self, estimator: FoundationPose, frame: TimedFrame) -> Callable[[], object]:
        steps = self.options.track_iterations
        return lambda: estimator.track_one(frame.rgb, frame.depth, frame.K, iteration=steps)

    def register_and_track(self, estimator: FoundationPose, frame: TimedFrame) -> dict[str, float]:
        """Medians in milliseconds; tracking starts from the true pose."""
        repeats, warm_ups = self.options.repeats, self.options.warm_ups
        self.warm_up(estimator, frame)
        register = median(self.register_call(estimator, frame), max(1, repeats // 2), warm_ups)
        estimator.start_from(frame.truths[0])
        track = median(self.track_call(estimator, frame), 5 * repeats)
        return {"register p50 ms": register, "track p50 ms": track}


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of WIDTHxHEIGHT.

    Raises:
        OptionError: it is something else.
    """
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise OptionError(f"--image-sizes {text}: wanted WIDTHxHEIGHT, such as 640x480")
    return int(width), int(height)


def free_unused_memory() -> None:
    """Give back what no estimator holds any more."""
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
