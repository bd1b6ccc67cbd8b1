"""The other poses that the objects of a results file may have: <results>.alternatives.jsonl.

The CSV of the BOP Challenge has one pose for each instance that is asked for. An object that looks the same from two
sides may have either; which ones, and how likely each is, stands here, a line of JSON for each row of the CSV:

    {"scene_id": 1, "im_id": 0, "obj_id": 5, "none": 0.04,
     "alternatives": [{"probability": 0.56, "R": [...], "t": [...]}, {"probability": 0.4, "R": [...], "t": [...]}]}

The first alternative is the pose in the CSV; R has 9 numbers, row by row, t 3, millimetres. `none` is the probability
that none of them is right. Of several instances of an object in an image, the lines come in the order of the rows.
Poses that were tracked, or of weights that weigh no alternatives, have no line.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import ResultsError
from pose6d.evaluation.results_file import Key, PoseEstimate
from pose6d.geometry.transforms import rigid_transform
from pose6d.whole_file import append_at_once, write_whole


class AlternativesFile:
    """Appends the alternatives of whole images.

    On opening, lines of images that are not done are taken back, and a torn last line with them.

    Args:
        results: the CSV.
        done: the images (scene_id, im_id) whose rows that holds.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, results: Path, done: Container[tuple[int, int]]) -> None:
        self.path = _beside(results)
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            kept = [line for line in lines if _is_of(line, done)]
            if kept != lines:
                write_whole(self.path, "".join(kept))

    def append(self, rows: Sequence[PoseEstimate]) -> None:
        """Those of one image; OSError where they cannot be written."""
        lines = [json.dumps(_entry(row)) + "\n" for row in rows if row.alternatives]
        if lines:
            append_at_once(self.path, "".join(lines))


def read_alternatives(results: Path) -> dict[Key, list[list[tuple[np.ndarray, float]]]]:
    """The alternatives beside a results file, by (scene_id, im_id, obj_id); {} where there is no such file.

    Returns:
        For each row of the target, in their order, poses (4, 4) object in camera, metres, with their probabilities.

    Raises:
        ResultsError: a line is not of this form.
    """
    path = _beside(results)
    found: dict[Key, list[list[tuple[np.ndarray, float]]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], start=1):
        try:
            entry = json.loads(line)
            key = entry["scene_id"], entry["im_id"], entry["obj_id"]
            poses = [(_pose(each["R"], each["t"]), float(each["probability"])) for each in entry["alternatives"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{path}, line {number}: {error!r}; wanted what predict writes") from error
        found.setdefault(key, []).append(poses)
    return found


def _beside(results: Path) -> Path:
    return results.with_name(f"{results.name}.alternatives.jsonl")


def _entry(row: PoseEstimate) -> dict[str, Any]:
    none = max(0.0, 1.0 - sum(probability for _, probability in row.alternatives))
    alternatives = [
        {
            "probability": round(float(probability), 6),
            "R": [float(f"{x:.9g}") for x in pose[:3, :3].ravel()],
            "t": [float(f"{1000 * x:.9g}") for x in pose[:3, 3]],
        }
        for pose, probability in row.alternatives
    ]
    ids = {"scene_id": row.scene_id, "im_id": row.im_id, "obj_id": row.obj_id}
    return {**ids, "none": round(none, 6), "alternatives": alternatives}


def _pose(R: Sequence[float], t: Sequence[float]) -> np.ndarray:
    return rigid_transform(np.reshape(R, (3, 3)), np.asarray(t, np.float64) / 1000)


def _is_of(line: str, images: Container[tuple[int, int]]) -> bool:
    try:
        entry = json.loads(line)
        return line.endswith("\n") and (entry["scene_id"], entry["im_id"]) in images
    except (ValueError, KeyError, TypeError):
        return False
