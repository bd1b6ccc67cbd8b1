"""What the runs of a benchmark leave: a JSON file, and a table and a picture beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pose6d.errors import ResultsError
from pose6d.json_file import read_json
from pose6d.whole_file import write_whole

T = TypeVar("T")


def read_result(path: Path, parse: Callable[[dict[str, Any]], T]) -> T:
    """What `parse` makes of a JSON file that a benchmark wrote.

    Raises:
        ResultsError: the file is missing, or of another form.
    """
    content = read_json(path, ResultsError)
    try:
        return parse(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"--from-json {path}: not a result of this benchmark: {error!r}") from error


def facts_lines(facts: Mapping[str, Any]) -> list[str]:
    """What a table was made with, to stand above it: the machine, the options, and an empty line."""
    options = ", ".join(f"{key} {value}" for key, value in facts.get("options", {}).items())
    return ["; ".join(f"{key}: {value}" for key, value in facts.items() if key != "options"), options, ""]


def print_result(text: str, draw: Callable[[Path], str | None], *files: Path | None) -> None:
    """Print a table, and leave it beside the first of the files that is given, with a picture.

    Args:
        text: the table, Markdown.
        draw: writes the picture; what it returns is printed.
        files: the JSON that is written or that was read.
    """
    print(text)
    beside = next((file for file in files if file is not None), None)
    if beside is not None:
        write_whole(beside.with_suffix(".md"), text)
        if said := draw(beside.with_suffix(".png")):
            print(said)
