"""python -m pose6d.evaluation: what it hands to the estimator, and its exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

import many_objects
from pose6d.command import BAD_INPUT
from pose6d.evaluation import __main__ as command
from pose6d.evaluation.alternatives_file import read_alternatives
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.prediction import FoundPose, PoseRequest
from tests.evaluation_dataset import BOX, ROD, TrueEstimator, make_pose, write_dataset


@pytest.fixture(scope="module")
def bop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("bop") / "tiny", scenes=1, images=2)


class RecordingEstimator:
    """Stands in for FoundationPose and its networks."""

    made: list[RecordingEstimator] = []  # noqa: RUF012 - emptied by each test

    def __init__(self, mesh: object = None, symmetries: object = None, *parts: object, **arguments: object) -> None:
        self.mesh, self.symmetries, self.calls = mesh, symmetries, []
        if mesh is not None:
            self.made.append(self)

    def register(self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, mask: np.ndarray, iteration: int) -> object:
        assert mask.any()
        self.calls.append(("register", iteration))
        pose = make_pose(np.eye(3), [0, 0, 0.6])
        self.alternatives = [(pose, 0.7), (make_pose(np.diag([-1.0, -1.0, 1.0]), [0.01, 0, 0.6]), 0.2)]
        return pose

    def start_from(self, pose: np.ndarray) -> None:
        self.calls.append(("start_from", pose[2, 3]))

    def track_one(self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int) -> np.ndarray:
        self.calls.append(("track_one", iteration))
        return make_pose(np.eye(3), [0, 0, 0.61])


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[RecordingEstimator]:
    RecordingEstimator.made.clear()
    monkeypatch.setattr(many_objects, "FoundationPose", RecordingEstimator)
    for predictor in ("PoseRefinePredictor", "ScorePredictor"):
        monkeypatch.setattr(many_objects, predictor, lambda *_: RecordingEstimator())
    return RecordingEstimator.made


def predict_arguments(bop: Path, output: Path, *more: str) -> list[str]:
    return ["predict", "--dataset", str(bop), "--output", str(output), "--device", "cpu", *more]


def test_each_object_has_one_estimator_that_knows_its_symmetries(
    bop: Path, tmp_path: Path, recording: list[RecordingEstimator]
) -> None:
    output = tmp_path / "r.csv"
    assert command.main(predict_arguments(bop, output, "--est_refine_iter", "3")) == command.OK
    box, rod = recording
    assert box.calls == [("register", 3)] * 2  # one in each of two images
    assert rod.calls == [("register", 3)] * 4
    assert (len(box.symmetries), len(rod.symmetries)) == (2, 72)  # type: ignore[arg-type]
    assert box.mesh.diameter == pytest.approx(BopDataset(bop).diameter(BOX))  # type: ignore[attr-defined]
    found = read_alternatives(output)
    assert {key: len(rows) for key, rows in found.items()} == {
        (1, image, number): count for image in (0, 1) for number, count in ((BOX, 1), (ROD, 2))
    }
    (first, chance), (other, less) = found[1, 1, ROD][1]
    assert (chance, less) == (0.7, 0.2)
    np.testing.assert_allclose(first, make_pose(np.eye(3), [0, 0, 0.6]), atol=1e-9)
    np.testing.assert_allclose(other[:3, 3], [0.01, 0, 0.6], atol=1e-9)
    settings = json.loads((tmp_path / "r.csv.settings.json").read_text())
    assert (settings["dataset"], settings["est_refine_iter"], settings["device"]) == ("tiny", 3, "cpu")
    assert command.main(predict_arguments(bop, output, "--est_refine_iter", "3")) == command.OK
    assert len(recording) == 2  # nothing was left to do
    assert command.main(predict_arguments(bop, output)) == BAD_INPUT


def test_tracking_starts_from_the_last_pose(bop: Path, tmp_path: Path, recording: list[RecordingEstimator]) -> None:
    targets = [{"scene_id": 1, "im_id": i, "obj_id": BOX, "inst_count": 1} for i in (0, 1)]
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    more = ("--track", "--targets", str(tmp_path / "targets.json"), "--no-symmetry")
    assert command.main(predict_arguments(bop, tmp_path / "r.csv", *more)) == command.OK
    assert recording[0].calls == [("register", 5), ("start_from", 0.6), ("track_one", 2)]
    assert recording[0].symmetries is None
    assert command.main(predict_arguments(bop, tmp_path / "several.csv", "--track")) == BAD_INPUT


def test_predict_then_score_from_the_command_line(
    bop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(command, "Estimator", lambda dataset, options: TrueEstimator(dataset))
    assert command.main(predict_arguments(bop, tmp_path / "r.csv")) == command.OK
    arguments = ["score", "--results", str(tmp_path / "r.csv"), "--dataset", str(bop), "--output"]
    assert command.main([*arguments, str(tmp_path / "deep" / "scores.json")]) == command.OK
    assert json.loads((tmp_path / "deep" / "scores.json").read_text())["AR"] == pytest.approx(1, abs=1e-9)
    assert "images: 2 estimated, 0 were done before" in capsys.readouterr().out


def test_a_signal_keeps_what_is_done(
    bop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class StoppedEstimator(TrueEstimator):
        def __call__(self, request: PoseRequest) -> FoundPose:
            if request.target.im_id == 1:
                signal.raise_signal(signal.SIGTERM)
            return super().__call__(request)

    monkeypatch.setattr(command, "Estimator", lambda dataset, options: StoppedEstimator(dataset))
    assert command.main(predict_arguments(bop, tmp_path / "r.csv")) == 143
    assert "the same command continues" in capsys.readouterr().err
    assert {row.split(",")[1] for row in (tmp_path / "r.csv").read_text().splitlines()[1:]} == {"0"}
    monkeypatch.setattr(command, "Estimator", lambda dataset, options: TrueEstimator(dataset))
    assert command.main(predict_arguments(bop, tmp_path / "r.csv")) == command.OK
    assert "images: 1 estimated, 1 were done before" in capsys.readouterr().out


def test_names_that_are_too_long(bop: Path, tmp_path: Path, recording: list, capsys: pytest.CaptureFixture) -> None:
    long = "x" * 300
    for arguments in (
        predict_arguments(bop, tmp_path / long),
        predict_arguments(tmp_path / long, tmp_path / "r.csv"),
        ["score", "--results", str(tmp_path / long), "--dataset", str(bop)],
        ["check", str(tmp_path / long)],
    ):
        assert command.main(arguments) == BAD_INPUT
        assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "0"], "--workers is 0: at least 1"),
        (["--split", "val"], "has none of val"),
        (["--detections", "absent.json"], "absent.json"),
        (["--models", "models_cad"], "has no models_cad folder"),
    ],
)
def test_bad_arguments(
    bop: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture, recording: list
) -> None:
    assert command.main(predict_arguments(bop, tmp_path / "r.csv", *more)) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_detections_that_miss_an_object_leave_it_out(
    bop: Path, tmp_path: Path, recording: list[RecordingEstimator], capsys: pytest.CaptureFixture
) -> None:
    box = {"scene_id": 1, "category_id": ROD, "bbox": [20, 20, 60, 50], "time": 0.2}
    boxes = [{**box, "image_id": i, "score": 0.5 + 0.1 * i} for i in (0, 1)]
    (tmp_path / "detections.json").write_text(json.dumps(boxes))
    more = ("--detections", str(tmp_path / "detections.json"))
    assert command.main(predict_arguments(bop, tmp_path / "r.csv", *more)) == command.SOME_TARGETS_FAILED
    rows = (tmp_path / "r.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:4] for row in rows] == [["1", "0", "5", "0.5"], ["1", "1", "5", "0.6"]]
    assert all(float(row.split(",")[-1]) >= 0.2 for row in rows)
    assert "no detection of it" in capsys.readouterr().err


def test_private_ground_truth_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture, recording: list) -> None:
    itodd = write_dataset(tmp_path / "itodd", scenes=1, images=1, gray=True)
    (itodd / "test" / "000001" / "scene_gt.json").unlink()
    assert command.main(predict_arguments(itodd, tmp_path / "r.csv")) == BAD_INPUT
    assert "kept private" in capsys.readouterr().err
    assert not (tmp_path / "r.csv").exists()
