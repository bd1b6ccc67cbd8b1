"""int8 in ONNX: calibrated, with the layers that matter kept in float, stored small, and labelled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learning.inference.onnx_runner import CONFIG, PRECISION, SOURCE
from learning.inference.runners import make_runner
from pose6d.errors import WeightsError
from pose6d.weights import sha256
from tests.small_networks import random_pairs, save_network, small_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from quantization.onnx_quantization import variants  # noqa: E402
from quantization.onnx_quantization.static_int8 import LayerError, worst_layers  # noqa: E402
from quantization.onnx_quantization.variants import ExportOptions, create_onnx  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Small random weights with an int8 export, and what was said while it was made."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    save_network(folder, small_network(width=8, seed=1))
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "calibration_pool", lambda: None)
        patch.setattr(variants, "calibration_pairs", lambda pool, config, count, seed: random_pairs(count))
        for name in ("_is_amx_tile_supported", "_init_amx"):  # exports are compared in float32 there, too
            patch.setattr(torch.cpu, name, lambda: True, raising=False)
        create_onnx("refiner", ExportOptions(str(folder), "int8", pairs=64), lines.append)
    return folder, lines


def test_int8_is_near_float_for_any_number_of_pairs(made: tuple[Path, list[str]]) -> None:
    folder, _ = made
    for count in (1, 33):
        pairs = random_pairs(count)
        with torch.inference_mode():
            wanted = make_runner("refiner", folder, "cpu").refine(pairs.A, pairs.B)
            found = make_runner("refiner", folder, "cpu", quantized="onnx").refine(pairs.A, pairs.B)
        for w, f in zip(wanted, found, strict=True):
            torch.testing.assert_close(f, w, atol=0.06 * float(w.abs().max()) + 0.01, rtol=0)


def test_every_convolution_multiplies_bytes_with_one_scale_per_channel(made: tuple[Path, list[str]]) -> None:
    folder, lines = made
    model = onnx.load(folder / "model_quantized_refiner_int8.onnx")
    producer = {output: node for node in model.graph.node for output in node.output}
    sizes = {initializer.name: list(initializer.dims) for initializer in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 15
    kept = next(line for line in lines if line.startswith("kept in float"))
    for node in convolutions:
        weight = producer[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        assert len(sizes[weight.input[1]]) == 1, "one scale per output channel"
        in_float = node.name.partition("/")[0] in kept
        assert (producer[node.input[0]].op_type == "DequantizeLinear") != in_float


def test_files_say_what_they_are_made_from(made: tuple[Path, list[str]]) -> None:
    folder, lines = made
    model = onnx.load(folder / "model_quantized_refiner_int8.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts[SOURCE] == sha256(folder / "refiner.safetensors")
    assert facts[PRECISION] == "int8"
    assert '"width": 8' in facts[CONFIG]
    assert any("fp32 differs from PyTorch by at most" in line for line in lines)


def test_float_layers_are_chosen_by_error_for_their_work() -> None:
    errors = [
        LayerError("large", "a", error=0.05, work=0.5),
        LayerError("small", "b", error=0.04, work=0.004),
        LayerError("harmless", "c", error=0.001, work=0.004),
    ]
    assert [layer.layer for layer in worst_layers(errors, 0.005)] == ["small"]
    assert [layer.layer for layer in worst_layers(errors, 0.6)] == ["small", "large", "harmless"]
    assert worst_layers(errors, 0.0) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 10}, "--pairs 10: too few"),
        ({"output": Path("model.bin")}, "ending in .onnx"),
        ({"float_budget": 1.5}, "--float_budget 1.5"),
        ({"weights": "none"}, "neither a set"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    made: tuple[Path, list[str]], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        create_onnx("refiner", ExportOptions(**{"weights": str(made[0]), **changes}))  # type: ignore[arg-type]
