"""Running networks in PyTorch, and what makes them fast there.

Batch normalisation is folded into the convolutions everywhere. On CUDA the network runs in float16 and channels_last,
and each convolution runs as one kernel with its bias, its ReLU and, where there is one, its residual. On CPUs with
matrix units it runs in bfloat16, but for the layers behind the mean over tokens, which make poses and scores; on other
CPUs in float32, 3x3 convolutions by Winograd's method.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from learning.inference import fused_inputs
from learning.inference.inputs import apply_update, pair_inputs
from learning.models.blocks import ConvBNReLU, ResidualBlock, channels_last
from learning.models.config import Kind
from learning.models.loading import load_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair, Scores
from pose6d.device import fast_dtype, resolve_device
from pose6d.geometry.observation import Observation
from pose6d.pieces import even_slices, operations_only
from pose6d.search.interfaces import Hypotheses, ObjectModel

_Network = TypeVar("_Network", bound=RefineNet | ScoreNetMultiPair)

# Pairs per forward pass: on a CPU as many as the cache holds; 512 of the base network need about 4 GiB in float16.
_BATCH = {"cpu": 8, "cuda": 512}
_BEHIND_THE_MEAN: dict[Kind, tuple[str, ...]] = {
    "refiner": ("trans_head.1", "rot_head.1"),
    "scorer": ("att.out_proj", "att_cross", "linear", "confidence"),
}
_CHANNEL_MULTIPLE = fused_inputs.CHANNELS  # tensor cores want channel counts in float16 to be multiples of this


def fold_batch_norm(network: _Network) -> _Network:
    """The network in eval mode, its convolutions containing their batch normalisation; in place, the same function."""
    network.eval()
    network.config = network.config.replace(use_bn=False)
    for module in network.modules():
        if isinstance(module, ConvBNReLU) and isinstance(module.net[1], nn.BatchNorm2d):
            _fold(module.conv, module.net[1])
            module.net = nn.Sequential(module.conv, module.net[2])
        elif isinstance(module, ResidualBlock):
            for conv, norm in ((module.conv1, "bn1"), (module.conv2, "bn2")):
                normalisation = module.get_submodule(norm)
                if isinstance(normalisation, nn.BatchNorm2d):
                    _fold(conv, normalisation)
                    setattr(module, norm, nn.Identity())
    return network


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


class _FusedConvReLU(nn.Module):
    """Convolution, bias, an optional residual and ReLU as one cuDNN kernel."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        assert conv.bias is not None
        short = -conv.in_channels % _CHANNEL_MULTIPLE  # only the first layer's 6 channels, see NetworkRunner.cast
        weight = F.pad(conv.weight.detach(), (0, 0, 0, 0, 0, short)).contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", conv.bias.detach().clone())
        self.stride = conv.stride
        self.padding = tuple((side - 1) // 2 for side in conv.kernel_size)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        w, b = self.weight, self.bias
        if residual is None:
            return torch.cudnn_convolution_relu(x, w, b, self.stride, self.padding, (1, 1), 1)
        return torch.cudnn_convolution_add_relu(x, w, residual, 1.0, b, self.stride, self.padding, (1, 1), 1)


class _FusedResidualBlock(nn.Module):
    """The residual block as two cuDNN kernels."""

    def __init__(self, block: ResidualBlock):
        super().__init__()
        self.first = _FusedConvReLU(block.conv1)
        self.second = _FusedConvReLU(block.conv2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), x)


def _use_fused_kernels(network: nn.Module) -> None:
    """Replace every block of a folded network in place."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ConvBNReLU):
                setattr(module, name, _FusedConvReLU(child.conv))
            elif isinstance(child, ResidualBlock):
                setattr(module, name, _FusedResidualBlock(child))


class _InFloat32(nn.Module):
    """A layer of a network that is in another number format otherwise."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer.float()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.float())


def _in_bfloat16(network: _Network) -> _Network:
    """The network in bfloat16, in place, but for the layers that see one row per pair: results are float32."""
    layers = dict(network.named_modules())
    exact = {name: copy.deepcopy(layers[name]) for name in _BEHIND_THE_MEAN[network.config.kind] if name in layers}
    network.to(torch.bfloat16)
    for name, layer in exact.items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _InFloat32(layer))
    return network


