"""Reading and writing mesh files: OBJ with mtl and texture, PLY, glTF, and what else trimesh reads (STL, OFF, ...)."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from pose6d.errors import MeshError
from pose6d.geometry.gltf import GltfFile
from pose6d.geometry.materials import Looks, texture_of
from pose6d.geometry.mesh import METRES_PER_UNIT, Mesh, Unit, texture_colors
from pose6d.geometry.texture_atlas import Part, join_parts

_KNOWN_SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tga", ".tif", ".tiff", ".webp", ".gif"}


def load_mesh(path: str | Path, unit: Unit = "m") -> Mesh:
    """Read a mesh file as one mesh in metres.

    Scenes of several geometries are joined with their node transforms; several textures become one atlas. Axes are
    kept as they are in the file. No vertex is merged with another, and only vertices of no face are left out.

    Args:
        path: the file; its mtl and textures are looked for where it names them, then beside it.
        unit: the unit of the file's coordinates.

    Raises:
        MeshError: no such file, not a mesh, empty, a point cloud, or with vertices that are not finite.

    Warns:
        UserWarning: a texture or material file is missing or not readable; the message names it. The part is then
            drawn in its material's colour, or in grey.
    """
    path = Path(path).expanduser()
    _check_file(path)
    files = _SideFiles(path)
    gltf = GltfFile(path) if path.suffix.lower() in (".glb", ".gltf") else None
    scene = _read(path, files, gltf)
    if _has_colored_vertices(path) and not any(texture_of(g) is not None for g in scene.geometry.values()):
        # Where there is a material trimesh ignores these colours; they are what was meant if no texture is.
        scene = _read(path, files, gltf, skip_materials=True)
    files.warn_of_lost_textures()
    looks = Looks(str(path), gltf)
    mesh = _mesh_of(scene, unit, looks)
    if looks.without_texture and not files.missing and not files.unreadable:
        warnings.warn(
            f"mesh {path} has texture coordinates but names no texture, so it is drawn in grey: "
            "export it again with its material and texture",
            stacklevel=2,
        )
    return mesh


def mesh_from_trimesh(source: trimesh.Trimesh | trimesh.Scene, unit: Unit = "m", name: str = "mesh") -> Mesh:
    """The mesh of a trimesh object or scene whose coordinates are in `unit`.

    Raises:
        MeshError: as `load_mesh`.
    """
    scene = source if isinstance(source, trimesh.Scene) else trimesh.Scene(source)
    return _mesh_of(scene, unit, Looks(name))


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
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".obj":
        text, side_files = trimesh.exchange.obj.export_obj(
            out, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl", digits=10, header=None
        )
        for file_name, data in side_files.items():
            (path.parent / file_name).write_bytes(data)
        path.write_text(text)
    elif suffix == ".ply":
        path.write_bytes(trimesh.exchange.ply.export_ply(out, vertex_normal=True, include_attributes=False))
    else:
        path.write_bytes(trimesh.exchange.gltf.export_glb(trimesh.Scene(out), include_normals=True))


class _SideFiles(trimesh.resolvers.FilePathResolver):
    """Finds the files a mesh names, and remembers those it could not find or read.

    Exporters write absolute paths of their own machine, backslashes and texture options; the file itself usually lies
    beside the mesh.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._path = path
        self.missing: list[str] = []
        self.unreadable: dict[str, str] = {}

    def get(self, name: str) -> bytes:
        plain = name.strip().strip('"').replace("\\", "/")
        last = plain.split("/")[-1]
        # "map_Kd -s 1 1 1 wood.png": the options come first, the file name last.
        for candidate in (plain, last, last.split(" ")[-1] if plain.startswith("-") else last):
            found = self._path.parent / candidate
            if candidate and found.is_file():
                data = found.read_bytes()
                if found.suffix.lower() in _IMAGE_SUFFIXES:
                    self._check_image(str(found), data)
                return data
        if name not in self.missing:
            self.missing.append(name)
        raise FileNotFoundError(name)

    def _check_image(self, name: str, data: bytes) -> None:
        try:
            Image.open(io.BytesIO(data)).load()
        except Exception as error:  # Pillow raises many types: OSError, SyntaxError, DecompressionBombError, ...
            self.unreadable[name] = str(error)
            raise

    def warn_of_lost_textures(self) -> None:
        for name in self.missing:
            kind = "material" if name.lower().endswith(".mtl") else "texture"
            warnings.warn(
                f"mesh {self._path}: its {kind} file {name!r} is missing, so the mesh is drawn without it: "
                f"put the file into {self._path.parent}, or export the mesh again with its textures",
                stacklevel=3,
            )
        for name, reason in self.unreadable.items():
            warnings.warn(
                f"mesh {self._path}: its texture file {name} cannot be read ({reason}), so the mesh is drawn without "
                "it: save the image again as PNG or JPEG",
                stacklevel=3,
            )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise MeshError(f"mesh {path} is a folder: give the mesh file in it (.obj, .ply or .glb)")
    if not path.exists():
        folder = path.parent
        others = (
            sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _KNOWN_SUFFIXES) if folder.is_dir() else []
        )
        hint = f"the folder has {', '.join(others[:5])}" if others else "check the path"
        raise MeshError(f"mesh file {path} does not exist: {hint}")
    if path.stat().st_size == 0:
        raise MeshError(f"mesh file {path} is empty (0 bytes): copy or export it again")
    if path.suffix.lower().lstrip(".") not in trimesh.available_formats():
        raise MeshError(f"mesh file {path} is of no known format: wanted one of {', '.join(_KNOWN_SUFFIXES)}")


