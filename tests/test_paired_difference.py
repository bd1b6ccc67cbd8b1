"""Differences of two methods on the same scenes: the intervals cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from pose6d.evaluation.paired_difference import difference_of_means, difference_of_shares


def test_the_interval_of_paired_shares_is_that_of_the_paper() -> None:
    found, wanted = np.ones(200, bool), np.ones(200, bool)
    found[:5], wanted[5:8] = False, False
    value, low, high = difference_of_shares(found, wanted)
    assert value == -1
    assert (low, high) == (pytest.approx(-4.06, abs=1e-2), pytest.approx(2.08, abs=1e-2))
    assert difference_of_shares(wanted, found) == pytest.approx((-value, -high, -low))


def test_the_interval_of_means_holds_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        shared = rng.uniform(size=100)
        _, low, high = difference_of_means(shared + rng.normal(0.02, 0.1, 100), shared)
        hits += low <= 2 <= high
    assert 0.92 < hits / 400 < 0.98


def test_the_interval_of_shares_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        draw = rng.random(500)  # 3 % lost, 2 % gained, the others alike
        change, low, high = difference_of_shares(draw > 0.03, (draw < 0.03) | (draw > 0.05))
        assert low < change < high
        hits += low <= -1 <= high
    assert 0.93 < hits / 1000 < 0.98
    same = np.ones(500, bool)
    change, low, high = difference_of_shares(same, same)
    assert change == 0 and -1 < low < 0 < high < 1  # 500 scenes cannot exclude every loss
