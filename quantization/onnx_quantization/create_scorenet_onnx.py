"""Export ScoreNetMultiPair.

`python -m quantization.onnx_quantization.create_scorenet_onnx --weights lite --precision int8`
"""

from __future__ import annotations

import sys

import tyro

from pose6d.command import run_command
from quantization.onnx_quantization.variants import ExportOptions, create_onnx


def main(args: list[str] | None = None) -> int:
    return run_command(
        lambda: create_onnx("scorer", tyro.cli(ExportOptions, args=args, description=__doc__, use_underscores=True))
    )


if __name__ == "__main__":
    sys.exit(main())
