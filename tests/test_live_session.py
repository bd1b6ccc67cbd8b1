"""The live command: a recording goes in, poses, a recording and what people ask for in the viewer come out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import live.session as session_module
from live.__main__ import main
from live.objects import load_objects
from live.options import LiveOptions
from live.recorded_objects import RecordedObjects
from live.session import Session
from live.tracked_pose import TrackedPose, TrackState
from live.viewer_event import ViewerEvent
from pose6d.errors import FrameError
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame
from pose6d.segmentation.hints import mask_from_box
from pose6d.streams import open_stream
from pose6d.streams.newest import NewestFrames
from run_demo import main as demo_main
from tests.demo_recording import write_recording
from tests.stream_sources import MadeUpStream, made_up_frame


class SteadyTracker:
    """Finds what has a mask; what is asked of it is kept."""

    last: SteadyTracker

    def __init__(self, estimators: dict[str, Any], options: Any) -> None:
        self.names, self.options = list(estimators), options
        self.asked: list[tuple[Any, ...]] = []
        self.state: TrackState = "tracking"
        SteadyTracker.last = self

    def warm_up(self, height: int, width: int) -> None: ...

    def _poses(self) -> list[TrackedPose]:
        pose = np.eye(4, dtype=np.float32)
        return [TrackedPose(n, self.state, None if self.state == "lost" else pose, 0.9) for n in self.names]

    def start(self, frame: Frame, masks: dict[str, Any], progress: Any) -> list[TrackedPose]:
        self.masks = masks
        return self._poses()

    def step(self, frame: Frame) -> list[TrackedPose]:
        if frame.name == "unusable":
            raise FrameError("no depth")
        return self._poses()

    def look_again(self, name: str) -> None:
        self.asked.append(("look_again", name))

    def start_from_mask(self, name: str, frame: Frame, mask: np.ndarray) -> None:
        self.asked.append(("start_from_mask", name, int(mask.sum())))


class NoEstimators:
    """In place of networks."""

    device = "cpu"

    def __init__(self, *_: Any) -> None: ...

    def __call__(self, mesh: Any, symmetries: Any) -> None: ...


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "EstimatorFactory", NoEstimators)
    monkeypatch.setattr(session_module, "StateTracker", SteadyTracker)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "recording")


@pytest.mark.usefixtures("steady")
def test_a_recording_is_followed_and_all_outputs_are_written(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses, kept = tmp_path / "poses.jsonl", tmp_path / "kept"
    pytest.importorskip("mcap", reason="the extra [mcap] is not installed")
    mcap = tmp_path / "poses.mcap"
    given = ["--source", str(recording), "--poses", str(poses), "--record", str(kept), "--mcap", str(mcap)]
    assert demo_main(given) == 0, "the demo's command passes live sources on"
    said = capsys.readouterr().out
    assert "box tracking" in said and "5 frames" in said and "box: 5 tracking, 0 doubtful, 0 lost" in said
    lines = [json.loads(line) for line in poses.read_text().splitlines()]
    assert [line["frame"] for line in lines] == open_scene(recording).names
    assert {line["objects"][0]["name"] for line in lines} == {"box"}
    assert SteadyTracker.last.masks["box"].any(), "the recording's own mask"
    assert len(open_scene(kept)) == 5
    assert b"/camera/image" in mcap.read_bytes(), "frames are in the file, not its header alone"


@pytest.mark.usefixtures("steady")
def test_what_is_asked_for_in_the_viewer_is_done(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = open_scene(recording)
    options = LiveOptions(str(recording))
    objects = load_objects(options, scene[0], RecordedObjects(scene.mesh_file))
    stream = SimpleNamespace(name="recording", fps=30.0, depth_unit=0.0005)
    with ExitStack() as stack:
        session = Session(objects, scene[0], options, stream, None, stack)  # type: ignore[arg-type]
        session.begin()
        asked: list[ViewerEvent] = []
        shown: list[Any] = []
        session._viewer = SimpleNamespace(  # type: ignore[assignment]
            events=lambda: [asked.pop()] if asked else [],
            show=lambda *given: shown.append(given),
            set_recording=lambda on: None,
        )
        tracker = SteadyTracker.last
        rows, columns = np.nonzero(scene[0].mask)
        x, y = int(columns.mean()), int(rows.mean())
        for event in (ViewerEvent("find_again", "box"), ViewerEvent("point", "box", (x, y))):
            asked.append(event)
            assert session.step(scene[1])
        assert [what for what, *_ in tracker.asked] == ["look_again", "start_from_mask"]
        asked.append(ViewerEvent("point", "box", (-5, 2)))
        assert session.step(scene[1]), "a place outside the picture is said, and changes nothing"
        assert len(tracker.asked) == 2
        box = int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1
        asked.append(ViewerEvent("box", "box", box))
        wanted = mask_from_box(scene[1].rgb, scene[1].depth, box).sum()
        assert session.step(scene[1]) and tracker.asked[2:] == [("start_from_mask", "box", wanted)]
        asked.append(ViewerEvent("record", on=True))
        session.step(scene[1])
        session.step(scene[2])
        asked.append(ViewerEvent("record", on=False))
        session.step(scene[3])
        (kept,) = (tmp_path / "captures").iterdir()
        assert len(open_scene(kept)) == 2
        assert json.loads((kept / "intrinsics.json").read_text())["depth_scale"] == 0.0005, "that of the source"
        assert session.step(Frame("unusable", scene[1].rgb, scene[1].depth, scene[1].K)), "one bad frame is left out"
        tracker.state = "lost"
        session.step(scene[2])
        asked.append(ViewerEvent("stop"))
        assert not session.step(scene[3])
        assert len(shown) == 8 and "1 lost" in session.summary()[1]


def blank_depth(recording: Path, frames: Iterable[int]) -> None:
    for path in [sorted((recording / "depth").iterdir())[index] for index in frames]:
        cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


@pytest.mark.usefixtures("steady")
def test_frames_without_depth_at_the_beginning_are_left_out(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank_depth(recording, [0, 1])
    kept = tmp_path / "kept"
    assert main(["--source", str(recording), "--record", str(kept)]) == 0
    said = capsys.readouterr()
    assert said.err.count("is left out: depth: 0 valid depth values") == 1, "the first of a row"
    assert "3 frames" in said.out and ", 2 left out" in said.out and f"recorded: {kept}: 3 frames\n" in said.out
    blank_depth(recording, range(5))
    assert main(["--source", str(recording)]) == 2
    assert "none of the 5 frames can be used: depth: 0 valid" in capsys.readouterr().err


@pytest.mark.usefixtures("steady")
def test_a_covered_camera_ends_nothing_and_a_recording_that_cannot_begin_neither(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("captures").touch()  # where the folder of recordings would be
    scene = open_scene(recording)
    stream = SimpleNamespace(name="recording", fps=30.0, depth_unit=0.001)
    objects = load_objects(LiveOptions(str(recording)), scene[0], RecordedObjects(scene.mesh_file))
    with ExitStack() as stack:
        session = Session(objects, scene[0], LiveOptions(str(recording)), stream, None, stack)  # type: ignore[arg-type]
        session.begin()
        covered = Frame("unusable", scene[1].rgb, scene[1].depth, scene[1].K)
        assert all(session.step(covered) for _ in range(100)) and session.step(scene[1])
        assert capsys.readouterr().err.count("is left out") == 1
        asked, buttons = [ViewerEvent("record", on=True)], []
        session._viewer = SimpleNamespace(  # type: ignore[assignment]
            events=lambda: [asked.pop()] if asked else [], show=lambda *_: None, set_recording=buttons.append
        )
        assert session.step(scene[2]) and buttons == [False]
        assert "not recorded: captures" in capsys.readouterr().err
        summary = session.summary()
        assert "100 left out" in summary[0] and "3 tracking" in summary[1] and len(summary) == 2


@pytest.mark.usefixtures("steady")
def test_the_viewer_shows_the_first_frame_before_anything_is_found(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, shown = open_scene(recording), []

    class OpenViewer(nullcontext):  # type: ignore[type-arg]
        url = "http://here"

        def __init__(self, objects: Any, host: str, port: int) -> None:
            super().__init__(self)

        def show(self, frame: Frame, poses: list[TrackedPose], rate: float, latency: float) -> None:
            shown.append((frame.name, [pose.state for pose in poses]))

    monkeypatch.setattr(session_module, "Viewer", OpenViewer)
    options = LiveOptions(str(recording), viewer=True)
    stream = SimpleNamespace(name="recording", fps=30.0, depth_unit=0.001)
    with ExitStack() as stack:
        objects = load_objects(options, scene[0], RecordedObjects(scene.mesh_file))
        session = Session(objects, scene[0], options, stream, None, stack)  # type: ignore[arg-type]
        assert shown == [(scene.names[0], ["lost"])]
        session.begin()
        assert shown[1:] == [(scene.names[0], ["tracking"])]


@pytest.mark.parametrize(("damaged", "ends"), [(29, False), (30, True)])
def test_damaged_frames_end_a_run_only_when_there_are_many_in_a_row(damaged: int, ends: bool) -> None:
    good = made_up_frame(0)
    items = [good, *[FrameError("damaged")] * damaged, good, FrameError("damaged"), good]
    frames = session_module._Frames(MadeUpStream(iter(items)))
    assert frames.first() is good
    with pytest.raises(FrameError, match="damaged") if ends else nullcontext():
        assert len(list(frames)) == 2 and frames.left_out == damaged + 1


@pytest.mark.usefixtures("steady")
def test_frames_of_a_camera_that_are_skipped_are_recorded(recording: Path, tmp_path: Path) -> None:
    scene, kept = open_scene(recording), tmp_path / "kept"
    options = LiveOptions(str(recording), record=kept)
    with ExitStack() as stack:
        stream = stack.enter_context(NewestFrames(open_stream(recording)))
        objects = load_objects(options, scene[0], RecordedObjects(scene.mesh_file))
        session = Session(objects, scene[0], options, stream, None, stack)
        assert not session._tracker.options.waits, "frames that come by themselves do not wait for regions"
        session.begin()
        frames = iter(stream)
        while not stream._ended:
            time.sleep(0.001)
        assert session.step(next(frames)) and stream.skipped == 4
        session.end_recording()
    names = json.loads((kept / "recording.json").read_text())["names"]
    assert names == [scene.names[0], *scene.names] and len(open_scene(kept)) == 6


def test_the_time_limit_holds_while_no_frame_can_be_used(recording: Path, steady: None) -> None:
    scene = open_scene(recording)
    stream = SimpleNamespace(name="recording", fps=30.0, depth_unit=0.001)
    options = LiveOptions(str(recording), seconds=1e-9)
    with ExitStack() as stack:
        objects = load_objects(options, scene[0], RecordedObjects(scene.mesh_file))
        session = Session(objects, scene[0], options, stream, None, stack)  # type: ignore[arg-type]
        session.begin()
        assert not session.step(Frame("unusable", scene[1].rgb, scene[1].depth, scene[1].K))


def test_the_time_limit_ends_a_search_in_the_first_frame(
    recording: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    class SearchingTracker(SteadyTracker):
        def start(self, frame: Frame, masks: dict[str, Any], progress: Any) -> list[TrackedPose]:
            for done in range(1, 1000):
                time.sleep(0.001)
                tried.append(done)
                progress(done, 1000)
            return super().start(frame, masks, progress)

    monkeypatch.setattr(session_module, "EstimatorFactory", NoEstimators)
    monkeypatch.setattr(session_module, "StateTracker", SearchingTracker)
    assert main(["--source", str(recording), "--mask", "auto", "--seconds", "0.02"]) == 0
    assert len(tried) < 999
    said = capsys.readouterr().out
    assert "frame 0000: not found within --seconds 0.02" in said and "0 frames" in said


@pytest.mark.parametrize("real_time", [True, False])
def test_a_recording_in_real_time_is_followed_as_a_camera_is(recording: Path, real_time: bool) -> None:
    stream = session_module._open(LiveOptions(str(recording), real_time=real_time))
    assert isinstance(stream, NewestFrames) == real_time


def test_bad_sources_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--source", str(tmp_path / "nothing.bag"), "--mesh_file", "m.obj"]) == 2
    assert "nothing.bag" in capsys.readouterr().err
    assert main(["--source", str(tmp_path), "--seconds", "0"]) == 2
    assert "--seconds 0: wanted more than 0" in capsys.readouterr().err
    assert main(["--source", str(tmp_path), "--seconds", "nan"]) == 2
    assert main(["--source", str(tmp_path), "--depth_scale", "0"]) == 2
    assert "depth_scale is 0.0, wanted metres per depth unit" in capsys.readouterr().err
    assert main(["--source", str(tmp_path), "--poses", ""]) == 2, "not silently without poses"
