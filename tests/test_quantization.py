"""Quantised variants: what is stored, that integers compute what floats did, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quantization.measurements import Row, available, drift, markdown
from benchmarks.quantization.variants_plot import write_quantization_plot
from learning.inference import torch_int8
from learning.inference.runners import make_runner
from learning.inference.torch_int8 import Range
from learning.inference.torch_runner import NetworkRunner
from learning.inference.variants import VARIANTS
from learning.models.config import NetworkConfig
from learning.models.loading import build_network, load_network
from pose6d.errors import DeviceError, OutputError, WeightsError
from pose6d.weights import save_weights
from quantization.__main__ import Create, create
from quantization.calibration_pairs import calibration_pairs
from quantization.torch_quantization import static_int8
from quantization.torch_quantization.static_int8 import create_torch
from quantization.weight_int8 import quantize_weight
from tests.small_networks import random_pairs, save_network, small_network

KINDS = ("refiner", "scorer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random weights with their int8 files, calibrated on random images."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    for kind in KINDS:
        save_network(folder, small_network(kind, seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_int8, "calibration_pool", lambda: None)
        patch.setattr(static_int8, "calibration_pairs", lambda pool, config, count: random_pairs(count))
        for kind in KINDS:
            for precision in ("int8", "int8-weights"):
                create_torch(kind, folder, precision, count=64, say=lambda line: None)
    return folder


@torch.inference_mode()
def outputs(runner: NetworkRunner, count: int) -> list[torch.Tensor]:
    pairs = random_pairs(count)
    if runner.config.kind == "refiner":
        return list(runner.refine(pairs.A, pairs.B))
    features, scores = runner.score(pairs.A, pairs.B)
    return [features, scores.ranking, scores.confidence]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["torch-int8", "torch-int8-weights"])
@pytest.mark.parametrize("count", [1, 5])
def test_quantised_networks_give_nearly_the_same(folder: Path, kind: str, variant: str, count: int) -> None:
    wanted = outputs(make_runner(kind, folder, "cpu"), count)
    found = outputs(make_runner(kind, folder, "cpu", quantized=variant), count)
    for w, f in zip(wanted, found, strict=True):
        assert f.shape == w.shape
        assert f.dtype == torch.float32
        # The worst seen is 0.02 of outputs of size 1; something wired wrongly is off by their size.
        torch.testing.assert_close(f, w, atol=0.06 * float(w.abs().max()) + 0.01, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_seven_bits_serve_where_products_would_saturate(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = outputs(make_runner(kind, folder, "cpu"), 3)
    monkeypatch.setattr(torch_int8, "products_saturate", lambda: False)
    fine = outputs(make_runner(kind, folder, "cpu", quantized="torch"), 3)
    monkeypatch.setattr(torch_int8, "products_saturate", lambda: True)
    coarse = outputs(make_runner(kind, folder, "cpu", quantized="torch"), 3)
    assert not torch.equal(fine[0], coarse[0])
    for w, f in zip(wanted, coarse, strict=True):
        torch.testing.assert_close(f, w, atol=0.1 * float(w.abs().max()) + 0.01, rtol=0)


def test_a_pytorch_without_the_kernels_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_int8, "_OPERATORS", ("qconv_prepack", "qconv_gone"))
    with pytest.raises(DeviceError, match=r"PyTorch 2.*lacks oneDNN, qconv_gone; use quantized='onnx-int8'"):
        make_runner("refiner", folder, "cpu", quantized="torch")


def test_true_is_the_historical_name_of_pytorchs_variant(folder: Path) -> None:
    for w, f in zip(
        outputs(make_runner("refiner", folder, "cpu", quantized="torch-int8"), 2),
        outputs(make_runner("refiner", folder, "cpu", quantized=True), 2),
        strict=True,
    ):
        assert torch.equal(w, f)


def test_files_are_a_quarter_of_float32(folder: Path) -> None:
    for kind in KINDS:
        whole = sum(4 * tensor.numel() for tensor in load_network(folder, kind, "cpu").state_dict().values())
        file = VARIANTS["torch-int8"].file(kind, folder / f"{kind}.safetensors")
        assert file.stat().st_size < 0.30 * whole  # 0.25 for networks of the released sizes


def test_files_of_other_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    network = build_network(NetworkConfig(width=16, input_size=64))
    source = save_weights(tmp_path, "refiner", network.state_dict(), network.config.to_dict())
    stale = VARIANTS["torch-int8"].file("refiner", source)
    with pytest.raises(WeightsError, match=r"not there yet; make it with: python -m quantization create"):
        make_runner("refiner", tmp_path, "cpu", quantized="torch")
    stale.write_bytes(VARIANTS["torch-int8"].file("refiner", folder / "refiner.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="made from other weights"):
        make_runner("refiner", tmp_path, "cpu", quantized="torch")
    stale.write_bytes(b"broken")
    with pytest.raises(WeightsError, match="cannot be read"):
        make_runner("refiner", tmp_path, "cpu", quantized="torch")


def test_too_few_calibration_pairs_are_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="--pairs 8: too few"):
        create_torch("refiner", folder, "int8", count=8)
    with pytest.raises(WeightsError, match="--pairs 8: too few"):
        calibration_pairs(None, NetworkConfig(), 8)  # type: ignore[arg-type]


def test_ranges_hold_their_ends_and_zero() -> None:
    for low, high in ((-1.3, 2.0), (0.0, 5.0), (0.5, 5.0), (0.0, 0.0)):
        found = Range.covering(low, high)
        x = torch.tensor([0.0, low, high])
        assert 0 <= found.zero_point <= 255
        back = found.dequantize(found.quantize(x))
        assert back[0] == 0, "padding and missing depth are zeros and must stay so"
        assert float((back - x).abs().max()) <= found.scale


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_keep_half_a_step(axis: int) -> None:
    weight = torch.randn(6, 5, 3, 3) * torch.logspace(-3, 1, (6, 5)[axis]).view(-1, *[1] * (3 - axis))
    values, scale = quantize_weight(weight, axis)
    shape = [-1 if i == axis else 1 for i in range(4)]
    assert values.dtype == torch.int8
    assert ((values * scale.view(shape) - weight).abs() <= 0.5001 * scale.view(shape)).all()


def test_drift_of_known_poses() -> None:
    moved = torch.eye(4).repeat(2, 1, 1)
    moved[0, :3, :3] = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved[1, 2, 3] = 0.01  # of a diameter of 200 mm
    degrees, millimetres = drift(moved, torch.eye(4).expand(2, 4, 4))
    assert degrees == pytest.approx(45.0, abs=0.1)
    assert millimetres == pytest.approx(1.0)


def test_the_table_says_what_was_not_measured(tmp_path: Path) -> None:
    rows = [Row("torch-fp32", 10.0, 0.5, {1: 8.0}, {1: 6.0}), Row("onnx-int8", 2.6, 0.2, {1: 2.0}, {1: 2.0}, 0.1, 0.2)]
    text = markdown(rows, ["device: this one"])
    assert "| onnx-int8 | 2.60 | 26.0 % | 0.20 | 2.0 | 2.0 | 0.100 | 0.200 | – | – | – | – |" in text
    assert "- device: this one" in text
    fast = Row("torch-fp16", 5.0, 0.5, {252: 0.0153}, {252: 0.0124}, first_frame=0.0334)
    assert "| torch-fp16 | 5.00 | 100.0 % | 0.50 | 0.015 | 0.012 | – | – | 0.033 | – | – | – |" in markdown([fast], [])
    panels = {"files, MB": [10.0, 2.6], "first frame, s": [np.nan, np.nan]}
    figure = write_quantization_plot(tmp_path / "figure.png", ["torch-fp32", "onnx-int8"], panels, "lite")
    assert figure.stat().st_size > 5000


def test_a_report_names_what_a_device_or_a_missing_file_rules_out(folder: Path) -> None:
    ready, missing = available(str(folder), ("torch-int8", "onnx-fp32"))
    assert ready == ["torch-int8"]
    assert len(missing) == 1 and "--variants onnx-fp32" in missing[0]
    ready, missing = available(str(folder), ("torch-int8", "onnx-tensorrt"), "cuda")
    assert ready == []
    assert [text.split()[0] for text in missing] == ["torch-int8", "onnx-tensorrt"]
    assert "runs on cpu only" in missing[0] and "create" in missing[1]


def test_a_read_only_set_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the set of an installed package may be."""
    save_weights(tmp_path, "refiner", {}, {})
    monkeypatch.setattr("os.access", lambda *asked: False)  # root may write everywhere
    with pytest.raises(OutputError, match=r"read-only: copy it to a folder of your own"):
        create(Create(str(tmp_path), ("torch-int8",)))