class NetworkRunner:
    """A network ready for inference in PyTorch, with its device and number format.

    Args:
        kind: `refiner` or `scorer`.
        weights: see `pose6d.weights.find_weights`; unused where `network` is given.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: False computes in float32, anything else in the fastest format (`pose6d.device.fast_dtype`): float16 on
            CUDA, bfloat16 on CPUs that have matrix units for it.
        network: a network to run instead of loading one; it is copied.
        batch_size: pairs per forward pass; None chooses by the device.
    """

    recordable = True

    def __init__(
        self,
        kind: Kind,
        weights: str | Path = "auto",
        device: str | torch.device = "auto",
        amp: bool | None = None,
        network: RefineNet | ScoreNetMultiPair | None = None,
        batch_size: int | None = None,
    ):
        self.device = resolve_device(device)
        if network is None:
            network = load_network(weights, kind, self.device.type)
        else:
            network = copy.deepcopy(network)
        self.config = network.config
        self.dtype = torch.float32 if amp is False else fast_dtype(self.device)
        self.batch_size = batch_size or _BATCH[self.device.type]
        prepared = channels_last(fold_batch_norm(network).requires_grad_(False)).to(self.device)
        prepared = _in_bfloat16(prepared) if self.dtype == torch.bfloat16 else prepared.to(self.dtype)
        whole = self.config.width % _CHANNEL_MULTIPLE == 0
        self._fused = self.dtype == torch.float16 and whole and torch.backends.cudnn.is_available()
        self._fused_inputs = self._fused and fused_inputs.available(self.device)
        if self._fused:
            _use_fused_kernels(prepared)
        self._in_pieces = False
        if self.device.type == "cpu" and self.dtype == torch.float32:
            from learning.inference.cpu_network import use_cpu_kernels  # imports numba, which a GPU does not need

            self._in_pieces = use_cpu_kernels(prepared)
        self.network = prepared

    def use(self, network: RefineNet | ScoreNetMultiPair) -> None:
        """Run this network, which is prepared for it, from now on."""
        self.network, self._in_pieces = network, False

    def _threads(self) -> AbstractContextManager[None]:
        """A network of PyTorch's operations has the threads that its pairs leave, where these are few."""
        return nullcontext() if self._in_pieces or self.device.type != "cpu" else operations_only()

    def inputs(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> tuple[Tensor, Tensor]:
        """What the network sees of N hypotheses: A and B of `inputs.pair_inputs`, or as `cast`
        gives them, B behind A in memory."""
        if not self._fused_inputs:
            return pair_inputs(hypotheses, object, observation, self.config)
        images = fused_inputs.network_pairs(hypotheses, object, observation, self.config)
        return images[: len(hypotheses)], images[len(hypotheses) :]

    def move(self, poses: Tensor, trans: Tensor, rot: Tensor, diameter: float | Tensor) -> Tensor:
        """The hypotheses (N, 4, 4) after the step that `refine` gave, as `learning.inference.inputs.apply_update`."""
        update = fused_inputs.update_poses if self._fused_inputs else apply_update
        return update(poses, trans, rot, diameter, self.config.rotation_limit)

    def cast(self, x: Tensor) -> Tensor:
        """An input (N, 6, s, s) in the network's number format and memory layout."""
        if self._fused_inputs and x.shape[1] == fused_inputs.CHANNELS:  # from `inputs`
            return x
        if not self._fused:
            return x.to(self.dtype, memory_format=torch.channels_last)
        n, c, h, w = x.shape
        padded = torch.empty(
            (n, c + -c % _CHANNEL_MULTIPLE, h, w),
            dtype=torch.float16,
            device=x.device,
            memory_format=torch.channels_last,
        )
        padded[:, :c], padded[:, c:] = x, 0.0
        return padded

    def chunks(self, n: int) -> list[slice]:
        """Slices of at most `batch_size` that cover n pairs; on a CPU all threads get as many."""
        if self.device.type == "cpu":
            return even_slices(n, self.batch_size)
        return [slice(i, min(i + self.batch_size, n)) for i in range(0, n, self.batch_size)]

    def _images(self, A: Tensor, B: Tensor) -> Tensor:
        """A and B in one tensor, as `cast` gives them; without a copy where they already lie so."""
        A, B = self.cast(A), self.cast(B)
        if A.stride() == B.stride() and A.data_ptr() + A.nbytes == B.data_ptr() and _one_storage(A, B):
            return A.as_strided((len(A) + len(B), *A.shape[1:]), A.stride())
        return torch.cat([A, B])

    def refine(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        """trans and rot (N, 3) of pairs, as `RefineNet.forward`.

        Args:
            A, B: (N, 6, s, s); B may be (1, 6, s, s), the same for all.
        """
        network = self.network
        assert isinstance(network, RefineNet)
        with self._threads():
            return network.refine(self._images(A, B), len(A))

    def score(self, A: Tensor, B: Tensor, earlier: Tensor | None = None) -> tuple[Tensor, Scores]:
        """Score the pairs of one object chunk by chunk.

        Args:
            A, B: (N, 6, s, s), the next chunk.
            earlier: (M, D) features of the chunks before, as this function gave them.

        Returns:
            Features (M + N, D), and the scores (M + N,) of all pairs so far, logits.
        """
        features = self.encode(A, B)
        if earlier is not None:
            features = torch.cat([earlier, features])
        return features, self.compare(features)

    def encode(self, A: Tensor, B: Tensor) -> Tensor:
        """Features (N, D) of pairs (N, 6, s, s), which do not see each other."""
        network = self.network
        assert isinstance(network, ScoreNetMultiPair)
        with self._threads():
            return network.encode(self._images(A, B), len(A))

    def compare(self, features: Tensor) -> Scores:
        """The scores (N,) of all pairs of one object, logits, by their features (N, D)."""
        network = self.network
        assert isinstance(network, ScoreNetMultiPair)
        return Scores(network.compare(features[None])[0], network.judge(features))


def _one_storage(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
