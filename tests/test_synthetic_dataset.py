"""The suites as a data set: its camera, its truth, and the same results from one process and from several."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.dataset import SyntheticDataset
from benchmarks.accuracy.scene_workers import make
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool, View
from benchmarks.accuracy.suites import SUITES
from learning.datasets.objects.random_objects import make_object
from learning.datasets.objects.training_pool import HELD_OUT_SEED
from pose6d.command import BAD_INPUT
from pose6d.evaluation import __main__ as command
from pose6d.mesh.mesh import Mesh
from tests.evaluation_dataset import TrueEstimator


@pytest.fixture(autouse=True)
def meshes(monkeypatch: pytest.MonkeyPatch) -> list[Mesh]:
    made = [make_object(HELD_OUT_SEED + i, size=0.2) for i in range(2)]
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: made)
    monkeypatch.setattr(command, "Estimator", lambda dataset, options: TrueEstimator(dataset, shift=(0.0, 0.0, 0.004)))
    return made


def test_its_images_are_those_that_the_scoreboard_asks_about(meshes: list[Mesh]) -> None:
    dataset = SyntheticDataset("cluttered", scenes=3, symmetric=(meshes[1].name,))
    assert [target[:3] for target in dataset.targets] == [(0, 0, 1), (1, 0, 2), (2, 0, 1)]
    scene = make(ScenePool.from_meshes(meshes), SUITES["cluttered"], 7, 1)
    frame, (truth,) = dataset.frame(1, 0), dataset.truths(1, 0)
    assert np.array_equal(frame.rgb, scene.views[0].rgb) and np.array_equal(frame.depth, scene.views[0].depth)
    assert np.array_equal(dataset.mask(1, 0, truth), scene.mask)  # type: ignore[arg-type]
    assert np.array_equal(truth.object_in_camera, scene.views[0].truth)  # type: ignore[arg-type]
    assert (truth.object_id, truth.visible_fraction) == (2, scene.visible)
    assert dataset.mesh(2) is meshes[1] and (dataset.is_symmetric(1), dataset.is_symmetric(2)) == (False, True)
    reconstructed = SyntheticDataset("reconstructed_mesh", scenes=1)
    assert reconstructed.evaluation_mesh(1) is meshes[0] and reconstructed.mesh(1) is not meshes[0]


def test_predict_goes_on_and_score_measures(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "r.csv"
    predict = ["predict", "--dataset", "synthetic:easy", "--output", str(output), "--device", "cpu", "--scenes"]
    assert command.main([*predict, "2"]) == command.main([*predict, "3"]) == command.OK
    assert "images: 1 estimated, 2 were done before" in capsys.readouterr().out
    same = ["--dataset", "synthetic:easy", "--scenes", "3"]
    assert command.main(["check", str(output), *same]) == command.OK
    assert command.main(["score", "--results", str(output), *same]) == command.OK
    scores = json.loads((tmp_path / "r.scores.json").read_text())
    assert (scores["instances"], scores["recall_ADD_0.1d"], scores["truths_not_in_depth"]) == (3, 1.0, 0)
    assert scores["median_translation_mm"] == pytest.approx(4, abs=1e-3) and scores["AR"] > 0.9
    assert command.main([*predict, "3", "--seed", "8"]) == BAD_INPUT
    assert "begun with seed = 7, now it is 8" in capsys.readouterr().err


def test_a_sequence_is_a_video_with_a_mask_of_its_first_image(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = SyntheticDataset("tracking", scenes=20)
    assert [target[:3] for target in dataset.targets[:21]] == [*((0, i, 1) for i in range(20)), (1, 0, 2)]
    assert len(dataset.targets) == 40 and dataset.frame_seconds == pytest.approx(1 / 30)
    view = View(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.float32), np.eye(3, dtype=np.float32), np.eye(4))
    scene = EvaluationScene(0, (view,) * 20, np.ones((4, 4), bool), 1.0)
    monkeypatch.setattr("benchmarks.accuracy.dataset.make", lambda *_: scene)
    (truth,) = dataset.truths(0, 1)
    assert dataset.mask(0, 0, truth) is scene.mask and dataset.mask(0, 1, truth) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthetic:clutered"], "there is no suite 'clutered'; there are easy, cluttered"),
        (["synthetic:absent"], "only the confidence counts.*python -m benchmarks.accuracy --suites absent"),
        (["synthetic:real"], "--real-folder"),
        (["synthetic:easy", "--scenes", "0"], "--scenes is 0: at least 1"),
        (["synthetic:easy", "--split", "val"], "--split: the synthetic layout has none"),
        (["here", "--scenes", "3"], "--scenes: --dataset here is a folder"),
    ],
)
def test_what_is_no_data_set(arguments: list[str], message: str, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert command.main(["predict", "--output", str(tmp_path / "r.csv"), "--dataset", *arguments]) == BAD_INPUT
    assert re.search(message, capsys.readouterr().err)


def test_without_a_checkout_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.accuracy.dataset", None)
    assert command.main(["predict", "--dataset", "synthetic:easy", "--output", str(tmp_path / "r.csv")]) == BAD_INPUT
    assert "run this command in a checkout" in capsys.readouterr().err
