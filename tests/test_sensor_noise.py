"""What the simulated sensor may and may not do to an image."""

from __future__ import annotations

import torch

from learning.datasets.sensor_noise import SensorNoise, degrade_color, degrade_depth
from learning.training.train_refiner import hide_color


def _step_edge() -> torch.Tensor:
    """(8, 32, 32) depth with a nearer left half, the top row missing."""
    depth = torch.full((8, 32, 32), 5.0)
    depth[:, :, :16] = 4.0
    depth[:, 0] = 0.0
    return depth


def test_a_perfect_sensor_changes_nothing_but_the_last_digit() -> None:
    generator, noise = torch.Generator().manual_seed(0), SensorNoise(strength=0.0)
    depth, rgb = _step_edge(), torch.rand((8, 3, 32, 32), generator=generator)
    torch.testing.assert_close(degrade_depth(depth, rgb, generator, noise), depth, atol=1e-4, rtol=0)
    torch.testing.assert_close(degrade_color(rgb, generator, noise), rgb, atol=2e-4, rtol=0)


def test_a_real_sensor_loses_edges_first_and_never_invents_depth() -> None:
    generator, noise = torch.Generator().manual_seed(0), SensorNoise(holes=0.0)
    depth, rgb = _step_edge(), torch.full((8, 3, 32, 32), 0.5)
    seen = degrade_depth(depth, rgb, generator, noise)
    assert (seen[:, 0] == 0).all()
    lost = (seen[:, 2:] == 0).float().mean((0, 1))  # by column
    assert lost[15:17].mean() > 2 * lost[4:12].mean()
    kept = seen > 0
    assert (seen - depth)[kept].abs().max() < 0.25
    assert (seen - depth)[kept].abs().max() > 0


def test_dark_surfaces_lose_depth() -> None:
    depth, noise = torch.full((64, 16, 16), 5.0), SensorNoise(holes=0.0, pixel_loss=0.0)
    rgb = torch.full((64, 3, 16, 16), 0.5)
    rgb[:, :, :, :8] = 0.02
    seen = degrade_depth(depth, rgb, torch.Generator().manual_seed(0), noise)
    assert (seen[:, :, :8] == 0).any()
    assert (seen[:, :, 8:] > 0).all()


def test_hidden_colour_is_grey_on_the_object_and_keeps_its_shape() -> None:
    A = torch.rand((4, 6, 16, 16), generator=torch.Generator().manual_seed(0))
    A[:, :, :, :4] = 0.0
    grey = hide_color(A, 1.0, torch.Generator().manual_seed(0))
    assert (grey[:, 0] == grey[:, 1]).all()
    assert (grey[:, :3, :, :4] == 0).all()
    assert (grey[:, :3, :, 5:] > 0.3).all()
    torch.testing.assert_close(grey[:, 3:], A[:, 3:])
    torch.testing.assert_close(hide_color(A, 0.0, torch.Generator().manual_seed(0)), A)
