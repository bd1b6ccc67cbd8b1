"""Reading and writing mesh files: OBJ with mtl and texture, PLY, OFF, glTF, and what else trimesh reads (STL, ...)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pose6d.errors import MeshError, as_path, why_no_file
from pose6d.mesh.assembly import assemble
from pose6d.mesh.coordinates import Unit
from pose6d.mesh.debris import find_rest
from pose6d.mesh.gltf import read_gltf
from pose6d.mesh.mesh import Mesh, texture_colors
from pose6d.mesh.obj import read_obj
from pose6d.mesh.off import read_off
from pose6d.mesh.part import MeshPart
from pose6d.mesh.ply import read_ply
from pose6d.mesh.side_files import SideFiles
from pose6d.whole_file import write_whole

_KNOWN_SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")
_READERS: dict[str, Callable[[Path, SideFiles], list[MeshPart]]] = {
    ".obj": read_obj,
    ".ply": read_ply,
    ".off": read_off,
    ".glb": read_gltf,
    ".gltf": read_gltf,
}


def load_mesh(path: str | Path, unit: Unit = "m", keep_debris: bool = False) -> Mesh:
    """Read a mesh file as one mesh in metres.

    Scenes of several geometries are joined with their node transforms; several textures become one atlas. Axes are
    kept as they are in the file. No vertex is merged with another; vertices of no face are left out, and so is loose
    debris (`debris.loose_pieces`). The frame is that of the file, unless it lies so far from its origin (map
    coordinates) that float32 would bend the shape: then the mesh is moved to the origin in float64, and a warning gives
    the offset that was subtracted, so that poses refer to the moved mesh.

    Args:
        path: the file; its mtl and textures are looked for where it names them, then beside it.
        unit: the unit of the file's coordinates.
        keep_debris: keep small pieces that lie far outside of the rest, as parts of the object.

    Raises:
        MeshError: no path, no such file, not a mesh, empty, a point cloud, or with vertices that are not finite.

    Warns:
        UserWarning: a texture or material file is missing or not readable, and the part is drawn in its material's
            colour, or in grey; something else of the file is left out; debris is; the mesh is moved. The message says
            what and why.
    """
    path = as_path(path, "mesh", MeshError)
    _check_file(path)
    reader = _READERS.get(path.suffix.lower(), _read_with_trimesh)
    part = assemble(reader(path, SideFiles(path)), unit, str(path), leave_out_debris=not keep_debris)
    mesh = Mesh.from_part(part, str(path))
    mesh.keep_debris = keep_debris
    return mesh


def as_mesh(mesh: Mesh | str | Path) -> Mesh:
    """A mesh, or that of a file in metres, without debris unless it says that it keeps it; its frame stays.

    Raises:
        MeshError: it is neither, or the file cannot be read.
    """
    if isinstance(mesh, Mesh):
        return without_debris(mesh)
    if not isinstance(mesh, (str, Path)):
        raise MeshError(f"mesh is a {type(mesh).__name__}: pass a Mesh (Mesh.from_trimesh makes one) or a path")
    return load_mesh(mesh)


def without_debris(mesh: Mesh) -> Mesh:
    """The mesh itself, or one without its debris in the same frame, with a warning; see `Mesh.keep_debris`."""
    kept = None if mesh.keep_debris else find_rest(mesh.vertices, mesh.faces, mesh.name)
    if kept is None:
        return mesh
    return replace(
        mesh,
        vertices=mesh.vertices[kept],
        faces=(np.cumsum(kept) - 1)[mesh.faces[kept[mesh.faces[:, 0]]]],
        normals=mesh.normals[kept],
        uv=None if mesh.uv is None else mesh.uv[kept],
        colors=None if mesh.colors is None else mesh.colors[kept],
    )


def save_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write .obj (with .mtl and .png of the same name beside it where there is a texture), .glb or .ply, in metres.

    PLY has no texture: its colours are then the texture's at the vertices, and a warning says so.

    Raises:
        MeshError: another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".obj", ".glb", ".ply"):
        raise MeshError(f"cannot write a mesh as {path}: wanted a name that ends in .obj, .glb or .ply")
    import trimesh  # slow
    from trimesh.visual.material import PBRMaterial, SimpleMaterial

    out = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False)
    if mesh.texture is not None and suffix == ".ply":
        warnings.warn(f"{path} keeps one colour per vertex instead of the texture: save .obj or .glb", stacklevel=2)
        out.visual = trimesh.visual.ColorVisuals(out, vertex_colors=texture_colors(mesh))
    elif mesh.texture is not None:
        image = Image.fromarray(mesh.texture)
        material: SimpleMaterial | PBRMaterial
        if suffix == ".obj":
            material = SimpleMaterial(image=image, name=path.stem, diffuse=[255, 255, 255, 255])
        else:
            material = PBRMaterial(baseColorTexture=image, name=path.stem, metallicFactor=0.0, roughnessFactor=1.0)
        out.visual = trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)
    else:
        out.visual = trimesh.visual.ColorVisuals(out, vertex_colors=mesh.colors)
    if suffix == ".obj":
        text, side_files = trimesh.exchange.obj.export_obj(
            out, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl", digits=10, header=None
        )
        for file_name, data in side_files.items():
            write_whole(path.parent / file_name, data)
        write_whole(path, text)
    elif suffix == ".ply":
        write_whole(path, trimesh.exchange.ply.export_ply(out, vertex_normal=True, include_attributes=False))
    else:
        write_whole(path, trimesh.exchange.gltf.export_glb(trimesh.Scene(out), include_normals=True))


def _read_with_trimesh(path: Path, files: SideFiles) -> list[MeshPart]:
    from pose6d.mesh.trimesh_parts import read_with_trimesh  # slow to import

    return read_with_trimesh(path, files)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise MeshError(f"mesh {path} is a folder: give the mesh file in it (.obj, .ply or .glb)")
    if path.is_symlink() and not path.exists():
        raise MeshError(f"mesh {path} {why_no_file(path)}")
    if not path.exists():
        folder = path.parent
        others = (
            sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _KNOWN_SUFFIXES) if folder.is_dir() else []
        )
        hint = f"the folder has {', '.join(others[:5])}" if others else "check the path"
        raise MeshError(f"mesh file {path} does not exist: {hint}")
    if not path.is_file():
        raise MeshError(f"mesh {path} {why_no_file(path)}")
    if path.stat().st_size == 0:
        raise MeshError(f"mesh file {path} is empty (0 bytes): copy or export it again")
    with path.open("rb") as file:
        if file.read(30).startswith(b"version https://git-lfs"):
            raise MeshError(f"mesh file {path} is a pointer of Git LFS, not the mesh: run git lfs pull")
    if path.suffix.lower() in _READERS:
        return
    import trimesh  # slow

    if path.suffix.lower().lstrip(".") not in trimesh.available_formats():
        raise MeshError(f"mesh file {path} is of no known format: wanted one of {', '.join(_KNOWN_SUFFIXES)}")
