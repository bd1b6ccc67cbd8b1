"""Names of the quantised variants of a network, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from learning.models.config import Kind
from pose6d.errors import WeightsError

Backend = Literal["torch", "onnx"]

# What people may say; the value depends on the device, on which different variants pay.
_ALIASES = {
    "torch": {"cpu": "torch-int8", "cuda": "torch-int8"},
    "onnx": {"cpu": "onnx-int8", "cuda": "onnx-fp16"},
}
_SUFFIX = {"onnx": ".onnx", "torch": ".safetensors"}


@dataclass(frozen=True)
class Variant:
    """One way to store and run a network.

    Attributes:
        backend: what runs it.
        precision: fp32, fp16, int8 (static, calibrated), int8-weights (stored in int8, computed in float32) or dynamic
            (PyTorch's dynamic quantisation of the linear layers).
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
    def made(self) -> bool:
        """Whether it has files of its own, which must be made."""
        return self.precision != "dynamic" and not self.tensorrt

    @property
    def devices(self) -> tuple[str, ...]:
        """Types of the devices it runs on."""
        if self.tensorrt:
            return ("cuda",)
        floats = self.backend == "onnx" and self.precision.startswith("fp")
        return ("cpu", "cuda") if floats else ("cpu",)

    def file(self, kind: Kind, weights: Path) -> Path:
        """Where it lies, given the file of the original weights."""
        return weights.parent / f"model_quantized_{kind}_{self.precision}{_SUFFIX[self.backend]}"

    def command(self, weights: str | Path) -> str:
        """What makes the file."""
        return f"python -m quantization create --weights {weights} --variants {self.backend}-{self.precision}"


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("torch", "dynamic"),
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
        quantized: a name in VARIANTS; `torch` or `onnx`, which choose by the device; True is `torch`.
        device: where it is to run.

    Raises:
        WeightsError: no such variant.
    """
    name = "torch" if quantized is True else str(quantized)
    name = _ALIASES.get(name, {}).get(device.type, name)
    if name not in VARIANTS:
        raise WeightsError(
            f"quantized={quantized!r} is no quantised variant: expected torch, onnx, {', '.join(VARIANTS)}, or the "
            "path of an .onnx file"
        )
    return VARIANTS[name]
