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
from learning.inference.winograd_tiles import KERNEL_TRANSFORM, SIDE, TILE, transform_tile, transform_tile_back
from pose6d.compiled import compiled
from pose6d.pieces import even_slices, run_pieces

_FREQUENCIES = SIDE * SIDE
_APART = 16  # numbers, a line of the cache


class WinogradConvReLU(nn.Module):
    """A 3x3 convolution, an optional residual and ReLU, float32; takes and gives (N, C, H, W), channels_last."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        assert conv.bias is not None
        channels, filters = conv.in_channels, conv.out_channels
        taps = conv.weight.detach().numpy().astype(np.float64).reshape(filters * channels, -1)
        kernels = np.kron(KERNEL_TRANSFORM, KERNEL_TRANSFORM) @ taps.T
        self._kernels = pack_columns(kernels.reshape(_FREQUENCIES, filters, channels).transpose(0, 2, 1))
        self._bias = conv.bias.detach().numpy()
        # The more channels, the more there is to load of the kernels, and the more tiles shall use them meanwhile.
        self._block = max(1, channels // (2 * ROWS)) * ROWS

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        count, _, height, width = x.shape
        y = torch.empty((count, len(self._bias), height, width), memory_format=torch.channels_last)
        entering, leaving, added = (_rows(image) for image in (x, y, y[:0] if residual is None else residual))
        tiles = count * (height // TILE) * (width // TILE)

        def convolve(part: slice) -> None:
            _convolve(entering, self._kernels, self._bias, added, leaving, part.start, part.stop, self._block)

        run_pieces(convolve, even_slices(tiles, tiles))
        return y


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
    places, zeros = np.empty(_FREQUENCIES, np.int64), np.zeros(channels, np.float32)
    # Rows that begin a multiple of 4096 bytes after one another would share a place in the cache.
    value_step, product_step = block * channels + _APART, block * filters + _APART
    values = np.zeros(_FREQUENCIES * value_step, np.float32)
    products = np.empty(_FREQUENCIES * product_step, np.float32)
    while first < last:
        count = min(block, last - first)
        for t in range(count):
            tile = first + t
            _find_pixels(x, tile // (down * across), tile // across % down, tile % across, places)
            transform_tile(x, places, zeros, values, t * channels, value_step, channels)
        for k in range(_FREQUENCIES):
            for panel in range(panels):
                panel_at = (k * panels + panel) * channels * COLUMNS
                for row in range(0, count, ROWS):
                    block_product(
                        values, k * value_step + row * channels, channels, kernels, panel_at, channels,
                        products, k * product_step + row * filters + panel * COLUMNS, filters,
                    )  # fmt: skip
        for t in range(count):
            tile = first + t
            image, row, column = tile // (down * across), tile // across % down, tile % across
            at = ((image * height + TILE * row) * width + TILE * column) * filters
            transform_tile_back(
                products, t * filters, product_step, bias, residual, y, at, width * filters, filters, len(residual)
            )
        first += count


@compiled(nogil=True)
def _find_pixels(x, image, row, column, places):
    """Where in x the 6x6 pixels around a tile begin; -1 for those outside the image."""
    _, height, width, channels = x.shape
    for i in range(SIDE):
        v = TILE * row - 1 + i
        for j in range(SIDE):
            u = TILE * column - 1 + j
            inside = 0 <= v < height and 0 <= u < width
            places[SIDE * i + j] = ((image * height + v) * width + u) * channels if inside else -1
