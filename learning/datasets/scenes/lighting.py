"""Random light and materials on the surfaces of a batch of renderings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from pose6d.random_draws import Draw
from pose6d.rendering.interface import Rendering

_METERING = 37  # every 37th pixel is enough to know how bright a picture is
_MATERIALS = 1021  # prime, so that instances of one scene never share one, whatever the number per scene


@dataclass(frozen=True)
class Lighting:
    """How varied light and materials are; each scene draws its own below these."""

    lights: tuple[float, ...] = (1.0, 0.6, 0.3)
    """probability that each directional light is on; the first is the strongest and casts shadows"""
    tint: float = 0.15
    """largest change of a light's red, green and blue"""
    ambient: tuple[float, float] = (0.2, 0.9)
    """range of the light from all around, against directional lights of up to 1"""
    exposure: tuple[float, float] = (0.6, 1.2)
    """range of the mean brightness of white surfaces"""
    hemisphere: float = 0.6
    """largest relative difference between light from above and from below"""
    shadows: float = 0.5
    """probability that things out of sight cast shadows"""
    occlusion: float = 0.6
    """largest loss of ambient light beside nearer surfaces"""
    shiny: float = 0.4
    """probability that an instance has highlights"""
    shine: float = 0.7
    """largest strength of highlights"""
    albedo_gain: float = 0.2
    """largest change of an instance's brightness against its mesh's"""
    albedo_tint: float = 0.06
    """largest change of an instance's red, green and blue"""
    background: float = 0.6
    """probability that emptiness is mottled rather than of one colour"""


def light_surfaces(rendering: Rendering, draw: Draw, light: Lighting) -> torch.Tensor:
    """Light the surfaces of a rendering of albedos: directional lights, sky and ground, highlights, soft shadows.

    Args:
        rendering: with normals, unlit (`pose6d.rendering.interface.ALBEDO`).

    Returns:
        (N, 3, H, W) float32 in 0..1.
    """
    assert rendering.normal is not None
    count, height, width, _ = rendering.color.shape
    size = (height, width)
    normal, view = _planes(rendering.normal), _planes(rendering.xyz)
    view *= -torch.rsqrt((view * view).sum(1, keepdim=True).clamp(min=1e-12))
    directions = _directions(draw, count, len(light.lights))
    colors = _light_colors(draw, count, light)
    material = _planes(F.embedding(rendering.instance.remainder(_MATERIALS), _materials(draw, light)))
    gain, shine, sharpness = material[:, :3], material[:, 3:4], material[:, 4:5]

    facing = directions @ normal  # (N, lights, HW)
    direct = facing.clamp(min=0)
    direct[:, 0] *= _cast_shadows(draw, count, size, light).flatten(1)
    ambient = _ambient(draw, normal, light) * _openness(draw, rendering.depth, light).flatten(2)
    diffuse = torch.baddbmm(ambient, colors, direct)
    brightness = diffuse[..., ::_METERING].mean((1, 2), keepdim=True)
    exposure = draw.uniform((count, 1, 1), *light.exposure) / brightness.clamp(min=0.05)

    glare = _highlight(facing, view, normal, directions, sharpness) * (direct[:, :2] > 0)
    specular = colors[:, :, :2] @ glare.mul_(shine)
    lit = _planes(rendering.color).mul_(gain).mul_(diffuse).add_(specular).mul_(exposure)
    hit = rendering.mask[:, None]
    return torch.where(hit, lit.view(count, 3, *size), _background(draw, count, size, light)).clamp_(0, 1)


def _planes(image: torch.Tensor) -> torch.Tensor:
    """(N, C, HW) contiguous, from (N, H, W, C)."""
    return image.flatten(1, 2).transpose(1, 2).contiguous()


def _directions(draw: Draw, count: int, lights: int) -> torch.Tensor:
    """(N, lights, 3) unit vectors towards the lights: the first mostly above and on the camera's side, the others
    anywhere on that side."""
    directions = draw.normal((count, lights, 3))
    directions[..., 1] -= torch.linspace(0.5, 0.0, lights, device=draw.device)
    directions[..., 2] -= torch.linspace(1.2, 0.3, lights, device=draw.device)
    return F.normalize(directions, dim=2)


def _light_colors(draw: Draw, count: int, light: Lighting) -> torch.Tensor:
    """(N, 3, lights) intensities."""
    lights = len(light.lights)
    on = torch.cat([draw.happens((count, 1, 1), probability) for probability in light.lights], dim=2)
    strength = draw.uniform((count, 1, lights), 0.1, 1.0) * torch.linspace(1.0, 0.4, lights, device=draw.device)
    return on * strength * draw.uniform((count, 3, lights), 1.0 - light.tint, 1.0 + light.tint)


