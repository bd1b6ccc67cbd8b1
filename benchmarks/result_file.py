"""What an earlier run of a benchmark left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pose6d.errors import ResultsError
from pose6d.json_file import read_json

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
