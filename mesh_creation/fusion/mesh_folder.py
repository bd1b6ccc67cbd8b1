"""The folder that a made object is written to: object.obj, formats/, and metadata.json as the last file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mesh_creation.step_files import write_array
from pose6d.errors import OutputError
from pose6d.json_file import write_json
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh

FILLED_FACES = "formats/filled.npy: true for the faces of object.ply that no camera has seen"
_DONE = "metadata.json"
_ARRAYS = ("vertices", "faces", "normals", "uv", "texture", "colors")


def is_finished(folder: Path) -> bool:
    """Whether a mesh folder is complete."""
    return (folder / _DONE).is_file()


def mark_unfinished(folder: Path) -> None:
    """From here on the folder does not count as complete."""
    (folder / _DONE).unlink()


def check_free(folder: Path) -> None:
    """Raise OutputError if a folder is there that `new_mesh_folder` did not write."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: wanted the folder to write the mesh to")
    if folder.exists() and not is_finished(folder) and any(folder.iterdir()) and not (folder / "formats").is_dir():
        raise OutputError(
            f"{folder} holds files that this step did not make: move them away, for example to {folder.name}.before"
        )


@contextmanager
def new_mesh_folder(
    folder: Path, textured: Mesh, colored: Mesh, filled: np.ndarray, metadata: Mapping[str, Any]
) -> Iterator[Path]:
    """Write a mesh beside its place, and move it there when the block ends; an earlier mesh is replaced.

    Args:
        folder: the place; see `check_free`.
        textured: with texture, for object.obj and formats/object.glb.
        colored: with vertex colours, for formats/object.ply.
        filled: (F,) bool, faces of `colored` that no camera has seen.
        metadata: of metadata.json, which is written last.

    Yields:
        The folder while it is not in its place, for what else belongs into it.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    (partial / "formats").mkdir(parents=True)
    save_mesh(textured, partial / "object.obj")
    save_mesh(textured, partial / "formats" / "object.glb")
    save_mesh(colored, partial / "formats" / "object.ply")
    write_array(partial / "formats" / "filled.npy", filled)
    yield partial
    write_json(partial / _DONE, metadata)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


def face_share(mesh: Mesh, chosen: np.ndarray) -> float:
    """Share of a mesh's area that chosen faces (F,) bool have."""
    a, b, c = np.moveaxis(mesh.vertices.astype(np.float64)[mesh.faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return float(area[chosen].sum() / area.sum())


def mesh_arrays(mesh: Mesh) -> dict[str, np.ndarray]:
    """All there is of a mesh but its name, for a file."""
    return {name: values for name in _ARRAYS if (values := getattr(mesh, name)) is not None}


def mesh_from_arrays(arrays: Mapping[str, np.ndarray], name: str) -> Mesh:
    """The mesh that `mesh_arrays` was taken of; other entries are left aside."""
    given: dict[str, Any] = {key: arrays[key] for key in _ARRAYS if key in arrays}
    return Mesh(**given, name=name)
