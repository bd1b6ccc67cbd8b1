"""Loose debris is left out with a word, parts of an object are not; far coordinates and huge textures are mended."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pose6d.errors import MeshError
from pose6d.mesh import side_files
from pose6d.mesh.debris import _connected, loose_pieces
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import as_mesh, load_mesh, save_mesh, without_debris
from pose6d.scenes import open_scene
from recorded.options import RecordedOptions
from recorded.run import load_object
from tests.demo_recording import write_recording
from tests.mesh_boxes import SIZE, check_box

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

SPECK = np.array([[0.35, 0, 0], [0.351, 0, 0], [0.35, 0.001, 0]])


def box(size=SIZE, at=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    return trimesh.creation.box(size, trimesh.transformations.translation_matrix(at))


def ball(radius: float, at: tuple[float, float, float]) -> trimesh.Trimesh:
    found = trimesh.creation.icosphere(1, radius)
    return found.apply_translation(at)


def mesh_of(*solids: trimesh.Trimesh) -> Mesh:
    return Mesh.from_trimesh(trimesh.util.concatenate(solids))


def with_speck(speck: np.ndarray = SPECK, colors: bool = True) -> Mesh:
    body = box()
    vertices = np.concatenate([speck, body.vertices])
    shades = np.random.default_rng(0).integers(0, 255, (len(vertices), 3), np.uint8) if colors else None
    return Mesh(vertices, np.concatenate([[[0, 1, 2]], body.faces + 3]), colors=shades, name="cup")


def test_a_stray_triangle_is_left_out_with_a_word():
    mesh = with_speck()
    whole = mesh.diameter
    with pytest.warns(UserWarning, match="loose piece") as caught:
        clean = as_mesh(mesh)
    text = str(caught[0].message)
    wanted = (
        "mesh cup: 1 loose piece",
        "0.002 % of its surface",
        "up to 0.3 away",
        "0.1233 instead of 0.40",
        "keep_debris",
    )
    assert all(part in text for part in wanted), text
    np.testing.assert_array_equal(clean.vertices, mesh.vertices[3:])  # its frame stays
    np.testing.assert_array_equal(clean.colors, mesh.colors[3:])
    np.testing.assert_array_equal(clean.faces, mesh.faces[1:] - 3)
    assert clean.diameter == pytest.approx(np.linalg.norm(SIZE), rel=1e-6)
    assert (mesh.diameter, len(mesh.vertices)) == (whole, 11)  # what the user holds is as it was
    assert as_mesh(clean) is clean


def test_debris_may_be_kept(tmp_path):
    mesh = with_speck()
    mesh.keep_debris = True
    assert as_mesh(mesh) is mesh
    assert without_debris(mesh.scaled(1000)).diameter == pytest.approx(1000 * mesh.diameter)
    save_mesh(mesh, tmp_path / "a.ply")
    kept = load_mesh(tmp_path / "a.ply", keep_debris=True)
    assert as_mesh(kept) is kept
    assert len(kept.faces) == 13


def test_debris_may_be_kept_in_the_demo(tmp_path):
    save_mesh(with_speck(), tmp_path / "a.ply")
    scene = open_scene(write_recording(tmp_path / "scene"))
    frame = scene[0]
    for keep, faces in ((True, 13), (False, 12)):
        options = RecordedOptions(mesh_file=tmp_path / "a.ply", mesh_unit="m", keep_debris=keep)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(load_object(options, scene, frame)[0].faces) == faces


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_debris_in_files(tmp_path, suffix):
    save_mesh(with_speck(), tmp_path / f"a{suffix}")
    with pytest.warns(UserWarning, match="1 loose piece"):
        mesh = load_mesh(tmp_path / f"a{suffix}")
    check_box(mesh, None)
    assert as_mesh(mesh) is mesh


@pytest.mark.parametrize(
    "specks",
    [
        [SPECK * [1, 1, 1] + [0, 0, 0.2], SPECK * [-1, 1, 1], SPECK * [0.5, 1, 1]],
        [SPECK, SPECK + np.array([1e3, 0, 0])],  # the near one shows only when the far one is gone
        [SPECK * [0.3, 1, 1]],  # a third of a diameter away
        [np.repeat(SPECK[:1], 3, axis=0)],  # without a surface
    ],
)
def test_debris_anywhere(specks):
    body = box()
    vertices = np.concatenate([body.vertices, *specks])
    faces = np.concatenate([body.faces, np.arange(8, len(vertices)).reshape(-1, 3)])
    found, doubtful = loose_pieces(vertices, faces)
    assert (found.count, doubtful) == (len(specks), None)
    np.testing.assert_array_equal(found.rest, np.arange(len(vertices)) < 8)


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (10, 4), (50, 40), (200, 150), (200, 2000)])
def test_what_is_connected_is_one_piece(nodes, edges):
    pairs = np.random.default_rng(nodes + edges).integers(0, nodes, (edges, 2))
    graph = coo_matrix((np.ones(edges, bool), pairs.T), (nodes, nodes))
    count, labels = connected_components(graph, directed=False)
    found, pieces = _connected(pairs, nodes)
    assert pieces == count
    np.testing.assert_array_equal(found, labels)


def test_far_vertices_of_no_face_are_debris():
    body = box()
    found, _ = loose_pieces(np.concatenate([body.vertices, [[0.5, 0, 0]]]), body.faces)
    np.testing.assert_array_equal(found.rest, [True] * 8 + [False])


BEADS = [ball(0.004, (0.1 * np.cos(a), 0.1 * np.sin(a), 0)) for a in np.linspace(0, 2 * np.pi, 40, endpoint=False)]


@pytest.mark.parametrize(
    "solids",
    [
        [box(), box((0.01, 0.01, 0.01), (0.057, 0, 0))],  # a handle that is a solid of its own
        [box(), ball(0.003, (0.058, 0, 0))],  # a screw head beside the plate, not quite touching
        [box(), ball(0.012, (0.12, 0, 0))],  # a knob whose rod is missing
        [box(), ball(0.001, (0, 0, 0))],  # something inside
        [box(), box(at=(0.3, 0, 0))],  # a pair
        [box((0.1, 0.1, 0.001)), ball(0.001, (0.045, 0.045, 0.01))],  # over a plate
        BEADS,
        [*BEADS, box((0.03, 0.03, 0.01), (0.15, 0, 0))],  # a necklace with its pendant
        [box(), *(ball(0.002, (0.052 + 0.0035 * i, 0, 0)) for i in range(30))],  # a chain of overlapping links
    ],
    ids=["handle", "screw", "knob", "inside", "pair", "over", "beads", "necklace", "chain"],
)
def test_parts_of_an_object_stay(solids):
    mesh = mesh_of(*solids)
    assert loose_pieces(mesh.vertices, mesh.faces) == (None, None)
    assert as_mesh(mesh) is mesh


def test_what_may_be_a_part_stays_with_a_word():
    plate, screw = box((0.1, 0.1, 0.01)), trimesh.creation.cylinder(0.003, 0.01)
    beside = mesh_of(plate, screw.copy().apply_translation((0.08, 0, 0)))
    assert as_mesh(beside) is beside  # the diagonal of the plate is the diameter still
    mesh = mesh_of(plate, screw.copy().apply_translation((0.1, 0, 0)))
    with pytest.warns(UserWarning, match=r"1 loose piece.* 1 % .*0.047 away.* are kept .* 0.16.*, without them 0.14"):
        assert as_mesh(mesh) is mesh
    mesh.keep_debris = True
    assert as_mesh(mesh) is mesh
    far = mesh_of(plate, screw.copy().apply_translation((0.4, 0, 0)))
    with pytest.warns(UserWarning, match="taken for debris"):
        assert len(as_mesh(far).faces) == 12


@pytest.mark.parametrize(
    "strays",
    [
        [box((0.03, 0.03, 1e-4), (0, 0, -0.4))],  # a piece of floor, 7 % of the surface
        [box((0.02, 0.02, 1e-4), (0, 0.15, 0))],  # a piece of the wall behind, 3 %
        [ball(0.002, (0.12 * np.cos(a), 0, 0.12 * np.sin(a))) for a in np.arange(48) * np.pi / 24],  # specks, 8 %
    ],
    ids=["floor", "wall", "specks"],
)
def test_large_strays_are_kept_with_a_word(strays):
    mesh = mesh_of(box(), *strays)
    with pytest.warns(UserWarning, match=rf" {len(strays)} loose piece.* are kept as parts .*, without them 0.1233"):
        assert as_mesh(mesh) is mesh


@pytest.mark.parametrize("seed", range(3))
def test_debris_is_found_in_any_frame(seed):
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    solid = trimesh.creation.torus(0.1, 0.03)
    specks = [generator.normal(size=(3, 3)) * 1e-3 + 0.4 * turn[i] for i in range(3)]
    vertices = np.concatenate([solid.vertices, *specks]) @ turn * 10.0 ** generator.uniform(-3, 3)
    faces = np.concatenate([solid.faces, len(solid.vertices) + np.arange(9).reshape(3, 3)])
    order = generator.permutation(len(vertices))
    found, doubtful = loose_pieces(vertices[order], np.argsort(order)[faces])
    assert (found.count, doubtful) == (3, None)
    np.testing.assert_array_equal(found.rest, order < len(solid.vertices))


# Coordinates far from the origin


def write_far(path: Path, offset: np.ndarray, speck: bool = False) -> Path:
    body = box()
    vertices = body.vertices + offset
    lines = ["v " + " ".join(f"{x:.6f}" for x in vertex) for vertex in vertices]
    lines += ["f " + " ".join(map(str, face + 1)) for face in body.faces]
    if speck:  # at the origin, as broken exports leave
        lines += ["v 0 0 0", "v 0.001 0 0", "v 0 0.001 0", "f 9 10 11"]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("unit", ["m", "mm"])
def test_map_coordinates_are_moved_to_the_origin_in_double_precision(tmp_path, unit):
    offset = np.array([454000, 5412000, 120.004])
    with pytest.warns(UserWarning, match=r"\(454000, 5412000, 120\) is subtracted from every vertex.*Poses refer to"):
        mesh = load_mesh(write_far(tmp_path / "a.obj", offset), unit=unit)
    mesh = mesh.scaled({"m": 1, "mm": 1000}[unit])
    check_box(mesh, None)
    np.testing.assert_allclose(mesh.center, [0, 0, 0.004], atol=1e-6)


def test_debris_at_the_origin_does_not_hide_map_coordinates(tmp_path):
    path = write_far(tmp_path / "a.obj", np.array([454000, 5412000, 120]), speck=True)
    with pytest.warns(UserWarning, match="loose piece|subtracted") as caught:
        check_box(load_mesh(path), None)
    assert [word in str(w.message) for w, word in zip(caught, ("loose piece", "subtracted"), strict=True)] == [True] * 2


def test_what_float32_holds_is_not_moved(tmp_path):
    mesh = load_mesh(write_far(tmp_path / "a.obj", np.array([30.0, -50, 100])))
    np.testing.assert_allclose(mesh.center, [30, -50, 100])


def test_a_shape_lost_in_32_bits_is_refused(tmp_path):
    vertices = (box().vertices * 2 + [454000, 5412000, 120]).astype(np.float32)
    faces = np.c_[np.full(12, 3), box().faces]
    body = "\n".join(" ".join(map(str, row)) for row in [*vertices.tolist(), *faces.tolist()])
    properties = "".join(f"property float {axis}\n" for axis in "xyz")
    (tmp_path / "a.ply").write_text(
        f"ply\nformat ascii 1.0\nelement vertex 8\n{properties}element face 12\n"
        f"property list uchar int vertex_indices\nend_header\n{body}\n"
    )
    with pytest.raises(MeshError, match=r"a.ply .* in 32-bit coordinates.* its shape is lost: move it to the origin"):
        load_mesh(tmp_path / "a.ply")
    with pytest.raises(MeshError, match=r"float32 moves vertices by .* % of its size: subtract its middle"):
        Mesh(box().vertices + np.array([454000, 5412000, 120]), box().faces)
    with pytest.raises(MeshError, match="subtract its middle"):
        Mesh(box().vertices, box().faces).translated(np.array([1e6, 0, 0]))


# Textures


@pytest.mark.parametrize(("suffix", "mode"), [(".png", "P"), (".png", "RGB"), (".jpg", "RGB"), (".png", "I;16")])
def test_huge_textures_are_scaled_down_with_a_warning(tmp_path, monkeypatch, suffix, mode):
    pixels = np.zeros((96, 160, 3), np.uint8)
    pixels[:48, :, 0], pixels[:, 80:, 1] = 200, 200
    if mode == "I;16":
        pixels[:] = pixels[..., :1]
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / f"skin{suffix}")
    (tmp_path / "a.mtl").write_text(f"newmtl m\nmap_Kd skin{suffix}\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nf 1/1 2/2 3/3\n"
    )
    monkeypatch.setattr(side_files, "_MOST_TEXELS", 1000)
    monkeypatch.setattr(side_files, "_STRIP", 700)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # twice as many are refused
    with pytest.warns(UserWarning, match=rf"skin{suffix} has 160 x 96 pixels and is scaled down to 40 x 24"):
        mesh = load_mesh(tmp_path / "a.obj")
    assert mesh.texture.shape == (24, 40, 3)
    np.testing.assert_allclose(mesh.texture[::23, ::39], pixels[::95, ::159], atol=4)
    assert Image.MAX_IMAGE_PIXELS == 1000
    monkeypatch.setattr(side_files, "_MOST_PIXELS", 10_000)
    with pytest.warns(UserWarning, match=r"cannot be read \(160 x 96 pixels, wanted at most 10000\).*make it smaller"):
        assert load_mesh(tmp_path / "a.obj").texture is None


def test_huge_texture_in_a_glb(tmp_path, monkeypatch):
    mesh = Mesh(box().vertices, box().faces, uv=np.zeros((8, 2)), texture=np.full((64, 64, 3), [200, 10, 90], np.uint8))
    save_mesh(mesh, tmp_path / "a.glb")
    monkeypatch.setattr(side_files, "_MOST_TEXELS", 1000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(UserWarning, match="embedded.* has 64 x 64 pixels and is scaled down"):
        np.testing.assert_array_equal(np.unique(load_mesh(tmp_path / "a.glb").texture), [10, 90, 200])
