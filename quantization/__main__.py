"""Make quantised variants of the networks.

`python -m quantization create --weights lite` writes all variants beside the weights (model_quantized_*), where
`run_demo.py --quantized` finds them. `python -m benchmarks.quantization`, in a checkout, measures what each is worth.
"""

from __future__ import annotations

import itertools
import os
import sys
from dataclasses import dataclass

from learning.inference.variants import VARIANTS
from learning.models.config import Kind
from pose6d.command import BAD_INPUT, read_subcommand, run_command
from pose6d.errors import OutputError, WeightsError
from pose6d.weights import find_weights

_KINDS: tuple[Kind, Kind] = ("refiner", "scorer")
_MADE = tuple(name for name, variant in VARIANTS.items() if not variant.tensorrt)


@dataclass
class Create:
    """Write quantised variants beside the weights."""

    weights: str = "lite"
    """a released set's name, or a folder"""
    variants: tuple[str, ...] = _MADE
    pairs: int = 256
    """calibration pairs"""


def create(options: Create) -> None:
    unknown = [name for name in options.variants if name not in _MADE]
    if unknown:
        raise WeightsError(f"--variants {' '.join(unknown)}: wanted some of {', '.join(_MADE)}")
    folder = find_weights(options.weights, "refiner").parent
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"--weights {options.weights}: the variants are written beside the weights, and {folder} is read-only: "
            "copy it to a folder of your own, and pass that"
        )
    for name, kind in itertools.product(options.variants, _KINDS):
        variant = VARIANTS[name]
        if variant.backend == "onnx":
            from quantization.onnx_quantization.variants import ExportOptions, create_onnx

            create_onnx(kind, ExportOptions(options.weights, variant.precision, pairs=options.pairs))  # type: ignore[arg-type]
        else:
            from quantization.torch_quantization.static_int8 import create_torch

            create_torch(kind, options.weights, variant.precision, count=options.pairs)


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = sys.argv[1:] if args is None else args
    if args[:1] == ["report"]:
        print("error: the report is now `python -m benchmarks.quantization`, in a checkout's folder", file=sys.stderr)
        return BAD_INPUT
    options = read_subcommand(
        {"create": Create}, prog="python -m quantization", args=args, description=__doc__, use_underscores=True
    )
    return run_command(lambda: create(options))


if __name__ == "__main__":
    sys.exit(main())
