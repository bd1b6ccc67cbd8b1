"""One ONNX file per variant: exported, reduced in precision, checked against PyTorch and labelled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch

from learning.inference.onnx_runner import OnnxRunner
from learning.inference.torch_runner import NetworkRunner
from learning.inference.variants import Variant
from learning.models.config import Kind
from learning.models.loading import load_network
from pose6d.errors import WeightsError
from pose6d.weights import find_weights, sha256
from pose6d.whole_file import write_whole
from quantization.calibration_pairs import calibration_pairs, calibration_pool, check_count
from quantization.onnx_quantization.export import PARITY, annotate, export, import_onnx, output_differences
from quantization.onnx_quantization.static_int8 import StaticQuantizer, worst_layers

Precision = Literal["fp32", "fp16", "int8"]


@dataclass
class ExportOptions:
    """What to export, and how."""

    weights: str = "lite"
    """a released set's name (lite, mini, base), a folder or a file"""
    precision: Precision = "fp32"
    """int8 is static QDQ: weights per channel, activations per tensor with ranges from calibration pairs"""
    output: Path | None = None
    """the .onnx file; default: model_quantized_<network>_<precision>.onnx beside the weights, for --quantized"""
    pairs: int = 256
    """calibration pairs from the training data's generator, also used for the check against PyTorch"""
    float_budget: float = 0.01
    """share of the multiplications that int8 leaves to float: the layers where that helps most for its work"""
    seed: int = 0
    """of the calibration pairs"""


def create_onnx(kind: Kind, options: ExportOptions, say: Callable[[str], None] = print) -> Path:
    """Export, quantise, check and label one network.

    Returns:
        The file.

    Raises:
        WeightsError: no such weights, too few calibration pairs, or the export is not what PyTorch gives.
        MissingDependencyError: packages of the extra [onnx] are missing.
    """
    import_onnx()
    source = find_weights(options.weights, kind)
    output = options.output or Variant("onnx", options.precision).file(kind, source)
    if output.suffix != ".onnx":
        raise WeightsError(f"--output {output}: a file name ending in .onnx is needed")
    if not 0 <= options.float_budget < 1:
        raise WeightsError(
            f"--float_budget {options.float_budget}: a share from 0 up to, but not including, 1 is needed"
        )
    check_count(options.pairs)
    network = load_network(source, kind)
    say(f"{kind} of {source}: drawing {options.pairs} pairs")
    pairs = calibration_pairs(calibration_pool(), network.config, options.pairs, options.seed)
    with TemporaryDirectory() as folder:
        raw, plain = Path(folder) / "raw.onnx", Path(folder) / "plain.onnx"
        export(network, raw)
        plain.write_bytes(raw.read_bytes())
        annotate(plain, network.config, sha256(source), "fp32")
        original = NetworkRunner(kind, network=network, device="cpu", amp=False)
        differences = output_differences(original, OnnxRunner(kind, plain, torch.device("cpu"), source), pairs)
        worst = max(differences.values())
        if not worst <= PARITY:
            raise WeightsError(f"the export of {source} differs from PyTorch by {worst:.2g}, allowed is {PARITY:g}")
        say(f"fp32 differs from PyTorch by at most {worst:.1e} on {len(pairs)} pairs")
        result = plain
        if options.precision == "fp16":
            result = Path(folder) / "half.onnx"
            _to_half(plain, result)
        elif options.precision == "int8":
            result = Path(folder) / "int8.onnx"
            quantizer = StaticQuantizer(raw, network.config, pairs)
            kept = worst_layers(quantizer.sensitivity(), options.float_budget)
            quantizer.save(result, [layer.node for layer in kept])
            say("kept in float: " + (", ".join(f"{x.layer} ({100 * x.error:.1f} %)" for x in kept) or "nothing"))
        annotate(result, network.config, sha256(source), options.precision)
        if result is not plain:
            differences = output_differences(original, OnnxRunner(kind, result, torch.device("cpu"), source), pairs)
            say("largest differences: " + ", ".join(f"{name} {value:.3g}" for name, value in differences.items()))
        share = result.stat().st_size / plain.stat().st_size
        write_whole(output, result.read_bytes())
    say(f"{output}: {output.stat().st_size / 1e6:.2f} MB, {100 * share:.1f} % of fp32")
    return output


def _to_half(source: Path, output: Path) -> None:
    onnx = import_onnx()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():  # of numbers so small that float16 has none
        warnings.simplefilter("ignore")
        half = convert_float_to_float16(onnx.load(source), keep_io_types=True, disable_shape_infer=True)
    onnx.save(half, output)
