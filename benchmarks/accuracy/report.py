"""The scoreboard as JSON, as text that is Markdown too, and as a reliability diagram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.accuracy.binned_scores import BINNINGS, FEWEST, binned_scores, worst_bins
from benchmarks.accuracy.scores import SuiteScores, score, select_judged
from benchmarks.accuracy.suites import SUITES
from benchmarks.result_file import facts_lines, read_result
from pose6d.evaluation.calibration_plot import write_reliability_diagram
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.evaluation.record import Record
from pose6d.json_file import write_json

_POSE_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("results", "results", "d"),
    ("ADD-0.1d %", "add", ".1f"),
    ("ADD-S-0.1d %", "add_s", ".1f"),
    ("ADD(-S)-0.1d %", "error", ".1f"),
    ("any %", "any_add", ".1f"),
    ("AUC ADD", "auc_add", ".1f"),
    ("AUC ADD-S", "auc_add_s", ".1f"),
    ("AUC 0.1d", "auc_diameter", ".1f"),
    ("median d", "median", ".4f"),
    ("deg", "degrees", ".2f"),
    ("mm", "millimetres", ".2f"),
    ("refused", "failures", "d"),
    ("lost", "losses", "d"),
    ("ms", "milliseconds", ".1f"),
)
_CONFIDENCE_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("mean confidence", "confidence", ".3f"),
    ("ECE", "ece", ".3f"),
    ("ROC-AUC", "roc_auc", ".3f"),
    ("Brier", "brier", ".3f"),
    ("risk area", "risk_area", ".4f"),
    ("risk at 70 %", "risk_70", ".4f"),
)
_SET_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("results", "results", "d"),
    ("ADD(-S)-0.1d %", "error", ".1f"),
    ("set-0.1d %", "set_error", ".1f"),
    ("truth likely %", "truth_likely", ".1f"),
    ("precision %", "precision", ".1f"),
    ("recall %", "recall", ".1f"),
    ("coverage %", "coverage", ".1f"),
    ("likely poses", "likely", ".2f"),
    ("look like the truth", "set_size", ".1f"),
)
_BIN_COLUMNS = (*_SET_COLUMNS[:3], *_CONFIDENCE_COLUMNS)
_OBJECT_COLUMNS = (*_POSE_COLUMNS[:5], _POSE_COLUMNS[8])


def write_records(path: Path, records: Sequence[Record], facts: Mapping[str, Any]) -> None:
    """Write all records and what they were made with."""
    write_json(path, {**facts, "records": [asdict(record) for record in records]})


def read_records(path: Path) -> tuple[list[Record], dict[str, Any]]:
    """Records and facts of a file that `write_records` wrote.

    Raises:
        ResultsError: the file is missing, or of another form.
    """
    return read_result(path, lambda content: ([Record(**entry) for entry in content.pop("records")], content))


def markdown(records: Sequence[Record], facts: Mapping[str, Any]) -> str:
    """The scoreboard for people: what it was made with, and tables by suite, of the confidence, and by object."""
    text = facts_lines(facts)
    by_suite = {name: [r for r in records if r.suite == name] for name in SUITES}
    by_suite = {name: rows for name, rows in by_suite.items() if rows}
    posed = {name: score(rows) for name, rows in by_suite.items() if any(r.present for r in rows)}
    if posed:
        text += _table("suite", posed, _POSE_COLUMNS)
    if len(select_judged(records)[0]):
        text += _table("confidence", {name: score(rows) for name, rows in by_suite.items()}, _CONFIDENCE_COLUMNS)
        text[-1:] = [*_table("confidence", {"all suites": score(records)}, _CONFIDENCE_COLUMNS)[2:]]
    else:
        text += ["These weights give no confidence.", ""]
    if any(r.set_error is not None for r in records):
        text += _set_tables(by_suite)
    text += _bin_tables(records)
    counted = [r for r in records if r.present and r.suite != "tracking"]
    names = sorted({r.object for r in counted})
    if names:
        text += _table("object", {n: score([r for r in counted if r.object == n]) for n in names}, _OBJECT_COLUMNS)
    if "real" in by_suite:
        text += _real_table(by_suite["real"])
    text += [f"- {name}: {SUITES[name].condition}" for name in by_suite]
    return "\n".join(text) + "\n"


def write_diagram(path: Path, records: Sequence[Record], title: str) -> str:
    """Write the reliability diagram if there is a confidence; returns a line that says what was done."""
    confidence, right = select_judged(records)
    if not len(confidence):
        return "no reliability diagram: these weights give no confidence"
    write_reliability_diagram(path, confidence, right, title)
    return f"reliability diagram: {path}"


def _set_tables(by_suite: Mapping[str, Sequence[Record]]) -> list[str]:
    """The errors to the poses that look like the truth, and the confidence in being one of these."""
    rows = {name: score(own, by_set=True) for name, own in by_suite.items() if any(r.set_error for r in own)}
    text = _table("poses that look like the truth", rows, _SET_COLUMNS)
    if any(len(select_judged(own, by_set=True)[0]) for own in by_suite.values()):
        text += _table("confidence in one of them", rows, _CONFIDENCE_COLUMNS)
    return text


def _bin_tables(records: Sequence[Record]) -> list[str]:
    """The confidence by bins, and where it is worst; [] without a confidence."""
    text: list[str] = []
    for binning in BINNINGS:
        rows = binned_scores(records, binning)
        if rows:
            text += _table(f"by {binning}", rows, _BIN_COLUMNS)
        worst = [f"{measure} {value:.3f} ({name})" for measure, (name, value) in worst_bins(rows).items()]
        if worst:
            text += [f"Worst by {binning}, of {FEWEST} results or more: {'; '.join(worst)}.", ""]
    return text


def _real_table(records: Sequence[Record]) -> list[str]:
    columns = ["deg", "mm", "ADD-S/d", "set/d", "IoU", "depth mm", "depth/d", "confidence", "second", "seconds"]
    rows = [["recording", "object", "verified", *columns]]
    for r in records:
        second = r.alternatives[1] if r.alternatives is not None and len(r.alternatives) > 1 else None
        residual = None if r.depth_residual is None else 1e3 * r.depth_residual * r.diameter
        numbers = [
            *((r.degrees, ".2f"), (r.millimetres, ".2f"), (r.add_s, ".4f"), (r.set_error, ".4f"), (r.mask_iou, ".3f")),
            *((residual, ".2f"), (r.depth_residual, ".4f"), (r.confidence, ".3f"), (second, ".3f")),
        ]
        verified = "yes" if r.error is not None else "refused" if r.failure else "no"
        rows.append([r.recording, r.object, verified, *(_number(v, f) for v, f in numbers), f"{r.seconds:.2f}"])
    return markdown_table(rows)


def _table(first: str, rows: Mapping[str, SuiteScores], columns: Sequence[tuple[str, str, str]]) -> list[str]:
    assert {name for _, name, _ in columns} <= {field.name for field in fields(SuiteScores)}
    cells = [
        [name, *(_number(getattr(scores, key), form) for _, key, form in columns)] for name, scores in rows.items()
    ]
    return markdown_table([[first, *(title for title, _, _ in columns)], *cells])


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)
