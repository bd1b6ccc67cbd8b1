"""Calibration measures on hand-made data whose answers are known, and the diagram that shows them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose6d.errors import OutputError
from pose6d.evaluation.calibration import (
    brier_score,
    expected_calibration_error,
    reliability_bins,
    risk_at,
    risk_coverage,
    risk_coverage_area,
    roc_auc,
)
from pose6d.evaluation.calibration_plot import write_reliability_diagram
from pose6d.scenes.images import read_color


def test_bins_hold_what_they_should() -> None:
    table = reliability_bins(np.array([0.0, 0.2, 0.5, 0.6, 0.99, 1.0]), np.array([0, 0, 1, 0, 1, 1]), bins=2)
    np.testing.assert_allclose(table.edges, [0, 0.5, 1])
    assert table.count.tolist() == [3, 3]  # 0 belongs to the first interval, and an upper edge to the one below it
    np.testing.assert_allclose(table.confidence, [0.7 / 3, 2.59 / 3])
    np.testing.assert_allclose(table.accuracy, [1 / 3, 2 / 3])


def test_an_empty_interval_has_no_accuracy_and_no_weight() -> None:
    table = reliability_bins(np.array([0.9, 0.9]), np.array([True, True]), bins=10)
    assert np.isnan(table.accuracy[:8]).all()
    assert expected_calibration_error(np.array([0.9, 0.9]), np.array([True, True]), bins=10) == pytest.approx(0.1)


@pytest.mark.parametrize("bins", [3, 10, 15, 49])
def test_confidences_at_the_edges_fall_below_them(bins: int) -> None:
    edges = np.linspace(0, 1, bins + 1)
    assert reliability_bins(edges[1:], np.ones(bins), bins).count.tolist() == [1] * bins


def test_the_error_by_hand() -> None:
    # 4 results at 0.75 of which 3 are right: no gap. 4 at 0.25 of which all are right: a gap of 0.75.
    confidence = np.array([0.75] * 4 + [0.25] * 4)
    right = np.array([1, 1, 1, 0, 1, 1, 1, 1])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.5 * 0 + 0.5 * 0.75)


def test_the_surely_right_and_the_surely_wrong() -> None:
    right = np.array([True, False, True])
    assert expected_calibration_error(right.astype(float), right) == 0
    assert expected_calibration_error(1 - right.astype(float), right) == 1
    assert roc_auc(right.astype(float), right) == 1
    assert roc_auc(1 - right.astype(float), right) == 0


def test_area_by_counting_pairs() -> None:
    confidence = np.array([0.1, 0.4, 0.35, 0.8])
    right = np.array([0, 0, 1, 1])
    assert roc_auc(confidence, right) == pytest.approx(3 / 4)  # of the four pairs only (0.4, 0.35) is the wrong way
    assert roc_auc(np.full(4, 0.3), right) == 0.5  # ties count half


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=40))
def test_area_is_the_share_of_ordered_pairs(results: list[tuple[int, bool]]) -> None:
    confidence = np.array([c for c, _ in results]) / 20
    right = np.array([r for _, r in results])
    pairs = [float(a > b) + 0.5 * float(a == b) for a in confidence[right] for b in confidence[~right]]
    area = roc_auc(confidence, right)
    assert np.isnan(area) if not pairs else area == pytest.approx(np.mean(pairs))


def test_brier_score_of_hand_made_results() -> None:
    # (0.1^2 + 0.4^2 + 0.5^2) / 3
    assert brier_score(np.array([0.9, 0.4, 0.5]), np.array([True, False, True])) == pytest.approx(0.14)


def test_risk_is_what_is_wrong_among_the_surest() -> None:
    confidence, right = np.array([0.2, 0.9, 0.8, 0.5]), np.array([False, True, False, True])
    coverage, risk = risk_coverage(confidence, right)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert risk_coverage_area(confidence, right) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert risk_at(confidence, right, 0.5) == pytest.approx(0.5) and risk_at(confidence, right) == pytest.approx(1 / 3)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_results_of_one_confidence_count_in_no_order(right: list[bool], random: Random) -> None:
    shuffled = random.sample(right, len(right))
    for results in (right, shuffled):
        _, risk = risk_coverage(np.full(len(results), 0.5), np.array(results))
        np.testing.assert_allclose(risk, 1 - np.mean(right))


def test_without_results_there_is_no_number() -> None:
    nothing = np.array([]), np.array([], bool)
    assert all(np.isnan(measure(*nothing)) for measure in (brier_score, risk_at, risk_coverage_area))
    assert np.isnan(expected_calibration_error(np.array([]), np.array([], bool)))
    assert np.isnan(roc_auc(np.array([0.5]), np.array([True])))


@pytest.mark.parametrize("confidence", [[0.5, 1.2], [-0.1, 0.5], [float("nan"), 0.5], [0.5]])
def test_what_is_no_probability_is_refused(confidence: list[float]) -> None:
    for measure in (expected_calibration_error, roc_auc, reliability_bins):
        with pytest.raises(ValueError, match="confidence"):
            measure(np.array(confidence), np.array([True, False]))


def test_a_diagram_is_drawn_or_refused_with_its_path(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=500)
    right = rng.uniform(size=500) < confidence
    write_reliability_diagram(tmp_path / "diagram.png", confidence, right, "calibrated")
    picture = read_color(tmp_path / "diagram.png")
    assert picture.shape[0] > 400 and picture.std() > 20
    with pytest.raises(OutputError, match=r"diagram\.png cannot be written"):
        write_reliability_diagram(tmp_path / "diagram.png" / "diagram.png", confidence, right, "calibrated")
