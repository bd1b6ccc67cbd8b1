"""The suite of real RGB-D frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.objects import TargetObject
from benchmarks.accuracy.scenes import EvaluationScene, View
from pose6d.errors import SceneError
from pose6d.json_file import read_json
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.units import resolve_unit
from pose6d.scenes import Frame, Scene, open_scene
from pose6d.scenes.folder import read_matrix
from pose6d.scenes.frame import MESH_SUFFIXES, check_truth

_INSTANCE = "__"  # between the name of an object and the number of one of several in the frame


def load_real_frames(
    folder: Path, symmetric: Sequence[str] = (), most: int | None = None
) -> tuple[list[TargetObject], list[EvaluationScene], list[str]]:
    """Every object that has a mask, in every frame of every recording below a folder.

    A recording is a folder with `rgb/ depth/ cam_K.txt` and `masks/<frame>.png` of its only object, or
    `masks/<object>/<frame>.png`, or `masks/<object>__<number>/<frame>.png` of one of several. The mesh is in
    `mesh/`, `meshes/<object>/` or `meshes/<object>.<suffix>` of the recording, or in the `meshes/` beside it; its unit
    is found by comparing its size with the depth. A true pose, where there is one, is in `poses.json` (of the first
    frame, by object), `poses/<frame>.txt`, `poses/<object>/<frame>.txt` or `annotated_poses/<frame>.txt`.

    Args:
        folder: one recording, or what holds recordings at any depth.
        symmetric: parts of the names of objects to be scored as symmetric, besides those that poses.json calls so.
        most: frames of an object in a recording, spread evenly; all where None.

    Returns:
        Objects, one scene for each object in each frame, and the names of the scenes: recording/frame.

    Raises:
        SceneError: the folder holds no recording with masks, or one of them lacks its mesh.
        MeshError, FrameError: a file cannot be used.
    """
    objects: dict[tuple[Path, str], TargetObject] = {}
    scenes: list[EvaluationScene] = []
    names: list[str] = []
    for recording in sorted({path.parent for path in folder.rglob("rgb") if (path.parent / "depth").is_dir()}):
        instances: list[str | None] = [*open_scene(recording).objects]
        for instance in instances or [None]:
            scene = open_scene(recording, object_id=instance)
            name, _, number = (instance or recording.name).partition(_INSTANCE)
            file = _mesh_file(recording, name)
            facts = _facts(recording, instance)
            for frame in _masked_frames(scene, most):
                key = (file, name)
                if key not in objects:
                    looks_same = bool(facts.get("symmetry")) or any(part in name for part in symmetric)
                    objects[key] = _load_target(file, name, frame, looks_same)
                truth = _truth(recording, instance, frame, facts if frame.name == scene.names[0] else {})
                view = View(frame.rgb, frame.depth, frame.K, truth)
                assert frame.mask is not None
                scenes.append(EvaluationScene(list(objects).index(key), (view,), frame.mask, 1.0))
                names.append("/".join(part for part in (recording.name, frame.name, number) if part))
    if not scenes:
        raise SceneError(f"--real-folder {folder} holds no recording with rgb/ and masks/")
    return list(objects.values()), scenes, names


def _masked_frames(scene: Scene, most: int | None) -> Iterator[Frame]:
    """The frames that have a mask, at most so many, spread evenly."""
    folder = scene.path / "masks" / (scene.object_id or "")
    masked = {file.stem for file in folder.iterdir()} if folder.is_dir() else set(scene.names)
    indices = [i for i, name in enumerate(scene.names) if name in masked]
    if most is not None and len(indices) > most:
        indices = [indices[i * len(indices) // most] for i in range(most)]
    frames = (scene[i] for i in indices)
    return (frame for frame in frames if frame.mask is not None)


def _mesh_file(recording: Path, name: str) -> Path:
    """The mesh of an object of a recording; of one in several formats that with a texture first."""
    places = [recording / "meshes" / name, recording / "mesh", recording.parent / "meshes" / name]
    for suffix in MESH_SUFFIXES:
        for place in places:
            files = sorted(place.glob(f"*{suffix}")) if place.is_dir() else [place.with_name(place.name + suffix)]
            if files and files[0].is_file():
                return files[0]
    looked = ", ".join(str(place) for place in places)
    raise SceneError(f"{recording} has masks of {name} but no mesh of it: put one into {looked}")


def _load_target(file: Path, name: str, frame: Frame, looks_same: bool) -> TargetObject:
    mesh = load_mesh(file)
    mesh.name = name
    assert frame.mask is not None  # `_masked_frames` has seen to it
    scale, _ = resolve_unit(mesh, "auto", frame.depth, frame.mask, frame.K)
    return TargetObject(mesh if scale == 1 else mesh.scaled(scale), symmetric=looks_same)


def _facts(recording: Path, instance: str | None) -> dict[str, Any]:
    """What poses.json says of an object."""
    file = recording / "poses.json"
    entries = read_json(file) if file.is_file() else {}
    found = entries.get(instance or recording.name, {})
    return found if isinstance(found, dict) else {}


def _truth(recording: Path, instance: str | None, frame: Frame, facts: dict[str, Any]) -> np.ndarray | None:
    """(4, 4) object in camera, metres; None where nobody knows it."""
    given = facts.get("object_in_camera")
    if given:
        return check_truth(np.array(given, dtype=np.float64), f"{recording}/poses.json")
    file = recording / "poses" / (instance or "") / f"{frame.name}.txt"
    if file.is_file():
        return check_truth(read_matrix(file, (4, 4), "object_in_camera, 4x4 in metres"), str(file))
    return frame.object_in_camera
