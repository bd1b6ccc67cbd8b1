"""VSD against the golden numbers, and what recall, AUC, AR and tracking count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose6d.evaluation.auc import auc, recall
from pose6d.evaluation.average_recall import average_recall, count_found, match
from pose6d.evaluation.pose_errors import euler_angles, euler_error, nearest_symmetric_truth
from pose6d.evaluation.tracking_errors import jitter, loss_statistics
from pose6d.evaluation.visible_surface import TAUS, render_depth, vsd
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from tests.evaluation_dataset import box_mesh, make_pose


def random_poses(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(count, random_state=seed).as_matrix()
    return np.stack([make_pose(R, rng.uniform([-0.1, -0.1, 0.5], [0.1, 0.1, 0.9])) for R in rotations])


def golden_depths(known: dict, case: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, truth and scene (H, W) in millimetres, the scene as the golden file's depth_rule says."""
    mesh = Mesh(np.array(known["vertices"]) / 1000, np.array(known["faces"]))
    poses = np.stack([make_pose(case[f"R_{w}"], np.array(case[f"t_{w}"]) / 1000) for w in ("est", "gt")])
    size = (known["height"], known["width"])
    estimate, truth = render_depth(make_renderer(mesh, "cpu"), poses, np.array(known["K"]), size) * 1000.0
    scene = np.where(truth > 0, truth, case["wall_depth"])
    if case["occluded_left"]:
        (fx, _, cx), (tx, _, tz) = known["K"][0], np.ravel(case["t_gt"])
        scene[:, : int(np.floor(cx + fx * tx / tz))] = tz - 150
    return estimate, truth, scene


def test_golden_vsd_with_our_own_renderer(golden: Path) -> None:
    known = json.loads((golden / "pose_errors.json").read_text())
    np.testing.assert_allclose(TAUS, known["vsd_taus"])
    K = np.array(known["K"])
    for case in known["cases"]:
        depths = golden_depths(known, case)
        errors = vsd(*depths, K, known["diameter"], TAUS, known["vsd_delta"])
        # Observed at most 6e-4: single pixels on the silhouette and exactly at tau differ between renderers.
        np.testing.assert_allclose(errors, case["vsd"], atol=1e-3)


def test_vsd_forgives_a_symmetry_and_charges_a_shift() -> None:
    """A box turned half about z looks the same; 2 cm too far is wrong for tau below 2 cm and right above."""
    mesh, K = box_mesh(), np.array([[300.0, 0, 79.5], [0, 300, 59.5], [0, 0, 1]])
    truth = make_pose(Rotation.from_euler("xyz", [0.4, 0.3, 0.2]).as_matrix(), [0, 0, 0.6])
    shifted = truth.copy()
    shifted[2, 3] += 0.02
    poses = np.stack([truth, truth @ make_pose(np.diag([-1.0, -1.0, 1.0]), [0, 0, 0]), shifted])
    true, turned, far = render_depth(make_renderer(mesh, "cpu"), poses, K, (120, 160))
    scene = np.where(true > 0, true, 1.0)
    assert vsd(turned, true, scene, K, mesh.diameter).max() < 0.01
    errors = vsd(far, true, scene, K, mesh.diameter, taus=np.array([0.05, 0.3]))
    assert mesh.diameter * 0.05 < 0.02 < mesh.diameter * 0.3
    assert errors[0] == 1
    assert errors[1] < 0.15  # the silhouette shrinks by 3 percent in length


def test_euler_error_wraps_and_goes_to_the_nearest_symmetric_pose() -> None:
    near_half_turn = [make_pose(Rotation.from_euler("z", a, degrees=True).as_matrix(), 0) for a in (179, -179)]
    np.testing.assert_allclose(np.degrees(euler_error(*near_half_turn)), [0, 0, -2], atol=1e-9)
    half_turn = np.stack([np.eye(4), make_pose(np.diag([-1.0, -1.0, 1.0]), 0)])
    turned = make_pose(Rotation.from_euler("z", 183, degrees=True).as_matrix(), 0)
    np.testing.assert_allclose(np.degrees(euler_error(turned, np.eye(4), half_turn)), [0, 0, 3], atol=1e-9)
    np.testing.assert_allclose(nearest_symmetric_truth(turned, np.eye(4), half_turn), half_turn[1], atol=1e-12)


