"""OBJ and MTL files as programs write them load as what they mean, or say what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pose6d.errors import MeshError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from tests.mesh_boxes import COLORS, TEXTURE, UV, VERTEX_COLORS, VERTICES, check_box, save_texture

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def box_obj(material: str = "mtllib box.mtl\nusemtl skin", colors: np.ndarray | None = None) -> str:
    """The text of the box, a line of "f" with four corners for each side."""
    extra = np.empty((24, 0)) if colors is None else colors
    lines = [material]
    lines += ["v " + " ".join(f"{x:.6g}" for x in row) for row in np.concatenate([VERTICES, extra], axis=1)]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in UV]
    lines += ["f " + " ".join(f"{i}/{i}" for i in range(4 * side + 1, 4 * side + 5)) for side in range(6)]
    return "\n".join(lines) + "\n"


def write(
    folder: Path, obj: str | bytes, mtl: str | bytes | None = "newmtl skin\nmap_Kd skin.png\n", image: str = "skin.png"
) -> Path:
    for name, text in (("box.obj", obj), ("box.mtl", mtl)):
        if text is not None:
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    if image:
        save_texture(folder / image)
    return folder / "box.obj"


OBJ_DIALECTS = {
    "tabs": lambda text: text.replace(" ", "\t"),
    "windows line ends": lambda text: text.replace("\n", "\r\n"),
    "old Mac line ends": lambda text: text.replace("\n", "\r"),
    "comments": lambda text: text.replace("\n", " # side\n").replace("f ", "# f 1 2 3\nf "),
    "continued lines": lambda text: text.replace(" 3/3", " \\\n 3/3").replace(" 8/8", " \\\r\n\t8/8"),
    "blanks around": lambda text: "\n\n" + text.replace("\n", "  \n   ") + "\n",
    "capital exponent": lambda text: text.replace("v 0.05 ", "v 5.0E-02 "),
    "material after the faces": lambda text: text.replace("mtllib box.mtl\n", "") + "mtllib box.mtl\n",
    "no usemtl": lambda text: text.replace("usemtl skin\n", ""),
    "quoted library": lambda text: text.replace("box.mtl", '"box.mtl"'),
    "library of another case": lambda text: text.replace("box.mtl", "Box.MTL"),
    "Windows path": lambda text: text.replace("box.mtl", "C:\\export\\box.mtl"),
    "three texture coordinates": lambda text: "\n".join(
        line + " 0" if line.startswith("vt") else line for line in text.split("\n")
    ),
    "vertices with w": lambda text: "\n".join(
        line + " 1.0" if line.startswith("v ") else line for line in text.split("\n")
    ),
    "groups and smoothing": lambda text: "o box\ng all\n" + text.replace("f ", "s off\ng side\nf "),
    "lines and points beside": lambda text: text + "l 1 2 3\np 1 2\n",
}


@pytest.mark.parametrize("dialect", OBJ_DIALECTS)
def test_obj_dialect(tmp_path, dialect):
    mesh = load_mesh(write(tmp_path, OBJ_DIALECTS[dialect](box_obj())))
    check_box(mesh)
    assert mesh.texture is not None
    assert len(mesh.faces) == 12


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_text_encodings(tmp_path, encoding):
    obj = "# Größe\n" + box_obj("mtllib box.mtl\nusemtl müde")
    mtl = "# Größe\nnewmtl müde\nmap_Kd häute/Größe.png\n"
    check_box(load_mesh(write(tmp_path, obj.encode(encoding), mtl.encode(encoding), "häute/Größe.png")))


MTL_DIALECTS = {
    "newmtl skin # comment\nmap_Kd skin.png # the skin": "skin.png",
    "newmtl skin\r\n\tmap_Kd\tskin.png\r\n": "skin.png",
    "newmtl skin\nKd 0.8 0.8 0.8\nmap_Ka skin.png": "skin.png",
    "newmtl skin\nMAP_KD skin.png": "skin.png",
    "newmtl skin\nmap_Ke skin.png": "skin.png",
    "newmtl skin\nmap_Ka other.png\nmap_Kd skin.png": "skin.png",
    "newmtl skin\nmap_Kd my skin #1.png": "my skin #1.png",
    'newmtl skin\nmap_Kd "my skin.png"': "my skin.png",
    "newmtl skin\nmap_Kd D:\\work\\maps\\Skin.PNG": "maps/skin.png",
    "newmtl skin\nmap_Kd /home/me/export/skin.png": "skin.png",
    "newmtl skin\nmap_Kd ./maps//skin.png": "maps/skin.png",
    "newmtl skin\nmap_Kd ../skin.png": "../skin.png",
    "newmtl skin\nmap_Kd -bm 1.0 -blendu on -texres 512 -o 0 0 -s 1 1 1 my skin.png": "my skin.png",
    "newmtl skin\nmap_Kd file:///C:/my%20maps/skin.png": "my maps/skin.png",
    "newmtl skin\nmap_Kd\nmap_Ka gr\u00f6n.png": "gro\u0308n.png",
    "newmtl other\nmap_Kd other.png\nnewmtl skin\nmap_Kd skin.png": "skin.png",
}


@pytest.mark.parametrize(("mtl", "image"), MTL_DIALECTS.items())
def test_mtl_dialect(tmp_path, mtl, image):
    (tmp_path / "model").mkdir()
    check_box(load_mesh(write(tmp_path / "model", box_obj(), mtl, image)))


def test_texture_options_move_the_texture(tmp_path):
    obj = box_obj("mtllib box.mtl\nusemtl skin")
    for u, v in UV:
        obj = obj.replace(f"vt {u:.6f} {v:.6f}", f"vt {2 * u + 3:.7f} {v:.7f}")
    check_box(load_mesh(write(tmp_path, obj, "newmtl skin\nmap_Kd -s 0.5 -o -1.5 skin.png\n")))
    with pytest.warns(UserWarning, match=r"option -mm of its texture 'skin.png' is not applied"):
        load_mesh(write(tmp_path, obj, "newmtl skin\nmap_Kd -mm 0.2 0.5 skin.png\n"))


def test_textures_lie_beside_their_material_file(tmp_path):
    path = write(tmp_path, box_obj("mtllib mats/my box.mtl\nusemtl skin"), None, "mats/skin.png")
    (tmp_path / "mats/my box.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
    save_texture(tmp_path / "other/skin.png", TEXTURE[:, ::-1].copy())
    check_box(load_mesh(path))


def test_a_link_to_a_mesh_finds_what_lies_beside_the_mesh(tmp_path):
    (tmp_path / "real").mkdir()
    write(tmp_path / "real", box_obj())
    (tmp_path / "link.obj").symlink_to("real/box.obj")
    check_box(load_mesh(tmp_path / "link.obj"))


def test_a_texture_of_floats_is_named(tmp_path):
    path = write(tmp_path, box_obj(), "newmtl skin\nKd 1 0 0\nmap_Kd skin.tif\n", "")
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "skin.tif")
    with pytest.warns(UserWarning, match=r"skin\.tif cannot be read \(floating-point pixels.*save the image again"):
        check_box(load_mesh(path), np.full((6, 3), [255, 0, 0]))


@pytest.mark.parametrize("libraries", ["mtllib a.mtl\nmtllib b.mtl", "mtllib a.mtl b.mtl", 'mtllib "a.mtl" "b.mtl"'])
def test_several_material_files(tmp_path, libraries):
    text = box_obj(f"{libraries}\nusemtl A").replace("f 13", "usemtl B\nf 13")
    path = write(tmp_path, text, None)
    for name in "ab":
        (tmp_path / f"{name}.mtl").write_text(f"newmtl {name.upper()}\nmap_Kd skin.png\n")
    mesh = load_mesh(path)
    check_box(mesh)
    assert mesh.texture.shape == TEXTURE.shape  # one image, one texture


def test_relative_indices_count_back_from_their_own_line(tmp_path):
    lines = ["mtllib box.mtl", "usemtl skin", "vn 0 0 1"]
    for side in range(6):
        at = slice(4 * side, 4 * side + 4)
        lines += ["v " + " ".join(f"{x:.6f}" for x in row) for row in VERTICES[at]]
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in UV[at]]
        corners = (f"-4/{4 * side + 1}", f"{4 * side + 2}/-3", "-2/-2", "-1/-1")  # both kinds in one file
        lines.append("f " + " ".join(corners))
    check_box(load_mesh(write(tmp_path, "\n".join(lines))))


def test_corners_of_all_kinds_in_one_file(tmp_path):
    lines = ["v " + " ".join(f"{x:.6f}" for x in row) for row in VERTICES] + ["vt 0 0", "vn 0 0 1"]
    kinds = ("{}", "{}/1", "{}//1", "{}/1/1", "{}/", "{}/1/")
    lines += ["f " + " ".join(kind.format(4 * side + i) for i in range(1, 5)) for side, kind in enumerate(kinds)]
    with pytest.warns(UserWarning, match="names no texture"):
        check_box(load_mesh(write(tmp_path, "\n".join(lines), None, "")), np.full((6, 3), 128))


def test_given_normals_are_kept(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 -1\nvn 0 2 0\nf 1//1 2//-1 3//1\n")
    np.testing.assert_allclose(load_mesh(tmp_path / "a.obj").normals, [[0, 0, -1], [0, 1, 0], [0, 0, -1]])


ARROW = [(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)]  # a fan would cover its notch
RING = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]  # a bridge leads to the hole
CROSSED = [(0, 0), (4, 4), (4, 0), (0, 4)]


@pytest.mark.parametrize(("corners", "area"), [(ARROW, 10), (RING, 12)])
def test_concave_polygons_cover_no_more_than_they_should(tmp_path, corners, area):
    text = "".join(f"v {x} {y} 0\n" for x, y in corners)
    order = list(range(1, len(corners) + 1))
    for start in range(len(order)):
        for turned in (1, -1):
            face = (order[start:] + order[:start])[::turned]
            (tmp_path / "a.obj").write_text(text + f"f {' '.join(map(str, face))}\n")
            mesh = load_mesh(tmp_path / "a.obj")
            a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
            cross = turned * np.cross(b - a, c - a)[:, 2]
            assert cross.sum() / 2 == pytest.approx(area)
            assert (cross >= 0).all()


def test_a_polygon_that_crosses_itself_loads(tmp_path):
    (tmp_path / "a.obj").write_text("".join(f"v {x} {y} 0\n" for x, y in CROSSED) + "f 1 2 3 4\n")
    assert len(load_mesh(tmp_path / "a.obj").faces) == 2


@pytest.mark.parametrize(
    "colors",
    [
        VERTEX_COLORS,
        VERTEX_COLORS / 255,
        np.round(VERTEX_COLORS * 257.0),
        np.concatenate([np.ones((24, 1)), VERTEX_COLORS / 255], axis=1),
        np.concatenate([VERTEX_COLORS / 255, np.ones((24, 1))], axis=1),
        np.concatenate([VERTEX_COLORS, np.full((24, 1), 255)], axis=1),
    ],
    ids=["0..255", "0..1", "0..65535", "w first", "alpha last", "alpha 255"],
)
def test_vertex_colours_of_any_range(tmp_path, colors):
    check_box(load_mesh(write(tmp_path, box_obj("# no material", colors), None, "")), atol=1)


def test_vertices_without_a_colour_are_grey(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0 255 0 10\nv 1 0 0\nv 0 1 0 0 0 20\nf 1 2 3\n")
    np.testing.assert_array_equal(load_mesh(tmp_path / "a.obj").colors, [[255, 0, 10], [128] * 3, [0, 0, 20]])


def test_colours_beyond_any_range_are_refused(tmp_path):
    with pytest.raises(MeshError, match=r"box.obj.*colours from -210 to 220.*wanted 0 to 1, 0 to 255"):
        load_mesh(write(tmp_path, box_obj("", VERTEX_COLORS * [1, -1, 1]), None, ""))


def test_polypaint_comments_are_colours(tmp_path):
    digits = "".join("ff" + "".join(f"{x:02x}" for x in row) for row in VERTEX_COLORS)
    text = box_obj("", None) + f"#MRGB {digits[:64]}\n#MRGB {digits[64:]}\n"
    check_box(load_mesh(write(tmp_path, text, None, "")))


def test_material_colours(tmp_path):
    text = "mtllib box.mtl\n" + box_obj("")
    for side in range(6):
        text = text.replace(f"f {4 * side + 1}/", f"usemtl m {side}\nf {4 * side + 1}/")
    kinds = ("Kd {}", "Ka 0 0 0\nKd {}", "Kd 0 0 0\nKe {}", "Ka {}", "Ke {}", "Kd {}")
    scales = (1 / 255, 1 / 255, 1 / 255, 1 / 255, 1 / 255, 1)  # the last in 0..255
    mtl = "".join(
        f"newmtl m {side}\n{kind.format(' '.join(map(str, COLORS[side] * scale)))}\n"
        for side, (kind, scale) in enumerate(zip(kinds, scales, strict=True))
    )
    check_box(load_mesh(write(tmp_path, text, mtl, "")))


def test_faces_without_texture_coordinates_keep_the_others_textured(tmp_path):
    text = box_obj().replace("f 1/1 2/2 3/3 4/4", "f 1 2 3 4")
    with pytest.warns(UserWarning, match=r"2 of the 12 triangles of its material 'skin' have no texture coordinates"):
        mesh = load_mesh(write(tmp_path, text, "newmtl skin\nKd 1 1 1\nmap_Kd skin.png\n"))
    check_box(mesh, np.concatenate([[[255, 255, 255]], COLORS[1:]]))


def test_materials_that_do_not_match_are_named(tmp_path):
    with pytest.warns(UserWarning, match=r"material 'skin' is not in.*has 'Skin2': drawn as 'Skin2'"):
        check_box(load_mesh(write(tmp_path, box_obj(), "newmtl Skin2\nmap_Kd skin.png\n")))
    two = "newmtl a\nKd 1 0 0\nnewmtl b\n"
    with pytest.warns(UserWarning, match=r"material 'skin' is not in.*has 'a', 'b': drawn without"):
        load_mesh(write(tmp_path, "v 0 0 0\nv 1 0 0\nv 0 1 0\nmtllib box.mtl\nusemtl skin\nf 1 2 3\n", two))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1,5 0 0\nv 0 1 0\nf 1 2 3\n", r"'1,5' where a number is wanted.*decimals with a point"),
        ("v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", r"v has a line ' 1 0': wanted at least 3 numbers"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", r"index v 1\.\.4, but there are 3 lines of v"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -4 -2 -1\n", r"index v 0\.\.3, but there are 3"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/2 3/3\n", r"index vt 1\.\.3, but there are 1 lines of vt"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1/1/1 2 3\n", "more than v/vt/vn"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 /2 3\n", "begin with a slash"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 2.5\n", "no whole numbers"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 nan\n", "no whole numbers"),
        ("v 0 0 0\nv 1_0 0 0\nv 0 1 0\nf 1 2 3\n", "'1_0' where a number is wanted"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n", "'a' where a number is wanted"),
        ("\xff\xfe\0\xd8\0\0", "not text"),
    ],
)
def test_damaged_obj_says_what_is_wrong(tmp_path, text, message):
    (tmp_path / "a.obj").write_text(text, encoding="latin-1")
    with pytest.raises(MeshError, match=message) as caught:
        load_mesh(tmp_path / "a.obj")
    assert "a.obj" in str(caught.value)


def test_what_is_no_triangle_is_named(tmp_path):
    base = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    (tmp_path / "a.obj").write_text(base + "f 1 2\n")
    with pytest.warns(UserWarning, match="1 of its faces have fewer than three corners"):
        load_mesh(tmp_path / "a.obj")
    (tmp_path / "a.obj").write_text(base + "cstype bezier\nsurf 0 1 0 1 1 2 3\n")
    with pytest.warns(UserWarning, match=r"free-form surfaces \(cstype, surf\) are left out"):
        load_mesh(tmp_path / "a.obj")
    (tmp_path / "a.obj").write_text("v 0 0 0 0.5\nv 1 0 0 1\nv 0 1 0 1\nf 1 2 3\n")
    with pytest.warns(UserWarning, match=r"1 number\(s\) after x y z"):
        assert isinstance(load_mesh(tmp_path / "a.obj"), Mesh)
