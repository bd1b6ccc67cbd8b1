"""What trimesh leaves out when it reads glTF: colour space, missing images, texture transforms, compression."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path

import numpy as np

from pose6d.errors import MeshError

# Geometry under these is read as zeros or raw integers unless it is decoded first.
_COMPRESSIONS = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization"}
# These writers store the colours one sees (sRGB) where the format asks for linear ones.
_WRITERS_OF_SRGB = ("trimesh", "assimp", "open asset import")


class GltfFile:
    """A .glb or .gltf file whose materials are renamed to their index, so that each is found again after loading.

    Attributes:
        data: the bytes to load.
        linear: colour factors and vertex colours are linear, as the format says.

    Raises:
        MeshError: the header is damaged, or the geometry is compressed.
    """

    def __init__(self, path: Path):
        self._path = path
        raw = path.read_bytes()
        self._binary = raw[:4] == b"glTF"
        try:
            if self._binary:
                (length,) = struct.unpack_from("<I", raw, 12)
                self._header, rest = json.loads(raw[20 : 20 + length]), raw[20 + length :]
            else:
                self._header, rest = json.loads(raw), b""
            self._materials = list(self._header.get("materials", []))
        except (ValueError, struct.error, AttributeError) as error:
            raise MeshError(f"mesh {path} is not readable glTF ({error}): it is damaged; export it again") from error
        compressed = _COMPRESSIONS & set(self._header.get("extensionsRequired", []))
        if compressed:
            raise MeshError(
                f"mesh {path} uses {', '.join(sorted(compressed))}, which is not supported: export it again without "
                "compression, or run: gltf-transform copy (or Blender import and export) to decompress it"
            )
        generator = str(self._header.get("asset", {}).get("generator", "")).lower()
        self.linear = not any(writer in generator for writer in _WRITERS_OF_SRGB)
        self.data = self._rewritten(rest)

    def _rewritten(self, rest: bytes) -> bytes:
        header = dict(self._header)
        header["materials"] = [{**material, "name": str(i)} for i, material in enumerate(self._materials)]
        # A primitive without material would have 16-bit vertex colours cut to 8 bits; with one they are kept as stored.
        header["materials"].append({"name": str(len(self._materials))})
        header["meshes"] = [
            {**m, "primitives": [{"material": len(self._materials), **p} for p in m.get("primitives", [])]}
            for m in self._header.get("meshes", [])
        ]
        text = json.dumps(header).encode()
        if not self._binary:
            return text
        text += b" " * (-len(text) % 4)
        return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest

    def base_color(self, material_name: str | None) -> tuple[np.ndarray | None, dict]:
        """The `baseColorFactor` (3,) and `baseColorTexture` entry of a loaded material; None and {} where absent."""
        try:
            material = self._materials[int(material_name or "")]
        except (ValueError, IndexError):
            return None, {}
        pbr = material.get("pbrMetallicRoughness", {})
        factor = pbr.get("baseColorFactor")
        return None if factor is None else np.asarray(factor, np.float64)[:3], pbr.get("baseColorTexture", {})

    def warn_of_lost_texture(self, entry: dict) -> None:
        """Say which image a material names and does not have."""
        try:
            texture = self._header["textures"][entry["index"]]
            image = self._header["images"][texture["source"]]
            named = (
                image.get("uri", "embedded")[:100] if "uri" in image else f"embedded {image.get('name', '')}".strip()
            )
        except (KeyError, IndexError, TypeError):
            named = f"number {entry.get('index')} (KTX2 or another format that is not supported)"
        warnings.warn(
            f"mesh {self._path}: its texture image {named} could not be read, so that part is drawn in one colour: "
            "put the image beside the mesh, or export it again with PNG or JPEG textures",
            stacklevel=2,
        )

    def transformed_uv(self, uv: np.ndarray, entry: dict) -> np.ndarray:
        """uv (V, 2), v up, after the material's KHR_texture_transform."""
        transform = entry.get("extensions", {}).get("KHR_texture_transform", {})
        if entry.get("texCoord", 0) != 0 or transform.get("texCoord", 0) != 0:
            warnings.warn(
                f"mesh {self._path}: only the first uv set is read, its texture may be misplaced", stacklevel=2
            )
        if not transform:
            return uv
        angle = transform.get("rotation", 0.0)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        down = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)  # the format's v points down
        down = (down * transform.get("scale", [1, 1])) @ rotation.T + transform.get("offset", [0, 0])
        return np.stack([down[:, 0], 1 - down[:, 1]], axis=1)


def srgb_from_linear(values: np.ndarray) -> np.ndarray:
    """Colours as displayed (0..1) of linear ones (0..1); IEC 61966-2-1."""
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def linear_from_srgb(values: np.ndarray) -> np.ndarray:
    """Linear colours (0..1) of displayed ones (0..1); IEC 61966-2-1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
