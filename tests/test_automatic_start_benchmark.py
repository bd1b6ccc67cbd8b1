"""The benchmark of looking for an object: what counts as found, as right and as wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.automatic_start as benchmark
from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scenes import EvaluationScene, View
from benchmarks.automatic_start import HEADER, Options, StartScore, look, main, summary
from pose6d.errors import OptionError
from tests.live_frames import Stage, pose_at
from tests.rendering_scenes import box

SCORE = StartScore("cluttered", "box", 0, 0.8, 5, 2, True, 0.95, 0.02, 0.03, 1.5)


def test_what_is_found_is_compared_with_the_truth() -> None:
    stage, pose = Stage(), pose_at(-0.08)
    frame = stage.show(box=pose, torus=pose_at(0.09))
    target, estimator = TargetObject(box()), stage.estimators["box"]
    view = View(frame.rgb, frame.depth, frame.K, pose.numpy().astype(np.float64))
    scene = EvaluationScene(0, (view,), stage.masks[0], 1.0)
    found = look("cluttered", 3, target, scene, estimator)
    assert (found.suite, found.object, found.index, found.visible) == ("cluttered", "box", 3, 1.0)
    assert found.on_object and found.right and found.proposed and not found.wrong
    assert found.confidence is not None and found.confidence > 0.5
    assert 1 <= found.tried <= found.regions
    moved = view.truth.copy()  # type: ignore[union-attr]
    moved[0, 3] += 0.3
    elsewhere = look("cluttered", 3, target, replace(scene, views=(replace(view, truth=moved),)), estimator)
    assert elsewhere.wrong and not elsewhere.right
    absent = replace(scene, views=(replace(view, truth=None),), visible=0.0)
    assert look("absent", 3, target, absent, estimator).wrong, "whatever is found is not there"


def test_a_row_counts_what_is_right_and_what_is_wrong() -> None:
    nothing = replace(SCORE, confidence=None, offset=None, error=None, proposed=False, seconds=9.0)
    scores = [
        SCORE,
        replace(SCORE, error=0.5, tried=4),  # the right object, turned
        replace(SCORE, offset=1.2, error=1.3, confidence=0.7),
        replace(SCORE, offset=2.0, error=2.0, confidence=0.93),
        nothing,
    ]
    row = summary("cluttered", scores)
    assert len(row) == len(HEADER)
    assert row == ["cluttered", "5", "80", "40", "20", "2; 1", "0.93", "2.4", "1.50, 9.00"]
    absent = summary("absent", [replace(nothing, visible=0.0), replace(SCORE, visible=0.0, offset=None, error=None)])
    assert absent[2:7] == ["", "", "", "1; 1", "0.95"]


def test_one_command_looks_in_every_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked: list[int] = []

    class NoNetworks:
        device = "cpu"

        def __init__(self, *_: Any) -> None: ...

        def __call__(self, mesh: Any) -> None: ...

    def pretend(suite: str, index: int, target: TargetObject, scene: EvaluationScene, estimator: Any) -> StartScore:
        looked.append(index)
        return replace(SCORE, suite=suite, index=index, object=target.mesh.name, offset=1.0 + index)

    monkeypatch.setattr(benchmark, "EstimatorFactory", NoNetworks)
    monkeypatch.setattr(benchmark, "look", pretend)
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: [box()])
    output = tmp_path / "start.json"
    main(Options(scenes=2, workers=0, output=output))
    assert looked == [0, 1]
    said = capsys.readouterr().out
    (row,) = [line.split("|") for line in said.splitlines() if line.startswith("| cluttered")]
    assert [cell.strip() for cell in row[1:7]] == ["cluttered", "2", "100", "0", "100", "2; 2"]
    assert "wrong: cluttered 1, box" in said
    assert [frame["offset"] for frame in json.loads(output.read_text())["frames"]] == [1.0, 2.0]
    with pytest.raises(OptionError, match="choose from easy, cluttered"):
        main(Options(suites=("tracking",)))
    with pytest.raises(OptionError, match="--scenes 0"):
        main(Options(scenes=0))
