"""Rotations and rigid transforms, and round trips near identity and near half turns."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pose6d.geometry.transforms import (
    hat,
    look_at,
    make_transform,
    random_rotations,
    rigid_transform,
    rotation_angle,
    so3_exp,
    so3_log,
    transform_points,
)

# Worst errors over 200,000 samples were 1.5e-6 (rotations) and 2.9e-6 (points up to 4 m away); allowed is four times
# that.
ROTATION_TOLERANCE = 6e-6
POINT_TOLERANCE = 1.2e-5

# The ordinary range, the neighbourhoods where naive formulas lose digits, and the exact ends.
ANGLES = st.one_of(
    st.floats(0.0, math.pi - 1e-3),
    st.floats(-9, -2).map(lambda e: 10**e),
    st.floats(-6, -2).map(lambda e: math.pi - 10**e),
    st.sampled_from([0.0, 0.5 - 1e-7, 0.5, math.pi]),
)
UNIT = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: sum(x * x for x in v) > 1e-2)
VECTORS = st.tuples(*[st.floats(-2, 2)] * 3).map(torch.tensor)


@st.composite
def rotation_vectors(draw: st.DrawFn) -> torch.Tensor:
    axis = torch.nn.functional.normalize(torch.tensor(draw(UNIT), dtype=torch.float64), dim=-1)
    return (axis * draw(ANGLES)).float()


@given(rotation_vectors())
@settings(deadline=None)
def test_exp_gives_the_rotation_of_that_angle(v: torch.Tensor) -> None:
    R = so3_exp(v)
    torch.testing.assert_close(R @ R.mT, torch.eye(3), atol=ROTATION_TOLERANCE, rtol=0)
    assert torch.det(R) > 0
    expected = torch.linalg.vector_norm(v)
    assert abs(rotation_angle(torch.eye(3), R) - expected) < ROTATION_TOLERANCE
    torch.testing.assert_close(R @ v, v, atol=ROTATION_TOLERANCE, rtol=0)  # the axis stays


@given(rotation_vectors())
@settings(deadline=None)
def test_exp_agrees_with_the_matrix_exponential(v: torch.Tensor) -> None:
    expected = torch.linalg.matrix_exp(hat(v.double())).float()
    torch.testing.assert_close(so3_exp(v), expected, atol=ROTATION_TOLERANCE, rtol=0)


@given(rotation_vectors())
@settings(deadline=None)
def test_log_inverts_exp_up_to_half_turns(v: torch.Tensor) -> None:
    back = so3_log(so3_exp(v))
    if math.pi - float(torch.linalg.vector_norm(v)) < 1e-5:  # v and -v are then the same rotation
        back = back if torch.dot(back, v) > 0 else -back
    torch.testing.assert_close(back, v, atol=ROTATION_TOLERANCE, rtol=0)


def test_log_keeps_small_angles_that_the_trace_cannot_see() -> None:
    v = torch.tensor([[1e-6, 0.0, 0.0], [0.0, -2e-5, 1e-5], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(so3_log(so3_exp(v)), v, atol=1e-10, rtol=1e-5)
    torch.testing.assert_close(rotation_angle(torch.eye(3), so3_exp(v)), v.norm(dim=-1), atol=1e-10, rtol=1e-5)


@pytest.mark.parametrize("axis", range(3))
def test_log_of_an_exact_half_turn(axis: int) -> None:
    R = -torch.eye(3)
    R[axis, axis] = 1.0
    expected = torch.zeros(3)
    expected[axis] = math.pi
    torch.testing.assert_close(so3_log(R).abs(), expected)


@given(rotation_vectors(), VECTORS, VECTORS)
@settings(deadline=None)
def test_moving_points(v: torch.Tensor, t: torch.Tensor, point: torch.Tensor) -> None:
    T = make_transform(so3_exp(v), t.float())
    torch.testing.assert_close(T[3], torch.tensor([0.0, 0, 0, 1]))
    np.testing.assert_array_equal(rigid_transform(T[:3, :3].numpy(), T[:3, 3].numpy()), T.numpy())
    expected = (T.double() @ torch.cat([point, torch.ones(1)]).double())[:3]
    moved = transform_points(T, point.float()[None])
    torch.testing.assert_close(moved[0].double(), expected, atol=POINT_TOLERANCE, rtol=0)


def test_leading_dimensions_broadcast(device: torch.device) -> None:
    v = torch.randn(2, 5, 3, device=device)
    T = make_transform(so3_exp(v), torch.zeros(3, device=device))
    assert T.shape == (2, 5, 4, 4)
    assert T.device.type == device.type
    torch.testing.assert_close(T[1, 3, :3, :3], so3_exp(v[1, 3]), atol=1e-6, rtol=0)
    torch.testing.assert_close(so3_log(T[..., :3, :3])[1, 3], so3_log(T[1, 3, :3, :3]), atol=1e-6, rtol=0)
    points = torch.randn(7, 3, device=device)
    assert transform_points(T, points).shape == (2, 5, 7, 3)
    assert make_transform(T[:, :1, :3, :3], T[..., :3, 3]).shape == (2, 5, 4, 4)
    assert rotation_angle(T[:, :, None, :3, :3], T[:, None, :, :3, :3]).shape == (2, 5, 5)


def test_gradients_stay_finite_at_the_identity() -> None:
    v = torch.zeros(2, 3, requires_grad=True)
    so3_exp(v).sum().backward()
    assert v.grad is not None
    assert torch.isfinite(v.grad).all()


def test_random_rotations_are_uniform_and_reproducible() -> None:
    R = random_rotations(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=2e-6, rtol=0)
    assert (torch.det(R) > 0).all()
    # Uniform rotations have E[R] = 0 and the angle's density (1 - cos a) / pi, whose mean is pi/2 + 2/pi.
    assert R.mean(0).abs().max() < 0.02
    assert abs(rotation_angle(torch.eye(3), R).mean() - (math.pi / 2 + 2 / math.pi)) < 0.02
    torch.testing.assert_close(R, random_rotations(20_000, torch.Generator().manual_seed(0)))


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_camera_looks_at_its_target_and_is_upright(seed: int) -> None:
    eye, target, up = np.random.default_rng(seed).normal(size=(3, 3))
    camera_in_world = look_at(eye, target, up)
    R = camera_in_world[:3, :3]
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-9)
    assert np.linalg.det(R) > 0
    seen = np.linalg.inv(camera_in_world) @ [*target, 1.0]
    np.testing.assert_allclose(seen[:2], 0, atol=1e-9)
    assert seen[2] == pytest.approx(np.linalg.norm(target - eye))
    x, y, _ = R.T @ up  # in the camera, whose y points down
    assert abs(x) < 1e-9 and y < 0
