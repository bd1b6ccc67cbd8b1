"""The unit of a mesh is found from its size, and a wrong one is refused with the cure."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh

from pose6d.errors import FrameError, MeshError
from pose6d.geometry.mesh import Mesh
from pose6d.geometry.units import resolve_unit

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
