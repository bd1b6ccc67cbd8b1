"""Reading the poses that run_demo.py leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_poses(folder: Path) -> dict[str, np.ndarray]:
    """(4, 4) by frame name."""
    return {file.stem: np.loadtxt(file) for file in sorted((folder / "ob_in_cam").glob("*.txt"))}
