"""Rendered sides as faulty meshes would look."""

from __future__ import annotations

import torch

from learning.datasets.surfaces.mesh_faults import TRAINING_FAULTS, MeshFaults, apply_faults, sample_faults
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


def detail(A: torch.Tensor) -> float:
    """How much neighbouring pixels of the drawn colours differ."""
    return float((A[:, :3, 8:24, 9:24] - A[:, :3, 8:24, 8:23]).abs().mean())


def test_a_soft_texture_has_less_detail() -> None:
    assert detail(drawn(MeshFaults(0.0, 0.0, soft=1.0))) < 0.75 * detail(rendered())


def test_hypotheses_of_one_scene_share_their_faults() -> None:
    faults = sample_faults(Draw(torch.device("cpu"), torch.Generator().manual_seed(0)), 3, MeshFaults()).repeat(4)
    assert faults.gain.shape == (12, 3, 1, 1)
    assert (faults.gain[:4] == faults.gain[:1]).all()


def test_a_coarse_mesh_has_hardly_any_detail_and_wrong_colours() -> None:
    coarse = drawn(MeshFaults(0.0, 0.0, 0.0, coarse=1.0))
    assert detail(coarse) < 0.55 * detail(rendered())
    means = coarse[:, :3, 10:22, 10:22].mean((2, 3)) - rendered()[:, :3, 10:22, 10:22].mean((2, 3))
    assert means.abs().mean() > 0.03
    torch.testing.assert_close(coarse[:, 3:], rendered()[:, 3:])


def test_a_plain_mesh_is_of_one_hue_and_tells_nothing_by_colour() -> None:
    A = drawn(MeshFaults(0.0, 0.0, 0.0, plain=1.0))[:, :3, 8:24, 8:24]
    hue = A / A.sum(1, keepdim=True)
    assert float((hue - hue.mean((2, 3), keepdim=True)).abs().max()) < 1e-3
    assert A.mean((2, 3)).std(0).min() > 0.1
    generator = torch.Generator().manual_seed(0)
    faults = sample_faults(Draw(torch.device("cpu"), generator), 400, MeshFaults(grey=0.3, plain=0.3))
    assert 0.4 < float(faults.colored.float().mean()) < 0.6


def test_a_made_mesh_bulges_over_its_outline_and_keeps_its_middle() -> None:
    before, after = rendered(), drawn(MeshFaults(0.0, 0.0, 0.0, made=1.0))
    shown, bulging = (A[:, 3:].abs().sum(1) > 0 for A in (before, after))
    assert (bulging | ~shown).all(), "nothing is lost"
    extra = (bulging & ~shown).sum((1, 2))
    assert extra.min() >= 0 and extra.float().mean() > 10 and extra.max() <= (31 * 31 - 27 * 27)
    assert (after[:, :3][:, :, 0] == 0).all()
    middle = (slice(None), slice(3, None), slice(12, 20), slice(12, 20))
    torch.testing.assert_close(after[middle], before[middle], atol=2e-2, rtol=0)


def test_faults_that_are_off_draw_nothing() -> None:
    """The faults that the first three probabilities gave before there were others."""
    generator = torch.Generator().manual_seed(0)
    draw = Draw(torch.device("cpu"), generator)
    faults = sample_faults(draw, 5, MeshFaults())
    after = torch.rand(1, generator=generator)
    generator.manual_seed(0)
    for columns in (1, 1, 1, 3, 1, 1, 1, 1):  # recolored, soft, brightness, balance, grey, gamma, saturation, softness
        torch.rand((5, columns), generator=generator)
    assert torch.equal(after, torch.rand(1, generator=generator))
    assert not faults.plain.any() and not faults.coarse.any() and not faults.melted.any()
    assert sample_faults(draw, 3, TRAINING_FAULTS).repeat(2).color.shape == (6, 3, 1, 1)
