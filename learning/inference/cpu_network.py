"""Networks in float32 on a CPU: 3x3 convolutions by Winograd's method, and layers that threads share.

Where pairs are many, a thread takes some of them through the whole network (`pose6d.pieces`) by itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learning.inference.block_product import COLUMNS
from learning.inference.winograd import TILE, WinogradConvReLU
from learning.models.blocks import ConvBNReLU, ResidualBlock
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.pieces import even_slices, run_pieces

_STRIDE = 8  # of the trunk


def use_cpu_kernels(network: RefineNet | ScoreNetMultiPair) -> bool:
    """Replace the layers of a folded network in place, if the kernels fit all of them.

    Returns:
        Whether that was done: channels fill vectors, and images split into tiles at each level.
    """
    smallest = network.config.input_size // _STRIDE
    if smallest % TILE or network.config.width * 2 % COLUMNS:
        return False
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ResidualBlock):
                setattr(module, name, WinogradResidualBlock(child))
            elif isinstance(child, ConvBNReLU):
                setattr(module, name, _SharedConvReLU(child.conv))
    if isinstance(network, RefineNet):
        network.encodeA, network.each_head = _SharedTrunk(network.encodeA), run_pieces
    else:
        network.encoderA = _SharedTrunk(network.encoderA)
    return True


class WinogradResidualBlock(nn.Module):
    """`ResidualBlock` whose batch normalisation has been folded into its convolutions."""

    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.first = WinogradConvReLU(block.conv1)
        self.second = WinogradConvReLU(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), x)


class _SharedTrunk(nn.Sequential):
    """An encoder of single images, which threads share."""

    def __init__(self, trunk: nn.Sequential):
        super().__init__(*trunk)

    def forward(self, x: Tensor) -> Tensor:
        parts = run_pieces(lambda part: nn.Sequential.forward(self, x[part]), even_slices(len(x), len(x)))
        return torch.cat(parts) if len(parts) > 1 else parts[0]


class _SharedConvReLU(nn.Module):
    """Any other convolution and ReLU; threads share its channels."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        assert conv.bias is not None
        weight, bias = conv.weight, conv.bias

        def convolve(part: slice) -> Tensor:
            return F.conv2d(x, weight[part], bias[part], conv.stride, conv.padding).relu_()

        parts = run_pieces(convolve, even_slices(len(weight), len(weight)))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
