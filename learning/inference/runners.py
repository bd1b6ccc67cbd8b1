"""`make_runner` opens a network for inference: in PyTorch as trained or in int8, or in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import torch

from learning.inference.onnx_runner import OnnxRunner, import_onnxruntime, imported_file
from learning.inference.torch_int8 import int8_network, read_int8
from learning.inference.torch_runner import NetworkRunner
from learning.inference.variants import resolve_variant
from learning.models.config import Kind
from learning.models.loading import build_network
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.device import resolve_device
from pose6d.errors import WeightsError


def make_runner(
    kind: Kind,
    weights: str | Path = "auto",
    device: str | torch.device = "auto",
    amp: bool | None = None,
    quantized: str | bool | None = None,
    network: RefineNet | ScoreNetMultiPair | None = None,
    batch_size: int | None = None,
) -> NetworkRunner | OnnxRunner:
    """A network ready for inference, in PyTorch or in ONNX Runtime.

    Args:
        kind, weights, device, amp, network, batch_size: see `NetworkRunner`. `weights` may be an .onnx file, too.
        quantized: a variant (`variants`): `torch` (or True), `onnx`, or one of their kinds by name, whose
            files `python -m quantization create` makes; or an .onnx file or a folder of such files; None or False for
            none.

    Raises:
        WeightsError: no such variant, or its file is missing or of other weights.
        DeviceError: the device is not there, or the variant does not run on it.
        MissingDependencyError: ONNX Runtime, or its provider for the device, is missing.
    """
    imported = imported_file(quantized, kind) if isinstance(quantized, str | Path) else None
    if imported is None and Path(weights).suffix == ".onnx":
        imported = Path(weights)
    if imported is not None:
        return OnnxRunner(kind, imported, resolve_device(device), batch_size=batch_size)
    if not quantized:
        return NetworkRunner(kind, weights, device, amp, network, batch_size)
    if network is not None:
        raise WeightsError(f"quantized={quantized!r} takes weights from a file, but a network was given: pass only one")
    device = resolve_device(device)
    variant = resolve_variant(quantized, device)
    if variant.backend == "onnx":
        import_onnxruntime()  # whose absence is said first: without it no file can be made
    file, source = variant.find(kind, weights, device)
    if variant.backend == "onnx":
        return OnnxRunner(kind, file, device, source, batch_size, variant.tensorrt)
    content = read_int8(file, kind, source)
    if variant.precision == "int8-weights":
        return NetworkRunner(kind, device=device, network=content.float_network(), batch_size=batch_size)
    runner = NetworkRunner(kind, device=device, amp=False, network=build_network(content.config), batch_size=batch_size)
    runner.use(int8_network(content))
    return runner
