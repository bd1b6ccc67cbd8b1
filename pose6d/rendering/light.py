"""The light on an object: the one under which its drawn colours come nearest to those seen.

Light is unknown, but smooth over directions and the same for the whole object, so that eight numbers a channel are
enough: what is seen = albedo * (a + b . normal) + c + d . normal. What they cannot explain is other colours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pose6d.cuda_kernels import BLOCK, available, check_inputs, load_kernels, strided

_SUMS = 38  # over pixels, for each system of equations of the kernels
_BLOCKS = 256  # that a GPU should have at least; more for each system where there are few
_RIDGE = 1e-3  # against pixels that show one direction only
_LEAST_PIXELS = 30.0


def fit_light(albedo: Tensor, normal: Tensor, color: Tensor, weight: Tensor) -> Tensor:
    """(..., M, 3, 8) the light that fits best, by least squares, for each of M choices of pixels.

    Args:
        albedo: (..., 3, P) colours without light, 0..1.
        normal: (..., 3, P) unit vectors in camera axes.
        color: (..., 3, P) as seen.
        weight: (..., M, P), 0 where a pixel does not count.
    """
    if available(albedo.device) and albedo.ndim == 3 and albedo.dtype == torch.float32:
        return _fit_kernels(albedo, normal, color, weight)
    around = _around(normal)
    products = (around[..., :, None, :] * around[..., None, :, :]).flatten(-3, -2)  # (..., 16, P)
    weight = weight[..., None, :]  # (..., M, 1, P)
    albedo, color = albedo[..., None, :, :], color[..., None, :, :]
    once = albedo * weight
    factors = torch.stack([albedo * once, once, weight.expand_as(once)], dim=-3)  # (..., M, 3 powers, 3 channels, P)
    square, mixed, plain = _sums(factors, products).unflatten(-1, (4, 4)).unbind(-4)  # (..., M, 3, 4, 4)
    hessian = torch.cat([torch.cat([square, mixed], dim=-1), torch.cat([mixed, plain], dim=-1)], dim=-2)
    slope = torch.cat(_sums(torch.stack([color * once, color * weight], dim=-3), around).unbind(-3), dim=-1)
    ridge = _RIDGE * weight.sum(-1).clamp(min=_LEAST_PIXELS)[..., None, None]
    hessian = hessian + ridge * torch.eye(8, dtype=albedo.dtype, device=albedo.device)
    return _solve(torch.cat([hessian, slope[..., None]], dim=-1))


def _fit_kernels(albedo: Tensor, normal: Tensor, color: Tensor, weight: Tensor) -> Tensor:
    """`fit_light` on a GPU, of (N, 3, P)."""
    (count, _, pixels), device = albedo.shape, albedo.device
    check_inputs(device, albedo=(albedo, (count, 3, pixels)), normal=(normal, albedo.shape))
    choices = weight.shape[1]
    check_inputs(device, color=(color, albedo.shape), weight=(weight, (count, choices, pixels)))
    light = torch.empty((count, choices, 3, 8), device=device)
    systems = count * choices * 3
    if systems:
        sum_light, solve_light = load_kernels(
            "pose6d.rendering", "light.cu", ("sum_light", "solve_light"), albedo.get_device()
        )
        slices = max(1, min(-(-_BLOCKS // systems), -(-pixels // BLOCK)))
        sums = torch.empty((systems, slices, _SUMS), device=device)
        images = strided(albedo, normal.float(), color.float())
        sum_light(systems * slices, *images, weight.float().contiguous(), choices, pixels, slices, sums)
        solve_light(systems, sums, slices, _RIDGE, _LEAST_PIXELS, light)
    return light


def lit_colors(albedo: Tensor, normal: Tensor, light: Tensor) -> Tensor:
    """(..., M, 3, P) colours in each of M lights; not limited to 0..1."""
    factor, offset = (part.flatten(-3, -2) @ _around(normal) for part in light.split(4, dim=-1))  # (..., 3 M, P)
    return albedo[..., None, :, :] * factor.unflatten(-2, (-1, 3)) + offset.unflatten(-2, (-1, 3))


def _around(normal: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(normal[..., :1, :]), normal], dim=-2)  # (..., 4, P)


def _sums(factors: Tensor, values: Tensor) -> Tensor:
    """(..., M, K, 3, V) sums over pixels of factors (..., M, K, 3, P) times values (..., V, P)."""
    return (factors.flatten(-4, -2) @ values.mT).unflatten(-2, factors.shape[-4:-1])


def _solve(both: Tensor) -> Tensor:
    """(..., K) solutions of positive definite systems (..., K, K + 1), by elimination, which a CUDA graph can hold."""
    for row in range(both.shape[-2]):
        pivot = both[..., row : row + 1, :] / both[..., row : row + 1, row : row + 1]
        both = both - both[..., row : row + 1] * pivot
        both[..., row : row + 1, :] = pivot
    return both[..., -1]
