"""Symmetries from words, JSON and BOP entries."""

from __future__ import annotations

import json
import math
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pose6d.errors import MeshError
from pose6d.geometry.transforms import rotation_angle, transform_points
from pose6d.mesh.symmetry import (
    bop_symmetry,
    centred_symmetries,
    load_symmetry,
    parse_symmetry,
    resolve_symmetry,
    symmetry_transforms,
)


def _nearest(T: torch.Tensor, group: torch.Tensor) -> float:
    return float((group - T).abs().amax((-1, -2)).min())


def _assert_group(transforms: torch.Tensor) -> None:
    """Identity first, no duplicates, and every product is an element."""
    torch.testing.assert_close(transforms[0], torch.eye(4))
    apart = (transforms[:, None] - transforms[None]).abs().amax((-1, -2)) + 9 * torch.eye(len(transforms))
    assert apart.min() > 1e-4
    products = transforms[:, None] @ transforms[None]
    distance = (products[:, :, None] - transforms).abs().amax((-1, -2)).amin(-1)
    assert distance.max() < 1e-5


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("none", 1),
        ("180 x", 2),
        ("90 z", 4),
        ("180 x; 180 y", 4),  # a box
        ("90 z; 180 x", 8),  # a square bar
        ("120 1 1 1; 180 z", 12),  # a tetrahedron
        ("90 z; 120 1 1 1", 24),  # a cube
        ("72 0 1 1.618034; 180 z", 60),  # an icosahedron
        ("continuous z", 72),
        ("Continuous Z ; 180 X", 144),  # a cylinder
        ("51.43 y", 7),
    ],
)
def test_words_give_the_whole_group(text: str, count: int) -> None:
    transforms = parse_symmetry(text)
    assert transforms.shape == (count, 4, 4)
    assert transforms.dtype == torch.float32
    if count <= 72:
        _assert_group(transforms)


def test_a_turn_about_a_shifted_axis_keeps_the_axis() -> None:
    transforms = parse_symmetry("90 z at 10 20 5", unit_scale=0.001)
    on_axis = torch.tensor([[0.01, 0.02, 0.0], [0.01, 0.02, 0.3]])
    torch.testing.assert_close(transform_points(transforms, on_axis), on_axis.expand(4, 2, 3), atol=1e-7, rtol=0)
    turned = transform_points(transforms[1], torch.tensor([[0.11, 0.02, 0.0]]))
    torch.testing.assert_close(turned, torch.tensor([[0.01, 0.12, 0.0]]), atol=1e-7, rtol=0)


