"""Mesh files keep their shape and look on the way to arrays and back, and bad ones say what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from trimesh.visual.material import PBRMaterial

from pose6d.errors import MeshError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh, save_mesh
from tests.mesh_boxes import bilinear

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

QUAD = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
QUAD_FACES = np.array([[0, 1, 2], [0, 2, 3]])
QUAD_UV = QUAD[:, :2]
# Rows from the top: red green / blue white
FOUR_COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8).repeat(8, 0).repeat(8, 1)


def look_at(mesh: Mesh, x: float, y: float) -> np.ndarray:
    """Colour (3,) of the mesh's surface at (x, y, any z): bilinear texture that repeats, or interpolated colours."""
    for face in mesh.faces:
        a, b, c = mesh.vertices[face, :2].astype(np.float64)
        if abs(np.linalg.det([b - a, c - a])) < 1e-12:
            continue
        second, third = np.linalg.solve(np.stack([b - a, c - a], axis=1), np.array([x, y]) - a)
        weights = np.array([1 - second - third, second, third])
        if (weights < -1e-9).any():
            continue
        if mesh.texture is None:
            return weights @ mesh.colors[face].astype(np.float64)
        return 255 * bilinear(mesh.texture, weights @ mesh.uv[face].astype(np.float64))
    raise AssertionError(f"nothing at {x}, {y}")


def textured(image: np.ndarray, uv: np.ndarray = QUAD_UV, offset: float = 0.0) -> trimesh.Trimesh:
    material = PBRMaterial(baseColorTexture=Image.fromarray(image))
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(QUAD + np.array([offset, 0, 0]), QUAD_FACES, visual=visual, process=False)


# OBJ


def write_quad(folder: Path, mtl: str | None = "map_Kd skin.png", image: str | None = "skin.png") -> Path:
    text = ["mtllib quad.mtl"]
    text += [f"v {x} {y} {z}" for x, y, z in QUAD] + [f"vt {u} {v}" for u, v in QUAD_UV]
    text += ["usemtl skin", "f 1/1 2/2 3/3", "f 1/1 3/3 4/4"]
    (folder / "quad.obj").write_text("\n".join(text))
    if mtl is not None:
        (folder / "quad.mtl").write_text(f"newmtl skin\n{mtl}\n")
    if image is not None:
        Image.fromarray(FOUR_COLORS).save(folder / image)
    return folder / "quad.obj"


def test_missing_or_damaged_texture_is_a_warning_that_names_it(tmp_path):
    path = write_quad(tmp_path, "Kd 1 0.5 0\nmap_Kd skin.png", image=None)
    with pytest.warns(UserWarning, match=r"texture file 'skin.png' is missing"):
        mesh = load_mesh(path)
    assert (mesh.colors == [255, 128, 0]).all()
    (tmp_path / "skin.png").write_bytes(b"\x89PNG\r\n\x1a\n not a picture")
    with pytest.warns(UserWarning, match=r"skin.png cannot be read"):
        mesh = load_mesh(path)
    assert (mesh.colors == [255, 128, 0]).all()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "skin.png")
    (tmp_path / "skin.png").write_bytes((tmp_path / "skin.png").read_bytes()[:5000])
    with pytest.warns(UserWarning, match=r"skin.png cannot be read"):
        assert load_mesh(path).texture is None


def test_missing_mtl_is_a_warning_that_names_it(tmp_path):
    with pytest.warns(UserWarning, match=r"material file 'quad.mtl' is missing"):
        mesh = load_mesh(write_quad(tmp_path, mtl=None))
    assert (mesh.colors == 128).all()


