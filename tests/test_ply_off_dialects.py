"""PLY, OFF and STL files as programs write them load as what they mean, or say what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from pose6d.errors import MeshError
from pose6d.mesh.mesh_files import load_mesh
from tests.mesh_boxes import COLORS, TEXTURE, UV, VERTEX_COLORS, VERTICES, check_box, save_texture

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

QUADS = np.arange(24).reshape(6, 4)
XYZ = {axis: ("float", VERTICES[:, i]) for i, axis in enumerate("xyz")}
TYPES = {"float": "f4", "double": "f8", "uchar": "u1", "ushort": "u2", "int": "i4", "uint8": "u1", "float32": "f4"}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


def columns(names: str, kind: str, values: np.ndarray) -> dict:
    return {name: (kind, values[:, i]) for i, name in enumerate(names.split())}


def write_ply(
    path: Path, vertex: dict, face: dict, form: str = "ascii", comments: str = "", faces: str = "face", end: str = "\n"
) -> Path:
    """Properties are (type, one value per row); lists are (type, one array per row)."""
    order, head, body = ORDERS[form], [f"ply\nformat {form} 1.0\n{comments}"], []
    for element, properties in (("vertex", vertex), (faces, face)):
        rows = len(next(iter(properties.values()))[1])
        head.append(f"element {element} {rows}\n")
        for name, (kind, values) in properties.items():
            head.append(f"property {'list uchar ' if np.ndim(values[0]) else ''}{kind} {name}\n")
        for row in range(rows):
            words = []
            for kind, values in properties.values():
                value = np.atleast_1d(values[row])
                if np.ndim(values[row]):
                    words.append(np.array([len(value)], "u1"))
                words.append(value.astype(order + TYPES[kind]))
            if order:
                body.append(b"".join(word.tobytes() for word in words))
            else:
                body.append((" ".join(f"{x:.9g}" for word in words for x in word) + end).encode())
    head.append("end_header\n")
    path.write_bytes("".join(head).replace("\n", end).encode() + b"".join(body))
    return path


@pytest.mark.parametrize("form", ORDERS)
@pytest.mark.parametrize(
    ("names", "kind", "scale"),
    [
        ("red green blue", "uchar", 1),
        ("diffuse_red diffuse_green diffuse_blue", "uint8", 1),
        ("r g b", "uchar", 1),
        ("Red Green Blue", "float", 1 / 255),
        ("red green blue", "double", 1),
        ("red green blue", "ushort", 257),
        ("red green blue", "int", 1),
    ],
)
def test_ply_vertex_colours_of_any_spelling_and_type(tmp_path, form, names, kind, scale):
    vertex = XYZ | columns(names, kind, VERTEX_COLORS * scale)
    check_box(load_mesh(write_ply(tmp_path / "a.ply", vertex, {"vertex_indices": ("int", QUADS)}, form)), atol=1)


@pytest.mark.parametrize("form", ORDERS)
def test_ply_of_triangles_and_quads_with_face_colours(tmp_path, form):
    polygons = [*QUADS[:5], QUADS[5, :3], QUADS[5, [0, 2, 3]]]
    colors = np.concatenate([COLORS, COLORS[5:]])
    face = {"vertex_index": ("int", polygons)} | columns("red green blue alpha", "uchar", np.c_[colors, colors[:, 0]])
    mesh = load_mesh(write_ply(tmp_path / "a.ply", XYZ, face, form))
    assert len(mesh.faces) == 12
    check_box(mesh)
    # Faces share vertices here, and colours still stay sharp.
    shared, index = np.unique(VERTICES, axis=0, return_inverse=True)
    corner = {axis: ("double", shared[:, i]) for i, axis in enumerate("xyz")}
    face["vertex_index"] = ("int", [index[polygon] for polygon in polygons])
    check_box(load_mesh(write_ply(tmp_path / "b.ply", corner, face, form)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ply_line_ends(tmp_path, end):
    vertex = XYZ | columns("red green blue", "uchar", VERTEX_COLORS)
    for form in ORDERS:
        check_box(load_mesh(write_ply(tmp_path / "a.ply", vertex, {"vertex_indices": ("int", QUADS)}, form, end=end)))


@pytest.mark.parametrize("form", ORDERS)
def test_ply_strips_and_other_elements_first(tmp_path, form):
    strip = np.concatenate([[*quad[[0, 1, 3, 2]], -1] for quad in QUADS])
    vertex = XYZ | columns("red green blue", "uchar", VERTEX_COLORS)
    path = write_ply(tmp_path / "a.ply", vertex, {"vertex_indices": ("int", [strip])}, form, faces="tristrips")
    check_box(load_mesh(path))


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v", "S T"])
def test_ply_texture_at_vertices(tmp_path, names):
    save_texture(tmp_path / "my skin.png")
    vertex = XYZ | columns(names, "float", UV)
    comments = "comment made by hand\ncomment TextureFile my skin.png\n"
    mesh = load_mesh(write_ply(tmp_path / "a.ply", vertex, {"vertex_indices": ("int", QUADS)}, comments=comments))
    check_box(mesh)
    np.testing.assert_array_equal(mesh.texture, TEXTURE)


@pytest.mark.parametrize("form", ORDERS)
def test_ply_textures_at_the_corners_of_faces(tmp_path, form):
    """As MeshLab writes them; vertices are shared between sides, and three sides have an image of their own."""
    save_texture(tmp_path / "a.png")
    save_texture(tmp_path / "b.png", TEXTURE[:, ::-1].copy())
    uv = UV.reshape(6, 4, 2).copy()
    uv[3:, :, 0] = 1 - uv[3:, :, 0]
    shared, index = np.unique(VERTICES, axis=0, return_inverse=True)
    vertex = {axis: ("double", shared[:, i]) for i, axis in enumerate("xyz")}
    face = {"vertex_indices": ("int", index[QUADS]), "texcoord": ("float", uv.reshape(6, 8))}
    face["texnumber"] = ("int", np.array([0, 0, 0, 1, 1, 1]))
    comments = "comment TextureFile a.png\ncomment TextureFile b.png\n"
    check_box(load_mesh(write_ply(tmp_path / "a.ply", vertex, face, form, comments)))


def test_ply_texture_that_is_not_there_is_named(tmp_path):
    vertex = XYZ | columns("s t", "float", UV) | columns("red green blue", "uchar", VERTEX_COLORS)
    face = {"vertex_indices": ("int", QUADS)}
    with pytest.warns(UserWarning, match=r"a.ply: its texture file 'skin.png' is missing"):
        mesh = load_mesh(write_ply(tmp_path / "a.ply", vertex, face, comments="comment TextureFile skin.png\n"))
    check_box(mesh)  # its vertex colours are the next best
    with pytest.warns(UserWarning, match="has texture coordinates but names no texture"):
        load_mesh(write_ply(tmp_path / "a.ply", vertex, face))
    with pytest.warns(UserWarning, match=r"names the texture 'skin.png' and has no texture coordinates"):
        load_mesh(write_ply(tmp_path / "a.ply", XYZ, face, comments="comment TextureFile skin.png\n"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-9], r"ends within its 6 of element 'face'"),
        (lambda data: data.replace(b"int vertex", b"integer vertex"), r"'property list uchar integer vertex_indices'"),
        (lambda data: data.replace(b"binary_little_endian", b"binary"), r"damaged header: 'format binary 1.0'"),
        (lambda data: data.replace(b"float z", b"float w"), "no element 'vertex' has properties x, y and z"),
        (lambda data: data.replace(b"end_header", b"end"), "not really .ply: it has no header"),
        (lambda data: data[:-1] + b"\x01", r"index vertices 0\.\.167772"),
        (lambda data: data.replace(b"vertex_indices", b"material_index"), "faces have no list of vertices"),
        (lambda data: data.replace(b"element face", b"element range_grid"), "range scan"),
        (lambda data: data.replace(b"face 6", b"face -6"), "'element face -6' is not known"),
        (lambda data: data.replace(b"face 6", b"face 6000000000"), "within its 6000000000 of element 'face'"),
        (lambda data: data.replace(b"uchar int", b"float int")[:-102] + b"\0\0\x80\x7f" * 30, "element 'face'"),
    ],
)
def test_damaged_ply_says_what_is_wrong(tmp_path, change, message):
    path = write_ply(tmp_path / "a.ply", XYZ, {"vertex_indices": ("int", QUADS)}, "binary_little_endian")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(MeshError, match=message) as caught:
        load_mesh(path)
    assert "a.ply" in str(caught.value)


def test_ply_text_with_fractions_where_its_header_says_bytes(tmp_path):
    vertex = XYZ | columns("red green blue", "float", VERTEX_COLORS / 255)
    path = write_ply(tmp_path / "a.ply", vertex, {"vertex_indices": ("int", QUADS)})
    for name in ("red", "green", "blue"):
        path.write_text(path.read_text().replace(f"float {name}", f"uchar {name}"))
    path.write_text(path.read_text().replace("element face", "element nothing 6000000000\nelement face"))
    check_box(load_mesh(path))


@pytest.mark.parametrize("index", ["2.5", "nan", "1e30"])
def test_ply_text_with_indices_that_are_none(tmp_path, index):
    path = write_ply(tmp_path / "a.ply", XYZ, {"vertex_indices": ("int", QUADS)})
    path.write_text(path.read_text().replace("4 0 1 2 3", f"4 0 1 2 {index}"))
    with pytest.raises(MeshError, match=r"index vertices -1\.\.23"):
        load_mesh(path)


# OFF


def off_text(head: str, vertex: np.ndarray, faces: list[str], digits: str = "{:.6g}") -> str:
    rows = [" ".join(digits.format(x) for x in row) for row in vertex]
    return "\n".join([head, *rows, *faces]) + "\n"


OFF_QUADS = ["4 " + " ".join(map(str, quad)) for quad in QUADS]
ALPHA = np.full((24, 1), 255)
OFFS = {
    "ints": off_text("COFF\n24 6 0", np.c_[VERTICES, VERTEX_COLORS], OFF_QUADS),
    "ints with alpha": off_text("COFF\n24 6 0", np.c_[VERTICES, VERTEX_COLORS, ALPHA], OFF_QUADS),
    "floats": off_text("COFF\n24 6 0", np.c_[VERTICES, VERTEX_COLORS / 255, ALPHA / 255], OFF_QUADS),
    "no prefix": off_text("OFF\n24 6 0", np.c_[VERTICES, VERTEX_COLORS], OFF_QUADS),
    "ModelNet": off_text("OFF24 6 0", np.c_[VERTICES, VERTEX_COLORS], OFF_QUADS),
    "normals": off_text("CNOFF 24 6 12", np.c_[VERTICES, VERTICES, VERTEX_COLORS], OFF_QUADS),
    "comments": off_text("# made by\nCOFF # box\n\n24 6 0\n# here", np.c_[VERTICES, VERTEX_COLORS], OFF_QUADS),
    "faces": off_text(
        "OFF\n24 6 0", VERTICES, [f"{q} {r} {g} {b}" for q, (r, g, b) in zip(OFF_QUADS, COLORS, strict=True)]
    ),
    "faces of mixed corners": off_text(
        "OFF\n24 7 0",
        VERTICES,
        [
            *(
                f"{q}  {r / 255} {g / 255} {b / 255} 1.0"
                for q, (r, g, b) in zip(OFF_QUADS[:5], COLORS[:5], strict=True)
            ),
            *(f"3 {t} {40 / 255} {200 / 255} {210 / 255}" for t in ("20 21 22", "20 22 23")),
        ],
    ),
}


@pytest.mark.parametrize("dialect", OFFS)
def test_off_dialect(tmp_path, dialect):
    (tmp_path / "a.off").write_text(OFFS[dialect])
    mesh = load_mesh(tmp_path / "a.off")
    assert len(mesh.faces) == 12
    check_box(mesh)


def test_off_says_what_it_leaves_out_or_lacks(tmp_path):
    path = tmp_path / "a.off"
    path.write_text(off_text("STOFF\n24 6 0", np.c_[VERTICES, UV], OFF_QUADS))
    with pytest.warns(UserWarning, match="texture coordinates are left out"):
        check_box(load_mesh(path), np.full((6, 3), 128))
    path.write_text(off_text("OFF\n24 6 0", VERTICES, [f"{quad} 3" for quad in OFF_QUADS]))
    with pytest.warns(UserWarning, match="indices of a colour map"):
        check_box(load_mesh(path), np.full((6, 3), 128))
    for text, message in {
        "OFF BINARY\n\0\0": "binary OFF",
        "4OFF\n1 1 1\n": r"another dimension \(4OFF\)",
        "OFF\n24 6 0\n0 0 0\n": "wanted the numbers of vertices and faces",
        off_text("OFF\n24 6 0", VERTICES, [*OFF_QUADS[:5], "4 1 2 3"]): "fewer indices than they say",
        off_text("OFF\n24 6 0", VERTICES, [*OFF_QUADS[:5], "4 1 2 3 24"]): r"index vertices 0\.\.24",
    }.items():
        path.write_text(text)
        with pytest.raises(MeshError, match=message) as caught:
            load_mesh(path)
        assert "a.off" in str(caught.value)


# STL


def test_stl_colours_are_named(tmp_path):
    data = bytearray(trimesh.creation.box([0.1, 0.06, 0.04]).export(file_type="stl"))
    (tmp_path / "a.stl").write_bytes(data)
    check_box(load_mesh(tmp_path / "a.stl"), np.full((6, 3), 128))
    data[84 + 48 : 84 + 50] = b"\x1f\x80"
    (tmp_path / "a.stl").write_bytes(data)
    with pytest.warns(UserWarning, match="colours of its faces are left out"):
        check_box(load_mesh(tmp_path / "a.stl"), np.full((6, 3), 128))


@pytest.mark.parametrize("ascii", [False, True])
def test_a_truncated_stl_is_no_point_cloud(tmp_path, ascii):
    data = trimesh.creation.box([0.1, 0.06, 0.04]).export(file_type="stl_ascii" if ascii else "stl")
    data = data.encode() if ascii else data
    (tmp_path / "a.stl").write_bytes(data[: len(data) // 2])
    with pytest.raises(MeshError, match=r"a\.stl .* holds no triangles: it is empty, truncated"):
        load_mesh(tmp_path / "a.stl")
