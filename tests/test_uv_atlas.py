"""Colours that nobody saw are guessed from those around them."""

import numpy as np

from mesh_creation.fusion.uv_atlas import spread_colors

_GREEN, _BLUE, _RIM = [20.0, 200.0, 40.0], [30.0, 40.0, 220.0], [250.0, 250.0, 250.0]


def _plane() -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) of a square of 10 cm, a millimetre apart, and (P,) their distance from its middle, metres."""
    x, y = np.meshgrid(np.linspace(-0.05, 0.05, 101), np.linspace(-0.05, 0.05, 101))
    positions = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    return positions, np.linalg.norm(positions, axis=1)


def test_a_hole_takes_the_trusted_colour_and_not_that_of_its_rim() -> None:
    positions, radius = _plane()
    values = np.where((radius < 0.022)[:, None], _RIM, _GREEN).astype(np.float32)
    trust = np.where(radius < 0.02, 0.0, np.where(radius < 0.022, 0.02, 0.8)).astype(np.float32)
    filled = spread_colors(positions, values, trust)
    assert np.abs(filled[radius < 0.01] - _GREEN).max() < 20
    np.testing.assert_array_equal(filled[trust > 0], values[trust > 0])


def test_a_crack_takes_on_what_is_next_to_it() -> None:
    positions, _ = _plane()
    left = positions[:, 0] < 0
    values = np.where(left[:, None], _GREEN, _BLUE).astype(np.float32)
    crack = np.isclose(positions[:, 1], 0.0)
    filled = spread_colors(positions, values, np.where(crack, 0.0, 1.0).astype(np.float32))
    away = crack & (np.abs(positions[:, 0]) > 0.006)
    assert np.abs(filled[away] - values[away]).max() < 5


def test_all_and_nothing_known() -> None:
    positions, _ = _plane()
    values = np.tile(np.float32(_GREEN), (len(positions), 1))
    np.testing.assert_array_equal(spread_colors(positions, values, np.ones(len(positions))), values)
    assert (spread_colors(positions, values, np.zeros(len(positions))) == 128).all()