def test_euler_angles_are_those_of_fixed_axes() -> None:
    angles = np.random.default_rng(0).uniform([-3, -1.5, -3], [3, 1.5, 3], (20, 3))
    np.testing.assert_allclose(euler_angles(Rotation.from_euler("xyz", angles).as_matrix()), angles, atol=1e-9)
    locked = Rotation.from_euler("xyz", [0.3, np.pi / 2, 0]).as_matrix()
    np.testing.assert_allclose(euler_angles(locked), [0.3, np.pi / 2, 0], atol=1e-6)


def test_recall_and_auc_are_what_arithmetic_says() -> None:
    assert recall(np.array([0.01, 0.05, 0.1, np.inf, np.nan]), 0.1) == pytest.approx(0.4)
    assert auc(np.zeros(3)) == 1
    assert auc(np.array([np.inf, np.nan, 0.2])) == 0
    # One error e is reached from threshold e on; the ramp before it adds half a step: (0.1 - e + 0.0005) / 0.1.
    assert auc(np.array([0.03])) == pytest.approx(0.705)
    assert auc(np.array([0.03, np.inf])) == pytest.approx(0.705 / 2)
    assert np.isnan(auc(np.array([])))
    assert np.isnan(recall(np.array([]), 0.1))


def test_matching_is_one_to_one_and_the_best_estimate_goes_first() -> None:
    errors = np.array([[0.2, 0.3], [0.1, 0.4], [9.0, 0.35]])
    np.testing.assert_array_equal(match(errors, 0.5), [0, 1])
    np.testing.assert_array_equal(match(errors, 0.25), [0, -1])
    np.testing.assert_array_equal(match(errors, 0.05), [-1, -1])
    np.testing.assert_array_equal(match(np.empty((0, 2)), 1), [-1, -1])


def test_average_recall_counts_thresholds() -> None:
    """MSSD of 0.12 d passes 8 of 10 thresholds, MSPD of 31 px 4 of 10, VSD of 0.29 for half of the tolerances 5."""
    one = {
        "vsd": np.array([[[0.29]]] * 5 + [[[1.0]]] * 5),
        "mssd": np.array([[0.12]]),
        "mspd": np.array([[31.0]]),
    }
    scores = average_recall([count_found(one)], instances=1)
    assert scores == pytest.approx({"AR_VSD": 0.25, "AR_MSSD": 0.8, "AR_MSPD": 0.4, "AR": 1.45 / 3})
    assert average_recall([count_found(one)], instances=2)["AR_MSSD"] == pytest.approx(0.4)
    assert average_recall([], instances=3)["AR"] == 0
    assert np.isnan(average_recall([], instances=0)["AR"])


def test_losses_of_a_tracker() -> None:
    errors = np.array([0.01, 0.02, 0.5, np.nan, 0.01, 0.01, 0.01, 0.3, 0.02, 0.02])
    statistics = loss_statistics(errors, limit=0.1, frame_seconds=0.5)
    assert statistics.lost_rate == pytest.approx(0.3)
    assert statistics.losses == 2
    assert statistics.mean_time_to_loss == pytest.approx(7 * 0.5 / 2)
    assert statistics.first_loss == pytest.approx(1.0)
    never = loss_statistics(np.zeros(4), 0.1, 0.5)
    assert (never.lost_rate, never.losses, never.mean_time_to_loss, never.first_loss) == (0, 0, np.inf, np.inf)
    at_once = loss_statistics(np.array([1.0, 1.0]), 0.1, 0.5)
    assert (at_once.lost_rate, at_once.losses, at_once.mean_time_to_loss, at_once.first_loss) == (1, 1, 0, 0)


def test_jitter_is_the_change_of_the_error_not_of_the_pose() -> None:
    truths = random_poses(6, 8)
    constant = truths.copy()
    constant[:, :3, 3] += [0.01, 0, 0]
    assert jitter(constant, truths).translation == pytest.approx(0, abs=1e-12)
    trembling = truths.copy()
    turn = Rotation.from_euler("y", 2, degrees=True).as_matrix()
    trembling[::2, :3, :3] = turn @ trembling[::2, :3, :3]
    trembling[::2, :3, 3] += [0, 0.003, 0]
    measured = jitter(trembling, truths)
    assert np.degrees(measured.rotation) == pytest.approx(2)
    assert measured.translation == pytest.approx(0.003)
    assert np.isnan(jitter(truths[:1], truths[:1]).rotation)
    half_turn = np.stack([np.eye(4), make_pose(np.diag([-1.0, -1.0, 1.0]), 0)])
    flipping = truths.copy()
    flipping[::2] = flipping[::2] @ half_turn[1]
    assert jitter(flipping, truths, half_turn).rotation == pytest.approx(0, abs=1e-7)
