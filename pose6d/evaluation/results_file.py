"""The CSV file of estimated poses, in the format of the BOP Challenge: strict reading, and every problem by its line.

Columns: scene_id, im_id, obj_id, score, R (9 numbers, row by row), t (3 numbers, millimetres), time (seconds spent on
all of the image, the same in each of its rows, or -1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose6d.errors import ResultsError
from pose6d.geometry.pose_check import check_in_front, check_rigid
from pose6d.geometry.transforms import rigid_transform

COLUMNS = ("scene_id", "im_id", "obj_id", "score", "R", "t", "time")
HEADER = ",".join(COLUMNS)

_TIME_SLACK = 1e-3  # seconds by which the times in an image may differ from rounding

Key = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """One row.

    Attributes:
        scene_id, im_id, obj_id: the target.
        score: higher is surer.
        object_in_camera: (4, 4) float64, metres.
        seconds: spent on the whole image, -1 where unknown.
        line: in the file, from 1; 0 where it comes from no file.
        alternatives: the distinct poses (4, 4), metres, that the object may have, each with its probability, this one
            first; empty where nobody says, and when read from the CSV, which does not hold them
            (`pose6d.evaluation.alternatives_file`).
    """

    scene_id: int
    im_id: int
    obj_id: int
    score: float
    object_in_camera: np.ndarray
    seconds: float = -1.0
    line: int = 0
    alternatives: Sequence[tuple[np.ndarray, float]] = ()

    @property
    def key(self) -> Key:
        """(scene_id, im_id, obj_id)."""
        return self.scene_id, self.im_id, self.obj_id

    def row(self) -> str:
        """The line of the file, without its end. 9 digits keep a float32 exactly."""
        R = " ".join(f"{x:.9g}" for x in self.object_in_camera[:3, :3].ravel())
        t = " ".join(f"{x * 1000:.9g}" for x in self.object_in_camera[:3, 3])
        return f"{self.scene_id},{self.im_id},{self.obj_id},{self.score:.9g},{R},{t},{self.seconds:.6g}"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one line."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


def read_results(path: Path, instances: Mapping[Key, int] | None = None) -> list[PoseEstimate]:
    """Read a file that has no problem.

    Args:
        path: the CSV.
        instances: how many rows each target may have; keys that it lacks may have any number, for they are not asked
            for. Without it every target may have one.

    Raises:
        ResultsError: the file is missing, or `check_results` finds a problem; the message names the first line.
    """
    estimates, problems = _parse(path, instances)
    if problems:
        more = f" (and {len(problems) - 1} more problems: python -m pose6d.evaluation check {path})"
        raise ResultsError(f"{path}, {problems[0]}{more if len(problems) > 1 else ''}")
    return estimates


def check_results(path: Path, instances: Mapping[Key, int] | None = None) -> list[Problem]:
    """All problems of a file, by line; arguments and errors as in `read_results`."""
    return _parse(path, instances)[1]


def _parse(path: Path, instances: Mapping[Key, int] | None) -> tuple[list[PoseEstimate], list[Problem]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(f"results {path} cannot be read: {error}") from error
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        found = lines[0][:80] if lines else ""
        return [], [Problem(1, f"the header is {found!r}, wanted {HEADER!r}")]
    estimates: list[PoseEstimate] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            estimates.append(_parse_row(line, number))
        except ValueError as error:
            problems.append(Problem(number, str(error)))
    problems += _find_repeats(estimates, instances) + _unequal_times(estimates)
    if not text.endswith("\n"):
        problems.append(Problem(len(lines), "the last line has no end: was the writer killed? predict repairs it"))
    return estimates, sorted(problems, key=lambda problem: problem.line)


def _parse_row(line: str, number: int) -> PoseEstimate:
    """One row; ValueError says what is wrong with it."""
    cells = line.split(",")
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} columns, wanted {len(COLUMNS)}: {HEADER}")
    row = dict(zip(COLUMNS, cells, strict=True))
    ids = [_integer(row[name], name) for name in COLUMNS[:3]]
    score, seconds = (_numbers(row[name], name, 1)[0] for name in ("score", "time"))
    R = np.reshape(_numbers(row["R"], "R", 9), (3, 3))
    pose = rigid_transform(R, np.array(_numbers(row["t"], "t", 3)) / 1000)
    check_rigid(pose)
    check_in_front(pose[:3, 3], unit="mm")
    if seconds < 0 and seconds != -1:
        raise ValueError(f"time is {seconds:g}, wanted seconds, or -1 where unknown")
    return PoseEstimate(ids[0], ids[1], ids[2], score, pose, seconds, number)


def _integer(text: str, name: str) -> int:
    if not text.strip().isdigit():
        raise ValueError(f"{name} is {text!r}, wanted a whole number, 0 or more")
    return int(text)


def _numbers(text: str, name: str, count: int) -> list[float]:
    words = text.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{name} is {text[:60]!r}, wanted {count} number(s) separated by blanks") from None
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} number(s), wanted {count}")
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} holds {next(w for w in words if not math.isfinite(float(w)))}, wanted finite numbers")
    return values


def _find_repeats(estimates: list[PoseEstimate], instances: Mapping[Key, int] | None) -> list[Problem]:
    """Rows beyond the number that their target may have."""
    problems = []
    lines: dict[Key, list[int]] = {}
    for estimate in estimates:
        earlier = lines.setdefault(estimate.key, [])
        allowed = 1 if instances is None else instances.get(estimate.key, math.inf)
        if len(earlier) >= allowed:
            scene_id, im_id, obj_id = estimate.key
            cure = "; several instances? pass --dataset" if instances is None else f", {allowed} instance(s) asked for"
            problems.append(
                Problem(
                    estimate.line,
                    f"duplicate target: scene {scene_id}, image {im_id}, object {obj_id} is already in line "
                    f"{', '.join(map(str, earlier[:4]))}{cure}",
                )
            )
        earlier.append(estimate.line)
    return problems


def _unequal_times(estimates: list[PoseEstimate]) -> list[Problem]:
    """Rows whose time is not that of the first row of the same image."""
    first: dict[tuple[int, int], PoseEstimate] = {}
    problems = []
    for estimate in estimates:
        other = first.setdefault((estimate.scene_id, estimate.im_id), estimate)
        if abs(other.seconds - estimate.seconds) > _TIME_SLACK:
            problems.append(
                Problem(
                    estimate.line,
                    f"time is {estimate.seconds:g} but {other.seconds:g} in line {other.line} of the same image: "
                    "wanted the time of the whole image in each row",
                )
            )
    return problems
