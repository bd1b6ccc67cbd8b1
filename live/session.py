"""Following objects through a stream of frames: what comes in, what goes out, and what people ask for meanwhile."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from live.mcap_output import McapOutput
from live.objects import FollowedObject, load_objects
from live.options import LiveOptions
from live.pose_output import PoseOutput, format_address
from live.recorded_objects import recorded_objects
from live.state_tracker import StateTracker, TrackingOptions
from live.tracked_pose import TrackedPose
from live.viewer import Viewer
from live.viewer_event import ViewerEvent
from many_objects import EstimatorFactory
from pose6d.errors import FrameError, OptionError, OutputError, SceneError
from pose6d.scenes.frame import Frame
from pose6d.search.frame_input import check_depth_roughly
from pose6d.segmentation.hints import mask_from_box, mask_from_point
from pose6d.streams import RosTopics, open_stream
from pose6d.streams.capture_writer import CaptureWriter
from pose6d.streams.interface import FrameStream
from pose6d.streams.newest import NewestFrames

_LATENCIES = 10_000  # the last so many are kept for the report
_RATE_OVER = 30  # frames
_UNUSABLE = 30  # frames one after another that end the run: damaged ones, or without depth at the beginning


def run_live(options: LiveOptions) -> int:
    """Follow the objects until the frames end, somebody presses stop, or Ctrl-C.

    1. Begin the outputs; open the source; take its first frame.
    2. Load meshes and masks; make the estimators; warm up.
    3. Find the objects in the first frame.
    4. Follow them, frame by frame: the newest one of a camera, each one of a recording.
    5. Say what happened.
    """
    if options.seconds is not None and not options.seconds > 0:
        raise OptionError(f"--seconds {options.seconds:g}: wanted more than 0")
    with ExitStack() as stack:
        output = stack.enter_context(PoseOutput(options.poses)) if options.poses is not None else None
        if output is not None and output.address is not None:
            print(f"poses: tcp://{format_address(*output.address)}")
        stream = stack.enter_context(_open(options))
        print(f"source: {stream.name}, {stream.size[1]}x{stream.size[0]}")
        told = len(stream.notes)
        for note in stream.notes:
            print(f"  {note}")
        frames = _Frames(stream)
        first = frames.first()
        objects = load_objects(options, first, recorded_objects(options, first))
        session = Session(objects, first, options, stream, output, stack)
        try:
            if session.begin():
                for frame in frames:
                    if not session.step(frame, getattr(stream, "arrived", None)):
                        break
        finally:
            try:
                session.end_recording()
            finally:
                print("\n".join([*session.summary(frames.left_out), *stream.notes[told:]]))
    return 0


class Session:
    """What goes on while objects are followed.

    Args:
        objects: to be followed.
        first: the first frame.
        options: of the command line.
        stream: where the frames come from.
        output: of poses, or None.
        stack: closes what is opened here.
    """

    def __init__(
        self,
        objects: Sequence[FollowedObject],
        first: Frame,
        options: LiveOptions,
        stream: FrameStream,
        output: PoseOutput | None,
        stack: ExitStack,
    ) -> None:
        self._objects, self._first, self._options = objects, first, options
        self._stream, self._output, self._stack = stream, output, stack
        named = [(object.name, object.mesh) for object in objects]
        self._viewer = stack.enter_context(Viewer(named, options.host, options.port)) if options.viewer else None
        if self._viewer is not None:  # the picture comes while networks load and the object is looked for
            print(f"viewer: {self._viewer.url}", flush=True)
            self._viewer.show(first, [TrackedPose(name, "lost", None, None) for name, _ in named], 0.0, 0.0)
        make = EstimatorFactory(options.weights, options.device, options.schedule, options.quantized)
        estimators = {object.name: make(object.mesh, object.symmetries) for object in objects}
        if options.cropped:
            for estimator in estimators.values():
                estimator.cropped = True
        print(f"device: {make.device}")
        self._tracker = StateTracker(
            estimators, TrackingOptions(smoothing=options.smoothing, waits=not isinstance(stream, NewestFrames))
        )
        self._mcap = stack.enter_context(McapOutput(options.mcap, named)) if options.mcap else None
        self._capture: CaptureWriter | None = None
        self._captures: list[tuple[Path, CaptureWriter]] = []
        if options.record:
            self._begin_recording()
        self._states: dict[str, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._latencies: list[float] = []
        self._times: list[float] = []
        self._frames, self._left_out, self._usable, self._begun = 0, 0, True, 0.0

    def begin(self) -> bool:
        """Find the objects in the first frame; those that are not found are looked for from then on.

        Returns:
            False when it is time to end. A search that goes on for longer ends after the region that it is at.
        """
        frame = self._first
        if self._capture is not None:
            self._capture.add(frame)
            self._record_all()
        height, width = frame.depth.shape
        self._tracker.warm_up(height, width)
        masks = {object.name: object.mask for object in self._objects}
        self._begun = time.monotonic()
        known = all(mask is not None for mask in masks.values())
        with tqdm(desc="find", unit="region", mininterval=0.5, leave=False, disable=known) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)
                if self._is_over():
                    raise _TimeIsUp

            try:
                poses = self._tracker.start(frame, masks, progress)
            except _TimeIsUp:
                tqdm.write(f"frame {frame.name}: not found within --seconds {self._options.seconds:g}")
                return False
        self._give(frame, poses, time.monotonic() - self._begun)
        self._latencies.clear()  # the search is no tracked frame
        return not self._is_over()

    def step(self, frame: Frame, arrived: float | None = None) -> bool:
        """Follow into the next frame; false when it is time to end.

        Args:
            frame: the next one.
            arrived: time.perf_counter() at which it came from the camera; now, where None.
        """
        begun = time.perf_counter() if arrived is None else arrived
        if not self._answer(frame):
            return False
        if self._capture is not None and not isinstance(self._stream, NewestFrames):
            self._capture.add(frame)
        try:
            poses = self._tracker.step(frame)
        except FrameError as error:
            if self._usable:  # of many in a row, the first: somebody may hold a hand before the camera
                tqdm.write(f"frame {frame.name} is left out: {error}", file=sys.stderr)
            self._usable, self._left_out = False, self._left_out + 1
        else:
            self._usable = True
            self._give(frame, poses, time.perf_counter() - begun)
        return not self._is_over()

    def summary(self, left_out: int = 0) -> list[str]:
        """What happened, for people; `left_out` frames of the source could not be read."""
        lines = [f"{self._frames} frames"]
        if len(self._latencies) > 1:
            middle, late = np.quantile(self._latencies, [0.5, 0.99])
            lines[0] += f", {1000 * middle:.1f} ms each from arrival to pose (99 %: {1000 * late:.1f} ms)"
        skipped = getattr(self._stream, "skipped", 0)
        lines[0] += f", {skipped} skipped" if skipped else ""
        left_out += self._left_out
        lines[0] += f", {left_out} left out" if left_out else ""
        for object in self._objects:
            states = {state: self._counts[object.name, state] for state in ("tracking", "doubtful", "lost")}
            lines.append(f"{object.name}: " + ", ".join(f"{count} {state}" for state, count in states.items()))
        for folder, capture in self._captures:
            dropped = f", {capture.dropped} dropped (disk too slow, or another size)" if capture.dropped else ""
            lines.append(f"recorded: {folder}: {capture.written} frames{dropped}")
        return lines

    def end_recording(self) -> None:
        """Write what waits to be recorded; does nothing while nothing is recorded.

        Raises:
            OutputError: a frame could not be written; those before it are kept.
        """
        if isinstance(self._stream, NewestFrames):
            self._stream.set_tap(None)
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()

    def _is_over(self) -> bool:
        limit = self._options.seconds
        return limit is not None and time.monotonic() - self._begun >= limit

    def _give(self, frame: Frame, poses: Sequence[TrackedPose], latency: float) -> None:
        """Hand the poses to all who want them."""
        self._frames += 1
        self._latencies = [*self._latencies[1 - _LATENCIES :], latency]
        self._times = [*self._times[1 - _RATE_OVER :], time.monotonic()]
        span = self._times[-1] - self._times[0]
        rate = (len(self._times) - 1) / span if span > 0 else 0.0
        for pose in poses:
            self._counts[pose.name, pose.state] += 1
            if self._states.get(pose.name) != pose.state:
                self._states[pose.name] = pose.state
                tqdm.write(f"frame {frame.name}: {pose.name} {pose.state}")
        if self._output is not None:
            self._output.write(frame.name, frame.seconds, poses)
        if self._mcap is not None:
            self._mcap.write(frame, poses)
        if self._viewer is not None:
            self._viewer.show(frame, poses, rate, latency)

    def _answer(self, frame: Frame) -> bool:
        """Do what was asked for in the viewer; false to end."""
        for event in self._viewer.events() if self._viewer is not None else []:
            if event.kind == "stop":
                return False
            if event.kind == "record":
                self._record(event.on)
            elif event.kind == "find_again":
                self._tracker.look_again(event.name)
            else:
                self._choose(event, frame)
        return True

    def _choose(self, event: ViewerEvent, frame: Frame) -> None:
        """Register the object where somebody pointed."""
        diameter = next(object.mesh.diameter for object in self._objects if object.name == event.name)
        try:
            if event.kind == "point":
                mask = mask_from_point(frame.rgb, frame.depth, frame.K, _pair(event.place), diameter)
            else:
                x, y, w, h = event.place
                mask = mask_from_box(frame.rgb, frame.depth, (x, y, w, h))
            self._tracker.start_from_mask(event.name, frame, mask)
        except FrameError as error:
            tqdm.write(f"{event.name}: {error}", file=sys.stderr)

    def _record(self, on: bool) -> None:
        """Begin or end to keep what the camera delivers, as somebody asked; where that fails, following goes on."""
        try:
            if on and self._capture is None:
                self._begin_recording()
                self._record_all()
            elif not on:
                self.end_recording()
        except OutputError as error:
            tqdm.write(f"not recorded: {error}", file=sys.stderr)
        if self._viewer is not None:
            self._viewer.set_recording(self._capture is not None)

    def _begin_recording(self) -> None:
        given = self._options.record if not self._captures else None
        folder = given or Path("captures") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        facts: dict[str, Any] = {"source": self._stream.name, "fps": self._stream.fps}
        self._capture = CaptureWriter(folder, self._stream.depth_unit, facts)
        self._captures.append((folder, self._capture))
        tqdm.write(f"recording into {folder}")
        if self._viewer is not None:
            self._viewer.set_recording(True)

    def _record_all(self) -> None:
        """Record the frames that following skips, too."""
        if isinstance(self._stream, NewestFrames) and self._capture is not None:
            self._stream.set_tap(self._capture.add)


class _TimeIsUp(Exception):  # noqa: N818 - no error
    """Ends the search in the first frame."""


class _Frames:
    """Frames of a stream; those that cannot be read are named and left out.

    Attributes:
        left_out: how many.
    """

    def __init__(self, stream: FrameStream) -> None:
        self._frames = iter(stream)
        self.left_out = 0

    def first(self) -> Frame:
        """The first frame that can be read and has depth: cameras begin with some that have none."""
        error = None
        for frame in self:
            try:
                frame.check_sizes()
                check_depth_roughly(frame.depth)
            except FrameError as problem:
                if error is None:
                    tqdm.write(f"frame {frame.name} is left out: {problem}", file=sys.stderr)
                self.left_out, error = self.left_out + 1, problem
                if self.left_out >= _UNUSABLE:
                    raise FrameError(f"the first {self.left_out} frames cannot be used: {problem}") from problem
                continue
            return frame
        if error is not None:
            raise FrameError(f"none of the {self.left_out} frames can be used: {error}") from error
        raise SceneError("the source ended before its first frame: is the recording empty?")

    def __iter__(self) -> Iterator[Frame]:
        unreadable = 0
        while True:
            try:
                frame = next(self._frames)
            except StopIteration:
                return
            except FrameError as error:
                unreadable, self.left_out = unreadable + 1, self.left_out + 1
                if unreadable >= _UNUSABLE:
                    raise
                tqdm.write(f"a frame is left out: {error}", file=sys.stderr)
                continue
            unreadable = 0
            yield frame


def _open(options: LiveOptions) -> FrameStream:
    """The source; of a camera, and of a recording in real time, the newest frame."""
    topics = RosTopics(options.color_topic, options.depth_topic, options.info_topic, options.aligned)
    stream = open_stream(
        options.source,
        real_time=options.real_time,
        fps=options.fps,
        size=None if options.size is None else (options.size[1], options.size[0]),
        topics=None if topics == RosTopics() else topics,
        depth_scale=options.depth_scale,
        object_id=options.object_id,
        cropped=options.cropped,
    )
    return NewestFrames(stream) if stream.live or options.real_time else stream


def _pair(place: tuple[int, ...]) -> tuple[float, float]:
    return float(place[0]), float(place[1])
