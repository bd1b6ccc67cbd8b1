"""How a run ends: what it says of lost objects, what a signal leaves, and what paths the system does not take."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import run_demo
from pose6d.command import Stopped, exit_code, stopping_by_signals
from pose6d.errors import OutputError
from pose6d.report.run_folder import RunFolder
from pose6d.report.run_record import RunRecord
from recorded import run as recorded_run
from tests.demo_recording import FRAMES, FakeEstimator
from tests.pose_files import read_poses

Run = Callable[..., int]  # of an estimator and further options


class LosingEstimator(FakeEstimator):
    """Loses the object in frames 2 and 3."""

    def track_one(self, rgb: Any, depth: Any, K: Any, iteration: int, judge: bool = False) -> np.ndarray:
        pose = super().track_one(rgb, depth, K, iteration, judge)
        if judge and rgb[0, 0, 0] in (2, 3):
            self.confidence = 0.02
        return pose


class UnjudgedEstimator(FakeEstimator):
    """Has weights without confidence."""

    def register(self, *args: Any, **options: Any) -> np.ndarray:
        pose = super().register(*args, **options)
        self.confidence = None
        return pose

    def track_one(self, rgb: Any, depth: Any, K: Any, iteration: int, judge: bool = False) -> np.ndarray:
        assert not judge  # it would be computed for nothing
        return super().track_one(rgb, depth, K, iteration)


@pytest.fixture
def run(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, with an estimator that needs no networks; its results are in `out`."""

    def run(estimator: type[FakeEstimator], *more: str) -> int:
        monkeypatch.setattr(recorded_run, "run_recorded", partial(run_recorded, make_estimator=estimator))
        options = ["--test_scene_dir", recording, "--device", "cpu", "--debug_dir", tmp_path / "out", *more]
        return run_demo.main([str(option) for option in options])

    run_recorded = recorded_run.run_recorded
    return run


def test_lost_frames_are_named_at_the_end(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(LosingEstimator) == 0
    note = capsys.readouterr().out.splitlines()[-2]
    assert note.startswith(f"likely lost (low confidence) in 2 of {FRAMES - 1} tracked frame(s): 0002-0003.")
    assert "--frames N:" in note
    assert json.loads((tmp_path / "out" / "timings.json").read_text())["likely_lost"] == ["0002", "0003"]
    assert "Likely lost (low confidence) in 2 of" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_judging_can_be_left_out(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(LosingEstimator, "--no_judge", "--debug", "0") == 0
    text = capsys.readouterr().out
    assert "likely lost" not in text
    assert "confidence: 0.90 in frame 0000; the tracked poses were not judged" in text


def test_weights_without_confidence_are_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(UnjudgedEstimator, "--judge", "--debug", "0") == 0
    assert "no pose is judged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("first", "others", "lost"),
    [
        (0.9, [0.8, 0.4, 0.1, 0.7, 0.2], ["2", "3", "5"]),
        (0.15, [0.1, 0.12, 0.2], []),  # right poses of some real objects
        (0.15, [0.1, 0.01, 0.2], ["2"]),
        (1.0, [], []),
    ],
)
def test_the_first_frame_tells_how_low_right_poses_are_judged(
    first: float, others: list[float], lost: list[str]
) -> None:
    confidence = {"0": first, **{str(i): value for i, value in enumerate(others, start=1)}}
    record = RunRecord(poses={name: np.eye(4) for name in confidence}, confidence=confidence)
    assert record.likely_lost == lost
    assert len(record.lost_note()) == bool(lost)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_while_tracking_keeps_the_report(
    run: Run, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(signal, name)

    class StoppedEstimator(FakeEstimator):
        def track_one(self, rgb: Any, depth: Any, K: Any, iteration: int, judge: bool = False) -> np.ndarray:
            if rgb[0, 0, 0] == 3:
                signal.raise_signal(number)
            return super().track_one(rgb, depth, K, iteration, judge)

    given = signal.getsignal(number)
    if name == "SIGINT":  # which is ignored where the tests run in the background of a script
        signal.signal(number, signal.default_int_handler)
    before = signal.getsignal(number)
    try:
        assert run(StoppedEstimator) == 128 + number
        assert signal.getsignal(number) == before
    finally:
        signal.signal(number, given)
    assert list(read_poses(tmp_path / "out")) == ["0000", "0001", "0002"]
    times = json.loads((tmp_path / "out" / "timings.json").read_text())
    assert (times["interrupted"], times["frames"]) == (True, 3)
    assert (tmp_path / "out" / "report.html").is_file()
    assert (tmp_path / "out" / "track.mp4").is_file()
    assert "interrupted after 3 frame(s)" in capsys.readouterr().err


def test_the_first_signal_counts_and_ignored_ones_stay_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping_by_signals():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Stopped) as stop:
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # while the report is written
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert exit_code(stop.value) == 143
    assert exit_code(KeyboardInterrupt()) == 130


def test_a_signal_after_tracking_waits_for_the_report(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report = recorded_run.report

    def stopped_report(*args: Any) -> list[str]:
        signal.raise_signal(signal.SIGTERM)
        return write_report(*args)

    monkeypatch.setattr(recorded_run, "report", stopped_report)
    assert run(FakeEstimator) == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_printing_to_a_terminal_that_is_gone_is_no_error() -> None:
    """It shows before the SIGHUP comes, and would end the run without a report."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, redirect_stderr(terminal), stopping_by_signals():
        print("seen", file=sys.stderr, flush=True)
        os.close(ours)
        print("not seen", file=sys.stderr, flush=True)
        print("nor this", file=sys.stderr, flush=True)


@pytest.mark.parametrize("option", ["--debug_dir", "--test_scene_dir", "--mesh_file", "--mask_file", "--symmetry"])
@pytest.mark.parametrize("path", ["x" * 300, "/" + "x/" * 3000])
def test_names_that_are_too_long(run: Run, capsys: pytest.CaptureFixture[str], option: str, path: str) -> None:
    path += ".json" if option == "--symmetry" else ""
    arguments = ["--debug", "0", "--frames", "1", option, path]
    assert run(FakeEstimator, *arguments) == 2
    error = capsys.readouterr().err
    assert "error: " in error and "File name too long" in error and path[:200] in error


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file is a file: name a folder"):
        RunFolder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot be written: .*a part of the path is a file"):
        RunFolder(tmp_path / "file" / "out")
    folder = RunFolder(tmp_path / "two\nlines")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OutputError, match=r"(?s)a\.json cannot be written: .*free some space"):
            folder.write_json("a.json", {})
    folder.write_json("a.json", {})


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(28, os.strerror(28))


def test_a_terminated_process_ends_with_143(tmp_path: Path) -> None:
    """As the first process of a container would: nothing else has set a handler."""
    code = (
        "import sys, time\n"
        "from pose6d.command import exit_code, stopping_by_signals\n"
        "try:\n"
        "    with stopping_by_signals():\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "except KeyboardInterrupt as stop:\n"
        "    sys.exit(exit_code(stop))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=30) == 143


def test_a_disk_that_is_full_at_the_first_pictures_does_not_lose_the_first_pose(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr("pose6d.report.result_writer.write_frame_pictures", full)
    assert run(FakeEstimator, "--debug", "2") == 2
    assert len(read_poses(tmp_path / "out")) == 1
