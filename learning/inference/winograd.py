"""3x3 convolutions on a CPU by Winograd's minimal filtering: the same function in a quarter of the multiplications.

F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016): tiles of 6x6 pixels and
the kernels are transformed, multiplied as 36 matrices over the channels, and transformed back into 4x4 pixels. Blocks
of tiles are small enough for the cache. Bias, residual and ReLU are part of the last transform. Results differ from
those of a plain convolution by float32 rounding, some 1e-5 of their size.

Activations are (N, C, H, W) in channels_last memory.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of the compiled functions itself.

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from learning.inference.block_product import COLUMNS, ROWS, block_product, pack_columns
from learning.models.blocks import ResidualBlock
from pose6d.compiled import compiled
from pose6d.pieces import run_pieces

TILE = 4
"""pixels; the sides of images are multiples of it"""
_SIDE = 6  # of a tile before its transform, pixels
_FREQUENCIES = _SIDE * _SIDE
_MATH = {"contract", "reassoc", "nsz"}
# Transforms a 3-tap kernel into 6 values: the matrix G of Lavin and Gray.
_KERNEL_TRANSFORM = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
_TWO, _FOUR, _FIVE, _EIGHT, _ZERO = (np.float32(number) for number in (2, 4, 5, 8, 0))


def use_winograd(network: nn.Module, smallest: int) -> None:
    """Replace every residual block of a folded network in place, if all can be.

    Args:
        smallest: side of the smallest images that the blocks see, pixels; those of the others are multiples of it.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    if smallest % TILE or any(block.conv1.in_channels % COLUMNS for block in blocks):
        return
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ResidualBlock):
                setattr(module, name, WinogradResidualBlock(child))


