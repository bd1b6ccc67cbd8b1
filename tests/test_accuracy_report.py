"""What the scoreboard says of records: tables, bins, and the measures of poses that look like the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.binned_scores import binned_scores, worst_bins
from benchmarks.accuracy.evaluation import Effort, evaluate
from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.report import markdown, read_records, write_records
from benchmarks.accuracy.scenes import EvaluationScene, View
from benchmarks.accuracy.scoreboard import Options
from pose6d.errors import Pose6DError
from pose6d.evaluation.equivalent_poses import EquivalentPoses
from pose6d.evaluation.record import Record
from pose6d.evaluation.visible_surface import render_depth
from pose6d.geometry.transforms import so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer


def _records() -> list[Record]:
    kept = [
        Record("cluttered", "cup", i, 0.2, confidence=c, add=e, add_s=e / 2, error=e, best_add=e, degrees=1.0,
               millimetres=2.0, seconds=0.1)
        for i, (c, e) in enumerate([(0.9, 0.01), (0.8, 0.02), (0.3, 0.4)])
    ]  # fmt: skip
    return [*kept, Record("absent", "cup", 0, 0.2, present=False, visible=0.0, confidence=0.1, seconds=0.1)]


def test_tables_come_back_from_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scores.json"
    write_records(file, _records(), {"options": {"weights": "lite"}, "commit": "abc"})
    records, facts = read_records(file)
    assert records == _records() and facts["commit"] == "abc"
    main(Options(from_json=file))
    printed = capsys.readouterr().out
    assert markdown(_records(), facts) in printed
    row = next(line for line in printed.splitlines() if line.startswith("| cluttered"))
    assert "66.7" in row and "0.0200" in row
    total = next(line for line in printed.splitlines() if line.startswith("| all suites"))
    assert total.split("|")[4].strip() == "1.000"
    assert (tmp_path / "scores.md").read_text() in printed


def test_a_file_without_the_newer_measures_is_read(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    entries = [{"suite": "cluttered", "object": "cup", "index": 0, "diameter": 0.2, "error": 0.02, "confidence": 0.9}]
    file.write_text(json.dumps({"records": entries}))
    records, facts = read_records(file)
    assert records[0].set_right is None and records[0].likely == 1
    text = markdown(records, facts)
    assert "| by object" in text and "poses that look like the truth" not in text


def test_the_worst_bin_is_named() -> None:
    def records(name: str, visible: float, right: int) -> list[Record]:
        return [
            Record("cluttered", name, i, 0.2, visible=visible, confidence=0.9, error=0.01 if i < right else 0.5)
            for i in range(10)
        ]

    results = [*records("cup", 0.4, 9), *records("brick", 0.95, 5)]
    assert list(binned_scores(results, "visible")) == ["below 60 %", "90 % and more"]
    results.append(replace(results[-1], object="fork"))  # one result says nothing
    assert worst_bins(binned_scores(results, "object"))["ECE"] == ("brick", pytest.approx(0.4))
    assert "Worst by object, of 10 results or more: ECE 0.400 (brick)" in markdown(results, {})


def test_alternatives_are_kept_and_measured_against_what_looks_like_the_truth() -> None:
    """A plain brick has four poses; the estimator leaves open one of them, one that is wrong, and an unlikely one."""
    solid = trimesh.creation.box((0.03, 0.1, 0.06))
    mesh = Mesh(solid.vertices, solid.faces, name="brick")
    target = TargetObject(mesh)
    truth = np.eye(4)
    truth[:3, 3] = [0.02, -0.03, 0.8]
    K = np.array([[120.0, 0, 31.5], [0, 120, 23.5], [0, 0, 1]])
    truth[:3, :3] = so3_exp(torch.tensor([0.4, 0.5, 0.2])).numpy()
    depth = render_depth(make_renderer(mesh, "cpu"), truth[None], K, (48, 64))[0]
    view = View(np.zeros((48, 64, 3), np.uint8), depth, K.astype(np.float32), truth)
    scene = EvaluationScene(0, (view,), depth > 0, 1.0)
    half, quarter = np.diag([1.0, -1, -1, 1]), np.eye(4)
    quarter[:3, :3] = so3_exp(torch.tensor([0, np.pi / 2, 0])).numpy()

    class Undecided:
        poses, confidence = None, 0.6
        alternatives = (
            SimpleNamespace(pose=truth @ half, probability=0.6),
            SimpleNamespace(pose=truth @ quarter, probability=0.3),
            SimpleNamespace(pose=truth, probability=0.05),
        )
        none_probability = 0.05

        def register(self, *_: object, **__: object) -> np.ndarray:
            return truth @ half

    find = EquivalentPoses(mesh, device="cpu")
    found = evaluate("cluttered", iter([(target, scene, "")]), lambda m: Undecided(), Effort(), lambda t: find)
    record = next(found)
    assert record.alternatives == [0.6, 0.3, 0.05] and record.none_probability == 0.05 and record.likely == 2
    assert record.right is False and record.set_right and record.best_alternative is not None
    assert record.best_alternative > 0.1  # the truth itself is unlikely
    assert record.precision == 0.5 and record.recall == 1 and record.set_size is not None and record.set_size >= 4
    text = markdown([record], {})
    assert "poses that look like the truth" in text and "| by look like the truth" in text


@pytest.mark.parametrize("content", ["", "{}", '{"records": [{"unknown": 1}]}', '{"records": 3}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(Pose6DError, match=r"other\.json"):
        main(Options(from_json=file))
