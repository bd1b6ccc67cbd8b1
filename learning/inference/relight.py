"""Colours of the frame as they would be in the light that a hypothesis is drawn in."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.models.config import NetworkConfig
from pose6d.cuda_kernels import available, blocks_for, check_inputs, load_kernels, strided
from pose6d.geometry.camera import crop_windows
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import ALBEDO
from pose6d.rendering.light import fit_light, lit_colors
from pose6d.search.interfaces import ObjectModel

_NEAR = 0.1  # radii by which observed depth may be off where the hypothesis' surface is seen


def drawn_surface(
    poses: Tensor, object: ObjectModel, observation: Observation, config: NetworkConfig
) -> tuple[Tensor, Tensor]:
    """Colours without light, and normals, in the windows of a network.

    Args:
        poses: (N, 4, 4) centred object in camera.
        object, observation, config: as in `inputs.pair_inputs`.

    Returns:
        (N, 3, s, s) each, 0 where there is no surface.
    """
    size = config.input_size
    _, crop_K = crop_windows(poses, observation.K, object.diameter, config.window, size)
    drawn = object.render(poses, crop_K, (size, size), shading=ALBEDO, normals=True)
    assert drawn.normal is not None
    return drawn.color.permute(0, 3, 1, 2), drawn.normal.permute(0, 3, 1, 2)


def relight(A: Tensor, B: Tensor, albedo: Tensor, normal: Tensor) -> None:
    """Change the colours of B, in place, where the hypothesis' surface is seen.

    They become those of A plus what the best fitting light leaves unexplained. A scorer then judges the residual: an
    object whose colours were scanned under another light, or that lies in coloured light, looks as it was drawn, and
    wrong print still looks wrong.

    Args:
        A, B: (N, 6, s, s) or more channels, inputs of a network (`inputs.pair_inputs`).
        albedo, normal: (N, 3, s, s) of `drawn_surface`.
    """
    if available(A.device) and A.dtype in (torch.float16, torch.float32):
        _relight_kernels(A, B, albedo, normal)
        return
    own, seen = A[:, 3:6].float(), B[:, 3:6].float()
    both = (own != 0).any(1) & (seen != 0).any(1) & ((own[:, 2] - seen[:, 2]).abs() < _NEAR)
    color = B[:, :3].float()
    surface = albedo.flatten(-2), normal.flatten(-2)
    light = fit_light(*surface, color.flatten(-2), both.flatten(-2).float()[:, None])
    lit = lit_colors(*surface, light)[:, 0].view_as(color)
    B[:, :3] = torch.where(both[:, None], (A[:, :3].float() + color - lit).clamp(0, 1), color).to(B.dtype)


def _relight_kernels(A: Tensor, B: Tensor, albedo: Tensor, normal: Tensor) -> None:
    """`relight` on a GPU."""
    (count, channels, size, _), device = A.shape, A.device
    check_inputs(device, B=(B, (count, channels, size, size)), albedo=(albedo, (count, 3, size, size)))
    check_inputs(device, normal=(normal, albedo.shape))
    if not count:
        return
    read_seen, relight = load_kernels("learning.inference", "relight.cu", ("read_seen", "relight"), A.get_device())
    blocks, half = blocks_for(count * size**2), A.dtype == torch.float16
    colors, both = torch.empty((count, 3, size**2), device=device), torch.empty((count, 1, size**2), device=device)
    read_seen(blocks, half, *strided(A, B), count, size, _NEAR, colors, both)
    light = fit_light(albedo.flatten(-2), normal.flatten(-2), colors, both)
    relight(blocks, half, *strided(A, B), count, size, *strided(albedo, normal), colors, both, light)
