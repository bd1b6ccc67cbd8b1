"""The rotation hypotheses: their number, their coverage, and what symmetries leave of them."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from pose6d.geometry.rotation_grids import covering_rotations, icosphere, rotation_hypotheses, spiral_rotations
from pose6d.geometry.transforms import random_rotations, rotation_angle
from pose6d.mesh.symmetry import parse_symmetry


@pytest.mark.parametrize(("level", "count"), [(0, 12), (1, 42), (2, 162)])
def test_icosphere_vertices_are_distinct_and_on_the_sphere(level: int, count: int) -> None:
    points = icosphere(level)
    assert points.shape == (count, 3)
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1)
    np.testing.assert_allclose(points.sum(0), 0, atol=1e-12)
    cosines = points @ points.T - 2 * np.eye(count)
    assert np.degrees(np.arccos(cosines.max())) > 60 / 2**level * 0.9  # no two share a place


@pytest.mark.parametrize(
    ("symmetry", "count"), [("none", 252), ("continuous z", 20), ("180 z", 126), ("90 z", 54), ("sphere", 1)]
)
def test_symmetry_leaves_only_views_that_look_different(symmetry: str, count: int) -> None:
    """The counts are those of the published method for the same views."""
    rotations = rotation_hypotheses(parse_symmetry(symmetry))
    assert rotations.shape == (count, 3, 3)
    assert rotations.dtype == torch.float32


def test_most_rotations_are_within_the_largest_step_of_a_refinement_from_a_hypothesis() -> None:
    wanted = random_rotations(3000, torch.Generator().manual_seed(0))
    nearest = torch.rad2deg(rotation_angle(wanted[:, None], rotation_hypotheses()[None]).amin(1))
    assert (nearest < 34.64).float().mean() > 0.995  # 20 degrees about each axis
    assert nearest.mean() < 20


def covering_radius(rotations: torch.Tensor) -> float:
    """Degrees from the loneliest rotation to the nearest given one, exactly.

    Rotations are pairs of opposite points of the unit sphere in four dimensions; the loneliest lies above the facet of
    their convex hull that is nearest to the middle, and rotations turn by twice the angle between quaternions.
    """
    quaternions = Rotation.from_matrix(rotations.double().numpy()).as_quat()
    offsets = -ConvexHull(np.concatenate([quaternions, -quaternions])).equations[:, -1]
    return 2 * float(np.degrees(np.arccos(offsets.min())))


@pytest.mark.parametrize(
    ("rotations", "count", "degrees"), [(rotation_hypotheses(), 252, 35.66), (covering_rotations(), 120, 37.15)]
)
def test_grids_cover_all_rotations(rotations: torch.Tensor, count: int, degrees: float) -> None:
    assert rotations.shape == (count, 3, 3) and rotations.dtype == torch.float32
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(count, 3, 3), atol=1e-6, rtol=0)
    assert degrees - 0.1 < covering_radius(rotations) < degrees
    wanted = random_rotations(3000, torch.Generator().manual_seed(1))
    farthest = torch.rad2deg(rotation_angle(wanted[:, None], rotations[None]).amin(1)).max()
    assert degrees - 4 < farthest < degrees  # samples come near the loneliest rotation, and none is lonelier


def test_symmetries_thin_a_covering_and_the_identity_does_not() -> None:
    assert len(covering_rotations(parse_symmetry("none"))) == 120
    assert len(covering_rotations(parse_symmetry("180 z"))) == 60
    assert len(covering_rotations(parse_symmetry("180 x; 180 y"))) == 30
    S = parse_symmetry("continuous z")[:, :3, :3]
    kept, every = covering_rotations(S), covering_rotations()
    assert 10 < len(kept) < 60
    angles = torch.rad2deg(rotation_angle(kept[:, None, None], every[None, None] @ S[None, :, None])).amin((0, 1))
    assert angles.max() < 30


@pytest.mark.parametrize("symmetry", ["continuous z", "180 x; 180 y", "90 z; 120 1 1 1"])
def test_kept_views_differ_and_dropped_views_are_covered(symmetry: str) -> None:
    S = parse_symmetry(symmetry)[:, :3, :3]
    kept, every = rotation_hypotheses(S), rotation_hypotheses()
    # (kept, S, all): angle between a kept view and every symmetric twin of each view
    angles = torch.rad2deg(rotation_angle(kept[:, None, None], every[None, None] @ S[None, :, None])).amin(1)
    assert angles.amin(0).max() < 30
    among = torch.rad2deg(rotation_angle(kept[:, None, None], kept[None, None] @ S[None, :, None])).amin(1)
    assert (among + 360 * torch.eye(len(kept))).min() >= 30 - 1e-3


def test_hypotheses_are_rotations_that_see_the_object_from_all_sides() -> None:
    rotations = rotation_hypotheses(views=12, inplane=4)
    assert rotations.shape == (48, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(48, 3, 3), atol=1e-6, rtol=0)
    assert (torch.det(rotations) > 0).all()
    # The camera's viewing direction in the object frame is row z; each of 12 appears with four rolls.
    directions = np.unique(np.round(rotations[:, 2].numpy(), 4) + 0.0, axis=0)
    assert len(directions) == 12
    assert rotation_hypotheses(views=13, inplane=1).shape[0] == 42


def test_clustering_is_fast() -> None:
    symmetries = parse_symmetry("continuous z; 180 x")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        rotation_hypotheses(symmetries)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.2  # the best of five: other work on the machine must not count


def test_spirals_of_rotations_are_even() -> None:
    rotations = spiral_rotations(4400)
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(4400), atol=1e-5)
    anywhere = random_rotations(2000, torch.Generator().manual_seed(0))
    trace = (anywhere.reshape(-1, 9) @ rotations.reshape(-1, 9).T).amax(1)
    nearest = ((trace - 1) / 2).clamp(-1, 1).arccos().rad2deg()
    assert float(nearest.mean()) < 9 and float(nearest.quantile(0.99)) < 15
