"""Poses as JSON lines: their fields, and where they go."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from live.pose_output import PoseOutput, pose_line
from live.tracked_pose import TrackedPose
from pose6d.errors import OptionError, OutputError

TURN = np.array([[0, -1, 0, 0.1], [1, 0, 0, -0.2], [0, 0, 1, 0.5], [0, 0, 0, 1]], np.float32)
POSES = [TrackedPose("cup", "tracking", TURN, 0.98765432), TrackedPose("Büchse", "lost", None, None)]


def test_a_line_holds_what_is_known() -> None:
    line = pose_line("0007", 12.3456789, POSES)
    assert "\n" not in line
    half = 0.707107
    assert json.loads(line) == {
        "format": 1,
        "frame": "0007",
        "seconds": 12.345679,
        "objects": [
            {
                "name": "cup",
                "state": "tracking",
                "confidence": 0.987654,
                "pose": [[0, -1, 0, 0.1], [1, 0, 0, -0.2], [0, 0, 1, 0.5], [0, 0, 0, 1]],
                "translation": [0.1, -0.2, 0.5],
                "quaternion": [half, 0, 0, half],
            },
            {
                "name": "Büchse",
                "state": "lost",
                "confidence": None,
                "pose": None,
                "translation": None,
                "quaternion": None,
            },
        ],
    }
    assert json.loads(pose_line("0", None, []))["seconds"] is None


def test_a_file_is_complete_line_by_line_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new" / "poses.jsonl"
    with PoseOutput(str(path)) as output:
        for i in range(3):
            output.write(f"{i:04d}", i / 30, POSES)
            assert [json.loads(line)["frame"] for line in path.read_text().splitlines()][-1] == f"{i:04d}"
    with pytest.raises(OutputError, match=r"poses\.jsonl exists already: take another name"):
        PoseOutput(str(path))
    with pytest.raises(OutputError, match="name a file"):
        PoseOutput(str(tmp_path))


PROGRAM = """
import os, sys
from live.pose_output import PoseOutput
from pose6d.command import run_command

def run():
    print("before")
    with PoseOutput("-") as output:
        for i in range(int(sys.argv[1])):
            print("from Python")
            os.write(1, b"from a library\\n")
            output.write(str(i), None, [])
    print("after")

sys.exit(run_command(run))
"""


def test_standard_output_holds_poses_alone(repository: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "3"]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    before, *lines, after = ended.stdout.splitlines()
    assert (before, after) == ("before", "after")
    assert [json.loads(line)["frame"] for line in lines] == ["0", "1", "2"]
    assert ended.stderr.count("from Python") == ended.stderr.count("from a library") == 3


def test_a_pipe_that_breaks_is_said_in_one_line(repository: Path) -> None:
    command = [sys.executable, "-c", PROGRAM.replace('print("from Python")', "").replace("os.write", "#"), "100000"]
    with subprocess.Popen(
        command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.readline()
        started.stdout.close()
        message = started.stderr.read()
    assert started.returncode == 2
    assert message.count("\n") == 1
    assert "nobody reads the poses" in message


def test_any_number_of_readers_get_the_lines(tmp_path: Path) -> None:
    with PoseOutput("tcp://127.0.0.1:0") as output:
        assert output.address is not None
        output.write("nobody", 0.0, POSES)
        readers = [socket.create_connection(output.address) for _ in range(3)]
        for i in range(100):
            if i == 50:
                readers.pop().close()  # one goes in the middle
            output.write(str(i), i / 30, POSES)
        with pytest.raises(OutputError, match="take another port"):
            PoseOutput(f"tcp://127.0.0.1:{output.address[1]}")
    for reader in readers:
        with reader, reader.makefile() as lines:
            assert [json.loads(line)["frame"] for line in lines] == [str(i) for i in range(100)]


def test_a_reader_that_does_not_read_is_dropped_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with PoseOutput("tcp://127.0.0.1:0") as output:
        assert output.address is not None
        slowest = 0.0
        with socket.create_connection(output.address) as slow:
            for i in range(1000):
                began = time.monotonic()
                output.write(f"{i:030000}", i / 30, POSES)  # a long line
                slowest = max(slowest, time.monotonic() - began)
                if caplog.records:
                    break
            assert "too slow" in caplog.text
            assert str(slow.getsockname()[1]) in caplog.text
            assert slowest < 1
        with socket.create_connection(output.address) as good, good.makefile() as lines:
            output.write("next", None, POSES)
            assert json.loads(lines.readline())["frame"] == "next"


@pytest.mark.parametrize(
    "target", ["tcp://", "tcp://here", "tcp://here:many", "tcp://:5555", "tcp://a:1/b", "tcp://a:70000"]
)
def test_an_address_that_is_none_is_named(target: str) -> None:
    with pytest.raises(OptionError, match=r"wanted tcp://HOST:PORT"):
        PoseOutput(target)