def test_steps_about_an_axis() -> None:
    transforms = symmetry_transforms(continuous=[((0, 2, 0), (0, 0, 0))], step_degrees=30)
    angles = rotation_angle(torch.eye(3), transforms[:, :3, :3])
    expected = [min(30 * k, 360 - 30 * k) * math.pi / 180 for k in range(12)]
    torch.testing.assert_close(angles, torch.tensor(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(transforms[:, 1, 1], torch.ones(12))


def test_a_sphere_has_a_symmetry_near_every_rotation() -> None:
    from pose6d.geometry.transforms import random_rotations

    transforms = parse_symmetry("sphere at 0 0 1")
    wanted = random_rotations(200, torch.Generator().manual_seed(0))
    nearest = rotation_angle(wanted[:, None], transforms[None, :, :3, :3]).amin(1)
    assert torch.rad2deg(nearest).max() < 31
    center = torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(transform_points(transforms, center), center.expand(len(transforms), 1, 3))


@given(st.sampled_from([180, 120, 90, 72, 60]), st.tuples(*[st.integers(-3, 3)] * 3).filter(any))
@settings(deadline=None, max_examples=30)
def test_any_turn_makes_a_cyclic_group(angle: int, axis: tuple[int, int, int]) -> None:
    transforms = parse_symmetry(f"{angle} {axis[0]} {axis[1]} {axis[2]}")
    assert len(transforms) == 360 // angle
    _assert_group(transforms)


BOP_ENTRY = {
    "diameter": 120.0,
    "symmetries_discrete": [[-1, 0, 0, 20.0, 0, -1, 0, 40.0, 0, 0, 1, 0, 0, 0, 0, 1]],
    "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [10.0, 20.0, 0]}],
}


def test_bop_entry_in_millimetres() -> None:
    discrete = bop_symmetry({"symmetries_discrete": BOP_ENTRY["symmetries_discrete"]})
    assert discrete.shape == (2, 4, 4)
    torch.testing.assert_close(discrete[1, :3, 3], torch.tensor([0.02, 0.04, 0.0]))
    # This half turn is one of the 72 turns about the axis, whose offset is in millimetres as well.
    both = bop_symmetry(BOP_ENTRY)
    assert both.shape == (72, 4, 4)
    assert _nearest(discrete[1], both) < 1e-6
    assert bop_symmetry({"diameter": 12.0}).shape == (1, 4, 4)


def test_discrete_and_continuous_are_combined() -> None:
    flip = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1]
    entry = {"symmetries_discrete": [flip], "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}
    transforms = bop_symmetry(entry, step_degrees=15)
    assert transforms.shape == (48, 4, 4)
    _assert_group(transforms)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "symmetry.json"
    file.write_text(json.dumps({"symmetries": "180 z at 10 0 0", "unit": "mm"}))
    half_turn = torch.tensor([0.02, 0.0, 0.0])
    torch.testing.assert_close(load_symmetry(file)[1, :3, 3], half_turn)
    torch.testing.assert_close(resolve_symmetry(str(file))[1, :3, 3], half_turn)
    file.write_text(json.dumps({"symmetries": "180 z at 1 0 0"}))
    torch.testing.assert_close(load_symmetry(file, unit_scale=0.01)[1, :3, 3], half_turn)
    file.write_text(json.dumps(BOP_ENTRY))
    assert len(load_symmetry(file)) == 72
    file.write_text(json.dumps({"3": BOP_ENTRY, "4": {"diameter": 5.0}}))
    assert len(load_symmetry(file, object_id=3)) == 72
    assert len(load_symmetry(file, object_id="4")) == 1
    assert len(resolve_symmetry("180 z")) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not understood"),
        ("round", "not understood"),
        ("continuous", "not understood"),
        ("continuous w", "continuous z"),
        ("continuous 0 0", "not understood"),
        ("continuous 0 0 0", "not all 0"),
        ("continuous z at 1 2", "not understood"),
        ("100 z", "does not divide a full turn"),
        ("0 z", "not understood"),
        ("360 z", "does not divide"),
        ("ninety z", "not understood"),
        ("72 x; 72 z", "no finite number of combinations"),
        ("180 z; 180 z at 1 0 0", "meet in one point"),
        ("nan z", "not understood"),
        ("inf z", "does not divide"),
        ("1e-310 z", "not understood"),
        ("180 nan 0 0", "not understood"),
        ("180 z at nan 0 0", "not understood"),
        ("continuous z at 1e300 0 0", "near the mesh"),
    ],
)
def test_words_that_make_no_sense_are_refused(text: str, says: str) -> None:
    with pytest.raises(MeshError, match=says):
        parse_symmetry(text)


def test_transforms_that_are_not_rigid_are_refused() -> None:
    with pytest.raises(MeshError, match="mirror image"):
        symmetry_transforms([np.diag([-1.0, 1, 1, 1])])
    with pytest.raises(MeshError, match=r"shape \(3, 3\)"):
        symmetry_transforms([np.eye(3)])
    with pytest.raises(MeshError, match="lists of 16 numbers"):
        bop_symmetry({"symmetries_discrete": [[1, 2, 3]]})
    with pytest.raises(MeshError, match="axis"):
        bop_symmetry({"symmetries_continuous": [{"offset": [0, 0, 0]}]})
    with pytest.raises(MeshError, match="not a number"):
        bop_symmetry({"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [float("nan"), 0, 0]}]})
    with pytest.raises(MeshError, match="lists of 16 numbers"):
        bop_symmetry({"symmetries_discrete": [[10**400] * 16]})


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=r"gone\.json cannot be read as JSON: .*No such file"):
        resolve_symmetry(str(tmp_path / "gone.json"))
    file = tmp_path / "models_info.json"
    file.write_text("{")
    with pytest.raises(MeshError, match=r"models_info\.json cannot be read as JSON"):
        load_symmetry(file)
    file.write_text("[" * 5000 + "]" * 5000)
    with pytest.raises(MeshError, match=r"models_info\.json cannot be read as JSON"):
        load_symmetry(file)
    file.write_text(json.dumps({"1": BOP_ENTRY}))
    with pytest.raises(MeshError, match="needs the object's id"):
        load_symmetry(file)
    with pytest.raises(MeshError, match="no object 2; it holds 1"):
        load_symmetry(file, object_id=2)
    file.write_text(json.dumps({"symmetries": "180 z", "unit": "inch"}))
    with pytest.raises(MeshError, match="'inch' is unknown"):
        load_symmetry(file)


@pytest.mark.parametrize(
    ("symmetries", "message"),
    [
        ("180 x", r"of type str.*resolve_symmetry"),
        (np.zeros((0, 4, 4)), r"shape \(0, 4, 4\)"),
        (np.diag([2.0, 2, 2, 1])[None], r"symmetries\[0\] leaves no object as it is: R is no rotation.*scaled by 2"),
        (np.stack([np.eye(4), np.diag([1.0, 1, -1, 1])]), r"symmetries\[1\].*reflection"),
    ],
)
def test_what_is_no_symmetry_is_refused(symmetries: object, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        centred_symmetries(symmetries, np.zeros(3))
