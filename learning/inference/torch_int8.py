"""Static int8 inference in PyTorch on a CPU: the trunk's activations stay in bytes from its first layer to its last.

The kernels are oneDNN's, the ones that PyTorch's PT2E quantisation lowers to, called without its compiler: nothing is
compiled when a program starts, and the number of pairs may change from call to call.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learning.inference.variants import check_source
from learning.models.blocks import ConvBNReLU, ResidualBlock, SelfAttention
from learning.models.config import Kind, NetworkConfig
from learning.models.loading import build_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import DeviceError, WeightsError
from pose6d.weights import read_tensors

LEVELS = 255
# PyTorch keeps them for PT2E quantisation; another version may drop them.
_OPERATORS = ("qconv_prepack", "qconv2d_pointwise", "qlinear_prepack", "qlinear_pointwise")


def products_saturate() -> bool:
    """Whether this CPU adds pairs of byte products in 16 bits (x86 without VNNI), where large ones are cut off."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return not torch.cpu._is_vnni_supported()


@dataclass(frozen=True)
class Range:
    """How real values become bytes: byte = round(value / scale) + zero_point."""

    scale: float
    zero_point: int

    @classmethod
    def covering(cls, low: float, high: float) -> Range:
        """The finest one that holds low, high and zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, 1e-8)
        return cls(scale, round(-low / scale))

    def quantize(self, x: Tensor) -> Tensor:
        return x.mul(1.0 / self.scale).add_(self.zero_point).round_().clamp_(0, LEVELS).to(torch.uint8)

    def dequantize(self, x: Tensor) -> Tensor:
        return (x.float() - self.zero_point) * self.scale


@dataclass(frozen=True)
class Int8Weights:
    """The content of a file: everything by name, weights in int8 with one scale per output channel.

    Attributes:
        config: of the network whose batch normalisation has been folded away.
        state: other parameters, float32, and int8 weights.
        scales: (C,) of each int8 weight, by its name.
        ranges: of each quantised layer's input, by the layer's name; empty for weights alone.
    """

    config: NetworkConfig
    state: dict[str, Tensor]
    scales: dict[str, Tensor]
    ranges: dict[str, Range]

    def in_seven_bits(self) -> Int8Weights:
        """The same with weights up to 64: 2 * 255 * 64 fits into 16 bits with a sign, 2 * 255 * 127 does not."""
        halved = {name: (self.state[name].float() / 2).round().to(torch.int8) for name in self.scales}
        scales = {name: 2 * scale for name, scale in self.scales.items()}
        return replace(self, state=self.state | halved, scales=scales)

    def float_network(self) -> RefineNet | ScoreNetMultiPair:
        """A network with the weights as float32 again."""
        network = build_network(self.config)
        state = dict(self.state)
        for name, scale in self.scales.items():
            state[name] = state[name].float() * scale.view(-1, *[1] * (state[name].ndim - 1))
        network.load_state_dict(state, strict=False)
        return network.eval().requires_grad_(False)


def read_int8(file: Path, kind: Kind, source: Path) -> Int8Weights:
    """Read what `quantization.torch_quantization` wrote.

    Raises:
        WeightsError: unreadable, or made from other weights than `source` or for another config.
    """
    try:
        tensors, facts = read_tensors(file)
        config = NetworkConfig.from_dict(json.loads(facts["config"]), kind)
        ranges = {name: Range(scale, zero) for name, (scale, zero) in json.loads(facts["ranges"]).items()}
    except (WeightsError, KeyError, ValueError) as error:
        raise WeightsError(f"quantised weights {file} cannot be read ({error}): make them again") from error
    check_source(file, facts.get("weights_sha256", "unknown"), config, source)
    scales = {name.removesuffix(":scale"): x for name, x in tensors.items() if name.endswith(":scale")}
    state = {name: x for name, x in tensors.items() if not name.endswith(":scale")}
    return Int8Weights(config, state, scales, ranges)


def int8_network(weights: Int8Weights) -> RefineNet | ScoreNetMultiPair:
    """The network in integer arithmetic; takes and gives float32.

    Raises:
        DeviceError: this PyTorch has no oneDNN, or not its int8 operators.
    """
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.onednn, name)]
    if missing or not torch.backends.mkldnn.is_available():
        raise DeviceError(
            f"PyTorch {torch.__version__} cannot compute in int8 here: it lacks oneDNN{', '.join(['', *missing])}; use "
            "quantized='onnx-int8', or a build of PyTorch that has it"
        )
    if products_saturate():
        weights = weights.in_seven_bits()
    network = weights.float_network()
    image, pair = ("encodeA", "encodeAB") if isinstance(network, RefineNet) else ("encoderA", "encoderAB")
    setattr(network, image, _Int8Trunk(network.get_submodule(image), image, weights))
    setattr(network, pair, _Int8Trunk(network.get_submodule(pair), pair, weights))
    for name, module in list(network.named_modules()):
        if f"{name}.in_proj_weight" in weights.scales and isinstance(module, SelfAttention) and name in weights.ranges:
            module.__class__ = _Int8SelfAttention
            assert isinstance(module, _Int8SelfAttention)
            module.in_proj = _Int8Linear(weights, name, f"{name}.in_proj_weight", f"{name}.in_proj_bias")
        elif isinstance(module, nn.Linear) and name in weights.ranges:
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, _Int8Linear(weights, name, f"{name}.weight", f"{name}.bias"))
    return network


class _Int8Conv:
    """A convolution and ReLU on bytes, with an optional residual that is overwritten by the result."""

    def __init__(self, weights: Int8Weights, name: str, stride: int, output: Range):
        weight, self.scale = weights.state[f"{name}.weight"], weights.scales[f"{name}.weight"]
        self.bias, self.input, self.output = weights.state[f"{name}.bias"], weights.ranges[name], output
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.stride, self.padding = [stride, stride], [(side - 1) // 2 for side in weight.shape[2:]]
        self.packed = torch.ops.onednn.qconv_prepack(
            weight, self.scale, self.input.scale, self.input.zero_point, self.stride, self.padding, [1, 1], 1, None
        )

    def __call__(self, x: Tensor, residual: Tensor | None = None, residual_range: Range | None = None) -> Tensor:
        args = (x, self.input.scale, self.input.zero_point, self.packed, self.scale, self.zeros)
        shape = (
            self.bias,
            self.stride,
            self.padding,
            [1, 1],
            1,
            self.output.scale,
            self.output.zero_point,
            torch.uint8,
        )
        if residual is None or residual_range is None:
            return torch.ops.onednn.qconv2d_pointwise(*args, *shape, "relu", [], "")
        added: tuple = (residual_range.scale, residual_range.zero_point, "sum", 1.0, "relu", [], "")
        return torch.ops.onednn.qconv2d_pointwise.binary(*args, residual, *shape, *added)


class _Int8Trunk(nn.Module):
    """A whole encoder on bytes: float32 in, float32 out."""

    def __init__(self, trunk: nn.Module, name: str, weights: Int8Weights):
        super().__init__()
        blocks = list(trunk.named_children())
        first = "conv1" if isinstance(blocks[0][1], ResidualBlock) else "net.0"
        self.input = weights.ranges[f"{name}.0.{first}"]
        self.output = weights.ranges[f"{name}:output"]
        self.steps: list[tuple[_Int8Conv, _Int8Conv | None]] = []
        self.ranges: list[Range] = []  # of each block's input
        for index, (_, block) in enumerate(blocks):
            following = self.output
            if index + 1 < len(blocks):
                inner = "conv1" if isinstance(blocks[index + 1][1], ResidualBlock) else "net.0"
                following = weights.ranges[f"{name}.{index + 1}.{inner}"]
            path = f"{name}.{index}"
            if isinstance(block, ResidualBlock):
                self.ranges.append(weights.ranges[f"{path}.conv1"])
                middle = weights.ranges[f"{path}.conv2"]
                self.steps.append(
                    (
                        _Int8Conv(weights, f"{path}.conv1", 1, middle),
                        _Int8Conv(weights, f"{path}.conv2", 1, following),
                    )
                )
            else:
                assert isinstance(block, ConvBNReLU)
                self.ranges.append(weights.ranges[f"{path}.net.0"])
                self.steps.append((_Int8Conv(weights, f"{path}.net.0", block.conv.stride[0], following), None))

    def forward(self, x: Tensor) -> Tensor:
        x = self.input.quantize(x.contiguous(memory_format=torch.channels_last))
        for (first, second), entering in zip(self.steps, self.ranges, strict=True):
            y = first(x)
            x = y if second is None else second(y, x, entering)
        return self.output.dequantize(x)


class _Int8Linear(nn.Module):
    """A linear layer whose product is of integers; float32 in, float32 out."""

    def __init__(self, weights: Int8Weights, name: str, weight: str, bias: str):
        super().__init__()
        self.input, self.scale = weights.ranges[name], weights.scales[weight]
        self.bias = weights.state[bias]
        self.zeros = torch.zeros(len(self.scale), dtype=torch.int32)
        self.packed = torch.ops.onednn.qlinear_prepack(weights.state[weight], None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.onednn.qlinear_pointwise(
            self.input.quantize(x),
            self.input.scale,
            self.input.zero_point,
            self.packed,
            self.scale,
            self.zeros,
            self.bias,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )


class _Int8SelfAttention(SelfAttention):
    """Its projections in integers, the attention itself in float32."""

    in_proj: _Int8Linear

    def attend(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.in_proj(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(n, t, d)
