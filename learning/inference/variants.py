"""Names of the quantised variants of a network, where their files lie, and whether these are still of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from learning.models.config import Kind, NetworkConfig
from pose6d.errors import DeviceError, WeightsError
from pose6d.weights import find_weights, load_weights, sha256

Backend = Literal["torch", "onnx"]

_ALIASES = {"torch": "torch-int8", "onnx": "onnx-int8"}
_GONE = {"torch-dynamic": "; torch-dynamic is gone, it was no faster than float32: use torch-int8"}
_SUFFIX = {"onnx": ".onnx", "torch": ".safetensors"}


@dataclass(frozen=True)
class Variant:
    """One way to store and run a network.

    Attributes:
        backend: what runs it.
        precision: fp32, fp16, int8 (static, calibrated) or int8-weights (stored in int8, computed as the weights are).
        tensorrt: ONNX Runtime hands the file of this precision to TensorRT.
    """

    backend: Backend
    precision: str
    tensorrt: bool = False

    @property
    def name(self) -> str:
        """What `quantized=` takes."""
        return "onnx-tensorrt" if self.tensorrt else f"{self.backend}-{self.precision}"

    @property
    def device(self) -> str:
        """Type of the device it runs on."""
        return "cuda" if self.tensorrt else "cpu"

    def file(self, kind: Kind, weights: Path) -> Path:
        """Where it lies, given the file of the original weights."""
        return weights.parent / f"model_quantized_{kind}_{self.precision}{_SUFFIX[self.backend]}"

    def command(self, weights: str | Path) -> str:
        """What makes the file."""
        return f"python -m quantization create --weights {weights} --variants {self.backend}-{self.precision}"

    def find(self, kind: Kind, weights: str | Path, device: torch.device) -> tuple[Path, Path]:
        """Its file, and that of the original weights.

        Raises:
            WeightsError: there are no such weights, or the file has not been made.
        """
        source = find_weights(weights, kind, device.type)
        file = self.file(kind, source)
        if not file.is_file():
            raise WeightsError(
                f"quantized={self.name!r}: {file} is not there yet; make it with: {self.command(source.parent)}"
            )
        return file, source


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("torch", "int8-weights"),
        Variant("torch", "int8"),
        Variant("onnx", "fp32"),
        Variant("onnx", "fp16"),
        Variant("onnx", "int8"),
        Variant("onnx", "fp16", tensorrt=True),
    )
}


def resolve_variant(quantized: str | bool, device: torch.device) -> Variant:
    """The variant that a name stands for.

    Args:
        quantized: a name in VARIANTS, or `torch` or `onnx` for their int8; True is `torch`.
        device: where it is to run.

    Raises:
        WeightsError: no such variant.
        DeviceError: it does not run there.
    """
    name = "torch" if quantized is True else str(quantized)
    variant = VARIANTS.get(_ALIASES.get(name, name))
    if variant is None:
        raise WeightsError(
            f"quantized={quantized!r} is no quantised variant: expected torch, onnx, {', '.join(VARIANTS)}, or the "
            f"path of an .onnx file{_GONE.get(name, '')}"
        )
    if device.type != variant.device:
        raise DeviceError(
            f"quantized={variant.name!r} runs on CUDA only: on a CPU, torch or onnx (int8) is the fast way"
            if variant.tensorrt
            else f"quantized={variant.name!r} runs on the CPU only: on CUDA, float16 (no quantized) is the fast way"
        )
    return variant


def check_source(file: Path, made_from: str, config: NetworkConfig, source: Path) -> None:
    """Refuse a variant's file that its weights have outlived.

    Args:
        file: of the variant.
        made_from: SHA-256 of the weights that it was made from.
        config: of the network then; whether it had batch normalisation does not count, it is folded away.
        source: the weights.

    Raises:
        WeightsError: they are other weights, or have another config.
    """
    again = "it is stale; make it again with `python -m quantization create`"
    if made_from != sha256(source):
        raise WeightsError(
            f"quantised network {file} was made from other weights (SHA-256 {made_from[:12]}...) than {source} "
            f"({sha256(source)[:12]}...): {again}"
        )
    now = NetworkConfig.from_dict(load_weights(source, config.kind).config, config.kind)
    new = now.replace(use_bn=config.use_bn).to_dict()
    changed = [f"{key} {old!r} instead of {new[key]!r}" for key, old in config.to_dict().items() if old != new[key]]
    if changed:
        raise WeightsError(f"quantised network {file} was made for another config ({', '.join(changed)}): {again}")
