"""Rendered sides as faulty meshes would look."""

from __future__ import annotations

import torch

from learning.datasets.surfaces.mesh_faults import MeshFaults, apply_faults, sample_faults
from pose6d.random_draws import Draw


def rendered(count: int = 64) -> torch.Tensor:
    """A tilted, coloured plane in the middle of each crop."""
    ramp = torch.linspace(-0.5, 0.5, 32)
    y, x = torch.meshgrid(ramp, ramp, indexing="ij")
    shown = ((x.abs() < 0.4) & (y.abs() < 0.4)).float()
    rgb = torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    xyz = torch.stack([x, y, 0.3 * x - 0.6]).expand(count, 3, 32, 32)
    return torch.cat([rgb, xyz], 1) * shown


def drawn(faults: MeshFaults, count: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return apply_faults(rendered(count), sample_faults(Draw(torch.device("cpu"), generator), count, faults))


def test_a_true_mesh_stays_as_it_is() -> None:
    torch.testing.assert_close(drawn(MeshFaults(0.0, 0.0, 0.0)), rendered(), atol=2e-4, rtol=0)


def test_faults_change_colours_alone_and_keep_the_background_black() -> None:
    before, after = rendered(), drawn(MeshFaults())
    torch.testing.assert_close(after[:, 3:], before[:, 3:])
    background = (before[:, 3:].abs().sum(1, keepdim=True) == 0).expand(-1, 3, -1, -1)
    assert (after[:, :3][background] == 0).all()
    assert after.min() >= -1.0
    assert after[:, :3].min() >= 0 and after[:, :3].max() <= 1


def test_without_colours_all_channels_are_one_shade() -> None:
    grey = drawn(MeshFaults(grey=1.0))[:, :3]
    assert float((grey - grey.mean(1, keepdim=True)).abs().max()) < 1e-6
    assert float(grey.max()) > 0.3


def test_a_soft_texture_has_less_detail() -> None:
    def detail(A: torch.Tensor) -> float:
        return float((A[:, :3, 8:24, 9:24] - A[:, :3, 8:24, 8:23]).abs().mean())

    assert detail(drawn(MeshFaults(0.0, 0.0, soft=1.0))) < 0.75 * detail(rendered())


def test_hypotheses_of_one_scene_share_their_faults() -> None:
    faults = sample_faults(Draw(torch.device("cpu"), torch.Generator().manual_seed(0)), 3, MeshFaults()).repeat(4)
    assert faults.gain.shape == (12, 3, 1, 1)
    assert (faults.gain[:4] == faults.gain[:1]).all()
