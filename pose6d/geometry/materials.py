"""From trimesh's many kinds of visuals and materials to the two that a mesh here has: a texture or vertex colours."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial, SimpleMaterial, empty_material

from pose6d.geometry.gltf import GltfFile, linear_from_srgb, srgb_from_linear
from pose6d.geometry.texture_atlas import Part

_STAND_IN = empty_material().image


class Looks:
    """Reads the geometries of one file; textures with the same content become the same array.

    Attributes:
        name: what messages call the mesh.
        without_texture: some geometry had uv, and neither a texture nor a colour.
    """

    def __init__(self, name: str, gltf: GltfFile | None = None):
        self.name = name
        self.without_texture = False
        self._gltf = gltf
        self._textures: dict[bytes, np.ndarray] = {}

    def part(self, geometry: trimesh.Trimesh) -> Part:
        """The geometry in its own frame; normals only if its file gave them."""
        # trimesh keeps given normals in its cache, and would otherwise compute another kind of its own.
        given = geometry._cache.cache.get("vertex_normals")
        normals = None if given is None or np.shape(given) != geometry.vertices.shape else np.asarray(given, np.float64)
        part = Part(np.asarray(geometry.vertices, np.float64), np.asarray(geometry.faces, np.int64), normals)
        visual = geometry.visual
        if isinstance(visual, trimesh.visual.TextureVisuals):
            self._take_material(part, visual)
        elif visual is not None and visual.kind == "vertex":
            part.colors = np.asarray(visual.vertex_colors)[:, :3].astype(np.uint8)
        elif visual is not None and visual.kind == "face" and len(part.faces):
            corner = part.faces.ravel()
            part = Part(
                part.vertices[corner],
                np.arange(len(corner)).reshape(-1, 3),
                None if normals is None else normals[corner],
                colors=np.repeat(np.asarray(visual.face_colors)[:, :3].astype(np.uint8), 3, axis=0),
            )
        return part

    def _take_material(self, part: Part, visual: trimesh.visual.TextureVisuals) -> None:
        material, count = visual.material, len(part.vertices)
        linear = self._gltf is not None and self._gltf.linear
        factor: np.ndarray | None = _material_color(material)
        entry: dict = {}
        if self._gltf is not None:
            factor, entry = self._gltf.base_color(getattr(material, "name", None))
        has_uv = visual.uv is not None and len(visual.uv) == count
        if has_uv:
            tint = factor if isinstance(material, PBRMaterial) else None  # viewers ignore Kd where map_Kd is
            part.image = self._texture(_material_image(material), tint, linear)
        if part.image is not None:
            uv = np.asarray(visual.uv, np.float64)
            part.uv = uv if self._gltf is None else self._gltf.transformed_uv(uv, entry)
            return
        if entry and self._gltf is not None:
            self._gltf.warn_of_lost_texture(entry)
        stored = visual.vertex_attributes.get("color")  # glTF's COLOR_0
        if stored is not None and len(stored) == count:
            values = np.asarray(stored)[:, :3]
            values = values / np.iinfo(values.dtype).max if values.dtype.kind in "iu" else values
            values = values * (1.0 if factor is None else factor)
        elif factor is not None:
            values = np.broadcast_to(factor, (count, 3))
        else:
            self.without_texture |= has_uv and not entry
            return
        values = np.clip(np.nan_to_num(values), 0, 1)
        part.colors = np.rint(255 * (srgb_from_linear(values) if linear else values)).astype(np.uint8)

    def _texture(self, image: Image.Image | None, tint: np.ndarray | None, linear: bool) -> np.ndarray | None:
        """(H, W, 3) uint8, multiplied by `tint` (3,) in linear or stored values; None if there is or can be none."""
        if image is None:
            return None
        try:
            if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
                pixels = np.repeat((np.asarray(image) // 257).astype(np.uint8)[..., None], 3, axis=2)
            else:
                pixels = np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow raises many types for a damaged image
            warnings.warn(
                f"mesh {self.name}: its texture {image.info.get('file_path', '(embedded)')} cannot be read ({error}), "
                "so it is drawn without: save the image again as PNG",
                stacklevel=2,
            )
            return None
        if tint is not None and not np.allclose(tint, 1, atol=1e-3):
            level = np.arange(256)[:, None] / 255  # a table of 256 levels for each of the three channels
            table = srgb_from_linear(linear_from_srgb(level) * tint) if linear else np.clip(level * tint, 0, 1)
            table = np.rint(255 * table).astype(np.uint8)
            pixels = np.stack([table[pixels[..., c], c] for c in range(3)], axis=-1)
        key = hashlib.sha1(pixels.tobytes() + repr(pixels.shape).encode(), usedforsecurity=False).digest()
        return self._textures.setdefault(key, pixels)


def texture_of(geometry: object) -> Image.Image | None:
    """The colour image of a trimesh geometry, None if it has none."""
    return _material_image(getattr(getattr(geometry, "visual", None), "material", None))


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
