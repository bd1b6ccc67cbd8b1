"""Reading JSON that others wrote, and writing it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import Pose6DError, SceneError
from pose6d.whole_file import write_whole


def read_json(path: Path, error: type[Pose6DError] = SceneError) -> Any:
    """Parse a JSON file; `error`, with the cause and the place of the mistake, if it cannot be read, or is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
    except RecursionError as cause:
        raise error(f"{path} cannot be read as JSON: it is nested too deep; was it made by mistake?") from cause
    except (OSError, ValueError) as cause:
        raise error(f"{path} cannot be read as JSON: {cause}") from cause


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Write a JSON file, whole or not at all.

    Arrays become lists, numbers that are not finite become null, and what JSON has no form for (paths) becomes text.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(_plain(values), indent=2, default=str, allow_nan=False)
    write_whole(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