def _has_colored_vertices(path: Path) -> bool:
    """Whether an OBJ file writes its vertices as "v x y z r g b"."""
    if path.suffix.lower() != ".obj":
        return False
    with path.open("rb") as file:
        first = next((line for line in file if line.startswith(b"v ")), b"")
    return len(first.split()) >= 7


def _read(path: Path, files: _SideFiles, gltf: GltfFile | None, skip_materials: bool = False) -> trimesh.Scene:
    # process=False keeps every vertex, which uv seams and BOP models rely on.
    options: dict[str, Any] = {"skip_materials": True} if skip_materials else {}
    try:
        with io.BytesIO(gltf.data if gltf is not None else path.read_bytes()) as stream:
            kind = path.suffix.lower().lstrip(".")
            return trimesh.load_scene(stream, file_type=kind, resolver=files, process=False, **options)
    except Exception as error:  # a parser of damaged text or bytes may raise anything
        if files.missing:
            raise MeshError(
                f"mesh {path} needs the file {files.missing[0]!r}, which is missing: put it beside"
            ) from error
        raise MeshError(
            f"mesh file {path} cannot be read ({type(error).__name__}: {error}): it is damaged, or not really "
            f"{path.suffix}; open it in a mesh editor and export it again"
        ) from error


def _mesh_of(scene: trimesh.Scene, unit: Unit, looks: Looks) -> Mesh:
    if unit not in get_args(Unit):
        raise MeshError(f"mesh unit {unit!r} is unknown: wanted one of {', '.join(get_args(Unit))}")
    name = looks.name
    parts = {key: looks.part(g) for key, g in scene.geometry.items() if isinstance(g, trimesh.Trimesh)}
    placed = []
    for node in scene.graph.nodes_geometry:
        transform, key = scene.graph[node]
        if key in parts and len(parts[key].faces):
            placed.append(_placed(parts[key], np.asarray(transform, dtype=np.float64), METRES_PER_UNIT[unit]))
    if not placed:
        points = sum(len(getattr(g, "vertices", ())) for g in scene.geometry.values())
        found = f"{points} vertices and no faces: it is a point cloud" if points else "no vertices and no faces"
        raise MeshError(
            f"mesh {name} has {found}; wanted a surface of triangles: reconstruct one (for example Poisson "
            "reconstruction), or export the mesh again"
        )
    return join_parts(placed, name)


def _placed(part: Part, transform: np.ndarray, scale: float) -> Part:
    """The part moved into the scene, in metres, without the vertices of no face."""
    used = np.zeros(len(part.vertices), dtype=bool)
    if int(part.faces.min()) < 0 or int(part.faces.max()) >= len(used) or not np.isfinite(part.vertices).all():
        used[:] = True  # Mesh says what is wrong, with all vertices counted
    else:
        used[part.faces] = True
    linear = transform[:3, :3]
    vertices = part.vertices if np.array_equal(transform, np.eye(4)) else part.vertices @ linear.T + transform[:3, 3]
    normals = None if part.normals is None else part.normals @ np.linalg.pinv(linear)
    faces = part.faces if used.all() else (np.cumsum(used) - 1)[part.faces]
    if np.linalg.det(linear) < 0:  # a mirrored instance: keep the outside outside
        faces = faces[:, ::-1]
    pick = slice(None) if used.all() else used
    uv, colors = (None if a is None else a[pick] for a in (part.uv, part.colors))
    return Part(vertices[pick] * scale, faces, None if normals is None else normals[pick], uv, part.image, colors)
