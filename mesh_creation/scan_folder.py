"""What the steps leave for one another in a scan's folder: registration.json and objects.json, read strictly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import MeshError, SceneError
from pose6d.geometry.pose_check import check_rigid
from pose6d.json_file import read_json
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.symmetry import bop_symmetry


@dataclass(frozen=True)
class ScannedObject:
    """One object that stands on the board.

    Attributes:
        number: from 1, the order in objects.json.
        name: of the object; folders are named after it.
        mesh: in metres.
        mesh_file: where that came from.
        object_in_board: (4, 4) float64.
        symmetries: BOP's symmetries_discrete and symmetries_continuous, in metres; {} for none.
    """

    number: int
    name: str
    mesh: Mesh
    mesh_file: Path
    object_in_board: np.ndarray
    symmetries: dict[str, Any] = field(default_factory=dict)


def read_registration(scan: Path, names: list[str]) -> list[np.ndarray | None]:
    """Camera in board (4, 4) of each frame, None where it was rejected.

    Args:
        scan: the scan's folder.
        names: of the frames that are there.

    Raises:
        SceneError: the scan is not registered, or the file is of other frames or holds no rigid poses.
    """
    path = scan / "registration.json"
    if not path.is_file():
        raise SceneError(f"{path} is missing: run `python -m mesh_creation register --scan {scan}` first")
    values = read_json(path)
    if not isinstance(values, dict) or not {"frames", "camera_in_board"} <= values.keys():
        raise SceneError(f"{path} is no registration: wanted frames and camera_in_board; run register again")
    if [str(name) for name in values["frames"]] != names or len(values["camera_in_board"]) != len(names):
        raise SceneError(
            f"{path} is of {len(values['frames'])} frames, and the scan now holds {len(names)} or other ones: "
            "run register again with --overwrite"
        )
    return [None if entry is None else _rigid(entry, f"{path}, camera_in_board") for entry in values["camera_in_board"]]


def read_objects(scan: Path) -> list[ScannedObject]:
    """The objects of objects.json with their meshes.

    Raises:
        SceneError: the file is missing or names no objects, or a pose is none.
        MeshError: a mesh cannot be read.
    """
    path = scan / "objects.json"
    if not path.is_file():
        raise SceneError(
            f"{path} is missing: run `python -m mesh_creation fuse --scan {scan}` first, or list your objects there as "
            '[{"name": ..., "mesh": file, "object_in_board": 4x4}]'
        )
    values = read_json(path)
    if not isinstance(values, list) or not values or not all(isinstance(entry, dict) for entry in values):
        raise SceneError(f"{path} lists no objects: wanted [{{name, mesh, object_in_board}}, ...]")
    objects = []
    for number, entry in enumerate(values, 1):
        missing = [key for key in ("name", "mesh", "object_in_board") if key not in entry]
        if missing:
            raise SceneError(f"{path}: object {number} lacks {', '.join(missing)}")
        name, file = str(entry["name"]), scan / str(entry["mesh"])
        if not name or name in (".", "..") or set(name) & set('/\\;,"\n'):
            raise SceneError(f"{path}: object {number} is named {name!r}, which cannot name a folder")
        pose = _rigid(entry["object_in_board"], f"{path}: object_in_board of {name!r}")
        symmetries = entry.get("symmetries") or {}
        try:
            bop_symmetry(symmetries)
        except MeshError as error:
            raise SceneError(f"{path}: symmetries of {name!r}: {error}") from error
        objects.append(ScannedObject(number, name, load_mesh(file), file, pose, symmetries))
    if len({item.name for item in objects}) < len(objects):
        raise SceneError(f"{path}: two objects have the same name; labels need to tell them apart")
    return objects


def _rigid(values: Any, source: str) -> np.ndarray:
    try:
        pose = np.array(values, dtype=np.float64)
        if pose.shape != (4, 4):
            raise ValueError(f"the shape is {pose.shape}")
        check_rigid(pose, 1e-3)
    except (TypeError, ValueError) as error:
        raise SceneError(f"{source}: {error}; wanted 4x4 matrices, rigid poses in metres") from error
    return pose
