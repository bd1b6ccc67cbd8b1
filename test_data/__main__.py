"""`python -m test_data` gets the default scene: the recording at TEST_SCENE_URL if that is set, else the made one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tyro

from pose6d.errors import Pose6DError
from test_data.download_scene import download_scene
from test_data.make_avocado_scene import make_avocado_scene


def main(folder: Path = Path(__file__).parent / "avocado_translate_1") -> None:
    """Get the default scene where it is not there yet."""
    try:
        print(download_scene(folder) if os.environ.get("TEST_SCENE_URL") else make_avocado_scene(folder))
    except Pose6DError as error:
        sys.exit(f"error: {error}")


tyro.cli(main)
