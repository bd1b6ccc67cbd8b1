"""Export RefineNet.

`python -m quantization.onnx_quantization.create_refinenet_onnx --weights lite --precision int8`
"""

from __future__ import annotations

from functools import partial

from pose6d.command import run_command_line
from quantization.onnx_quantization.variants import ExportOptions, create_onnx

if __name__ == "__main__":
    run_command_line(partial(create_onnx, "refiner"), ExportOptions, description=__doc__, use_underscores=True)
