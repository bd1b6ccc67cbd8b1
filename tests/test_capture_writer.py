"""Recording a stream: what is replayed is what was recorded, and neither a kill nor a full disk loses what there is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pose6d.errors import FrameError, OutputError
from pose6d.scenes import open_scene
from pose6d.streams import open_stream
from pose6d.streams.capture_writer import CaptureFolder, CaptureWriter
from tests.stream_sources import SIZE, K, made_up_frame

FACTS = {"source": "made up", "fps": 30.0}
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("unit", [0.001, 0.0001, 0.00025])
def test_what_is_replayed_is_what_was_recorded(unit: float, tmp_path: Path) -> None:
    units = np.random.default_rng(0).integers(0, 60000, SIZE).astype(np.uint16)
    frames = [made_up_frame(index) for index in range(3)]
    frames[1].depth = units * np.float32(unit)
    frames[0].mask = frames[0].depth > 0
    frames[2].seconds = 1.5
    with CaptureWriter(tmp_path / "capture", unit, FACTS) as writer:
        for frame in frames:
            writer.add(frame)
    assert (writer.written, writer.dropped) == (3, 0)
    with open_stream(tmp_path / "capture") as stream:
        assert stream.depth_unit == unit
        replayed = list(stream)
    for frame, wanted in zip(replayed, frames, strict=True):
        np.testing.assert_allclose(frame.depth, wanted.depth, rtol=1e-6)
        np.testing.assert_allclose(frame.rgb.astype(int), wanted.rgb, atol=2)  # JPEG
        np.testing.assert_array_equal(frame.K, wanted.K)
    np.testing.assert_array_equal(replayed[0].mask, frames[0].mask)
    assert replayed[1].mask is None
    assert [frame.seconds for frame in replayed] == pytest.approx([0, 1 / 30, 1.5], abs=1e-6)
    facts = json.loads((tmp_path / "capture" / "recording.json").read_text())
    assert facts["source"] == "made up" and facts["names"] == ["000", "001", "002"]
    assert not (tmp_path / "capture" / "frames.txt").exists()
    assert not open_scene(tmp_path / "capture").strange


def test_depth_too_far_for_its_unit_is_missing(tmp_path: Path) -> None:
    frame = made_up_frame(0)
    frame.depth[10] = 6.6
    capture = CaptureFolder(tmp_path / "capture", 0.0001, FACTS)
    capture.add(frame)
    assert not open_scene(tmp_path / "capture")[0].depth[10].any()


RECORD = """
import sys
from itertools import count
from pathlib import Path
from pose6d.streams.capture_writer import CaptureWriter
from tests.stream_sources import made_up_frame
writer = CaptureWriter(Path(sys.argv[1]), 0.001, {"fps": 30.0})
for index in count():
    if writer.written > index - 20:
        writer.add(made_up_frame(index))
"""


def test_a_recording_that_is_killed_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    process = subprocess.Popen([sys.executable, "-c", RECORD, str(folder)], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "JPEGImages" / "10.jpg").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with open_stream(folder) as stream:
        frames = list(stream)
    assert len(frames) > 10
    np.testing.assert_array_equal(
        [round(float(frame.depth[-1, -1]) * 1000) - 500 for frame in frames], range(len(frames))
    )
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(len(frames)) / 30, atol=1e-6)


@pytest.mark.parametrize("left", ["depth without colour", "half a line"])
def test_what_a_kill_between_two_files_left_does_not_count(left: str, tmp_path: Path) -> None:
    capture = CaptureFolder(tmp_path / "capture", 0.001, FACTS)
    for index in range(3):
        capture.add(made_up_frame(index))
    if left == "depth without colour":
        (tmp_path / "capture" / "JPEGImages" / "2.jpg").unlink()
    else:
        with (tmp_path / "capture" / "frames.txt").open("a") as lines:
            lines.write("0.1")
    with open_stream(tmp_path / "capture") as stream:
        assert [frame.seconds for frame in stream] == pytest.approx(np.arange(2 if "depth" in left else 3) / 30)


def test_a_finished_recording_that_lacks_a_picture_is_still_refused(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "capture", 0.001, FACTS) as writer:
        for index in range(3):
            writer.add(made_up_frame(index))
    (tmp_path / "capture" / "JPEGImages" / "2.jpg").unlink()
    with pytest.raises(Exception, match="do not pair up"):
        open_scene(tmp_path / "capture")


def test_frames_of_another_size_or_camera_are_not_mixed_in(tmp_path: Path) -> None:
    frame = made_up_frame(0)
    small = replace(frame, rgb=frame.rgb[::2], depth=frame.depth[::2])
    zoomed = replace(frame, K=2 * K)
    with CaptureWriter(tmp_path / "capture", 0.001, FACTS) as writer:
        for each in (frame, small, zoomed, made_up_frame(1)):
            writer.add(each)
    assert (writer.written, writer.dropped) == (2, 2)
    assert len(open_scene(tmp_path / "capture")) == 2
    capture = CaptureFolder(tmp_path / "other", 0.001, FACTS)
    capture.add(frame)
    with pytest.raises(FrameError, match=r"is 64x24.*records 64x48.*another folder"):
        capture.add(small)


def test_a_slow_disk_drops_frames_and_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = threading.Event()
    add = CaptureFolder.add
    monkeypatch.setattr(CaptureFolder, "add", lambda self, frame: disk.wait(20) and add(self, frame))
    writer = CaptureWriter(tmp_path / "capture", 0.001, FACTS)
    for index in range(100):
        writer.add(made_up_frame(index))
    disk.set()
    writer.close()
    assert writer.dropped >= 60 and writer.written + writer.dropped == 100
    assert len(open_scene(tmp_path / "capture")) == writer.written


@pytest.mark.parametrize("picture", ["depth/1.png", "JPEGImages/1.jpg"])
def test_a_disk_that_fails_is_told_to_the_loop_and_what_was_written_stays(picture: str, tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    writer = CaptureWriter(folder, 0.001, FACTS)
    writer.add(made_up_frame(0))
    deadline = time.monotonic() + 10
    while not writer.written and time.monotonic() < deadline:
        time.sleep(0.001)
    (folder / picture).mkdir()  # in the way
    frame = made_up_frame(1)
    frame.mask = frame.depth > 0
    writer.add(frame)
    with pytest.raises(OutputError, match=picture):
        writer.close()
    with pytest.raises(OutputError, match=picture):
        writer.add(made_up_frame(2))
    (folder / picture).rmdir()
    assert len(open_scene(folder)) == 1


def test_folders_that_hold_something_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="record into a new folder"):
        CaptureWriter(tmp_path, 0.001, FACTS)
    with pytest.raises(OutputError, match="is there already"):
        CaptureWriter(tmp_path / "notes.txt", 0.001, FACTS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
