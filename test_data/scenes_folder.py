"""Where the project keeps scenes that it makes or downloads."""

from __future__ import annotations

import json
import os
from pathlib import Path

AVOCADO = "avocado_translate_1"


def scenes_folder() -> Path:
    """`test_data/` of a checkout. An installed package, whose own folder may be read-only, uses the user's cache."""
    here = Path(__file__).resolve().parent
    if (here.parent / "pyproject.toml").is_file():
        return here
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "pose6d" / "scenes"


def read_marker(file: Path) -> dict[str, object]:
    """What the file says that was left when a scene was made; {} where it is missing or no such file."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


SCENES = scenes_folder()
