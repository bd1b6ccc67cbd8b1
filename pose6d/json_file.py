"""Reading JSON that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pose6d.errors import Pose6DError


def read_json(path: Path, error: type[Pose6DError]) -> Any:
    """Parse a JSON file.

    Args:
        path: the file.
        error: raised with the cause and the place of the mistake if it cannot be read, or is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
    except RecursionError as cause:
        raise error(f"{path} cannot be read as JSON: it is nested too deep; was it made by mistake?") from cause
    except (OSError, ValueError) as cause:
        raise error(f"{path} cannot be read as JSON: {cause}") from cause
