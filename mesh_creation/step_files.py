"""Results of finished steps, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import OutputError


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

    def save(self, step: str, **arrays: Any) -> None:
        """Keep the arrays of a step; the file appears only when it is complete."""
        partial = self.path / f".{step}.npz"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, key=self._key, **arrays)
            os.replace(partial, self.path / f"{step}.npz")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error}") from error


def recording_inputs(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """What tells one recording from another without reading its pictures: names, sizes and times of the files."""
    files = [*sorted((folder / "JPEGImages").iterdir()), *sorted((folder / "depth").iterdir())]
    files += [folder / "intrinsics.json", folder / "board.json"]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return {"names": list(names), "files": stats}


def write_json(path: Path, values: Any) -> None:
    """Write JSON in one step; NaN is written as null."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(_plain(values), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def write_array(path: Path, values: np.ndarray) -> None:
    """Write .npy in one step."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, values)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error}") from error


def _plain(value: Any) -> Any:
    """JSON values of numpy ones; numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
