"""From trimesh's many kinds of visuals and materials to the two that a mesh here has: a texture or vertex colours."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial, SimpleMaterial, empty_material

from pose6d.errors import MeshError
from pose6d.mesh.part import MeshPart
from pose6d.mesh.side_files import SideFiles, rgb_pixels

_STAND_IN = empty_material().image


def read_with_trimesh(path: Path, files: SideFiles) -> list[MeshPart]:
    """The parts of a file in any format that trimesh reads, such as STL.

    Raises:
        MeshError: it cannot be read.
    """
    kind, data = path.suffix.lower().lstrip("."), path.read_bytes()
    if kind == "stl" and _has_stl_colors(data):
        files.warn("the colours of its faces are left out, as STL has no standard for them: export .ply or .obj")
    try:
        # process=False keeps every vertex.
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False)
    except Exception as error:  # a parser of damaged text or bytes may raise anything
        raise MeshError(
            f"mesh file {path} cannot be read ({type(error).__name__}: {error}): it is damaged, or not really "
            f"{path.suffix}; open it in a mesh editor and export it again"
        ) from error
    if scene.is_empty:
        raise MeshError(
            f"mesh file {path} ({len(data)} bytes) holds no triangles: it is empty, truncated or otherwise damaged, or "
            f"not really {path.suffix}; copy or export it again"
        )
    return read_parts(scene)


def read_parts(source: trimesh.Trimesh | trimesh.Scene) -> list[MeshPart]:
    """The geometries of a trimesh object or scene at their places; of other kinds than triangles, the vertices alone.

    Textures with the same content become the same array.
    """
    scene = source if isinstance(source, trimesh.Scene) else trimesh.Scene(source)
    textures: dict[bytes, np.ndarray] = {}
    parts = {key: _part(geometry, textures) for key, geometry in scene.geometry.items()}
    nodes = [scene.graph[node] for node in scene.graph.nodes_geometry]
    return [parts[key].transform(np.asarray(transform, np.float64)) for transform, key in nodes if key in parts]


def _has_stl_colors(data: bytes) -> bool:
    """Whether a binary STL uses the two bytes after each triangle, in which some programs write a colour."""
    count = int.from_bytes(data[80:84], "little")
    if len(data) < 84 + 50 * count or not count:
        return False
    return bool(np.frombuffer(data, np.uint8, 50 * count, 84).reshape(-1, 50)[:, 48:].any())


def _part(geometry: trimesh.Trimesh, textures: dict[bytes, np.ndarray]) -> MeshPart:
    """The geometry in its own frame; normals only if its file gave them."""
    if not isinstance(geometry, trimesh.Trimesh):
        vertices = np.asarray(getattr(geometry, "vertices", np.empty((0, 3))), np.float64)
        return MeshPart(vertices, np.empty((0, 3), np.int64))
    # trimesh keeps given normals in its cache, and would otherwise compute another kind of its own.
    given = geometry._cache.cache.get("vertex_normals")
    normals = None if given is None or np.shape(given) != geometry.vertices.shape else np.asarray(given, np.float64)
    part = MeshPart(np.asarray(geometry.vertices, np.float64), np.asarray(geometry.faces, np.int64), normals)
    visual = geometry.visual
    if isinstance(visual, trimesh.visual.TextureVisuals):
        _take_material(part, visual, textures)
    elif visual is not None and visual.kind == "vertex":
        part.colors = np.asarray(visual.vertex_colors)[:, :3].astype(np.uint8)
    elif visual is not None and visual.kind == "face" and len(part.faces):
        corner = part.faces.ravel()
        part = MeshPart(
            part.vertices[corner],
            np.arange(len(corner)).reshape(-1, 3),
            None if normals is None else normals[corner],
            colors=np.repeat(np.asarray(visual.face_colors)[:, :3].astype(np.uint8), 3, axis=0),
        )
    return part


def _take_material(part: MeshPart, visual: trimesh.visual.TextureVisuals, textures: dict[bytes, np.ndarray]) -> None:
    material, count = visual.material, len(part.vertices)
    color = _material_color(material)
    image = _material_image(material)
    if image is not None and visual.uv is not None and len(visual.uv) == count:
        pixels = rgb_pixels(image)
        if isinstance(material, PBRMaterial) and color is not None:  # viewers ignore Kd where map_Kd is
            pixels = np.rint(pixels * np.clip(color, 0, 1)).astype(np.uint8)
        key = hashlib.sha1(pixels.tobytes() + repr(pixels.shape).encode(), usedforsecurity=False).digest()
        part.uv, part.image = np.asarray(visual.uv, np.float64), textures.setdefault(key, pixels)
    elif color is not None:
        part.colors = np.tile(np.rint(255 * np.clip(color, 0, 1)).astype(np.uint8), (count, 1))


def _material_color(material: object) -> np.ndarray | None:
    """(3,) float 0..1 as stored; None where none was given."""
    if isinstance(material, PBRMaterial):
        color = material.baseColorFactor
    else:
        color = getattr(material, "diffuse", None)
        if color is not None and np.array_equal(color, trimesh.visual.color.DEFAULT_COLOR):
            color = None  # trimesh's stand-in for "no Kd"
    if color is None:
        return None
    color = np.asarray(color).reshape(-1)[:3]
    return color / 255.0 if color.dtype.kind in "iu" else color.astype(np.float64)


def _material_image(material: object) -> Image.Image | None:
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if not isinstance(image, Image.Image):
        return None
    # trimesh gives uv without a texture a material with a tiny image of one colour.
    if isinstance(material, SimpleMaterial) and image.format is None and image.size == _STAND_IN.size:
        return None if np.array_equal(np.asarray(image), np.asarray(_STAND_IN)) else image
    return image
