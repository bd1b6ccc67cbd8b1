"""The suite of real RGB-D frames."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scenes import EvaluationScene, View
from pose6d.errors import SceneError
from pose6d.json_file import read_json
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes import open_scene


def load_real_frames(
    folder: Path, symmetric: Sequence[str] = ()
) -> tuple[list[TargetObject], list[EvaluationScene], list[str]]:
    """Every object of every scene below a folder, with the true pose where it was verified.

    Args:
        folder: holds `meshes/<object>/*.obj` and scenes with `rgb/ depth/ masks/<object>/ cam_K.txt poses.json`.
        symmetric: parts of the names of objects to be scored as symmetric, besides those that poses.json calls so.

    Returns:
        Objects, one scene for each of them, and the names of the recordings.

    Raises:
        SceneError: the folder holds no such scene.
    """
    objects: list[TargetObject] = []
    scenes: list[EvaluationScene] = []
    recordings: list[str] = []
    found = [
        (file, name, entry)
        for file in sorted(folder.glob("*/poses.json"))
        for name, entry in sorted(read_json(file, SceneError).items())
    ]
    if not found:
        raise SceneError(f"--real-folder {folder} holds no */poses.json")
    with ThreadPoolExecutor() as threads:
        files = [next((folder / "meshes" / name).glob("*.obj")) for _, name, _ in found]
        meshes = list(threads.map(load_mesh, files))
    for (file, name, entry), mesh in zip(found, meshes, strict=True):
        frame = open_scene(file.parent, object_id=name)[0]
        if frame.mask is None:
            raise SceneError(f"{file.parent}/masks/{name} has no mask of frame {frame.name}")
        truth = np.array(entry["object_in_camera"], dtype=np.float64) if entry.get("object_in_camera") else None
        mesh.name = name
        looks_same = bool(entry.get("symmetry")) or any(part in name for part in symmetric)
        scenes.append(EvaluationScene(len(objects), (View(frame.rgb, frame.depth, frame.K, truth),), frame.mask, 1.0))
        objects.append(TargetObject(mesh, symmetric=looks_same))
        recordings.append(file.parent.name)
    return objects, scenes, recordings
