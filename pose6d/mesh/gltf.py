"""Reading glTF 2.0 files, .glb and .gltf (Khronos, glTF 2.0 specification)."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.faces import strip_triangles
from pose6d.mesh.gltf_materials import GltfMaterials
from pose6d.mesh.part import MeshPart
from pose6d.mesh.side_files import SideFiles

_COMPRESSIONS = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_meshopt_compression")
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_ATTRIBUTES = {"POSITION": 3, "NORMAL": 3, "TEXCOORD": 2}  # how many numbers a vertex has of each
_MOST_ZEROS = 2**26  # numbers; more would be made to fill the memory
_MOST_VISITS = 10  # of each node on average; the format allows one


def read_gltf(path: Path, files: SideFiles) -> list[MeshPart]:
    """One part for each primitive of each node of the default scene, moved into the scene; y is up as in the file.

    Raises:
        MeshError: it is damaged or compressed, or a buffer is missing.
    """
    header, binary = _container(path)
    try:
        return _Gltf(path, files, header, binary).parts()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MeshError(
            f"mesh {path} is not readable glTF ({type(error).__name__}: {error}): it is damaged; export it again"
        ) from error


def _container(path: Path) -> tuple[dict[str, Any], bytes | None]:
    """The JSON header, and the binary chunk of a .glb."""
    raw = path.read_bytes()
    binary = None
    try:
        if raw[:4] == b"glTF":
            (version,) = struct.unpack_from("<I", raw, 4)
            (length,) = struct.unpack_from("<I", raw, 12)
            header = json.loads(raw[20 : 20 + length])
            rest = raw[20 + length :]
            if version == 2 and len(rest) >= 8:
                (length,) = struct.unpack_from("<I", rest)
                binary = rest[8 : 8 + length]
        else:
            header = json.loads(raw)
        major = str(header.get("asset", {}).get("version", "2")).split(".")[0]
    except (ValueError, struct.error, AttributeError, RecursionError) as error:
        raise MeshError(f"mesh {path} is not readable glTF ({error}): it is damaged; export it again") from error
    if major != "2":
        raise MeshError(f"mesh {path} is glTF {major}, wanted glTF 2: export or convert it again")
    compressed = set(_COMPRESSIONS) & set(header.get("extensionsRequired", []))
    if compressed:
        raise MeshError(
            f"mesh {path} uses {', '.join(sorted(compressed))}, which is not supported: export it again without "
            "compression, or run: gltf-transform copy (or Blender import and export) to decompress it"
        )
    return header, binary


class _Gltf:
    def __init__(self, path: Path, files: SideFiles, header: dict[str, Any], binary: bytes | None):
        self._path, self._files, self._header, self._binary = path, files, header, binary
        self._buffers: dict[int, bytes] = {}
        self._materials = GltfMaterials(header, files, self._bytes)

    def parts(self) -> list[MeshPart]:
        parts, other = [], 0
        for node, transform in self._mesh_nodes():
            mesh = self._header["meshes"][node["mesh"]]
            if "skin" in node:
                self._files.warn("its skeleton is not applied: it is drawn as modelled, before any pose")
            if any(node.get("weights", mesh.get("weights", []))):
                self._files.warn("its morph targets are not applied: export it with its shape baked in")
            if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
                raise MeshError(f"mesh {self._path} uses EXT_mesh_gpu_instancing, which is not supported: bake it")
            for primitive in mesh["primitives"]:
                faces = self._faces(primitive)
                if faces is None:
                    other += 1
                    continue
                parts.append(self._part(primitive, faces).transform(transform))
        if other:
            self._files.warn(f"{other} of its primitives are points or lines, or have no vertices, and are left out")
        self._materials.warn_of_unnamed_texture()
        return parts

    def _mesh_nodes(self) -> Iterator[tuple[dict, np.ndarray]]:
        """Nodes of the default scene that have a mesh, and their transforms (4, 4) into the scene."""
        nodes, scenes = self._header.get("nodes", []), self._header.get("scenes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [i for i in range(len(nodes)) if i not in children]
        if scenes:
            roots = scenes[self._header.get("scene", 0)].get("nodes", [])
        waiting = [(root, np.eye(4)) for root in reversed(roots)]
        visits = 0
        while waiting:
            index, above = waiting.pop()
            visits += 1
            if visits > _MOST_VISITS * len(nodes):
                raise ValueError("its nodes are children of themselves, or of very many others")
            node = nodes[index]
            transform = above @ _local_transform(node)
            if "mesh" in node:
                yield node, transform
            waiting += [(child, transform) for child in reversed(node.get("children", []))]

    def _faces(self, primitive: dict) -> np.ndarray | None:
        """(F, 3) indices of vertices, None for what is no surface."""
        mode, attributes = primitive.get("mode", _TRIANGLES), primitive["attributes"]
        if mode not in (_TRIANGLES, _STRIP, _FAN) or "POSITION" not in attributes:
            return None
        self._refuse_compressed(primitive)
        if "indices" in primitive:
            indices = self._accessor(primitive["indices"]).ravel().astype(np.int64)
        else:
            indices = np.arange(self._header["accessors"][attributes["POSITION"]]["count"])
        if mode == _STRIP:
            return strip_triangles(indices)
        if mode == _FAN:
            return np.stack([np.full(max(len(indices) - 2, 0), indices[0]), indices[1:-1], indices[2:]], axis=1)
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)

    def _refuse_compressed(self, primitive: dict) -> None:
        """Compression that is not required has plain data beside it; here it may have none all the same."""
        used = {"KHR_draco_mesh_compression"} & set(primitive.get("extensions", {}))
        plain = self._header["accessors"][primitive["attributes"]["POSITION"]]
        if used and "bufferView" not in plain and "sparse" not in plain:
            raise MeshError(f"mesh {self._path} uses {used.pop()} alone: export it again without compression")

    def _part(self, primitive: dict, faces: np.ndarray) -> MeshPart:
        attributes = primitive["attributes"]
        found = {name: self._accessor(index) for name, index in attributes.items() if not name.startswith("_")}
        positions = found["POSITION"].astype(np.float64)
        for name, values in found.items():
            if values.shape != (len(positions), _ATTRIBUTES.get(name.split("_")[0], values.shape[1])):
                raise ValueError(f"{name} has the shape {values.shape}, there are {len(positions)} vertices")
        if len(faces) and int(faces.max()) >= len(positions):
            raise MeshError(
                f"mesh {self._path} has faces that index vertices {faces.min()}..{faces.max()}, but there are "
                f"{len(positions)} vertices: the file is truncated or corrupt; export it again"
            )
        normals = found.get("NORMAL")
        part = MeshPart(positions, faces, None if normals is None else normals.astype(np.float64))
        self._materials.apply(part, primitive.get("material"), found)
        return part

    def _accessor(self, index: int) -> np.ndarray:
        """(count, width) as stored, or float64 0..1 (or -1..1) where integers stand for fractions."""
        accessor = self._header["accessors"][index]
        kind, width = np.dtype(_COMPONENTS[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count = accessor["count"]
        if "bufferView" in accessor:
            values = self._values(accessor["bufferView"], accessor.get("byteOffset", 0), kind, count, width)
        elif count * width > _MOST_ZEROS:
            raise ValueError(f"accessor of {count} values without data")
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in accessor:  # most values as above, some replaced
            sparse = accessor["sparse"]
            at, new = sparse["indices"], sparse["values"]
            where = np.dtype(_COMPONENTS[at["componentType"]])
            rows = self._values(at["bufferView"], at.get("byteOffset", 0), where, sparse["count"], 1).ravel()
            values = values.copy()
            values[rows] = self._values(new["bufferView"], new.get("byteOffset", 0), kind, sparse["count"], width)
        if accessor.get("normalized") and kind.kind in "iu":
            return np.maximum(values / np.iinfo(kind).max, -1.0)
        return values

    def _values(self, view: int, offset: int, kind: np.dtype, count: int, width: int) -> np.ndarray:
        data = self._bytes(view)
        stride = self._header["bufferViews"][view].get("byteStride") or kind.itemsize * width
        last = offset + stride * (count - 1) + kind.itemsize * width
        if min(count, offset) < 0 or stride < kind.itemsize * width:
            raise ValueError(f"accessor of {count} values, {stride} bytes apart, from byte {offset}")
        if count and last > len(data):
            raise ValueError(f"buffer view {view} has {len(data)} bytes, {last} are needed")
        return np.ndarray((count, width), kind, data, offset, (stride, kind.itemsize))

    def _bytes(self, view: int) -> bytes:
        """The content of a buffer view."""
        entry = self._header["bufferViews"][view]
        buffer, start = self._buffer(entry["buffer"]), entry.get("byteOffset", 0)
        data = buffer[start : start + entry["byteLength"]]
        if len(data) < entry["byteLength"]:
            raise MeshError(
                f"mesh {self._path} is truncated: buffer {entry['buffer']} has {len(buffer)} bytes and "
                f"{start + entry['byteLength']} are needed; copy or export it again"
            )
        return data

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            uri = self._header["buffers"][index].get("uri")
            if uri is not None:
                self._buffers[index] = _read_uri(uri, self._files)
            elif index == 0 and self._binary is not None:
                self._buffers[index] = self._binary
            else:
                raise MeshError(
                    f"mesh {self._path} has no data for its buffer {index}: it is truncated, or compressed (meshopt); "
                    "copy it again, or export it without compression"
                )
        return self._buffers[index]


def _read_uri(uri: str, files: SideFiles) -> bytes:
    """The content of a data URI, or of a file beside."""
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2])
    found = files.find(uri)
    if found is None:
        raise MeshError(f"mesh {files.mesh} needs the file {uri!r}, which is missing: put it beside the mesh")
    return found.read_bytes()


def _local_transform(node: dict) -> np.ndarray:
    """(4, 4) float64 into the parent's frame."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), np.float64)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    transform = np.eye(4)
    transform[:3, :3] = rotation * np.array(node.get("scale", [1, 1, 1]), np.float64)
    transform[:3, 3] = node.get("translation", [0, 0, 0])
    return transform