def _materials(draw: Draw, light: Lighting) -> torch.Tensor:
    """(materials, 5): albedo gains of red, green, blue, strength of highlights, and their sharpness."""
    tint = draw.uniform((_MATERIALS, 3), 1.0 - light.albedo_tint, 1.0 + light.albedo_tint)
    gain = draw.uniform((_MATERIALS, 1), 1.0 - light.albedo_gain, 1.0 + light.albedo_gain) * tint
    shine = draw.happens((_MATERIALS, 1), light.shiny) * light.shine * draw.uniform((_MATERIALS, 1)) ** 1.5
    return torch.cat([gain, shine, torch.exp(draw.uniform((_MATERIALS, 1), 1.2, 5.5))], dim=1)


def _ambient(draw: Draw, normal: torch.Tensor, light: Lighting) -> torch.Tensor:
    """(N, 3, HW) light from sky and ground, each with a colour, on surfaces of these normals."""
    count = len(normal)
    up = draw.normal((count, 1, 3))
    up[..., 1] -= 2.0
    up = F.normalize(up, dim=2)
    level = draw.uniform((count, 1, 1), *light.ambient)
    tint = draw.uniform((count, 3, 2), 1.0 - light.tint, 1.0 + light.tint)
    slope = light.hemisphere * draw.uniform((count, 1, 1))
    sky, ground = level * (1.0 + slope) * tint[..., :1], level * (1.0 - slope) * tint[..., 1:]
    return torch.baddbmm(0.5 * (sky + ground), (0.5 * (sky - ground)) @ up, normal)


def _cast_shadows(draw: Draw, count: int, size: tuple[int, int], light: Lighting) -> torch.Tensor:
    """(N, 1, H, W) share of the first light that things out of sight let through: blobs with soft or hard edges."""
    shape = (count, 1, 1, 1)
    depth = draw.happens(shape, light.shadows) * draw.uniform(shape, 0.3, 1.0)
    blobs = draw.smooth(count, 1, size, 4) + draw.smooth(count, 1, size, 10, 0.4)
    hardness = torch.exp(draw.uniform(shape, 0.0, 3.0))
    return 1.0 - depth * ((blobs - draw.uniform(shape, -0.5, 1.0)) * hardness).clamp(0, 1)


def _openness(draw: Draw, depth: torch.Tensor, light: Lighting) -> torch.Tensor:
    """(N, 1, H, W) share of ambient light that reaches surfaces beside nearer ones.

    The depth buffer's unsharp mask (Luft et al., "Image Enhancement by Unsharp Masking the Depth Buffer", 2006).
    """
    cell, shape = 8, (len(depth), 1, 1, 1)
    near = ((depth > 0) / depth.clamp(min=1e-6))[:, None]
    around = F.avg_pool2d(F.avg_pool2d(near, cell, ceil_mode=True), 3, 1, 1, count_include_pad=False)
    around = F.interpolate(around, size=near.shape[2:], mode="bilinear", align_corners=False)
    # Relative to the surface's own depth, a fifth of it counts as right beside.
    nearer = (around / near.clamp(min=1e-6) - 1.0).clamp(0.0, 0.2) * 5.0
    return 1.0 - light.occlusion * draw.uniform(shape) * nearer


def _highlight(
    facing: torch.Tensor, view: torch.Tensor, normal: torch.Tensor, directions: torch.Tensor, sharpness: torch.Tensor
) -> torch.Tensor:
    """(N, 2, HW) Blinn-Phong highlights of the first two lights, as spherical Gaussians: exp is faster than pow.

    Blinn, "Models of light reflection for computer synthesized pictures", 1977.
    """
    towards = (directions[:, :2] @ view).clamp_(min=-0.99)
    half_facing = (facing[:, :2] + (normal * view).sum(1, keepdim=True)).mul_(torch.rsqrt(2.0 + 2.0 * towards))
    return half_facing.sub_(1.0).mul_(sharpness).exp_()


def _background(draw: Draw, count: int, size: tuple[int, int], light: Lighting) -> torch.Tensor:
    """(N, 3, H, W) what is seen where nothing was hit: any flat colour is as likely as another, some are mottled."""
    shape = (count, 1, 1, 1)
    mottled = draw.happens(shape, light.background)
    coarse, fine = mottled * draw.uniform(shape, 0.0, 0.35), mottled * draw.uniform(shape, 0.0, 0.3)
    color = draw.smooth(count, 3, size, 5, coarse).add_(draw.uniform((count, 3, 1, 1)))
    return color.add_(draw.smooth(count, 1, size, 28, fine))
