"""Variants on the same scenes: pairs are matched by scene, intervals are right, stopped runs go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.report import read_records, write_records
from benchmarks.quantization import accuracy
from benchmarks.quantization.__main__ import Report, add_accuracy, report
from benchmarks.quantization.accuracy import Options, compare, main, run
from benchmarks.quantization.measurements import BASELINE, Row
from pose6d.errors import OptionError, OutputError, WeightsError
from pose6d.evaluation.record import Record

NAMES = (BASELINE, "torch-int8")


def record(quantized: str, index: int, error: float | None, failure: str = "") -> Record:
    return Record("cluttered", "can", index, 0.2, quantized=quantized, add=error, error=error, failure=failure)


def test_scenes_are_matched_by_their_number_and_refused_frames_count_as_wrong() -> None:
    records = [record(BASELINE, index, 0.05) for index in range(4)]
    records += [record("torch-int8", 2, 0.02), record("torch-int8", 1, 0.5), record("torch-int8", 9, 0.01)]
    records += [record("torch-int8", 3, None, failure="no depth")]
    found = compare(records)
    assert list(found) == [BASELINE, "torch-int8"]
    assert found[BASELINE].scenes == 4 and found[BASELINE].error == 100
    quantized = found["torch-int8"]
    assert quantized.scenes == 3, "scene 9 has no counterpart"
    assert quantized.error == pytest.approx(100 / 3)
    assert quantized.error_difference[0] == pytest.approx(-200 / 3)
    assert quantized.area_difference[0] == pytest.approx(100 * (0.8 - 3 * 0.5) / 3)
    with pytest.raises(WeightsError, match="nothing to compare with: run --variants torch-fp32"):
        compare(records[4:])


def test_stopped_runs_go_on_and_leave_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[int, tuple[str, ...]]] = []
    stop_at = 2

    class Bench:
        def __init__(self, options: Options) -> None: ...
        def evaluate(self, index: int, names: tuple[str, ...]) -> list[Record]:
            if index == stop_at:
                raise KeyboardInterrupt
            asked.append((index, names))
            return [record(name, index, 0.05) for name in names]

    monkeypatch.setattr(accuracy, "_Bench", Bench)
    output = tmp_path / "a.json"
    with pytest.raises(KeyboardInterrupt):
        main(Options(output, (BASELINE,), scenes=5, workers=1))
    assert "| torch-fp32 |      2 |      100.0 |" in output.with_suffix(".md").read_text()
    stop_at = -1
    run(Options(output, NAMES, scenes=3, workers=1))
    assert asked == [(0, (BASELINE,)), (1, (BASELINE,)), (0, NAMES[1:]), (1, NAMES[1:]), (2, NAMES)]
    assert "going on after 2 poses" in capsys.readouterr().out
    records, facts = read_records(output)
    assert len(records) == 6
    assert [entry["variants"] for entry in facts["runs"]] == [[BASELINE], list(NAMES)]
    with pytest.raises(OutputError, match=r"'seed': 7.*choose another file"):
        run(Options(output, (BASELINE,), scenes=3, seed=8))


def test_bad_options_are_refused_before_any_work(tmp_path: Path) -> None:
    for changes, message in (
        ({"variants": ("int4",)}, "--variants int4: wanted some of torch-fp32, torch-fp16, torch-bf16"),
        ({"variants": ("torch-fp16",)}, "--variants torch-fp16: cpu computes in torch-fp32"),
        ({"suite": "tracking"}, "--suite tracking"),
        ({"schedule": "fast"}, "--schedule fast: wanted one of full, thorough, pruned"),
    ):
        with pytest.raises(WeightsError, match=message):
            main(Options(tmp_path / "a.json", **changes))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="--workers 0: at least one is needed"):
        main(Options(tmp_path / "a.json", (BASELINE,), workers=0))


def test_the_report_takes_the_accuracy_of_its_weights_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records = [record(name, index, 0.05 if index or name == BASELINE else 0.3) for name in NAMES for index in range(4)]
    write_records(file, records, {"options": {"weights": "lite"}, "runs": []})
    assert "onnx-tensorrt" not in Report().variants, "on most machines it would be an error"
    rows = [Row(name) for name in (*NAMES, "onnx-fp32")]
    facts = add_accuracy(rows, Report(weights="lite", accuracy=file))
    assert [row.add for row in rows[:2]] == [100.0, 75.0]
    assert rows[1].add_difference == -25.0
    assert np.isnan(rows[2].add), "not evaluated"
    assert facts == ["ADD(-S) on 4 scenes: weights lite"]
    with pytest.raises(WeightsError, match="is of the weights lite, not of base"):
        add_accuracy(rows, Report(weights="base", accuracy=file))


def test_an_accuracy_that_does_not_fit_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "accuracy.json"
    write_records(file, [record(BASELINE, 0, 0.01)], {"options": {"weights": "base"}})
    monkeypatch.setattr("benchmarks.quantization.__main__.measure_networks", lambda *_: pytest.fail("measured"))
    with pytest.raises(WeightsError, match="is of the weights base, not of lite"):
        report(Report(weights="lite", variants=(), device="cpu", accuracy=file))
