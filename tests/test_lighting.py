"""Random light on rendered surfaces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from learning.datasets.scenes.lighting import Lighting, light_surfaces
from pose6d.camera_simulation.simulated_camera import SimulatedCamera
from pose6d.random_draws import Draw
from pose6d.rendering.interface import Rendering

_SIZE = 48
_PLAIN = Lighting(
    lights=(0.0,), tint=0.0, hemisphere=0.0, shadows=0.0, occlusion=0.0, shiny=0.0, albedo_gain=0.0, albedo_tint=0.0
)


def _draw(seed: int = 0) -> Draw:
    return Draw(torch.device("cpu"), torch.Generator().manual_seed(seed))


def _ball(count: int, albedo: float = 0.5) -> Rendering:
    """A ball of radius 0.4 at depth 4, before a wall at 5 that leaves the top quarter empty; two instances a scene."""
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, _SIZE), torch.linspace(-0.5, 0.5, _SIZE), indexing="ij")
    rise = (0.16 - x**2 - y**2).clamp(min=0).sqrt()
    on_ball = rise > 0
    depth = torch.where(on_ball, 4.0 - rise, 5.0)
    normal = torch.where(on_ball[..., None], torch.stack([x, y, -rise], -1) / 0.4, torch.tensor([0.0, 0.0, -1.0]))
    hit = on_ball | (y > -0.25)
    instance = 2 * torch.arange(count).view(-1, 1, 1) + (~on_ball).long()
    image = torch.stack([x * depth, y * depth, depth], -1) * hit[..., None]
    return Rendering(
        color=(albedo * hit[..., None] * torch.ones(3)).repeat(count, 1, 1, 1),
        xyz=image.repeat(count, 1, 1, 1),
        normal=(normal * hit[..., None]).repeat(count, 1, 1, 1),
        instance=torch.where(hit, instance, -1).int(),
    )


def _with(**changes: Any) -> Lighting:
    return Lighting(**{**_PLAIN.__dict__, **changes})


def test_pictures_are_in_range_and_the_seed_decides_them() -> None:
    scene = _ball(16)
    lit = light_surfaces(scene, _draw(), Lighting())
    assert lit.shape == (16, 3, _SIZE, _SIZE) and lit.is_contiguous()
    assert torch.isfinite(lit).all() and lit.min() >= 0 and lit.max() <= 1
    assert lit.std((2, 3)).mean() > 0.02
    torch.testing.assert_close(light_surfaces(scene, _draw(), Lighting()), lit, atol=0, rtol=0)
    assert not torch.equal(light_surfaces(scene, _draw(1), Lighting()), lit)


def test_even_light_shows_the_albedo() -> None:
    scene = _ball(8)
    lit = light_surfaces(scene, _draw(), _PLAIN).permute(0, 2, 3, 1)
    for i in range(8):
        seen = lit[i][scene.mask[i]]
        assert seen.std() < 1e-5
        assert 0.5 * 0.59 < seen.mean() < 0.5 * 1.21


@pytest.mark.parametrize(
    "changes", [{"lights": (1.0,)}, {"lights": (0.0, 1.0)}, {"hemisphere": 0.8}, {"lights": (1.0,), "shadows": 1.0}]
)
def test_directions_of_light_and_shadows_show_on_a_ball(changes: dict[str, Any]) -> None:
    scene = _ball(16)
    lit = light_surfaces(scene, _draw(), _with(**changes)).permute(0, 2, 3, 1)
    ball = scene.instance % 2 == 0
    assert torch.stack([lit[i][ball[i]].std() for i in range(16)]).mean() > 0.01


def test_light_falls_on_the_side_that_faces_it() -> None:
    scene = _ball(32)
    lit = light_surfaces(scene, _draw(), _with(lights=(1.0,)))[:, 0]
    assert scene.normal is not None
    for i in range(32):
        ball = scene.instance[i] == 2 * i
        value, normal = lit[i][ball], scene.normal[i][ball]
        bright = value > value.min() + 1e-3
        if bright.sum() > 50 and value.max() < 1:
            # Lambert: brightness is linear in the normal wherever the light reaches.
            basis = torch.cat([normal, torch.ones(len(normal), 1)], 1)[bright]
            fit = torch.linalg.lstsq(basis, value[bright, None]).solution
            assert (basis @ fit - value[bright, None]).abs().max() < 5e-3


def test_instances_differ_in_material() -> None:
    scene = _ball(16)
    lit = light_surfaces(scene, _draw(), _with(albedo_gain=0.3, albedo_tint=0.1)).permute(0, 2, 3, 1)
    differences = []
    for i in range(16):
        ball, wall = lit[i][scene.instance[i] == 2 * i], lit[i][scene.instance[i] == 2 * i + 1]
        assert ball.std(0).max() < 1e-5 and wall.std(0).max() < 1e-5
        differences.append((ball[0] - wall[0]).abs().mean())
    assert torch.stack(differences).mean() > 0.02


def test_only_shiny_surfaces_have_highlights() -> None:
    black = _ball(32, albedo=0.0)
    mask = black.mask[:, None]
    dull = light_surfaces(black, _draw(), _with(lights=(1.0, 1.0)))
    assert (dull * mask).max() == 0
    shiny = light_surfaces(black, _draw(), _with(lights=(1.0, 1.0), shiny=1.0))
    assert (shiny * mask).max() > 0.1


def test_surfaces_beside_nearer_ones_are_darker() -> None:
    scene = _ball(32)
    lit = light_surfaces(scene, _draw(), _with(occlusion=0.9))[:, 0]
    beside, apart = lit[:, -1, _SIZE // 2].mean(), lit[:, -1, 0].mean()
    near_ball = lit[:, 45, _SIZE // 2].mean()
    assert near_ball < 0.98 * apart and beside <= apart + 1e-6


def test_emptiness_is_flat_or_mottled() -> None:
    scene = _ball(32)
    for share, mottled in ((0.0, False), (1.0, True)):
        corner = light_surfaces(scene, _draw(), _with(background=share))[:, :, :10, :6]
        assert (corner.std((2, 3)).amax() > 1e-3) == mottled


class _NoWaiting(TorchDispatchMode):
    """Fails on operations that make the host wait for the device."""

    _WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "item", "unique", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().split("::")[1].split(".")[0]
        assert name not in self._WAITS, f"{func} waits for the device"
        if name in ("index", "index_put_"):
            assert not any(t is not None and t.dtype == torch.bool for t in args[1]), "boolean indexing waits"
        return func(*args, **(kwargs or {}))


def test_neither_light_nor_sensor_waits_for_the_device() -> None:
    scene, generator, noise = _ball(4), torch.Generator().manual_seed(0), SimulatedCamera()
    with _NoWaiting():
        rgb = light_surfaces(scene, Draw(scene.color.device, generator), Lighting())
        noise.measure_depth(scene.depth, rgb, generator, torch.full((4,), 4.0))
        noise.expose(rgb, generator)
    with _NoWaiting(), pytest.raises(AssertionError, match="waits"):
        rgb[rgb > 0.5].sum()