class WinogradConvReLU(nn.Module):
    """A 3x3 convolution, an optional residual and ReLU, float32; takes and gives (N, C, H, W), channels_last."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        assert conv.bias is not None
        channels, filters = conv.in_channels, conv.out_channels
        taps = conv.weight.detach().numpy().astype(np.float64).reshape(filters * channels, -1)
        kernels = np.kron(_KERNEL_TRANSFORM, _KERNEL_TRANSFORM) @ taps.T
        self._kernels = pack_columns(kernels.reshape(_FREQUENCIES, filters, channels).transpose(0, 2, 1))
        self._bias = conv.bias.detach().numpy()
        # The more channels, the more there is to load of the kernels, and the more tiles shall use them meanwhile.
        self._block = max(1, channels // (2 * ROWS)) * ROWS

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        count, _, height, width = x.shape
        y = torch.empty((count, len(self._bias), height, width), memory_format=torch.channels_last)
        entering, leaving, added = (_rows(image) for image in (x, y, y[:0] if residual is None else residual))
        tiles = count * (height // TILE) * (width // TILE)
        threads = torch.get_num_threads()
        ends = [tiles * i // threads for i in range(threads + 1)]

        def convolve(thread: int) -> None:
            _convolve(
                *(entering, self._kernels, self._bias, added, leaving, ends[thread], ends[thread + 1], self._block)
            )

        run_pieces(convolve, range(threads))
        return y


class WinogradResidualBlock(nn.Module):
    """`ResidualBlock` whose batch normalisation has been folded into its convolutions."""

    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.first = WinogradConvReLU(block.conv1)
        self.second = WinogradConvReLU(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), x)


def _rows(x: Tensor) -> np.ndarray:
    """(N, H, W, C) contiguous."""
    return x.permute(0, 2, 3, 1).contiguous().numpy()


@compiled(nogil=True)
def _convolve(x, kernels, bias, residual, y, first, last, block):
    """Fill the tiles from `first` to `last` of y (N, H, W, K), counted row by row and image after image.

    Args:
        x: (N, H, W, C).
        kernels: (36, K / COLUMNS, C, COLUMNS), transformed and packed.
        bias: (K,).
        residual: (N, H, W, K), or (0, H, W, K) for none.
        block: tiles at once, a multiple of ROWS.
    """
    _, height, width, channels = x.shape
    panels, filters = kernels.shape[1], y.shape[3]
    down, across = height // TILE, width // TILE
    patch = np.empty((_SIDE, _SIDE, channels), np.float32)
    half = np.empty((_SIDE, _SIDE, max(channels, filters)), np.float32)
    values = np.zeros((_FREQUENCIES, block, channels), np.float32)
    products = np.empty((_FREQUENCIES, block, filters), np.float32)
    while first < last:
        count = min(block, last - first)
        for t in range(count):
            tile = first + t
            _cut(x, tile // (down * across), tile // across % down, tile % across, patch)
            _transform(patch, half, values, t)
        for k in range(_FREQUENCIES):
            for panel in range(panels):
                panel_at = (k * panels + panel) * channels * COLUMNS
                for row in range(k * block, k * block + count, ROWS):
                    block_product(
                        values, row * channels, channels, kernels, panel_at, channels,
                        products, row * filters + panel * COLUMNS, filters,
                    )  # fmt: skip
        for t in range(count):
            tile = first + t
            _transform_back(
                products, t, half, bias, residual, y, tile // (down * across), tile // across % down, tile % across
            )
        first += count


@compiled(nogil=True)
def _cut(x, image, row, column, patch):
    """The 6x6 pixels around a tile, 0 outside the image."""
    _, height, width, channels = x.shape
    for i in range(_SIDE):
        v = TILE * row - 1 + i
        for j in range(_SIDE):
            u = TILE * column - 1 + j
            inside = 0 <= v < height and 0 <= u < width
            if inside:
                for c in range(channels):
                    patch[i, j, c] = x[image, v, u, c]
            else:
                for c in range(channels):
                    patch[i, j, c] = _ZERO


@compiled(nogil=True, fastmath=_MATH)
def _transform(patch, half, values, t):
    """values[:, t] = B^T patch B, first along columns, then along rows."""
    channels = patch.shape[2]
    for j in range(_SIDE):
        for c in range(channels):
            d0, d1, d2 = patch[0, j, c], patch[1, j, c], patch[2, j, c]
            d3, d4, d5 = patch[3, j, c], patch[4, j, c], patch[5, j, c]
            even, odd = d4 - _FOUR * d2, d3 - _FOUR * d1
            near, far = d4 - d2, _TWO * (d3 - d1)
            half[0, j, c] = _FOUR * d0 - _FIVE * d2 + d4
            half[1, j, c] = even + odd
            half[2, j, c] = even - odd
            half[3, j, c] = near + far
            half[4, j, c] = near - far
            half[5, j, c] = _FOUR * d1 - _FIVE * d3 + d5
    for i in range(_SIDE):
        k = _SIDE * i
        for c in range(channels):
            d0, d1, d2 = half[i, 0, c], half[i, 1, c], half[i, 2, c]
            d3, d4, d5 = half[i, 3, c], half[i, 4, c], half[i, 5, c]
            even, odd = d4 - _FOUR * d2, d3 - _FOUR * d1
            near, far = d4 - d2, _TWO * (d3 - d1)
            values[k, t, c] = _FOUR * d0 - _FIVE * d2 + d4
            values[k + 1, t, c] = even + odd
            values[k + 2, t, c] = even - odd
            values[k + 3, t, c] = near + far
            values[k + 4, t, c] = near - far
            values[k + 5, t, c] = _FOUR * d1 - _FIVE * d3 + d5


@compiled(nogil=True, fastmath=_MATH)
def _transform_back(products, t, half, bias, residual, y, image, row, column):
    """The tile's pixels = ReLU(A^T products[:, t] A + bias + residual), first along columns, then along rows."""
    filters = y.shape[3]
    for j in range(_SIDE):
        for c in range(filters):
            m0, m1, m2 = products[j, t, c], products[_SIDE + j, t, c], products[2 * _SIDE + j, t, c]
            m3, m4, m5 = products[3 * _SIDE + j, t, c], products[4 * _SIDE + j, t, c], products[5 * _SIDE + j, t, c]
            near, near_off, far, far_off = m1 + m2, m1 - m2, m3 + m4, m3 - m4
            half[0, j, c] = m0 + near + far
            half[1, j, c] = near_off + _TWO * far_off
            half[2, j, c] = near + _FOUR * far
            half[3, j, c] = near_off + _EIGHT * far_off + m5
    u = TILE * column
    for i in range(TILE):
        v = TILE * row + i
        for c in range(filters):
            m0, m1, m2, m3, m4, m5 = (
                half[i, 0, c], half[i, 1, c], half[i, 2, c], half[i, 3, c], half[i, 4, c], half[i, 5, c],
            )  # fmt: skip
            near, near_off, far, far_off = m1 + m2 + bias[c], m1 - m2 + bias[c], m3 + m4, m3 - m4
            y[image, v, u, c] = m0 + near + far
            y[image, v, u + 1, c] = near_off + _TWO * far_off
            y[image, v, u + 2, c] = near + _FOUR * far
            y[image, v, u + 3, c] = near_off + _EIGHT * far_off + m5
        for j in range(TILE):
            if len(residual):
                for c in range(filters):
                    y[image, v, u + j, c] += residual[image, v, u + j, c]
            for c in range(filters):
                y[image, v, u + j, c] = max(y[image, v, u + j, c], _ZERO)
