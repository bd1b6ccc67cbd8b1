"""Results of finished steps, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.whole_file import whole_file


class StepFolder:
    """A folder of arrays by step; what was made from other inputs is not used.

    Args:
        path: the folder; made when the first step is saved.
        inputs: all that the results depend on, as JSON values.
    """

    def __init__(self, path: Path, inputs: dict[str, Any]) -> None:
        self.path = path
        self._key = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()

    def load(self, step: str) -> dict[str, np.ndarray] | None:
        """The arrays of a finished step, None where it has not been done with these inputs."""
        try:
            with np.load(self.path / f"{step}.npz", allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, KeyError):
            return None
        return arrays if str(arrays.pop("key", "")) == self._key else None

    def load_or_make(self, step: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The arrays of a step, which is done by `make` and kept unless it has been."""
        arrays = self.load(step)
        if arrays is None:
            arrays = {name: np.asarray(values) for name, values in make().items()}
            self.save(step, **arrays)
        else:
            print(f"{self.path / step} is there already")
        return arrays

    def forget(self) -> None:
        """Remove the files of all steps, and nothing else."""
        for file in self.path.glob("*.npz"):
            file.unlink()

    def remove(self) -> None:
        """Remove the files of all steps, and the folder if nothing else is in it."""
        self.forget()
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def save(self, step: str, **arrays: Any) -> None:
        """Keep the arrays of a step; the file appears only when it is complete."""
        with whole_file(self.path / f"{step}.npz") as partial:
            np.savez(partial, key=self._key, **arrays)


def recording_inputs(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """What tells one recording from another without reading its pictures: names, sizes and times of the files."""
    files = [*sorted((folder / "JPEGImages").iterdir()), *sorted((folder / "depth").iterdir())]
    files += [folder / "intrinsics.json", folder / "board.json"]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return {"names": list(names), "files": stats}


def write_array(path: Path, values: np.ndarray) -> None:
    """Write .npy in one step."""
    with whole_file(path) as partial:
        np.save(partial, values)
