"""`python -m test_data` gets the default scene: the recording at TEST_SCENE_URL if that is set, else the made one."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from pose6d.command import run_command
from test_data.default_scene import get_default_scene
from test_data.scenes_folder import AVOCADO, SCENES


def main(folder: Path = SCENES / AVOCADO) -> None:
    """Get the default scene where it is not there yet."""
    print(get_default_scene(folder))


if __name__ == "__main__":
    sys.exit(run_command(lambda: tyro.cli(main)))
