"""What a run says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import trimesh

from pose6d.mesh.mesh import Mesh
from pose6d.report.run_folder import RunFolder
from pose6d.report.run_record import RunRecord


def lines_of(confidence: dict[str, float], folder: Path) -> list[str]:
    record = RunRecord(poses={name: np.eye(4) for name in confidence} or {"0": np.eye(4)}, confidence=confidence)
    mesh = Mesh.from_trimesh(trimesh.creation.box((0.1, 0.1, 0.1)))
    return [line for line in record.write_report(RunFolder(folder), mesh, None) if line.startswith("confidence")]


def test_a_sure_estimator_says_so_without_warning(tmp_path: Path) -> None:
    assert lines_of({"0000": 0.9}, tmp_path) == ["confidence: 0.90 in frame 0000"]
    assert json.loads((tmp_path / "timings.json").read_text())["confidence"] == {"0000": 0.9}


def test_doubtful_frames_are_counted_and_the_worst_is_named(tmp_path: Path) -> None:
    (line,) = lines_of({"0000": 0.9, "0001": 0.8, "0002": 0.1}, tmp_path)
    assert "0.45 on average while tracking, lowest 0.10 in frame 0002" in line
    assert "1 pose(s) are doubtful: look at the overlay" in line


def test_weights_without_confidence_say_nothing(tmp_path: Path) -> None:
    assert lines_of({}, tmp_path) == []


def test_poses_that_may_be_right_as_well_are_named_and_written(tmp_path: Path) -> None:
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned[:3, 3] = [0.1, 0.2, 0.5]
    found = [(np.eye(4), 0.5), (turned, 0.4), (np.eye(4), 0.04)]
    record = RunRecord(poses={"7": np.eye(4)}, confidence={"7": 0.5}, alternatives={"7": found})
    mesh = Mesh.from_trimesh(trimesh.creation.box((0.1, 0.1, 0.1)))
    lines = record.write_report(RunFolder(tmp_path), mesh, None)
    assert "frame 7: 2 poses are likely (0.50, 0.40), see alternatives.csv" in lines
    header, *rows = (tmp_path / "alternatives.csv").read_text().splitlines()
    assert header == "frame,rank,probability,r11,r12,r13,tx,r21,r22,r23,ty,r31,r32,r33,tz"
    assert rows[1] == "7,2,0.4,-1.0,0.0,0.0,0.1,0.0,-1.0,0.0,0.2,0.0,0.0,1.0,0.5"
    assert len(rows) == 4 and rows[-1] == "7,none,0.06,,,,,,,,,,,,"
    assert [pose.tolist() for pose in record.likely_others("7")] == [turned.tolist()] and not record.likely_others("8")
    sure = RunRecord(poses={"7": np.eye(4)}, confidence={"7": 0.9}, alternatives={"7": [(np.eye(4), 0.9)]})
    assert not any("likely" in line for line in sure.write_report(RunFolder(tmp_path, overwrite=True), mesh, None))
