"""Export ScoreNetMultiPair.

`python -m quantization.onnx_quantization.create_scorenet_onnx --weights lite --precision int8`
"""

from __future__ import annotations

import tyro

from pose6d.errors import Pose6DError
from quantization.onnx_quantization.variants import ExportOptions, create_onnx


def main(args: list[str] | None = None) -> None:
    options = tyro.cli(ExportOptions, args=args, description=__doc__, use_underscores=True)
    try:
        create_onnx("scorer", options)
    except Pose6DError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
