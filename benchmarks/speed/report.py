"""The tables as JSON, as text that is Markdown too, and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.result_file import read_result
from benchmarks.speed.bench import Table
from benchmarks.speed.speed_plot import Bars, Curves, write_speed_plot
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.json_file import write_json


def write_tables(path: Path, tables: Mapping[str, Table], facts: Mapping[str, Any]) -> None:
    """Write all tables and what they were made with."""
    write_json(path, {**facts, "sections": {name: asdict(table) for name, table in tables.items()}})


def read_tables(path: Path) -> tuple[dict[str, Table], dict[str, Any]]:
    """Tables and facts of a file that `write_tables` wrote.

    Raises:
        ResultsError: the file is missing, or of another form.
    """
    return read_result(path, lambda facts: ({n: Table(**t) for n, t in facts.pop("sections").items()}, facts))


def markdown(tables: Mapping[str, Table], facts: Mapping[str, Any]) -> str:
    """What everything was made with, and a table per section."""
    lines = ["; ".join(f"{key}: {value}" for key, value in facts.items() if key != "options"), ""]
    for name, table in tables.items():
        lines += [f"### {name}", "", *table_lines(table.rows)]
        lines += [table.note, ""] if table.note else []
    return "\n".join(lines)


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of a Markdown table whose columns line up in a terminal, and an empty one; none without rows."""
    if not rows:
        return []
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    return markdown_table(
        cells, left=[i for i, c in enumerate(columns) if any(isinstance(row.get(c), str) for row in rows)]
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_figure(path: Path, tables: Mapping[str, Table], facts: Mapping[str, Any]) -> str:
    """Draw the sections that have something to show; returns a line that says what was done."""
    shown = panels(tables)
    if not shown:
        return "no figure: none of these sections is drawn"
    title = f"{facts.get('device')}, weights {facts.get('weights')}, commit {facts.get('commit')}"
    write_speed_plot(path, shown, title)
    return f"figure: {path}"


def panels(tables: Mapping[str, Table]) -> list[Bars | Curves]:
    """What is drawn of each section."""
    drawn: list[Bars | Curves] = []
    for name, table in tables.items():
        rows = table.rows
        if not rows:
            continue
        if name == "stages":
            whole = rows[0]["of"]
            inside = {row["stage"]: row["ms"] for row in rows if row["of"] == whole and row["stage"] != "all"}
            drawn.append(Bars(f"stages: {whole}", inside))
        elif name == "register":
            spread = {row["schedule"]: (row["p10 ms"], row["p90 ms"]) for row in rows}
            drawn.append(Bars("register, p10 to p90", {row["schedule"]: row["p50 ms"] for row in rows}, spread))
        elif name == "track":
            named = {_track_name(row): row for row in rows}
            spread = {key: (row["p10 ms"], row["p90 ms"]) for key, row in named.items()}
            drawn.append(Bars("track, p10 to p90", {key: row["p50 ms"] for key, row in named.items()}, spread))
        elif name == "cold start":
            steps = {row["step"]: row["seconds"] for row in rows[1:] if row["step"] != "all"}
            drawn.append(Bars("from process start to first pose", steps, unit="seconds"))
        elif name in _CURVES:
            heading, x, x_label, curves = _CURVES[name]
            columns = {curve: [row[column] for row in rows] for curve, column in curves.items()}
            drawn.append(Curves(heading, x_label, [row[x] for row in rows], columns))
    return drawn


def _track_name(row: Mapping[str, Any]) -> str:
    steps = row["iterations"]
    name = steps if isinstance(steps, str) else f"{steps} iteration{'s' * (steps > 1)}"
    return f"{name}{', judged' * (row['judged'] == 'yes')}"


_REGISTER_AND_TRACK = {"register": "register p50 ms", "track": "track p50 ms"}
# Section -> heading, column of x, label of x, curve -> column.
_CURVES: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "hypotheses": ("number of hypotheses", "hypotheses", "hypotheses", {"refine": "refine ms", "score": "score ms"}),
    "mesh sizes": ("size of the mesh", "faces", "faces", _REGISTER_AND_TRACK),
    "image sizes": ("size of the image", "Mpixel", "megapixels", _REGISTER_AND_TRACK),
    "objects": (
        "many objects, all together",
        "objects",
        "objects",
        {
            "register singly": "register singly ms",
            "register_many": "register_many ms",
            "track singly": "track singly ms",
            "track_many": "track_many ms",
        },
    ),
}
