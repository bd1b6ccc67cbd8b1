"""The comparison of schedules: the same scenes for all, fallbacks worked out afterwards, known tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.schedule_plot import pareto_front
from benchmarks.schedules import (
    Options,
    Results,
    main,
    outcomes,
    parse_schedule,
    read_results,
    with_fallback,
    write_results,
)
from learning.datasets.objects.random_objects import make_object
from learning.datasets.objects.training_pool import HELD_OUT_SEED
from pose6d.errors import Pose6DError
from pose6d.evaluation.record import Record
from pose6d.mesh.mesh import Mesh
from pose6d.search.schedule import Schedule, Stage


def _records(errors: list[float], confidence: list[float | None], seconds: float) -> list[Record]:
    return [
        Record("cluttered", "cup", i, 0.2, confidence=c, add=e, add_s=e / 2, error=e, degrees=1.0, millimetres=1.0,
               seconds=seconds)
        for i, (e, c) in enumerate(zip(errors, confidence, strict=True))
    ]  # fmt: skip


@pytest.fixture
def results() -> Results:
    """Full is right in three scenes of four, thorough in two; the quick one knows of one of its two mistakes."""
    records = {
        "full": _records([0.01, 0.02, 0.03, 0.4], [0.9, 0.9, 0.9, 0.2], 0.08),
        "thorough": _records([0.01, 0.03, 0.3, 0.4], [0.9, 0.9, 0.9, 0.2], 0.04),
        "quick": _records([0.01, 0.5, 0.6, 0.4], [0.95, 0.3, 0.85, 0.1], 0.02),
    }
    pairs = {"full": 1512, "thorough": 852, "quick": 228}
    return Results(pairs, records, {"options": {"weights": "lite"}, "device": "abacus"})


def test_a_name_says_what_a_schedule_does() -> None:
    assert parse_schedule("120/1k24/2k8") == Schedule("120/1k24/2k8", 120, (Stage(1, 24), Stage(2, 8)))
    assert parse_schedule("all") == Schedule("all")
    assert parse_schedule("all/1k16a25") == Schedule("all/1k16a25", None, (Stage(1, 16, 25.0),))
    assert parse_schedule("60/1k12a25s").stages == (Stage(1, 12, 25.0, scouted=True),)
    assert parse_schedule("pruned").min_confidence == 0  # no fallback while it is measured


@pytest.mark.parametrize(
    "name", ["fast", "0/1k12", "120/2", "120/0k12", "120/2k0", "120/2k12/", "120/2k12s40", "some/2k12"]
)
def test_an_unknown_schedule_is_refused_by_name(name: str) -> None:
    with pytest.raises(Pose6DError, match=f"--schedules {name}: unknown; choose full, thorough, pruned"):
        parse_schedule(name)


def test_below_the_threshold_the_surer_result_counts_and_both_times(results: Results) -> None:
    own, second = results.records["quick"], results.records["thorough"]
    records, doubtful = with_fallback(own, second, 0.5)
    assert doubtful.tolist() == [False, True, False, True]
    assert [r.error for r in records] == [0.01, 0.03, 0.6, 0.4]
    assert [r.seconds for r in records] == pytest.approx([0.02, 0.06, 0.02, 0.06])
    assert own[1].error == 0.5 and second[1].seconds == 0.04  # what was measured stays


def test_a_second_result_that_is_less_sure_only_costs_time() -> None:
    own, second = _records([0.02], [0.4], 0.02), _records([0.5], [0.3], 0.04)
    (record,), doubtful = with_fallback(own, second, 0.5)
    assert doubtful.all() and (record.error, record.confidence, record.seconds) == (0.02, 0.4, pytest.approx(0.06))


def test_the_outcome_of_every_schedule_at_every_threshold(results: Results) -> None:
    full, thorough, never, half, always = outcomes(results, (0.0, 0.5, 1.0))
    assert (full.schedule, full.add, full.fallback, full.mean) == ("full", 75, 0, pytest.approx(80))
    assert full.add_change[0] == 0
    assert (thorough.add, thorough.add_change[0], thorough.fallback) == (50, -25, 0)
    assert (never.sure, never.pairs, never.add, never.fallback) == (0, 228, 25, 0)
    assert never.add_change[0] == -50 and never.add_change[1] < -50 < never.add_change[2]
    assert (half.add, half.fallback, half.mean) == (50, 50, pytest.approx(40))
    assert (always.add, always.add_change[0], always.p50) == (50, -25, pytest.approx(60))


def test_without_a_confidence_there_is_no_fallback(results: Results) -> None:
    blind = {name: [replace(r, confidence=None) for r in own] for name, own in results.records.items()}
    assert [o.sure for o in outcomes(replace(results, records=blind), (0.0, 0.5))] == [0, 0, 0]


def test_a_refused_frame_is_wrong_for_all(results: Results) -> None:
    refused = Record("cluttered", "cup", 4, 0.2, failure="no depth")
    records = {name: [*own, refused] for name, own in results.records.items()}
    full, _, quick = outcomes(replace(results, records=records), (0.0,))
    assert (full.add, quick.add, quick.p50) == (60, 20, pytest.approx(20))


def test_the_front_holds_what_nothing_beats() -> None:
    milliseconds = [30.0, 10.0, 20.0, 20.0, 40.0, 5.0, float("nan")]
    percent = [95.0, 90.0, 93.0, 94.0, 95.0, 80.0, 99.0]
    assert pareto_front(milliseconds, percent) == [5, 1, 3, 0]


def test_results_come_back_from_the_file(tmp_path: Path, results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "schedules.json"
    write_results(file, results)
    assert read_results(file) == results
    main(Options(from_json=file, sure=(0.0, 0.5)))
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| quick")]
    assert [row[2].strip() for row in rows] == ["0", "0.5"] and "-50.0 [" in rows[0][10]
    assert file.with_suffix(".png").stat().st_size > 5000
    del results.records["thorough"]
    write_results(file, results)
    with pytest.raises(Pose6DError, match=r"not a result of this benchmark: KeyError\('thorough'\)"):
        main(Options(from_json=file))
    file.write_text('{"records": []}')
    with pytest.raises(Pose6DError, match=r"schedules\.json: not a result"):
        main(Options(from_json=file))


class RecordingEstimator:
    """Is always wrong, and writes down which schedule was asked, and for which frame."""

    poses = None
    device = torch.device("cuda")  # where every schedule is warmed up
    confidence = 0.7

    def __init__(self, schedule: str, calls: list[tuple[str, bytes]]) -> None:
        self.schedule, self.calls = schedule, calls

    def register(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, ob_mask: np.ndarray, iteration: int = 5
    ) -> np.ndarray:
        self.calls.append((self.schedule, depth.tobytes()))
        return np.eye(4)


def test_one_command_registers_every_scene_with_every_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bytes]] = []

    class Factory:
        def __init__(self, weights: str, device: str, schedule: Schedule) -> None:
            self.schedule = schedule

        def __call__(self, mesh: Mesh) -> RecordingEstimator:
            return RecordingEstimator(self.schedule.name, calls)

        def forget(self) -> None:
            pass

    meshes = [make_object(HELD_OUT_SEED + i, size=0.2) for i in range(2)]
    monkeypatch.setattr("benchmarks.schedules.EstimatorFactory", Factory)
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: meshes)
    file = tmp_path / "schedules.json"
    main(Options(schedules=("pruned", "120/1k12"), scenes=3, suites=("easy",), workers=0, device="cpu", output=file))
    results = read_results(file)
    names = ["full", "thorough", "pruned", "120/1k12"]
    pairs = [252 * 6 + 39, 120 * 3 + 24 * 2 + 12 * 3 + 39, 60 * 2 + 12 * 5 + 39, 120 * 2 + 12 * 5 + 39]
    assert list(results.records) == names and list(results.pairs.values()) == pairs
    # Scenes 0 and 2 show the first object, and come first; all schedules are recorded in the same order.
    assert all([r.index for r in own] == [0, 2, 1] for own in results.records.values())
    warm, first, second = calls[:8], calls[8:12], calls[12:16]
    assert [name for name, _ in warm] == [name for name in names for _ in range(2)]
    assert [name for name, _ in first] == names and [name for name, _ in second] == [*names[1:], names[0]]
    assert len({depth for _, depth in first}) == len({depth for _, depth in second}) == 1
    assert "| 120/1k12" in file.with_suffix(".md").read_text() and file.with_suffix(".png").stat().st_size > 5000


def test_suites_without_a_pose_to_find_are_refused() -> None:
    with pytest.raises(Pose6DError, match="--suites tracking"):
        main(Options(suites=("tracking",)))
