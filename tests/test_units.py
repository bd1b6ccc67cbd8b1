"""The unit of a mesh is found from its size, and a wrong one is refused with the cure."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh

from pose6d.errors import FrameError, MeshError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.units import check_diameter, doubt_large_mask, resolve_unit

K = np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]])


@pytest.fixture
def box() -> Mesh:
    """0.08 x 0.16 x 0.1 m."""
    return Mesh.from_trimesh(trimesh.creation.box([0.08, 0.16, 0.1]))


@pytest.fixture
def view() -> tuple[np.ndarray, np.ndarray]:
    """Depth and mask of the box's front at 0.6 m, before a wall at 2 m."""
    depth = np.full((480, 640), 2.0, np.float32)
    mask = np.zeros((480, 640), bool)
    mask[160:320, 280:360] = True  # 0.08 x 0.16 m at 0.6 m
    depth[mask] = 0.6
    return depth, mask


@pytest.mark.parametrize(("factor", "scale", "word"), [(1, 1, "metres"), (100, 0.01, "centi"), (1000, 0.001, "milli")])
def test_auto_finds_the_unit_and_says_why(box, view, factor, scale, word):
    found, explanation = resolve_unit(box.scaled(factor), "auto", *view, K)
    assert found == scale
    assert word in explanation
    assert "205 mm" in explanation  # the diameter it has then
    assert "masked depth" in explanation


@pytest.mark.parametrize("factor", [1, 100, 1000])
def test_auto_survives_background_under_the_mask_holes_and_occlusion(box, view, factor):
    depth, mask = view[0].copy(), view[1].copy()
    spilled = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0
    depth[200:230, 300:340] = 0
    depth[170:175, 290:300] = np.nan
    expected = 1 / factor
    assert resolve_unit(box.scaled(factor), "auto", depth, spilled, K)[0] == pytest.approx(expected)
    occluded = mask.copy()
    occluded[230:] = False
    assert resolve_unit(box.scaled(factor), "auto", depth, occluded, K)[0] == pytest.approx(expected)


def test_stated_millimetres_read_as_metres_name_the_cure(box, view):
    with pytest.raises(MeshError, match=r"mesh diameter is 205 m: is it in millimetres\? pass --mesh_unit mm"):
        resolve_unit(box.scaled(1000), "m", *view, K)
    with pytest.raises(MeshError, match=r"is it in metres\? pass --mesh_unit m\b"):
        resolve_unit(box, "mm", *view, K)


def test_stated_unit_that_fits_is_taken(box, view):
    assert resolve_unit(box.scaled(1000), "mm", *view, K)[0] == 0.001
    # A small visible part is no reason to doubt the user.
    depth, mask = view[0], view[1].copy()
    mask[190:] = False
    assert resolve_unit(box, "m", depth, mask, K)[0] == 1.0


def test_no_unit_fits(box, view):
    with pytest.raises(MeshError, match=r"no unit explains.*another object"):
        resolve_unit(box.scaled(30), "auto", *view, K)
    with pytest.raises(MeshError, match="no other unit fits"):
        resolve_unit(box.scaled(30), "m", *view, K)


def test_too_little_to_compare_with(box, view):
    depth, mask = view
    with pytest.raises(FrameError, match=r"0 pixels with valid depth.*--mesh_unit"):
        resolve_unit(box, "auto", np.zeros_like(depth), mask, K)
    assert resolve_unit(box.scaled(1000), "mm", np.zeros_like(depth), mask, K)[0] == 0.001
    with pytest.raises(FrameError, match="one size"):
        resolve_unit(box, "auto", depth, mask[:240], K)
    with pytest.raises(MeshError, match="'inch' is unknown"):
        resolve_unit(box, "inch", depth, mask, K)


# What a recorder writes, in metres per unit. A reader that is told nothing takes it to be 0.001.
DEPTH_UNITS = [0.001, 0.00025, 0.0002, 0.0001]


@pytest.mark.parametrize("depth_unit", DEPTH_UNITS)
@pytest.mark.parametrize(("unit", "factor"), [("m", 1), ("cm", 100), ("mm", 1000), ("inch", 1 / 0.0254)])
@pytest.mark.parametrize("occluded", [False, True])
def test_no_unit_is_guessed_wrongly_where_that_of_depth_is_not_stated(box, view, unit, factor, depth_unit, occluded):
    depth, mask = view[0] * 0.001 / depth_unit, view[1].copy()
    mask[240 if occluded else 480 :] = False
    if depth_unit == 0.001 and unit in ("m", "mm"):
        assert resolve_unit(box.scaled(factor), "auto", depth, mask, K, depth_stated=False)[0] == pytest.approx(
            1 / factor
        )
        return
    with pytest.raises(MeshError) as error:
        resolve_unit(box.scaled(factor), "auto", depth, mask, K, depth_stated=False)
    if unit == "inch":
        assert "inches" in str(error.value) or "another object" in str(error.value)
    else:
        scale = "" if depth_unit == 0.001 else f" --depth_scale {depth_unit:g}"
        assert f"--mesh_unit {unit}{scale} if the object is 205 mm large and 600 mm away" in str(error.value)


