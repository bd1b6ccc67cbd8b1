"""Making the files that `torch_int8` runs: int8 weights, and ranges of activations from calibration pairs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from learning.inference.torch_int8 import Range
from learning.inference.torch_runner import fold_batch_norm
from learning.inference.variants import Variant
from learning.models.blocks import SelfAttention
from learning.models.config import Kind
from learning.models.loading import load_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.weights import find_weights, sha256, write_tensors
from quantization.calibration_pairs import Pairs, calibration_pairs, calibration_pool, check_count
from quantization.weight_int8 import quantize_weight

_BATCH = 16
# These see one row per pair: in integers they would save no work, and their outputs are the poses and the scores.
_FLOAT = ("trans_head.1", "rot_head.1", "att.out_proj", "att_cross", "linear", "confidence")
_REGENERATED = "pos_embed.pe"  # its sines follow from the config


def create_torch(
    kind: Kind,
    weights: str | Path,
    precision: str,
    count: int = 256,
    say: Callable[[str], None] = print,
) -> Path:
    """Write a network's int8 weights, and for `int8` the ranges of its activations.

    Args:
        kind: `refiner` or `scorer`.
        weights: see `find_weights`.
        precision: `int8` or `int8-weights`.
        count: calibration pairs.
        say: gets a line for people.

    Raises:
        WeightsError: no such weights, or too few pairs.
    """
    source = find_weights(weights, kind)
    output = Variant("torch", precision).file(kind, source)
    if precision == "int8":
        check_count(count)
    network = fold_batch_norm(load_network(source, kind)).requires_grad_(False)
    ranges: dict[str, Range] = {}
    if precision == "int8":
        say(f"{kind} of {source}: drawing {count} pairs")
        ranges = activation_ranges(network, calibration_pairs(calibration_pool(), network.config, count))
    tensors: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        if name == _REGENERATED:
            continue
        if tensor.ndim < 2:
            tensors[name] = tensor.contiguous()
            continue
        values, scale = quantize_weight(tensor)
        tensors[name], tensors[f"{name}:scale"] = values.contiguous(), scale
    facts = {
        "config": json.dumps(network.config.to_dict()),
        "weights_sha256": sha256(source),
        "ranges": json.dumps({name: (found.scale, found.zero_point) for name, found in ranges.items()}),
    }
    write_tensors(output, tensors, facts)
    size = sum(tensor.numel() * 4 for tensor in network.state_dict().values())
    say(f"{output}: {output.stat().st_size / 1e6:.2f} MB, {100 * output.stat().st_size / size:.1f} % of fp32")
    return output


@torch.inference_mode()
def activation_ranges(network: RefineNet | ScoreNetMultiPair, pairs: Pairs) -> dict[str, Range]:
    """The range of each convolution's and linear layer's input, and of both trunks' outputs (`<trunk>:output`).

    The ends are means over batches of the least and the largest value, so that one odd pair does not set them.
    """
    low: dict[str, list[float]] = defaultdict(list)
    high: dict[str, list[float]] = defaultdict(list)

    def note(name: str, x: Tensor) -> None:
        low[name].append(float(x.min()))
        high[name].append(float(x.max()))

    hooks = []
    for name, module in network.named_modules():
        if name.startswith(_FLOAT):
            continue
        if isinstance(module, nn.Conv2d | nn.Linear):
            hooks.append(module.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0])))
        elif isinstance(module, SelfAttention):
            _watch_attention(module, name, note)
        elif name in ("encodeA", "encodeAB", "encoderA", "encoderAB"):
            hooks.append(
                module.register_forward_hook(lambda _, args, result, name=name: note(f"{name}:output", result))
            )
    for A, B in tqdm(list(pairs.chunks(_BATCH)), desc="calibrate", unit="batch", leave=False):
        network(A, B, len(A)) if isinstance(network, ScoreNetMultiPair) else network(A, B)
    for hook in hooks:
        hook.remove()
    for module in network.modules():
        module.__dict__.pop("attend", None)
    return {name: Range.covering(sum(low[name]) / len(low[name]), sum(high[name]) / len(high[name])) for name in low}


def _watch_attention(module: SelfAttention, name: str, note: Callable[[str, Tensor], None]) -> None:
    """Its first projection is no module, and the scorer calls `attend` by itself."""
    original = module.attend

    def attend(x: Tensor, dropout: float = 0.0) -> Tensor:
        note(name, x)
        return original(x, dropout)

    module.attend = attend  # type: ignore[method-assign]