def test_obj_vertex_colours_beside_a_material(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0.2 0.2 0.2\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\nusemtl m\nf 1 2 3\n")
    np.testing.assert_array_equal(load_mesh(tmp_path / "a.obj").colors, np.eye(3) * 255)


def test_obj_of_two_materials_becomes_one_atlas(tmp_path):
    path = write_quad(tmp_path)
    (tmp_path / "quad.mtl").write_text("newmtl skin\nmap_Kd skin.png\nnewmtl plain\nKd 0 1 1\n")
    with path.open("a") as file:
        file.write("\nv 5 0 0\nv 6 0 0\nv 5 1 0\nusemtl plain\nf 5 6 7\n")
    mesh = load_mesh(path)
    np.testing.assert_allclose(look_at(mesh, 0.25, 0.75), [255, 0, 0], atol=0.5)
    np.testing.assert_allclose(look_at(mesh, 5.2, 0.2), [0, 255, 255], atol=0.5)


def test_unit_is_applied_in_double_precision(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 123.456789 0 0\nv 0 98.7654321 0\nf 1 2 3\n")
    mesh = load_mesh(tmp_path / "a.obj", unit="mm")
    assert mesh.vertices.max() == np.float32(0.123456789)
    with pytest.raises(MeshError, match="'inch' is unknown"):
        load_mesh(tmp_path / "a.obj", unit="inch")


# PLY


def test_ply_keeps_order_colours_and_repeated_vertices(tmp_path):
    vertices = np.concatenate([QUAD, QUAD])  # the same place twice: a seam
    colors = np.random.default_rng(0).integers(0, 255, (8, 3), np.uint8)
    source = trimesh.Trimesh(
        vertices, np.concatenate([QUAD_FACES, QUAD_FACES + 4]), vertex_colors=colors, process=False
    )
    source.export(tmp_path / "a.ply")
    mesh = load_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.vertices, vertices.astype(np.float32))
    np.testing.assert_array_equal(mesh.colors, colors)


def test_face_colours_stay_sharp(tmp_path):
    source = trimesh.Trimesh(QUAD, QUAD_FACES, face_colors=[[255, 0, 0], [0, 0, 255]], process=False)
    mesh = Mesh.from_trimesh(source)
    np.testing.assert_allclose(look_at(mesh, 0.6, 0.4), [255, 0, 0])
    np.testing.assert_allclose(look_at(mesh, 0.4, 0.6), [0, 0, 255])


# glTF


def test_glb_scene_is_joined_with_its_transforms_and_colours(tmp_path):
    red = trimesh.creation.box([1, 1, 1])
    red.visual = trimesh.visual.TextureVisuals(material=PBRMaterial(baseColorFactor=[200, 40, 20, 255]))
    green = trimesh.creation.box([1, 1, 1])
    green.visual.vertex_colors = [0, 255, 0, 255]
    scene = trimesh.Scene()
    scene.add_geometry(red, transform=trimesh.transformations.translation_matrix([0, 0, -3]))
    mirror = np.diag([-2.0, 1, 1, 1])
    mirror[0, 3] = 10
    scene.add_geometry(green, transform=mirror)
    scene.export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -3.5], [11, 0.5, 0.5]])
    low = mesh.vertices[:, 2] < -2
    assert (mesh.colors[low] == [200, 40, 20]).all()
    assert (mesh.colors[~low] == [0, 255, 0]).all()
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    middle = np.where(((a + b + c) / 3)[:, :1] > 5, [[10, 0, 0]], [[0, 0, -3]])
    assert ((np.cross(b - a, c - a) * (a - middle)).sum(axis=1) > 0).all()  # outside is outside, mirrored or not
    assert ((mesh.normals[mesh.faces[:, 0]] * np.cross(b - a, c - a)).sum(axis=1) > 0).all()


def test_linear_colour_factors_are_shown_as_srgb(tmp_path):
    box = trimesh.creation.box()
    box.visual = trimesh.visual.TextureVisuals(material=PBRMaterial(baseColorFactor=[55, 255, 0, 255]))
    data = trimesh.exchange.gltf.export_glb(
        trimesh.Scene(box), tree_postprocessor=lambda tree: tree["asset"].update(generator="Blender")
    )
    (tmp_path / "a.glb").write_bytes(data)
    assert (load_mesh(tmp_path / "a.glb").colors == [128, 255, 0]).all()  # linear 0.2157 is sRGB 0.502


