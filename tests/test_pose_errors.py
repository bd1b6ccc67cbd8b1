"""Pose errors: against the field's reference toolkit, and the properties their papers state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pose6d.evaluation.pose_errors import add, add_s, mspd, mssd, rotation_error, translation_error
from tests.evaluation_dataset import make_pose


def test_the_reference_toolkit_agrees(golden: Path) -> None:
    known = json.loads((golden / "pose_errors.json").read_text())
    points, K = np.array(known["vertices"]), np.array(known["K"])
    symmetries = np.stack([make_pose(s["R"], s["t"]) for s in known["symmetries"]])
    for case in known["cases"]:
        estimate = make_pose(case["R_est"], case["t_est"])
        truth = make_pose(case["R_gt"], case["t_gt"])
        # The golden numbers are float64 of the same formulas; 1e-6 mm and 1e-6 degrees are far above rounding.
        assert add(estimate, truth, points) == pytest.approx(case["add"], abs=1e-6)
        assert add_s(estimate, truth, points) == pytest.approx(case["adi"], abs=1e-6)
        assert mssd(estimate, truth, points) == pytest.approx(case["mssd_nosym"], abs=1e-6)
        assert mssd(estimate, truth, points, symmetries) == pytest.approx(case["mssd"], abs=1e-6)
        assert mspd(estimate, truth, points, K) == pytest.approx(case["mspd_nosym"], abs=1e-6)
        assert mspd(estimate, truth, points, K, symmetries) == pytest.approx(case["mspd"], abs=1e-6)
        # The toolkit takes arccos, which near 0 is exact to about 1e-7 radians only.
        assert np.degrees(rotation_error(estimate, truth)) == pytest.approx(case["re"], abs=1e-5)
        assert translation_error(estimate, truth) == pytest.approx(case["te"], abs=1e-6)


def test_a_shift_is_its_own_length_in_every_metric_but_add_s() -> None:
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (200, 3))
    truth = make_pose(Rotation.random(random_state=1).as_matrix(), [0.1, 0.2, 0.7])
    estimate = truth.copy()
    estimate[:3, 3] += [0.003, -0.004, 0.012]
    for error in (add(estimate, truth, points), mssd(estimate, truth, points), translation_error(estimate, truth)):
        assert error == pytest.approx(0.013)
    assert 0 < add_s(estimate, truth, points) < 0.013
    assert rotation_error(estimate, truth) == pytest.approx(0, abs=1e-7)


def test_batches_equal_one_by_one() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(50, 3))
    estimates = np.stack([make_pose(Rotation.random(random_state=i).as_matrix(), rng.normal(size=3)) for i in range(5)])
    truth = make_pose(Rotation.random(random_state=9).as_matrix(), rng.normal(size=3))
    for metric in (add, add_s):
        single = [metric(estimate, truth, points) for estimate in estimates]
        np.testing.assert_allclose(metric(estimates, truth, points), single, atol=1e-12)
    for metric in (rotation_error, translation_error):
        np.testing.assert_allclose(metric(estimates, truth), [metric(e, truth) for e in estimates], atol=1e-12)


def test_a_symmetric_pose_has_no_error() -> None:
    """Half a turn about an axis that passes beside the origin: rotation, translation, MSSD and MSPD must forgive it."""
    half_turn = make_pose(np.diag([-1.0, -1.0, 1.0]), [0.04, 0.0, 0.0])
    symmetries = np.stack([np.eye(4), half_turn])
    corners = np.random.default_rng(3).uniform([-0.03, -0.05, -0.05], [0.07, 0.05, 0.05], (40, 3))
    points = np.concatenate([corners, corners @ half_turn[:3, :3].T + half_turn[:3, 3]])
    truth = make_pose(Rotation.random(random_state=4).as_matrix(), [0.0, 0.1, 0.6])
    estimate = truth @ half_turn
    K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    assert rotation_error(estimate, truth) == pytest.approx(np.pi)
    assert translation_error(estimate, truth) == pytest.approx(0.04)
    assert add(estimate, truth, points) > 0.02
    assert add_s(estimate, truth, points) == pytest.approx(0, abs=1e-9)
    for error in (
        rotation_error(estimate, truth, symmetries),
        translation_error(estimate, truth, symmetries),
        mssd(estimate, truth, points, symmetries),
        mspd(estimate, truth, points, K, symmetries),
    ):
        assert error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 1.0, np.pi - 1e-6, np.pi])
def test_small_and_large_angles_are_exact(angle: float) -> None:
    R = Rotation.from_rotvec(np.array([0.6, 0.0, 0.8]) * angle).as_matrix()
    assert rotation_error(make_pose(R, 0), np.eye(4)) == pytest.approx(angle, rel=1e-6)
