"""The folder that one run writes: poses, timings, errors. Nothing in it is ever deleted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import OutputError, with_cure
from pose6d.json_file import write_json
from pose6d.whole_file import write_whole

_RESULTS = ("ob_in_cam/*.txt", "track.mp4", "timings.json", "errors.csv", "track_vis/*.png")


class RunFolder:
    """A folder of results.

    Args:
        path: the folder; made where it does not exist.
        overwrite: allow it to hold results of an earlier run; files of the same names are replaced, others stay.

    Raises:
        OutputError: it holds results and `overwrite` is false, or it cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path} is a file: name a folder for the results")
            self.earlier = sorted(file for pattern in _RESULTS for file in path.glob(pattern))
            if self.earlier and not overwrite:
                found = f"{self.earlier[0].relative_to(path)} and {len(self.earlier) - 1} more"
                raise OutputError(
                    f"{path} already holds results ({found}): name another folder, leave the argument out for a new "
                    "one, or pass --overwrite"
                )
            (path / "ob_in_cam").mkdir(parents=True, exist_ok=True)
            probe = path / ".write_test"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {with_cure(error)}") from error

    @classmethod
    def new(cls, parent: Path) -> RunFolder:
        """Make the next numbered folder under `parent`: 000, 001, ..."""
        numbers = [int(entry.name) for entry in parent.glob("[0-9][0-9][0-9]*") if entry.name.isdigit()]
        return cls(parent / f"{max(numbers, default=-1) + 1:03d}")

    def write_pose(self, name: str, object_in_camera: np.ndarray) -> None:
        """Write ob_in_cam/<name>.txt, 4 lines of 4 numbers, metres."""
        self._write(f"ob_in_cam/{name}.txt", "\n".join(" ".join(f"{x:.9f}" for x in row) for row in object_in_camera))

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        write_json(self.path / name, values)

    def write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write rows of equal keys as CSV."""
        lines = [",".join(rows[0])] + [",".join(str(value) for value in row.values()) for row in rows]
        self._write(name, "\n".join(lines))

    def leftovers(self, names: list[str]) -> list[str]:
        """A line for people if poses of an earlier run stay beside those of the frames `names`, else []."""
        left = [file for file in self.earlier if file.parent.name == "ob_in_cam" and file.stem not in set(names)]
        if not left:
            return []
        return [f"{len(left)} pose file(s) of an earlier run are still in {left[0].parent}, from {left[0].name} on"]

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text + "\n")