def test_glb_textures_become_one_atlas_and_repeats_stay(tmp_path):
    stripes = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    inside, repeated = textured(FOUR_COLORS), textured(stripes, QUAD_UV * [3, 2] - [1, 0.5], offset=5)
    shaded = trimesh.Trimesh(QUAD + np.array([10, 0, 0]), QUAD_FACES, process=False)
    shaded.visual.vertex_colors = [[200, 90, 0, 255], [200, 150, 30, 255], [120, 150, 50, 255], [120, 90, 50, 255]]
    trimesh.Scene([inside, repeated, shaded]).export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
    assert ((mesh.uv >= 0) & (mesh.uv <= 1)).all()
    single = [Mesh.from_trimesh(part) for part in (inside, repeated, shaded)]
    assert single[1].uv.max() == 2  # alone, its texture just repeats
    for x, y in np.random.default_rng(1).random((60, 2)) * 0.96 + 0.02:
        for index, part in enumerate(single):
            expected = look_at(part, x + 5 * index, y)
            np.testing.assert_allclose(look_at(mesh, x + 5 * index, y), expected, atol=1.5)


def test_faces_in_different_repeats_of_a_tile(tmp_path):
    strip = np.concatenate([QUAD + np.array([step, 0, 0]) for step in range(3)])
    faces = np.concatenate([QUAD_FACES, QUAD_FACES + 4, QUAD_FACES + 8])
    material = PBRMaterial(baseColorTexture=Image.fromarray(FOUR_COLORS))
    visual = trimesh.visual.TextureVisuals(uv=strip[:, :2] - [100, 0], material=material)
    long = trimesh.Trimesh(strip, faces, visual=visual, process=False)
    other = textured(FOUR_COLORS[::-1].copy(), offset=5)
    mesh = Mesh.from_trimesh(trimesh.Scene([long, other]))
    assert mesh.texture.shape[1] < 60  # one tile each, no repeats needed
    for tile in range(3):
        np.testing.assert_allclose(look_at(mesh, tile + 0.25, 0.75), [255, 0, 0], atol=0.5)
        np.testing.assert_allclose(look_at(mesh, tile + 0.75, 0.25), [255, 255, 255], atol=0.5)


def test_base_colour_factor_tints_the_texture():
    quad = textured(FOUR_COLORS)
    quad.visual.material.baseColorFactor = [255, 128, 0, 255]
    np.testing.assert_allclose(look_at(Mesh.from_trimesh(quad), 0.75, 0.25), [255, 128, 0])


def test_damaged_embedded_texture_is_a_warning(tmp_path):
    data = trimesh.Scene(textured(FOUR_COLORS)).export(file_type="glb")
    (tmp_path / "a.glb").write_bytes(data.replace(b"\x89PNG", b"\x00PNG"))
    with pytest.warns(UserWarning, match="texture image embedded cannot be read"):
        assert load_mesh(tmp_path / "a.glb").texture is None


# Round trips and bad files


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_textured_mesh_survives_saving(tmp_path, suffix):
    image = np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8)
    mesh = Mesh(QUAD * 0.1234567, QUAD_FACES, uv=QUAD_UV * 1.5 - 0.2, texture=image)
    save_mesh(mesh, tmp_path / ("out" + suffix))
    back = load_mesh(tmp_path / ("out" + suffix))
    np.testing.assert_array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    np.testing.assert_array_equal(back.texture, image)
    np.testing.assert_allclose(back.uv[back.faces], mesh.uv[mesh.faces], atol=1e-6)
    np.testing.assert_allclose(back.normals[back.faces], mesh.normals[mesh.faces], atol=1e-6)


