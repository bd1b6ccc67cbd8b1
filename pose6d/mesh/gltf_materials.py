"""The colours of glTF 2.0 files: materials, textures and vertex colours."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np

from pose6d.mesh.part import MeshPart
from pose6d.mesh.side_files import SideFiles

# These writers store the colours one sees (sRGB) where the format asks for linear ones.
_WRITERS_OF_SRGB = ("trimesh", "assimp", "open asset import")
_REPEAT = 10497  # how a texture goes on beyond its border


class GltfMaterials:
    """Gives parts the texture or colours of their material.

    Args:
        header: the JSON of the file.
        files: where outside images are.
        view_bytes: the content of a buffer view.
    """

    def __init__(self, header: dict, files: SideFiles, view_bytes: Callable[[int], bytes]):
        self._header, self._files, self._view_bytes = header, files, view_bytes
        generator = str(header.get("asset", {}).get("generator", "")).lower()
        self._linear = not any(writer in generator for writer in _WRITERS_OF_SRGB)
        self._images: dict[int, np.ndarray | None] = {}
        self._tinted: dict[tuple, np.ndarray] = {}
        self._without_texture = False

    def apply(self, part: MeshPart, material: int | None, attributes: dict[str, np.ndarray]) -> None:
        """Set the part's texture and uv, or its colours; neither where nothing is given.

        Args:
            part: with vertices.
            material: its index, None for none.
            attributes: by their names in the format, (V, any) each.
        """
        entry = {} if material is None else self._header["materials"][material]
        factor, texture = _surface(entry)
        stored = attributes.get("COLOR_0")
        if texture is not None:
            transform = texture.get("extensions", {}).get("KHR_texture_transform", {})
            uv = attributes.get(f"TEXCOORD_{transform.get('texCoord', texture.get('texCoord', 0))}")
            if uv is None:
                self._files.warn("a material has a texture and its faces no texture coordinates: drawn in one colour")
            else:
                part.image = self._texture(texture["index"], factor)
            if part.image is not None and uv is not None:
                part.uv = _transform_uv(uv.astype(np.float64), transform)
                self._warn_of_sampler(texture["index"], part.uv)
                if stored is not None and (stored[:, :3] != stored[0, :3]).any():
                    self._files.warn("its vertex colours, which would shade its texture, are left out")
                return
        if stored is not None:
            colors = stored[:, :3].astype(np.float64)
            if stored.dtype.kind in "iu":
                colors /= np.iinfo(stored.dtype).max
            colors = colors if factor is None else colors * factor
        elif factor is not None or texture is not None:
            colors = np.tile(np.ones(3) if factor is None else factor, (len(part.vertices), 1))
        else:
            self._without_texture |= "TEXCOORD_0" in attributes
            return
        colors = np.clip(np.nan_to_num(colors), 0, 1)
        part.colors = np.rint(255 * (srgb_from_linear(colors) if self._linear else colors)).astype(np.uint8)

    def warn_of_unnamed_texture(self) -> None:
        """Say if a part had texture coordinates and neither a texture nor a colour."""
        if self._without_texture and not self._files.lost:
            self._files.warn(
                "it has texture coordinates but names no texture, so it is drawn in grey: export it again with its "
                "material and texture"
            )

    def _warn_of_sampler(self, index: int, uv: np.ndarray) -> None:
        """Say if a texture would end or be mirrored at its border, and is repeated instead."""
        sampler = self._header["textures"][index].get("sampler")
        modes = {} if sampler is None else self._header["samplers"][sampler]
        outside = np.abs(uv - 0.5).max(axis=0, initial=0) > 0.51
        if any(modes.get(f"wrap{axis}", _REPEAT) != _REPEAT and outside[i] for i, axis in enumerate("ST")):
            self._files.warn("a texture that is clamped or mirrored at its border is repeated instead: bake it")

    def _texture(self, index: int, tint: np.ndarray | None) -> np.ndarray | None:
        """(H, W, 3) uint8, multiplied by `tint` (3,); None if there is or can be none."""
        texture = self._header["textures"][index]
        source = texture.get("extensions", {}).get("EXT_texture_webp", texture).get("source", texture.get("source"))
        if source is None:
            self._lost(f"number {index} (KTX2 or another format that is not supported)")
            return None
        if source not in self._images:
            self._images[source] = self._image(self._header["images"][source])
        image = self._images[source]
        if image is None or tint is None or np.allclose(tint, 1, atol=1e-3):
            return image
        key = (source, *np.round(tint, 4))
        if key not in self._tinted:
            level = np.arange(256)[:, None] / 255  # a table of 256 levels for each of the three channels
            shown = srgb_from_linear(linear_from_srgb(level) * tint) if self._linear else np.clip(level * tint, 0, 1)
            shown = np.rint(255 * shown).astype(np.uint8)
            self._tinted[key] = np.stack([shown[image[..., c], c] for c in range(3)], axis=-1)
        return self._tinted[key]

    def _image(self, entry: dict) -> np.ndarray | None:
        uri = entry.get("uri")
        if uri is None:
            what = f"embedded {entry.get('name', '')}".strip()
            return self._files.decode(self._view_bytes(entry["bufferView"]), f"texture image {what}")
        if uri.startswith("data:"):
            return self._files.decode(base64.b64decode(uri.partition(",")[2]), "texture image embedded")
        return self._files.image(uri)

    def _lost(self, what: str) -> None:
        self._files.lost = True
        self._files.warn(
            f"its texture image {what} cannot be read, so that part is drawn in one colour: export it again with PNG "
            "or JPEG textures"
        )


def _surface(material: dict) -> tuple[np.ndarray | None, dict | None]:
    """The colour factor (3,) linear and the texture entry that give a material its colour, None where absent.

    A material that only shines is drawn in the light it gives.
    """
    pbr = material.get("pbrMetallicRoughness", {})
    gloss = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
    factor = pbr.get("baseColorFactor", gloss.get("diffuseFactor"))
    texture = pbr.get("baseColorTexture", gloss.get("diffuseTexture"))
    shine, shining = material.get("emissiveFactor"), material.get("emissiveTexture")
    lit = any(shine or ())
    if texture is None and shining is not None and (factor is None or len(set(factor[:3])) == 1):
        factor, texture = shine if lit else None, shining  # black, grey or white says nothing, the texture does
    elif texture is None and lit and not any((factor or ())[:3]):
        factor = shine
    return None if factor is None else np.nan_to_num(np.asarray(factor, np.float64)[:3]), texture


def _transform_uv(uv: np.ndarray, transform: dict) -> np.ndarray:
    """uv (V, 2) with v up, of the format's with v down, after KHR_texture_transform."""
    angle = transform.get("rotation", 0.0)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    down = (uv * transform.get("scale", [1, 1])) @ rotation.T + transform.get("offset", [0, 0])
    return np.stack([down[:, 0], 1 - down[:, 1]], axis=1)


def srgb_from_linear(values: np.ndarray) -> np.ndarray:
    """Colours as displayed (0..1) of linear ones (0..1); IEC 61966-2-1."""
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def linear_from_srgb(values: np.ndarray) -> np.ndarray:
    """Linear colours (0..1) of displayed ones (0..1); IEC 61966-2-1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
