"""Building blocks that both networks share. Module names are those of the published state dicts."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learning.models.config import NetworkConfig

_Module = TypeVar("_Module", bound=nn.Module)


class ConvBNReLU(nn.Module):
    """Convolution with bias, batch normalisation (if `use_bn`), ReLU; the size is divided by `stride`."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, use_bn: bool):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, kernel, stride, padding=(kernel - 1) // 2)]
        if use_bn:
            layers.append(nn.BatchNorm2d(channels_out))
        layers.append(nn.ReLU(inplace=True))
        self.net = nn.Sequential(*layers)

    @property
    def conv(self) -> nn.Conv2d:
        """The convolution, which normalisation may have been folded into."""
        conv = self.net[0]
        assert isinstance(conv, nn.Conv2d)
        return conv

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and the identity, as in ResNet-34 (He et al. 2016) but with convolution biases."""

    def __init__(self, channels: int, use_bn: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels) if use_bn else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels) if use_bn else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


def image_encoder(config: NetworkConfig) -> nn.Sequential:
    """(N, 6, s, s) images -> (N, 2w, s/4, s/4); the same weights see the rendered and the observed image."""
    w, bn = config.width, config.use_bn
    return nn.Sequential(
        ConvBNReLU(6, w, 7, 2, bn),
        ConvBNReLU(w, 2 * w, 3, 2, bn),
        ResidualBlock(2 * w, bn),
        ResidualBlock(2 * w, bn),
    )


def pair_encoder(config: NetworkConfig) -> nn.Sequential:
    """(N, 4w, s/4, s/4) stacked features of a pair -> (N, 8w, s/8, s/8)."""
    w, bn = config.width, config.use_bn
    return nn.Sequential(
        ResidualBlock(4 * w, bn),
        ResidualBlock(4 * w, bn),
        ConvBNReLU(4 * w, 8 * w, 3, 2, bn),
        ResidualBlock(8 * w, bn),
        ResidualBlock(8 * w, bn),
    )


def encode_pairs(image_trunk: nn.Module, pair_trunk: nn.Module, images: Tensor, count: int) -> Tensor:
    """Pairs of images -> tokens (N, T, 8w), row by row over the s/8 x s/8 grid.

    Args:
        image_trunk, pair_trunk: `image_encoder` and `pair_encoder`.
        images: (N + M, 6, s, s), N rendered ones, then what is observed: M = N, or 1 where all look at the same.
        count: N.
    """
    features = image_trunk(images)
    rendered, observed = features[:count], features[count:]
    if len(observed) < count:  # a view of one image would make torch.cat give up the layout, and each convolution copy
        observed = observed.expand_as(rendered).contiguous(memory_format=torch.channels_last)
    pair = torch.cat([rendered, observed], dim=1)
    return pair_trunk(pair).flatten(2).transpose(1, 2)


class PositionalEmbedding(nn.Module):
    """Adds fixed sines (even dimensions) and cosines (odd) of the token's position (Vaswani et al. 2017)."""

    def __init__(self, tokens: int, dimension: int):
        super().__init__()
        # On the CPU by name: where a network is built on `meta`, an arange there would import PyTorch's compiler.
        position = torch.arange(tokens, dtype=torch.float32, device="cpu")[:, None]
        frequency = torch.exp(
            torch.arange(0, dimension, 2, dtype=torch.float32, device="cpu") * (-math.log(10000.0) / dimension)
        )
        pe = torch.zeros(1, tokens, dimension, device="cpu")
        pe[0, :, 0::2] = torch.sin(position * frequency)
        pe[0, :, 1::2] = torch.cos(position * frequency)
        self.pe: Tensor
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:  # (N, T, D) -> (N, T, D)
        return x + self.pe.to(x.dtype)


class SelfAttention(nn.Module):
    """Multi-head self-attention with the parameter names of `nn.MultiheadAttention`."""

    def __init__(self, dimension: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dimension, dimension))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dimension))
        self.out_proj = nn.Linear(dimension, dimension)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def attend(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        """(N, T, D) -> (N, T, D), without the output projection."""
        n, t, d = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(n, t, d)

    def forward(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        return self.out_proj(self.attend(x, dropout))


class EncoderLayer(nn.Module):
    """Post-norm transformer layer with ReLU, equal to `nn.TransformerEncoderLayer(batch_first=True)`."""

    def __init__(self, dimension: int, heads: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        self.self_attn = SelfAttention(dimension, heads)
        self.linear1 = nn.Linear(dimension, dimension)
        self.linear2 = nn.Linear(dimension, dimension)
        self.norm1 = nn.LayerNorm(dimension)
        self.norm2 = nn.LayerNorm(dimension)

    def forward(self, x: Tensor) -> Tensor:  # (N, T, D) -> (N, T, D)
        p = self.dropout if self.training else 0.0
        x = self.norm1(x + F.dropout(self.self_attn(x, p), p, self.training))
        hidden = F.dropout(F.relu(self.linear1(x)), p, self.training)
        return self.norm2(x + F.dropout(self.linear2(hidden), p, self.training))


def channels_last(network: _Module) -> _Module:
    """The same network with its kernels in channels_last memory, which convolutions in half precision want."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch's stubs lack it