@pytest.mark.parametrize("depth_unit", DEPTH_UNITS[1:])
def test_a_stated_unit_does_not_hide_depth_in_another_one(box, view, depth_unit):
    depth, mask = view[0] * 0.001 / depth_unit, view[1]
    with pytest.raises(MeshError, match=rf"--mesh_unit mm --depth_scale {depth_unit:g} if the object is 205 mm"):
        resolve_unit(box.scaled(1000), "mm", depth, mask, K, depth_stated=False)


def test_large_centimetres_are_asked_for_even_where_depth_is_stated(box, view):
    depth, mask = 10 * view[0], view[1]
    with pytest.raises(MeshError, match=r"2\.05 m if in centimetres.*--mesh_unit cm.*--depth_scale"):
        resolve_unit(box.scaled(1000), "auto", depth, mask, K)
    assert resolve_unit(box.scaled(1000), "cm", depth, mask, K)[0] == 0.01


@pytest.mark.parametrize("factor", [1, 1000])
@pytest.mark.parametrize(("size", "distance"), [([0.006, 0.008, 0.005], 0.2), ([0.6, 1.8, 0.4], 3.0)])
def test_screws_and_cupboards_in_metres_or_millimetres_are_guessed(size, distance, factor):
    depth, mask = np.full((480, 640), 2 * distance, np.float32), np.zeros((480, 640), bool)
    width, height = (int(300 * extent / distance) for extent in size[:2])
    mask[240 - height : 240 + height, 320 - width : 320 + width] = True
    depth[mask] = distance
    mesh = Mesh.from_trimesh(trimesh.creation.box(size)).scaled(factor)
    assert resolve_unit(mesh, "auto", depth, mask, K, depth_stated=False)[0] == pytest.approx(1 / factor)


def test_values_that_are_no_measurement_do_not_count(box, view):
    depth, mask = view[0].copy(), view[1]
    depth[165:300, 290:300] = 0
    wanted = resolve_unit(box, "auto", depth, mask, K)
    depth[165:300, 290:300] = np.array([65.535, np.inf, -1, np.nan, 65535] * 2)
    assert resolve_unit(box, "auto", depth, mask, K) == wanted


def test_real_objects_in_all_units(shared_data):
    checked = 0
    for scene in sorted((shared_data / "data/real").glob("tabletop_*")):
        intrinsics = np.loadtxt(scene / "cam_K.txt").reshape(3, 3)
        depth = cv2.imread(str(next((scene / "depth").iterdir())), cv2.IMREAD_UNCHANGED) / 1000.0
        for folder in sorted((scene / "masks").iterdir()):
            mask = cv2.imread(str(next(folder.iterdir())), cv2.IMREAD_GRAYSCALE) > 0
            file = shared_data / "data/real/meshes" / folder.name / "textured.obj"
            mesh = Mesh.from_trimesh(trimesh.load_scene(file, skip_materials=True, process=False))
            for factor in (1, 100, 1000):
                found, _ = resolve_unit(mesh.scaled(factor), "auto", depth, mask, intrinsics)
                assert found == pytest.approx(1 / factor), (folder.name, factor)
            checked += 1
    assert checked == 10


def test_a_mask_that_covers_the_picture_is_the_first_suspect(box, view):
    depth, mask = view
    for wrong in (~mask, np.ones_like(mask)):
        for unit in ("auto", "m"):
            with pytest.raises(MeshError, match=r"mask covers (9\d|100) % of the picture: is it inverted.*diameter"):
                resolve_unit(box, unit, depth * 4, wrong, K)


def test_a_mask_of_all_but_the_object_is_doubted_and_one_of_a_close_up_is_not(box, view):
    depth, mask = view
    doubt = doubt_large_mask(~mask, depth, K, box.diameter)
    assert "covers 96 % of the picture" in doubt and "inverted" in doubt and "205 mm" in doubt
    assert doubt_large_mask(mask, depth, K, box.diameter) == ""
    near, whole = np.full((480, 640), 0.12, np.float32), np.ones((480, 640), bool)  # sees 0.13 x 0.1 m
    assert doubt_large_mask(whole, near, K, box.diameter) == ""
    near[:, :100] = 2.0  # a mask that spills over
    assert doubt_large_mask(whole, near, K, box.diameter) == ""
    assert "does it show more" in doubt_large_mask(whole, np.full_like(near, 0.6), K, box.diameter)
    assert doubt_large_mask(whole, np.zeros_like(near), K, box.diameter) == ""


def test_a_mesh_of_lines_is_refused_and_one_face_with_some_area_is_enough():
    corners = np.array([[0, 0, 0], [0.1, 0.03, 0.07], [0.2, 0.06, 0.14], [0, 0.1, 0]])
    lines = np.tile([[0, 1, 2], [0, 1, 1]], (3000, 1))
    with pytest.raises(MeshError, match="no surface: each of its 6000 faces is a line or a point"):
        check_diameter(Mesh(corners, lines))
    check_diameter(Mesh(corners, np.concatenate([lines, [[0, 1, 3]]])))