@pytest.mark.parametrize("suffix", [".obj", ".glb", ".ply"])
def test_coloured_mesh_survives_saving(tmp_path, suffix):
    colors = np.random.default_rng(0).integers(0, 255, (4, 3), np.uint8)
    mesh = Mesh(QUAD * 0.1234567, QUAD_FACES, colors=colors)
    save_mesh(mesh, tmp_path / ("out" + suffix))
    back = load_mesh(tmp_path / ("out" + suffix))
    np.testing.assert_array_equal(back.vertices[back.faces], mesh.vertices[mesh.faces])
    np.testing.assert_array_equal(back.colors[back.faces], colors[mesh.faces])


def test_saving_a_texture_as_ply_warns_and_other_suffixes_are_refused(tmp_path):
    mesh = Mesh(QUAD, QUAD_FACES, uv=QUAD_UV * 0.5 + 0.25, texture=FOUR_COLORS)
    with pytest.warns(UserWarning, match="one colour per vertex"):
        save_mesh(mesh, tmp_path / "a.ply")
    np.testing.assert_array_equal(load_mesh(tmp_path / "a.ply").colors[3], [255, 0, 0])
    with pytest.raises(MeshError, match=r"\.obj, \.glb or \.ply"):
        save_mesh(mesh, tmp_path / "a.fbx")


def test_unusable_files_are_refused_with_their_name(tmp_path):
    (tmp_path / "empty.obj").write_text("")
    (tmp_path / "comment.obj").write_text("# nothing here\n")
    (tmp_path / "lfs.ply").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (tmp_path / "page.obj").write_text("<!DOCTYPE html>\n")
    (tmp_path / "noise.glb").write_bytes(b"glTF" + bytes(range(200)))
    (tmp_path / "noise.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\nend_header\n1 2\n")
    (tmp_path / "mesh.fbx").write_bytes(b"Kaydara")
    (tmp_path / "nan.obj").write_text("v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    trimesh.PointCloud(QUAD).export(tmp_path / "points.ply")
    for name, message in {
        "lost.obj": "does not exist: the folder has",
        "empty.obj": "0 bytes",
        "comment.obj": "no vertices",
        "lfs.ply": "git lfs pull",
        "page.obj": "not really .obj",
        "noise.glb": "damaged",
        "noise.ply": "damaged|no vertices|no faces",
        "mesh.fbx": "no known format",
        "nan.obj": "1 of 3 vertices that are NaN",
        "points.obj": "3 vertices and no faces: it is a point cloud",
        "points.ply": "4 vertices and no faces: it is a point cloud",
        ".": "is a folder",
    }.items():
        with pytest.raises(MeshError, match=message) as caught:
            load_mesh(tmp_path / name)
        assert name.strip(".") in str(caught.value)


def test_scanned_meshes_load_completely(shared_data):
    textured = sorted((shared_data / "data/real/meshes").glob("*/textured.obj"))[::3]
    in_millimetres = sorted((shared_data / "data/real/meshes_mm").glob("*.ply"))
    assert textured and in_millimetres
    for path in textured:
        lines = path.read_text().splitlines()
        mesh = load_mesh(path)
        assert mesh.texture.shape == (4096, 4096, 3)
        assert len(mesh.faces) == sum(line.startswith("f ") for line in lines)
        stored = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=np.float64)
        assert mesh.diameter == pytest.approx(pdist(stored[ConvexHull(stored).vertices]).max(), rel=1e-6)
        np.testing.assert_allclose(mesh.bounds, [stored.min(axis=0), stored.max(axis=0)], rtol=1e-6)
    for path in in_millimetres:
        mesh = load_mesh(path, unit="mm")
        assert 0.09 < mesh.diameter < 0.21
        assert mesh.colors.std() > 5
        assert len(mesh.vertices) == len(trimesh.load_mesh(path, process=False).vertices)


@pytest.mark.parametrize("given", [None, 3, b"a.obj", ["a.obj"], trimesh.creation.box(), QUAD])
def test_what_is_no_path_is_named(given: object) -> None:
    with pytest.raises(MeshError, match=f"mesh is a {type(given).__name__}: a path is needed"):
        load_mesh(given)
