"""glTF files as programs write them load as what they mean, or say what is wrong."""

from __future__ import annotations

import base64
import io
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pose6d.errors import MeshError
from pose6d.mesh.mesh_files import load_mesh
from tests.mesh_boxes import TEXTURE, UV, VERTEX_COLORS, VERTICES, check_box, save_texture

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

TRIANGLES = np.concatenate([[[4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 2, 4 * i + 3]] for i in range(6)])
UV_DOWN = np.stack([UV[:, 0], 1 - UV[:, 1]], axis=1).astype(np.float32)
COMPONENTS = {"f": 5126, "I": 5125, "H": 5123, "B": 5121, "h": 5122, "b": 5120}


class Builder:
    """The header and buffer of a box with one primitive, to be changed before it is written."""

    def __init__(self, indices: np.ndarray | None = TRIANGLES, **attributes: np.ndarray):
        self.blob = b""
        self.tree: dict = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": []}
        attributes = {"POSITION": VERTICES.astype(np.float32), **attributes}
        self.primitive: dict = {"attributes": {name: self.accessor(array) for name, array in attributes.items()}}
        if indices is not None:
            self.primitive["indices"] = self.accessor(indices.astype(np.uint16).reshape(-1, 1))
        self.tree |= {"meshes": [{"primitives": [self.primitive]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}

    def view(self, data: bytes, **more: int) -> int:
        self.tree["bufferViews"].append({"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data), **more})
        self.blob += data + b"\0" * (-len(data) % 4)
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, array: np.ndarray, **more: object) -> int:
        entry = {"bufferView": self.view(array.tobytes()), "componentType": COMPONENTS[array.dtype.char]}
        kind = "SCALAR" if array.shape[1] == 1 else f"VEC{array.shape[1]}"
        self.tree["accessors"].append({**entry, "count": len(array), "type": kind, **more})
        return len(self.tree["accessors"]) - 1

    def material(self, **entry: object) -> Builder:
        self.tree["materials"] = [entry]
        self.primitive["material"] = 0
        return self

    def texture(self, image: dict) -> Builder:
        self.tree |= {"images": [image], "textures": [{"source": 0}]}
        return self

    def write(self, path: Path) -> Path:
        buffer = {"byteLength": len(self.blob)}
        if path.suffix == ".gltf":
            buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(self.blob).decode()
        self.tree.setdefault("buffers", [buffer, {"byteLength": 0}])
        text = json.dumps(self.tree).encode()
        if path.suffix == ".glb":
            text += b" " * (-len(text) % 4)
            total = 28 + len(text) + len(self.blob)
            head = struct.pack("<4sIIII", b"glTF", 2, total, len(text), 0x4E4F534A)
            text = head + text + struct.pack("<II", len(self.blob), 0x004E4942) + self.blob
        path.write_bytes(text)
        return path


def png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(TEXTURE).save(stream, "PNG")
    return stream.getvalue()


def textured(**material: object) -> Builder:
    builder = Builder(TEXCOORD_0=UV_DOWN).material(**material)
    return builder.texture({"bufferView": builder.view(png()), "mimeType": "image/png"})


BASE = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
@pytest.mark.parametrize(
    "material",
    [
        BASE,
        {"emissiveTexture": {"index": 0}, "emissiveFactor": [1, 1, 1]},
        {"emissiveTexture": {"index": 0}, "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}},
        {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": {"index": 0}}}},
    ],
    ids=["base", "emissive", "emissive on black", "specular glossiness"],
)
def test_textures_of_any_material(tmp_path, suffix, material):
    mesh = load_mesh(textured(**material).write(tmp_path / f"a{suffix}"))
    check_box(mesh)
    np.testing.assert_array_equal(mesh.texture, TEXTURE)


def test_material_that_only_shines_has_the_colour_of_its_light(tmp_path):
    builder = Builder().material(emissiveFactor=[1, 0, 0], pbrMetallicRoughness={"baseColorFactor": [0, 0, 0, 1]})
    check_box(load_mesh(builder.write(tmp_path / "a.glb")), np.tile([255, 0, 0], (6, 1)))


def test_second_texture_coordinates_and_their_transform(tmp_path):
    moved = (UV_DOWN - [0.25, 0.5]) / [0.5, 2]
    builder = Builder(TEXCOORD_0=np.zeros_like(UV_DOWN), TEXCOORD_1=moved.astype(np.float32))
    transform = {"offset": [0.25, 0.5], "scale": [0.5, 2], "texCoord": 1}
    entry = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    builder.material(pbrMetallicRoughness={"baseColorTexture": entry}).texture({"bufferView": builder.view(png())})
    check_box(load_mesh(builder.write(tmp_path / "a.glb")))


def test_texture_files_beside(tmp_path):
    builder = Builder(TEXCOORD_0=UV_DOWN).material(**BASE).texture({"uri": "my skin.png"})
    with pytest.warns(UserWarning, match=r"my skin\.png"):
        check_box(load_mesh(builder.write(tmp_path / "a.gltf")), np.full((6, 3), 255))
    save_texture(tmp_path / "my skin.png")
    for uri in ("my%20skin.png", "my skin.png", "textures/My%20Skin.png"):
        builder = Builder(TEXCOORD_0=UV_DOWN).material(**BASE).texture({"uri": uri})
        check_box(load_mesh(builder.write(tmp_path / "a.gltf")))


def test_textures_that_are_not_repeated_are_named(tmp_path):
    wide = Builder(TEXCOORD_0=UV_DOWN + np.float32([1, 0])).texture({"bufferView": 0})
    wide.tree["images"][0]["bufferView"] = wide.view(png())
    wide.material(pbrMetallicRoughness={"baseColorTexture": {"index": 0}})
    check_box(load_mesh(wide.write(tmp_path / "a.glb")))
    wide.tree["textures"][0]["sampler"] = 0
    for mode in (33071, 33648):
        wide.tree["samplers"] = [{"wrapT": mode}]
        check_box(load_mesh(wide.write(tmp_path / "a.glb")))  # it is within the texture in this direction
        wide.tree["samplers"] = [{"wrapS": mode}]
        with pytest.warns(UserWarning, match="clamped or mirrored at its border is repeated"):
            load_mesh(wide.write(tmp_path / "a.glb"))


def test_json_without_end_is_damaged(tmp_path):
    (tmp_path / "a.gltf").write_text("[" * 100_000)
    with pytest.raises(MeshError, match=r"a\.gltf is not readable glTF"):
        load_mesh(tmp_path / "a.gltf")


def test_webp_is_read_and_ktx2_is_named(tmp_path):
    builder = textured(**BASE)
    builder.tree["textures"] = [{"extensions": {"EXT_texture_webp": {"source": 0}}}]
    check_box(load_mesh(builder.write(tmp_path / "a.glb")))
    builder.tree["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": 0}}}]
    with pytest.warns(UserWarning, match=r"texture image number 0 \(KTX2"):
        load_mesh(builder.write(tmp_path / "a.glb"))


@pytest.mark.parametrize(
    "colors",
    [
        VERTEX_COLORS.astype(np.uint8),
        (VERTEX_COLORS * 257).astype(np.uint16),
        (VERTEX_COLORS / 255).astype(np.float32),
        np.c_[VERTEX_COLORS, np.full(24, 255)].astype(np.uint8),
    ],
    ids=["bytes", "shorts", "floats", "rgba"],
)
@pytest.mark.parametrize("normalized", [True, False])
def test_vertex_colours(tmp_path, colors, normalized):
    builder = Builder(COLOR_0=colors)
    builder.tree["asset"]["generator"] = "trimesh"  # which stores colours as they are shown
    builder.tree["accessors"][1]["normalized"] = normalized
    check_box(load_mesh(builder.write(tmp_path / "a.glb")))


@pytest.mark.parametrize(("factor", "expected"), [(None, [255, 128, 0]), ([1, 0.5, 1, 1], [255, 92, 0])])
def test_vertex_colours_are_linear_unless_a_generator_is_known_to_write_srgb(tmp_path, factor, expected):
    builder = Builder(COLOR_0=np.tile(np.array([65535, 14137, 0, 65535], np.uint16), (24, 1)))  # linear 1, 0.2157, 0
    if factor:
        builder.material(pbrMetallicRoughness={"baseColorFactor": factor})
    check_box(load_mesh(builder.write(tmp_path / "a.gltf")), np.tile(expected, (6, 1)), atol=0)


def test_vertex_colours_over_a_texture_are_named(tmp_path):
    builder = Builder(TEXCOORD_0=UV_DOWN, COLOR_0=VERTEX_COLORS.astype(np.uint8)).material(**BASE)
    builder.texture({"bufferView": builder.view(png())})
    with pytest.warns(UserWarning, match="vertex colours, which would shade its texture, are left out"):
        check_box(load_mesh(builder.write(tmp_path / "a.glb")))


@pytest.mark.parametrize("base", [True, False])
def test_sparse_accessors(tmp_path, base):
    """Positions of which some are replaced; without a base, all others are zero."""
    builder = Builder(COLOR_0=VERTEX_COLORS.astype(np.uint8))
    builder.tree["asset"]["generator"] = "trimesh"
    rows = np.arange(8, 20) if base else np.arange(24)
    sparse = {
        "count": len(rows),
        "indices": {"bufferView": builder.view(rows.astype(np.uint16).tobytes()), "componentType": 5123},
        "values": {"bufferView": builder.view(VERTICES[rows].astype(np.float32).tobytes())},
    }
    entry = builder.tree["accessors"][0]
    entry["sparse"] = sparse
    if base:
        wrong = VERTICES.copy()
        wrong[rows] = 9
        entry["bufferView"] = builder.view(wrong.astype(np.float32).tobytes())
    else:
        del entry["bufferView"]
    check_box(load_mesh(builder.write(tmp_path / "a.glb")))


def test_interleaved_and_quantised_attributes(tmp_path):
    builder = Builder(COLOR_0=VERTEX_COLORS.astype(np.uint8))
    builder.tree["asset"]["generator"] = "trimesh"
    scale = 0.05
    short = np.rint(VERTICES / scale * 32767).astype(np.int16)
    rows = np.zeros((24, 12), np.uint8)
    rows[:, :6], rows[:, 8:11] = short.view(np.uint8), VERTEX_COLORS
    view = builder.view(rows.tobytes(), byteStride=12)
    builder.tree["accessors"][0] |= {"bufferView": view, "componentType": 5122, "normalized": True}
    builder.tree["accessors"][1] |= {"bufferView": view, "byteOffset": 8, "normalized": True}
    builder.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    builder.tree["nodes"] = [{"mesh": 0, "scale": [scale] * 3}]
    check_box(load_mesh(builder.write(tmp_path / "a.glb")))


def test_nodes_place_meshes_in_the_scene(tmp_path):
    half = np.sqrt(0.5)
    builder = Builder(TEXCOORD_0=UV_DOWN).material(**BASE)
    builder.texture({"bufferView": builder.view(png())})
    turn_back = [0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 7, 0, 0, 1]  # column by column: -90 degrees about z
    builder.tree["nodes"] = [
        {"children": [1], "rotation": [0, 0, half, half], "translation": [1, 2, 3], "scale": [2, 2, 2]},
        {"children": [2], "matrix": turn_back},
        {"mesh": 0, "scale": [0.5, 0.5, 0.5]},
        {"mesh": 0, "translation": [99, 0, 0]},  # in no scene
    ]
    mesh = load_mesh(builder.write(tmp_path / "a.glb"))
    check_box(mesh)
    np.testing.assert_allclose(mesh.center, [1, 2 + 2 * 7, 3], atol=1e-5)
    builder.tree["nodes"] = [{"mesh": 0, "translation": [454000.3, 5412000, 0]}]
    with pytest.warns(UserWarning, match=r"\(454000.3, 5412000, 0\) is subtracted"):
        check_box(load_mesh(builder.write(tmp_path / "a.glb")))


def test_strips_fans_and_faces_without_indices(tmp_path):
    builder = Builder(None)
    quads = [builder.accessor(np.arange(4 * i, 4 * i + 4).astype(np.uint16).reshape(-1, 1)) for i in range(6)]
    strip = [builder.accessor(np.array([[0], [1], [3], [2]], np.uint16) + np.uint16(4 * i)) for i in range(6)]
    shape = {"attributes": builder.primitive["attributes"]}
    builder.tree["meshes"][0]["primitives"] = [
        *({**shape, "mode": 6, "indices": quads[i]} for i in range(3)),
        *({**shape, "mode": 5, "indices": strip[i]} for i in range(3, 6)),
    ]
    check_box(load_mesh(builder.write(tmp_path / "a.glb")), None)
    builder.tree["meshes"][0]["primitives"].append({**shape, "mode": 0})
    with pytest.warns(UserWarning, match="1 of its primitives are points or lines"):
        check_box(load_mesh(builder.write(tmp_path / "a.glb")), None)
    soup = Builder(None, POSITION=VERTICES[TRIANGLES.ravel()].astype(np.float32))
    check_box(load_mesh(soup.write(tmp_path / "b.glb")), None)


def _set(path: str, value: object) -> Callable[[Builder], None]:
    def change(builder: Builder) -> None:
        place: dict = builder.tree
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
        for step in steps:
            place = place[step]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("buffers", [{"byteLength": 9, "uri": "box.bin"}]), r"needs the file 'box.bin', which is missing"),
        (_set("bufferViews.0.buffer", 1), "no data for its buffer 1"),
        (_set("bufferViews.0.byteLength", 99999), r"truncated: buffer 0 has \d+ bytes and 99999 are needed"),
        (_set("accessors.0.count", 999), r"buffer view 0 has 288 bytes, \d+ are needed"),
        (_set("accessors.0.componentType", 1), "not readable glTF"),
        (_set("accessors.0.type", "VEC2"), r"POSITION has the shape \(24, 2\)"),
        (_set("accessors.1", {"componentType": 5125, "type": "SCALAR", "count": 10**10}), "10000000000 values without"),
        (_set("bufferViews.0.byteStride", 4), "24 values, 4 bytes apart"),
        (
            _set("nodes", [{"children": [i + 1, i + 1]} for i in range(40)] + [{"mesh": 0}]),
            "children of .* many others",
        ),
        (_set("asset.version", "1.0"), "glTF 1, wanted glTF 2"),
        (_set("nodes", [{"children": [0]}]), "children of themselves"),
        (_set("extensionsRequired", ["EXT_meshopt_compression"]), r"EXT_meshopt_compression.*without compression"),
        (_set("nodes", [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {}}}]), "EXT_mesh_gpu_instancing"),
        (_set("meshes", [{"primitives": [{"mode": 0, "attributes": {"POSITION": 0}}]}]), "no faces"),
    ],
)
def test_unusable_gltf_says_what_is_wrong(tmp_path, change, message):
    builder = Builder()
    change(builder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(MeshError, match=message) as caught:
            load_mesh(builder.write(tmp_path / "a.gltf"))
    assert "a.gltf" in str(caught.value)


def test_compression_without_plain_data_is_refused(tmp_path):
    builder = Builder()
    builder.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}}
    check_box(load_mesh(builder.write(tmp_path / "a.glb")), None)  # plain data lies beside it
    del builder.tree["accessors"][0]["bufferView"]
    with pytest.raises(MeshError, match="uses KHR_draco_mesh_compression alone"):
        load_mesh(builder.write(tmp_path / "a.glb"))


@pytest.mark.parametrize(
    ("node", "message"),
    [({"mesh": 0, "skin": 0}, "skeleton is not applied"), ({"mesh": 0, "weights": [0.5]}, "morph targets")],
)
def test_deformations_are_named(tmp_path, node, message):
    builder = Builder()
    builder.tree["nodes"] = [node]
    with pytest.warns(UserWarning, match=message):
        check_box(load_mesh(builder.write(tmp_path / "a.glb")), None)
