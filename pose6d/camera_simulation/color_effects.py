"""What lenses, shutters and codecs do to colour images, effect by effect, on batches of (N, 3, H, W) float32."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

_RADIUS = 6
_TAPS = 9
_FAST = 16  # lengths that are multiples of this transform fast
_BLOCK = 8


def blur_kernels(
    shift: torch.Tensor, motion: torch.Tensor, angle: torch.Tensor, softness: torch.Tensor
) -> torch.Tensor:
    """Point spread functions of a moving, unfocused camera that stands beside the depth camera.

    Args:
        shift: (N, 2) pixels, x and y, by which the picture moves.
        motion: (N,) pixels, length of the path of a point during exposure.
        angle: (N,) radians, direction of that path.
        softness: (N,) half-width of the tent-shaped blur in pixels, at least 1, which is no blur.

    Returns:
        (N, 13, 13), each of sum 1; a single 1 in the middle where nothing blurs or shifts.
    """
    device = shift.device
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=device, dtype=torch.float32)
    path = torch.linspace(-0.5, 0.5, _TAPS, device=device)
    heading = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
    points = shift[:, None] + motion[:, None, None] * path[None, :, None] * heading[:, None]  # (N, taps, 2)
    distance = (offsets - points[..., None]).abs()  # (N, taps, 2, 13)
    tent = (1.0 - distance / softness[:, None, None, None]).clamp(min=0)
    kernels = tent[:, :, 1].transpose(1, 2) @ tent[:, :, 0]
    return kernels / kernels.sum((1, 2), keepdim=True).clamp(min=1e-6)


def convolve(rgb: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Each image with its own kernel, (N, 13, 13), which moves the picture by its own offset from the middle."""
    # By Fourier transform: a direct depth-wise convolution of this size would do 169 products per pixel.
    height, width = rgb.shape[2:]
    bottom, right = (-(length + 2 * _RADIUS) % _FAST for length in (height, width))
    padded = F.pad(rgb, (_RADIUS, _RADIUS + right, _RADIUS, _RADIUS + bottom), mode="replicate")
    size = (padded.shape[2], padded.shape[3])
    spectrum = torch.fft.rfft2(padded)
    spectrum *= torch.fft.rfft2(kernels, s=size)[:, None]
    # The kernel's middle is at (6, 6), so that the picture has moved by that much.
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * _RADIUS :, 2 * _RADIUS :][..., :height, :width]


def color_matrix(balance: torch.Tensor, saturation: torch.Tensor) -> torch.Tensor:
    """(N, 3, 3) that scales saturation (N,) about the mean of the channels, then each channel by `balance` (N, 3)."""
    eye = torch.eye(3, device=balance.device)
    grey = torch.full((3, 3), 1.0 / 3.0, device=balance.device)
    return balance[:, :, None] * (grey + (eye - grey) * saturation[:, None, None])


def vignette(size: tuple[int, int], amount: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) gains, 1 in the middle and 1 - amount (N, 1, 1, 1) in the corners."""
    y, x = (torch.linspace(-1.0, 1.0, length, device=amount.device) for length in size)
    return 1.0 - amount * 0.5 * (x**2 + y[:, None] ** 2)


def compress(rgb: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Blocks and ringing of JPEG: the cosine transform of 8x8 blocks, rounded more coarsely the higher the frequency.

    Args:
        step: (N,) rounding step of the lowest frequency, in the unit of `rgb` times 8.

    Returns:
        The same shape; rows and columns beyond the last entire block are left as they are.
    """
    count, channels, height, width = rgb.shape
    rows, columns = height // _BLOCK, width // _BLOCK
    inner = rgb[..., : rows * _BLOCK, : columns * _BLOCK]
    basis = _cosine_basis(rgb.device)
    frequency = torch.arange(_BLOCK, device=rgb.device, dtype=torch.float32)
    table = step.view(-1, 1, 1, 1, 1, 1) * (1.0 + 0.6 * (frequency[:, None, None] + frequency))
    blocks = inner.reshape(count, channels, rows, _BLOCK, columns, _BLOCK)
    spectrum = (basis @ (blocks @ basis.T).flatten(-2)).view(blocks.shape)
    spectrum = torch.round(spectrum / table) * table
    restored = (basis.T @ (spectrum @ basis).flatten(-2)).view(inner.shape)
    return restored if inner.shape == rgb.shape else _paste(rgb, restored)


def _paste(rgb: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
    out = rgb.clone()
    out[..., : corner.shape[2], : corner.shape[3]] = corner
    return out


def _cosine_basis(device: torch.device) -> torch.Tensor:
    """(8, 8) orthonormal DCT-II, a row per frequency."""
    k = torch.arange(_BLOCK, device=device, dtype=torch.float32)
    basis = torch.cos(math.pi / _BLOCK * (k + 0.5) * k[:, None]) * math.sqrt(2.0 / _BLOCK)
    return torch.cat([basis[:1] / math.sqrt(2.0), basis[1:]])
