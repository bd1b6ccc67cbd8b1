"""The suites as a data set: its camera, its truth, and the same results from one process and from several."""

from __future__ import annotations

import torch

from benchmarks.accuracy.plain_camera import PlainNoise, degrade_depth


def test_noise_never_carries_a_surface_behind_the_camera() -> None:
    depth, rgb = torch.full((8, 40, 40), 0.01), torch.full((8, 3, 40, 40), 0.5)
    seen = degrade_depth(depth, rgb, torch.Generator().manual_seed(0), PlainNoise())
    assert (seen >= 0).all() and (seen > 0).any() and (seen == 0).float().mean() > 0.1
