"""Make objects from simulated reference views, and compare them with the meshes that the views show.

`python -m benchmarks.model_free --mesh-folder MESHES --output made/`

writes made/<setting>/<path of the mesh>.glb for every setting, made/scores.json, and a table as made/scores.md. How
well poses are found with these meshes tells
`python -m benchmarks.accuracy --mesh-folder MESHES --given-folder made/<setting>`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.objects import load_objects
from benchmarks.model_free.making import MakingJob, make_objects, mesh_key
from benchmarks.model_free.views import Directions, ViewSimulation
from mesh_creation.object_field.make_object import ObjectOptions
from pose6d.command import run_command_line
from pose6d.errors import OptionError, OutputError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.json_file import read_json, write_json
from pose6d.whole_file import write_whole

_SETTING = re.compile(r"(around|above)_(\d+)")


@dataclass(frozen=True)
class Options:
    """What is made from what."""

    output: Path
    """folder for meshes and scores; objects that are there already are not made again"""
    mesh_folder: Path | None = None
    """folder that is searched for meshes in metres; procedural objects if omitted"""
    settings: tuple[str, ...] = ("around_16", "above_16", "around_4", "around_2", "around_1")
    """where views are taken from, and how many"""
    rotation_error: float = 0.3
    """degrees by which the views' poses are off"""
    translation_error: float = 0.001
    """metres by which they are off"""
    seed: int = 0
    processes: int = 1
    """objects that are made at once"""
    object: ObjectOptions = field(default_factory=ObjectOptions)
    """how objects are made"""


def main(options: Options) -> None:
    """Make what is missing, and print the table."""
    settings = {name: _setting(name, options) for name in options.settings}
    meshes = load_objects(options.mesh_folder)
    file = options.output / "scores.json"
    kept: dict[str, dict[str, Any]] = read_json(file, OutputError) if file.is_file() else {}
    jobs = [
        MakingJob(options.output / name, settings[name], mesh, options.seed + i, options.object)
        for name in settings
        for i, mesh in enumerate(meshes)
        if mesh_key(mesh) not in kept.get(name, {})
    ]
    scores = {name: dict(kept.get(name, {})) for name in (*settings, *kept)}
    rows = make_objects(jobs, options.processes)
    for job, row in zip(tqdm(jobs, desc="make", unit="object"), rows, strict=True):
        scores[job.folder.name][mesh_key(job.mesh)] = row
        write_json(file, scores)
    text = "\n".join(table(scores))
    print(text)
    write_whole(options.output / "scores.md", text + "\n")


def table(scores: dict[str, dict[str, Any]]) -> list[str]:
    """One row for each object and setting, and the means."""
    columns = ("seen", "all", "farthest", "complete", "diameter", "unseen")
    rows = [["views", "object", *columns, "poses before: deg, mm", "poses: deg, mm", "s"]]
    for name, objects in scores.items():
        for key, row in objects.items():
            poses = [f"{row[what][0]:.2f}, {row[what][1]:.2f}" for what in ("poses_before", "poses")]
            rows.append([name, key, *(f"{row[c]:.2f}" for c in columns), *poses, f"{row['seconds']:.1f}"])
        means = [f"{np.mean([row[c] for row in objects.values()]):.2f}" for c in columns]
        rows.append([name, "mean", *means, "", "", f"{np.mean([row['seconds'] for row in objects.values()]):.1f}"])
    return markdown_table(rows)


def _setting(name: str, options: Options) -> ViewSimulation:
    match = _SETTING.fullmatch(name)
    if match is None or int(match[2]) < 1:
        raise OptionError(f"--settings {name}: wanted around_N or above_N, such as around_16")
    directions: Directions = "around" if match[1] == "around" else "above"
    return ViewSimulation(int(match[2]), directions, options.rotation_error, options.translation_error)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
