"""How far a refiner reaches: known shares of known paths, the same scenes for all refiners, results that come back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.reach import Options, Paths, Reach, main, read_results, summary
from learning.datasets.objects.random_objects import make_object
from learning.datasets.objects.training_pool import HELD_OUT_SEED
from pose6d.errors import Pose6DError
from pose6d.json_file import write_json
from pose6d.search.interfaces import Hypotheses


@pytest.fixture
def paths() -> Paths:
    """Two scenes, twelve hypotheses, two steps: the first scene's third becomes right, of the second's none does."""
    add = np.full((2, 12, 3), 0.5)
    add[0, 2] = 0.5, 0.2, 0.04
    add[0, 7] = 0.5, 0.06, 0.09
    start = np.full((2, 12), 100.0)
    start[0, 2], start[0, 7], start[1, 0] = 40.0, 50.0, 20.0
    end = np.full((2, 12), 30.0)
    end[0, 2] = 2.0
    return Paths(start, end, add)


def test_shares_are_those_of_the_paths(paths: Paths) -> None:
    reach = summary("runs/mine", "cluttered", [paths])
    assert (reach.weights, reach.scenes, reach.counts) == ("mine", 2, [6, 12])
    # 15 to 30 degrees: one that stays wrong; 30 to 45 and 45 to 60: one each that becomes right; 90 to 105: the others.
    assert reach.right[1:4] == [0, 100, 100] and reach.right[6] == 0 and reach.right[0] is None
    assert reach.near_right == 50
    assert reach.any_right == [[0, 50], [50, 50]]  # after one step only the eighth, after two the third as well
    assert reach.median == pytest.approx((0.04 + 0.5) / 2) and reach.degrees == 16


class Homing:
    """A refiner that turns nothing and halves the way to a depth; counts its steps."""

    recordable = False

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.steps = name, 0

    def predict(self, hypotheses: Hypotheses, object: Any, observation: Any, steps: int, *_: Any) -> Tensor:
        self.steps += steps
        return hypotheses.poses


def test_one_command_follows_all_hypotheses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Homing] = []

    def make(name: str, device: torch.device) -> Homing:
        made.append(Homing(name, device))
        return made[-1]

    # The truth is of the mesh's own frame, far from its centre, which is what a refiner sees.
    meshes = [make_object(HELD_OUT_SEED + i, size=0.2).translated(np.array([0.3, 0.0, 0.1])) for i in range(2)]
    monkeypatch.setattr("benchmarks.reach.PoseRefinePredictor", make)
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: meshes)
    file = tmp_path / "reach.json"
    main(Options(weights=("a", "b"), scenes=3, suites=("easy",), steps=2, workers=0, device="cpu", output=file))
    found, _ = read_results(file)
    assert [refiner.steps for refiner in made] == [6, 6]
    assert [r.weights for r in found] == ["a", "b"] and found[0].scenes == 3
    assert found[0].any_right == found[1].any_right and found[0].any_right[0] == found[0].any_right[1]
    # Nothing moves, so only what starts near the truth can be near it in the end.
    assert all(share == 0 for share in found[0].right[4:] if share is not None)
    assert found[0].degrees < 40 and 0.2 < found[0].median < 0.4  # the grid leaves no rotation farther
    assert file.with_suffix(".png").stat().st_size > 5000 and "| b " in file.with_suffix(".md").read_text()


def test_earlier_runs_are_compared_in_one_table(
    tmp_path: Path, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        own: list[Reach] = [summary(file.stem, suite, [paths]) for suite in ("cluttered", "easy")]
        write_json(file, {"device": "abacus", "reach": [asdict(reach) for reach in own]})
    main(Options(from_json=tuple(files)))
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| one", "| two"))]
    assert len(rows) == 2 * 3 and not any("easy" in row for row in rows)
    with pytest.raises(Pose6DError, match="no result of suite occluded"):
        main(Options(from_json=tuple(files), suites=("occluded",)))
    files[0].write_text("[]")
    with pytest.raises(Pose6DError, match=r"one\.json: not a result"):
        main(Options(from_json=tuple(files)))


def test_symmetric_objects_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.reach.PoseRefinePredictor", Homing)
    mesh = make_object(HELD_OUT_SEED, size=0.2)
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: [mesh])
    with pytest.raises(Pose6DError, match="all objects are symmetric"):
        main(Options(scenes=1, suites=("easy",), workers=0, device="cpu", symmetric=(mesh.name,)))


def test_suites_without_a_pose_to_find_are_refused() -> None:
    with pytest.raises(Pose6DError, match="--suites tracking"):
        main(Options(suites=("tracking",)))
