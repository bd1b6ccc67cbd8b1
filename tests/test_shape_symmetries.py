"""Turns under which a bare shape looks the same."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from benchmarks.accuracy.objects import symmetric_objects
from pose6d.errors import MeshError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.shape_symmetries import shape_symmetries


def degrees(transforms: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip((np.trace(transforms[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)))


def of(solid: trimesh.Trimesh, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    return Mesh(vertices=solid.vertices + np.array(shift), faces=solid.faces, name="solid")


def test_a_box_has_three_half_turns_wherever_its_origin_lies() -> None:
    mesh = of(trimesh.creation.box((0.05, 0.08, 0.12)), shift=(0.3, -0.1, 0.2))
    found = shape_symmetries(mesh)
    assert len(found) == 4 and np.array_equal(found[0], np.eye(4))
    np.testing.assert_allclose(degrees(found)[1:], 180, atol=2)
    # Each maps the box onto itself, so its middle stays.
    middle = np.append(mesh.center, 1.0)
    np.testing.assert_allclose(found @ middle, np.broadcast_to(middle, (4, 4)), atol=1e-3)


def test_a_nearly_square_side_is_no_square() -> None:
    assert len(shape_symmetries(of(trimesh.creation.box((0.03, 0.085, 0.073))))) == 4
    assert len(shape_symmetries(of(trimesh.creation.box((0.03, 0.08, 0.08))))) == 8


def test_a_telling_part_leaves_no_symmetry() -> None:
    box = trimesh.creation.box((0.05, 0.08, 0.12))
    knob = trimesh.creation.icosphere(radius=0.012).apply_translation([0.02, 0.03, 0.065])
    assert len(shape_symmetries(of(trimesh.util.concatenate([box, knob])))) == 1


@pytest.mark.parametrize("flips", [True, False])
def test_round_bodies_turn_by_any_angle(flips: bool) -> None:
    solid = trimesh.creation.cylinder(radius=0.03, height=0.1) if flips else trimesh.creation.cone(0.04, 0.1)
    found = shape_symmetries(of(solid.subdivide().subdivide()))
    about = np.abs(found[:, 2, 2] - 1) < 1e-2  # those that leave z as it is
    angles = np.sort(np.degrees(np.arctan2(found[about, 1, 0], found[about, 0, 0])))
    assert len(angles) >= 60 and np.diff(angles).max() < 9
    assert (about.sum() < 0.6 * len(found)) == flips


@pytest.mark.parametrize("name", ["square_bar", "cube", "triangle_prism"])
def test_known_bodies_have_the_symmetries_that_they_were_built_with(name: str) -> None:
    (target,) = (target for target in symmetric_objects() if target.mesh.name == name)
    found = shape_symmetries(target.mesh)
    known = target.symmetries
    assert known is not None and len(found) == len(known)
    apart = degrees((known[:, None, :3, :3].transpose(0, 1, 3, 2) @ found[:, :3, :3]).reshape(-1, 3, 3))
    assert apart.reshape(len(known), -1).min(axis=1).max() < 3


def test_a_mesh_without_size_is_refused() -> None:
    with pytest.raises(MeshError):
        shape_symmetries(Mesh(vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]]), name="point"))
