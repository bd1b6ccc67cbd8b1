"""From a data set in BOP format to a results file and to scores; killed, continued, and over several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pose6d.command import BAD_INPUT
from pose6d.errors import FrameError, MissingDependencyError, OutputError, ResultsError, SceneError
from pose6d.evaluation import __main__ as command
from pose6d.evaluation import ray_workers
from pose6d.evaluation.alternatives_file import read_alternatives
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.detections import VisibleMasks
from pose6d.evaluation.prediction import FoundPose, Job, PoseRequest, predict
from pose6d.evaluation.results_file import PoseEstimate, read_results
from pose6d.evaluation.scoring import score, score_table
from tests.evaluation_dataset import BOX, ROD, TrueEstimator, TrueJob, box_mesh, predict_truth, rod_mesh, write_dataset


@pytest.fixture(scope="module")
def bop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("bop") / "tiny")


def wanted_rows(bop: Path) -> list[tuple[int, int, int]]:
    return sorted(target[:3] for target in BopDataset(bop).targets for _ in range(target.inst_count))


def read_rows(path: Path, bop: Path) -> list[PoseEstimate]:
    return read_results(path, {target[:3]: target.inst_count for target in BopDataset(bop).targets})


def keys(path: Path, bop: Path) -> list[tuple[int, int, int]]:
    return sorted(row.key for row in read_rows(path, bop))


def run(bop: Path, output: Path, **estimator: object) -> tuple[object, TrueEstimator]:
    dataset = BopDataset(bop)
    estimate = TrueEstimator(dataset, **estimator)  # type: ignore[arg-type]
    return predict(lambda: Job(dataset, VisibleMasks(dataset), estimate), dataset.images(), output, {}), estimate


def test_ground_truth_scores_one(bop: Path, tmp_path: Path) -> None:
    predict_truth(bop, tmp_path / "truth.csv")
    scores = score(BopDataset(bop), tmp_path / "truth.csv")
    assert scores["instances"] == len(wanted_rows(bop)) == 18
    assert scores["without_estimate"] == scores["ignored_rows"] == 0
    for part in (scores, *scores["objects"].values(), *scores["scenes"].values()):
        for name in ("AR", "AR_VSD", "AR_MSSD", "AR_MSPD", "recall_ADD_0.1d", "AUC_ADD", "AUC_ADD-S"):
            assert part[name] == pytest.approx(1, abs=1e-9), name
    assert set(scores["objects"]) == {str(BOX), str(ROD)}
    assert scores["mean_seconds_per_image"] > 0
    assert "1.0000" in score_table(scores)


def test_a_known_shift_scores_what_arithmetic_says(bop: Path, tmp_path: Path) -> None:
    """A sideways shift of 2 cm is ADD, MSSD and translation error at once; MSPD follows from the nearest vertex."""
    shift = 0.02
    run(bop, tmp_path / "shifted.csv", shift=(shift, 0, 0))
    scores = score(BopDataset(bop), tmp_path / "shifted.csv")
    for obj_id, mesh in ((BOX, box_mesh()), (ROD, rod_mesh())):
        part = scores["objects"][str(obj_id)]
        thresholds = np.arange(0.05, 0.51, 0.05)
        assert part["AR_MSSD"] == pytest.approx((shift / mesh.diameter < thresholds).mean())
        assert part["recall_ADD_0.1d"] == float(shift < 0.1 * mesh.diameter)
        assert part["AUC_ADD"] == pytest.approx((0.1 - shift + 0.0005) / 0.1)
        assert part["median_translation_mm"] == pytest.approx(1000 * shift, rel=1e-5)
        assert part["median_rotation_deg"] == pytest.approx(0, abs=1e-4)
        assert part["AUC_ADD-S"] >= part["AUC_ADD"]
    dataset = BopDataset(bop)
    passed = []
    for target in dataset.targets:
        points = dataset.evaluation_mesh(target.obj_id).vertices
        for truth in dataset.best_visible(target):
            nearest = (points @ truth.object_in_camera[2, :3]).min() + truth.object_in_camera[2, 3]
            pixels = 150 * shift / nearest * 640 / 120
            passed.append((pixels < np.arange(5, 51, 5)).mean())
    assert scores["AR_MSPD"] == pytest.approx(np.mean(passed))
    assert 0 < scores["AR_VSD"] < 1
    assert scores["AR"] == pytest.approx((scores["AR_VSD"] + scores["AR_MSSD"] + scores["AR_MSPD"]) / 3)


def test_symmetric_poses_are_right_and_missing_ones_are_wrong(bop: Path, tmp_path: Path) -> None:
    """Every box half turned and every rod turned by some angle that is no multiple of its sides; one image left out."""
    dataset = BopDataset(bop)
    lines = ["scene_id,im_id,obj_id,score,R,t,time"]
    for target in dataset.targets[2:]:  # without the two targets of the first image
        for truth in dataset.best_visible(target):
            symmetries = dataset.symmetries(target.obj_id, 360 / 315)
            assert symmetries is not None
            pose = truth.object_in_camera @ symmetries[len(symmetries) // 2]
            lines.append(PoseEstimate(*target[:3], 1.0, pose).row())
    (tmp_path / "turned.csv").write_text("\n".join(lines) + "\n")
    scores = score(dataset, tmp_path / "turned.csv")
    assert scores["without_estimate"] == 3
    for name in ("AR_MSSD", "AR_MSPD", "recall_ADD(-S)_0.1d"):
        assert scores[name] == pytest.approx(15 / 18), name
    assert scores["AR_VSD"] > 14.5 / 18  # the prism's edges are not where they were
    assert scores["recall_ADD_0.1d"] < 0.5
    assert scores["median_rotation_deg"] == pytest.approx(0, abs=0.1)


def test_the_best_scores_count_up_to_the_number_of_instances(bop: Path, tmp_path: Path) -> None:
    """A wrong pose with the higher score takes the place of a right one."""
    dataset = BopDataset(bop)
    target = next(t for t in dataset.targets if t.obj_id == BOX)
    truth = dataset.best_visible(target)[0].object_in_camera
    wrong = truth.copy()
    wrong[:3, 3] += [0.3, 0, 0]
    (tmp_path / "targets.json").write_text(json.dumps([target._asdict()]))
    one = BopDataset(bop, targets_file=tmp_path / "targets.json")
    header = "scene_id,im_id,obj_id,score,R,t,time\n"
    for pose, expected in ((truth, 1.0), (wrong, 0.0)):
        (tmp_path / "one.csv").write_text(header + PoseEstimate(*target[:3], 0.9, pose).row() + "\n")
        assert score(one, tmp_path / "one.csv")["AR"] == expected


def test_a_killed_run_goes_on_without_repeating_or_losing_a_target(tmp_path: Path, repository: Path) -> None:
    bop, output = write_dataset(tmp_path / "tiny", scenes=3, images=8), tmp_path / "results.csv"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command_line = [sys.executable, "-m", "tests.evaluation_dataset", str(bop), str(output)]
    before = 0
    for rows in (8, 30):
        with subprocess.Popen(command_line, env=environment, stderr=subprocess.DEVNULL) as process:
            until = time.monotonic() + 60
            while count_rows(output) < rows and time.monotonic() < until and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert before < count_rows(output) < len(wanted_rows(bop))
        before = count_rows(output)
        with output.open("ab") as file:
            file.write(b"2,3,1,1,0.5 0.5")  # as if the kill had come in the middle of a line
    kept = output.read_text().splitlines()[: before - 2]
    predict_truth(bop, output)
    assert keys(output, bop) == wanted_rows(bop)
    assert output.read_text().splitlines()[: len(kept)] == kept
    alternatives = read_alternatives(output)
    assert sorted(key for key, rows in alternatives.items() for _ in rows) == wanted_rows(bop), "none lost or repeated"
    for row in read_rows(output, bop):
        assert any(np.allclose(first, row.object_in_camera) for (first, _), _ in alternatives[row.key])
    assert score(BopDataset(bop), output)["AR"] == pytest.approx(1, abs=1e-9)


def count_rows(path: Path) -> int:
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.is_file() else 0


@pytest.mark.parametrize("cut", range(0, 1400, 97))
def test_a_file_cut_anywhere_is_completed(bop: Path, tmp_path: Path, cut: int) -> None:
    run(bop, tmp_path / "whole.csv")
    whole = (tmp_path / "whole.csv").read_bytes()
    (tmp_path / "cut.csv").write_bytes(whole[:cut])
    (tmp_path / "cut.csv.settings.json").write_text("{}")
    summary, estimator = run(bop, tmp_path / "cut.csv")
    assert keys(tmp_path / "cut.csv", bop) == wanted_rows(bop)
    assert summary.skipped == 6 - len({r.frame.name + str(r.target.scene_id) for r in estimator.requests})  # type: ignore[attr-defined]
    again, idle = run(bop, tmp_path / "cut.csv")
    assert (again.skipped, idle.requests) == (6, [])  # type: ignore[attr-defined]


def test_a_failing_target_is_named_and_the_others_are_kept(
    bop: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    dataset = BopDataset(bop)
    truth = TrueEstimator(dataset)

    def fails_on_the_rod(request: PoseRequest) -> FoundPose:
        if request.target[:3] == (1, 2, ROD):
            raise FrameError("too dark")
        return truth(request)

    job = Job(dataset, VisibleMasks(dataset), fails_on_the_rod)
    summary = predict(lambda: job, dataset.images(), tmp_path / "r.csv", {})
    assert [target[:3] for target in summary.failures] == [(1, 2, ROD)]
    assert "scene 1, image 2, object 5: too dark" in capsys.readouterr().err
    assert len(keys(tmp_path / "r.csv", bop)) == 16
    scores = score(dataset, tmp_path / "r.csv")
    assert (scores["without_estimate"], scores["AR"]) == (2, pytest.approx(16 / 18))


def test_other_settings_or_targets_do_not_mix(bop: Path, tmp_path: Path) -> None:
    dataset = BopDataset(bop)
    job = Job(dataset, VisibleMasks(dataset), TrueEstimator(dataset))
    predict(lambda: job, dataset.images(), tmp_path / "r.csv", {"weights": "base"})
    before = (tmp_path / "r.csv").read_bytes()
    with pytest.raises(OutputError, match="begun with weights = 'base', now it is 'lite'"):
        predict(lambda: job, dataset.images(), tmp_path / "r.csv", {"weights": "lite"})
    with pytest.raises(OutputError, match=r"line 2: .* is not asked for"):
        predict(lambda: job, dataset.images()[1:], tmp_path / "r.csv", {"weights": "base"})
    (tmp_path / "r.csv.settings.json").unlink()
    with pytest.raises(OutputError, match="exists without"):
        predict(lambda: job, dataset.images(), tmp_path / "r.csv", {"weights": "base"})
    assert (tmp_path / "r.csv").read_bytes() == before


def test_settings_may_change_until_something_is_written(bop: Path, tmp_path: Path) -> None:
    dataset = BopDataset(bop)

    def fails() -> Job:
        raise SceneError("no such detections")

    with pytest.raises(SceneError, match="no such detections"):
        predict(fails, dataset.images(), tmp_path / "r.csv", {"detections": "a.jsn"})
    job = Job(dataset, VisibleMasks(dataset), TrueEstimator(dataset))
    predict(lambda: job, dataset.images(), tmp_path / "r.csv", {"detections": "a.json"})
    assert json.loads((tmp_path / "r.csv.settings.json").read_text()) == {"detections": "a.json"}


@pytest.mark.parametrize("text", ["my notes", "my notes\n", "my notes\nof today"])
def test_a_file_of_another_kind_is_left_alone(bop: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    for settings in (None, "{}"):
        if settings is not None:
            (tmp_path / "r.csv.settings.json").write_text(settings)
        with pytest.raises((OutputError, ResultsError)):
            run(bop, tmp_path / "r.csv")
        assert (tmp_path / "r.csv").read_text() == text


def test_tracking_goes_on_from_the_last_pose(tmp_path: Path) -> None:
    bop = write_dataset(tmp_path / "tiny", scenes=1, images=4)
    targets = [{"scene_id": 1, "im_id": i, "obj_id": BOX, "inst_count": 1} for i in range(4)]
    (bop / "test_targets_bop19.json").write_text(json.dumps(targets))
    dataset = BopDataset(bop)
    estimator = TrueEstimator(dataset)
    job = Job(dataset, VisibleMasks(dataset), estimator, track=True)
    predict(lambda: job, dataset.images(), tmp_path / "r.csv", {})
    assert [request.previous is None for request in estimator.requests] == [True, False, False, False]
    np.testing.assert_allclose(estimator.requests[2].previous, dataset.truths(1, 1)[0].object_in_camera)
    lines = (tmp_path / "r.csv").read_text().splitlines(keepends=True)
    (tmp_path / "r.csv").write_text("".join(lines[:3]))
    estimator.requests.clear()
    predict(lambda: job, dataset.images(), tmp_path / "r.csv", {})
    assert [request.target.im_id for request in estimator.requests] == [2, 3]
    np.testing.assert_allclose(estimator.requests[0].previous, dataset.truths(1, 1)[0].object_in_camera, atol=1e-8)
    assert [*read_alternatives(tmp_path / "r.csv")] == [(1, 0, BOX)], "what is tracked has none"
    with pytest.raises(SceneError, match="2 instances cannot be told apart"):
        TrueJob(write_dataset(tmp_path / "several", scenes=1, images=1), track=True)()


def test_ray_missing_is_said_with_the_extra(bop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pose6d\[ray\]"):
        ray_workers._import_ray()
    with pytest.raises(MissingDependencyError):
        predict_truth(bop, tmp_path / "r.csv", workers=2)


def test_command_line_scores_and_checks(bop: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "truth.csv"
    predict_truth(bop, output)
    assert command.main(["check", str(output), "--dataset", str(bop)]) == command.OK
    assert command.main(["score", "--results", str(output), "--dataset", str(bop)]) == command.OK
    scores = json.loads((tmp_path / "truth.scores.json").read_text())
    assert scores["AR"] == pytest.approx(1, abs=1e-9)
    printed = capsys.readouterr().out
    assert "AUC ADD-S" in printed
    assert str(tmp_path / "truth.scores.json") in printed
    lines = output.read_text().splitlines()
    output.write_text("\n".join([*lines, lines[1]]) + "\n")
    assert command.main(["score", "--results", str(output), "--dataset", str(bop)]) == BAD_INPUT
    assert f"line {len(lines) + 1}: duplicate target" in capsys.readouterr().err
    assert command.main(["check", str(output), "--dataset", str(bop)]) == command.PROBLEMS
    assert f"line {len(lines) + 1}: duplicate target" in capsys.readouterr().out
