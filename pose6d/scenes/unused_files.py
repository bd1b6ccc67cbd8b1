"""What a run leaves aside of the files that it was given, so that nobody believes it was heeded."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from pose6d.errors import shorten
from pose6d.mesh.symmetry import symmetry_beside
from pose6d.scenes.frame import Scene


def same_file(a: Path, b: Path) -> bool:
    """Whether two paths lead to one file, by whatever way."""
    try:
        return a.samefile(b)
    except OSError:
        return False


def _lies_in(file: Path, place: Path) -> bool:
    """Whether a file is `place`, or lies in that folder."""
    return any(same_file(way, place) for way in (file, *file.absolute().parents))


def unused_files(scene: Scene, mesh_file: Path, symmetry: str | None, mask_file: Path | None = None) -> list[str]:
    """What is not used, and why, for people.

    Args:
        scene: the recording.
        mesh_file: the mesh that is used.
        symmetry: what was given as the object's symmetries: a text or the path of a file; None for the mesh's own.
        mask_file: the mask, or the folder of masks, that was given; None for the recording's own.
    """
    given = [mesh_file, *(Path(each) for each in (symmetry, mask_file) if each)]
    strange = [entry for entry in scene.strange if not any(_lies_in(file, entry) for file in given)]
    notes = [
        f"{shorten([entry.name for entry in entries])} in {folder}: not part of the {scene.kind} layout"
        for folder, entries in groupby(strange, key=lambda entry: entry.parent)
    ]
    notes += scene.unused
    others = [file.name for file in scene.mesh_files if not same_file(file, mesh_file)]
    if others:
        notes.append(f"{shorten(others)} in {scene.mesh_files[0].parent}: the mesh is {mesh_file}")
    beside = [found[0] for file in (mesh_file, *scene.mesh_files) if (found := symmetry_beside(file))]
    files = {file.resolve(): file for file in (*beside, scene.path / "mesh" / "symmetry.json") if file.is_file()}
    own = symmetry_beside(mesh_file)
    used = own[0] if symmetry is None and own else Path(symmetry or "")
    for file in files.values():
        if not same_file(file, used):
            why = "--symmetry is given instead" if symmetry is not None else f"it does not lie beside {mesh_file}"
            cure = "" if symmetry is not None else f"; if it is right for that mesh too, pass --symmetry {file}"
            notes.append(f"{file}: {why}{cure}")
    return notes
