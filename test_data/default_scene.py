"""How the project gets the default scene."""

from __future__ import annotations

import os
from pathlib import Path

from pose6d.errors import OutputError


def get_default_scene(folder: Path) -> Path:
    """Download the recording at TEST_SCENE_URL if that is set, else make the avocado scene; keep what is there.

    Raises:
        OutputError: the folder cannot be written, or holds something else.
        SceneError: the download failed.
    """
    from test_data.download_scene import download_scene
    from test_data.make_avocado_scene import make_avocado_scene  # slow to import

    try:
        return download_scene(folder) if os.environ.get("TEST_SCENE_URL") else make_avocado_scene(folder)
    except PermissionError as error:
        raise OutputError(
            f"the scene cannot be written to {folder}: {error}. Make that folder writable, or use an installed package "
            "with XDG_CACHE_HOME set to a folder that is"
        ) from error
