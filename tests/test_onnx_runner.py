"""ONNX exports: the same function for any number of pairs, honest labels, and clear errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from learning.inference import onnx_runner
from learning.inference.onnx_runner import OnnxRunner, imported_file, provider_for
from learning.inference.runners import make_runner
from learning.inference.torch_runner import NetworkRunner
from learning.inference.variants import VARIANTS, resolve_variant
from learning.models.config import NetworkConfig
from learning.training.predict_score import ScorePredictor
from pose6d.errors import DeviceError, MissingDependencyError, WeightsError
from pose6d.weights import save_weights, sha256
from tests.small_networks import save_network, small_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from quantization.__main__ import Create  # noqa: E402
from quantization.onnx_quantization.export import annotate, export  # noqa: E402

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of weights with float32 exports in the place where `quantized="onnx-fp32"` looks."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    for kind in ("refiner", "scorer"):
        network = small_network(kind, width=8)
        source = save_network(folder, network)
        model = VARIANTS["onnx-fp32"].file(kind, source)
        export(network, model)
        annotate(model, network.config, sha256(source), "fp32")
    return folder


@pytest.mark.parametrize("count", [1, 7, 252])
def test_refiner_equals_pytorch_for_any_number_of_pairs(folder: Path, count: int) -> None:
    A, B = torch.rand(2, count, 6, 64, 64)
    exported = make_runner("refiner", folder, "cpu", quantized="onnx-fp32")
    with torch.inference_mode():
        wanted = make_runner("refiner", folder, "cpu").refine(A, B)
        found = exported.refine(A, B)
    for w, f in zip(wanted, found, strict=True):
        assert f.shape == (count, 3)
        torch.testing.assert_close(f, w, atol=1e-4, rtol=0)


@pytest.mark.parametrize("batch_size", [3, 64])
def test_scorer_equals_pytorch_in_one_chunk_or_many(folder: Path, batch_size: int) -> None:
    A, B = torch.rand(2, 10, 6, 64, 64)
    results = []
    for runner in (
        make_runner("scorer", folder, "cpu"),
        make_runner("scorer", folder, "cpu", quantized="onnx-fp32", batch_size=batch_size),
    ):
        features = None
        with torch.inference_mode():
            for rows in runner.chunks(len(A)):
                features, scores = runner.score(A[rows], B[rows], features)
        results.append(scores)
    for wanted, found in zip(*(scores[:2] for scores in results), strict=True):
        assert found.shape == (10,)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_models_of_other_weights_or_another_config_are_refused(folder: Path, tmp_path: Path) -> None:
    network = small_network("refiner", width=8, seed=1)
    source = save_weights(tmp_path, "refiner", network.state_dict(), network.config.to_dict())
    model = VARIANTS["onnx-fp32"].file("refiner", source)
    model.write_bytes(VARIANTS["onnx-fp32"].file("refiner", folder / "refiner.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"made from other weights.*make it again"):
        make_runner("refiner", tmp_path, "cpu", quantized="onnx-fp32")
    annotate(model, network.config.replace(crop_ratio=1.4), sha256(source), "fp32")
    with pytest.raises(WeightsError, match=r"another config \(crop_ratio 1.4 instead of 1.2\)"):
        make_runner("refiner", tmp_path, "cpu", quantized="onnx-fp32")
    with pytest.raises(WeightsError, match="no scorer: it has inputs A"):
        OnnxRunner("scorer", model, CPU)


def test_a_missing_variant_names_the_command_that_makes_it(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"python -m quantization create --weights .* --variants onnx-int8"):
        make_runner("refiner", folder, "cpu", quantized="onnx")
    with pytest.raises(WeightsError, match="'int4' is no quantised variant: expected torch, onnx"):
        make_runner("refiner", folder, "cpu", quantized="int4")
    with pytest.raises(WeightsError, match="pass only one"):
        make_runner("refiner", network=small_network("refiner"), device="cpu", quantized="onnx-fp32")


def test_what_a_name_stands_for_and_where_it_runs() -> None:
    assert resolve_variant("onnx", CPU).name == "onnx-int8"
    assert resolve_variant(True, CPU) == resolve_variant("torch", CPU)
    for name in ("torch", "torch-int8-weights", "onnx", "onnx-fp16"):
        with pytest.raises(DeviceError, match=r"runs on the CPU only: on CUDA, float16 \(no quantized\)"):
            resolve_variant(name, CUDA)
    assert resolve_variant("onnx-tensorrt", CUDA).tensorrt
    with pytest.raises(WeightsError, match=r"expected torch, onnx.*torch-dynamic is gone.*use torch-int8"):
        resolve_variant("torch-dynamic", CPU)


def test_wrong_shapes_are_refused(folder: Path) -> None:
    runner = make_runner("refiner", folder, "cpu", quantized="onnx-fp32")
    with pytest.raises(ValueError, match=r"A: shape \(2, 6, 32, 32\); \(2, 6, 64, 64\) is needed"):
        runner.refine(*torch.rand(2, 2, 6, 32, 32))
    with pytest.raises(ValueError, match=r"B: shape \(2, 6, 64, 64\); \(3, 6, 64, 64\) is needed"):
        runner.refine(torch.rand(3, 6, 64, 64), torch.rand(2, 6, 64, 64))


def test_one_observed_image_may_be_that_of_all_pairs(folder: Path) -> None:
    runner = make_runner("refiner", folder, "cpu", quantized="onnx-fp32")
    A, B = torch.rand(3, 6, 64, 64), torch.rand(1, 6, 64, 64)
    for found, wanted in zip(runner.refine(A, B), runner.refine(A, B.expand_as(A)), strict=True):
        assert torch.equal(found, wanted)


def test_tensorrt_runs_the_file_of_float16_and_only_on_a_gpu(folder: Path) -> None:
    variant = VARIANTS["onnx-tensorrt"]
    assert variant.file("refiner", folder / "refiner.safetensors").name == "model_quantized_refiner_fp16.onnx"
    assert variant.command("lite").endswith("--variants onnx-fp16")
    assert variant.device == "cuda"
    assert "onnx-tensorrt" not in Create().variants, "it has no file of its own"
    with pytest.raises(DeviceError, match=r"onnx-tensorrt.*runs on CUDA only: on a CPU, torch or onnx"):
        make_runner("refiner", folder, "cpu", quantized="onnx-tensorrt")


def patch_onnxruntime(patch: pytest.MonkeyPatch, session: object, *providers: str, loaded: list | None = None) -> None:
    """An ONNX Runtime for CUDA 12.8 with these providers, whose sessions are made by `session`."""
    fake = SimpleNamespace(
        cuda_version="12.8",
        get_available_providers=lambda: list(providers),
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda key, value: None),
        InferenceSession=session,
    )
    if loaded is not None:
        fake.preload_dlls = lambda: loaded.append("libraries")
    patch.setattr(onnx_runner, "import_onnxruntime", lambda: fake)


def test_tensorrt_leaves_to_cuda_what_it_cannot_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, dict[str, str]] = {}

    def session(file: str, options: object, providers: list[str], provider_options: list[dict[str, str]]) -> object:
        given.update(zip(providers, provider_options, strict=True))
        return SimpleNamespace(get_providers=lambda: providers[1:])  # what ONNX Runtime does without its libraries

    patch_onnxruntime(monkeypatch, session, "TensorrtExecutionProvider", "CUDAExecutionProvider")
    model = VARIANTS["onnx-fp32"].file("refiner", folder / "refiner")
    with pytest.raises(DeviceError, match=r"could not start TensorrtExecutionProvider.*For TensorRT install"):
        onnx_runner._open_session(model, CUDA, SimpleNamespace(cuda_stream=1234), tensorrt=True)
    assert list(given) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    first, second = given.values()
    assert first["user_compute_stream"] == second["user_compute_stream"] == "1234"
    assert first["trt_fp16_enable"] == first["trt_engine_cache_enable"] == "1"
    kept = Path(first["trt_engine_cache_path"])
    assert kept.is_dir() and kept.parent.parent == model.parent and sha256(model).startswith(kept.name)
    kept.rmdir()
    kept.parent.rmdir()
    kept.parent.touch()  # no folder can be made there
    with pytest.raises(DeviceError, match="could not start"):
        onnx_runner._open_session(model, CUDA, SimpleNamespace(cuda_stream=1234), tensorrt=True)
    assert "trt_engine_cache_path" not in given["TensorrtExecutionProvider"]
    kept.parent.unlink()


def test_broken_and_absent_files(tmp_path: Path) -> None:
    broken = tmp_path / "refiner.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        make_runner("refiner", device="cpu", quantized=tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        make_runner("refiner", tmp_path / "none.onnx", "cpu")


def test_a_missing_provider_is_an_error_and_no_silent_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runner, "version", {"onnxruntime": "1.20", "onnxruntime-gpu": "1.19"}.__getitem__)
    cpu_only = ["AzureExecutionProvider", "CPUExecutionProvider"]
    assert provider_for(CPU, cpu_only) == "CPUExecutionProvider"
    assert provider_for(CUDA, ["CUDAExecutionProvider", *cpu_only]) == "CUDAExecutionProvider"
    with pytest.raises(
        DeviceError, match=r"needs CUDAExecutionProvider.*onnxruntime 1.20, onnxruntime-gpu 1.19.*never"
    ):
        provider_for(CUDA, cpu_only)
    both = ["TensorrtExecutionProvider", "CUDAExecutionProvider", *cpu_only]
    assert provider_for(CUDA, both) == "CUDAExecutionProvider"  # TensorRT compiles for minutes: only if asked for
    assert provider_for(CUDA, both, tensorrt=True) == "TensorrtExecutionProvider"
    with pytest.raises(DeviceError, match=r"needs TensorrtExecutionProvider.*For TensorRT install"):
        provider_for(CUDA, both[1:], tensorrt=True)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (None, DeviceError, r"could not start CUDAExecutionProvider \(it fell back to CPUExecutionProvider\)"),
        (RuntimeError("libcudnn.so.9: cuDNN 9.* needed"), DeviceError, r"libcudnn.so.9.*built for CUDA 12.8"),
        (RuntimeError("Protobuf parsing failed"), WeightsError, "cannot be loaded: Protobuf"),
    ],
)
def test_a_cuda_provider_that_does_not_start_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, expected: type[Exception], message: str
) -> None:
    calls: list[object] = []

    def session(*args: object, **settings: object) -> SimpleNamespace:
        calls.append(settings["provider_options"])
        if error:
            raise error
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    patch_onnxruntime(monkeypatch, session, "CUDAExecutionProvider", "CPUExecutionProvider", loaded=calls)
    stream = SimpleNamespace(cuda_stream=1234)
    with pytest.raises(expected, match=message):
        onnx_runner._open_session(VARIANTS["onnx-fp32"].file("refiner", folder / "refiner"), CUDA, stream)
    chosen = {"device_id": "0", "user_compute_stream": "1234", "cudnn_conv_algo_search": "HEURISTIC"}
    assert calls == ["libraries", [chosen]], "libraries first, then the session on our stream"


def test_without_onnxruntime_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pose6d\[onnx\]"):
        make_runner("refiner", folder, "cpu", quantized="onnx")
    make_runner("refiner", folder, "cpu")


def test_onnxruntime_reports_its_use_to_nobody(tmp_path: Path) -> None:
    code = """
import onnx
from quantization.onnx_quantization.export import export  # what comes before it in making a file
from learning.inference.onnx_runner import import_onnxruntime
import sys
assert "onnxruntime" not in sys.modules
import_onnxruntime().get_available_providers()
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("deviceid")), "the number by which its maker would know this machine again"


def published(model: Path, output: Path, layout: str, kind: str) -> Path:
    """Our export as NVIDIA publishes its own: other names, no metadata, and NHWC inputs in the older release."""
    content = onnx.load(model)
    graph = content.graph
    del content.metadata_props[:]
    names = {"NHWC": ("input1", "input2"), "NCHW": ("inputA", "inputB")}[layout]
    outputs = {"trans": "output1", "rot": "output2", "ranking": "output1"}
    for node in graph.node:
        node.input[:] = [f"{name}_nchw" if layout == "NHWC" and name in "AB" else name for name in node.input]
        node.input[:] = [dict(zip("AB", names, strict=True)).get(name, name) for name in node.input]
        node.output[:] = [outputs.get(name, name) for name in node.output]
        node.input[:] = [outputs.get(name, name) for name in node.input]
    for value, name in zip(list(graph.input), names, strict=False):
        old, value.name = value.name, name
        if layout == "NHWC":
            dims = value.type.tensor_type.shape.dim
            dims[1].dim_value, dims[3].dim_value = 64, 6
            transpose = onnx.helper.make_node("Transpose", [name], [f"{old}_nchw"], perm=[0, 3, 1, 2])
            graph.node.insert(0, transpose)
    if kind == "scorer":
        none = onnx.numpy_helper.from_array(torch.zeros(0, 64).numpy(), "earlier")
        graph.initializer.append(none)
        graph.input.remove(next(value for value in graph.input if value.name == "earlier"))
    for value in list(graph.output):
        if value.name in outputs:
            value.name = outputs[value.name]
        else:
            graph.output.remove(value)
    onnx.save(content, output)
    return output


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_published_files_of_either_layout_are_imported(folder: Path, tmp_path: Path, layout: str) -> None:
    A, B = torch.rand(2, 5, 6, 64, 64)
    for kind, name in (("refiner", "refine_model.onnx"), ("scorer", "score_model.onnx")):
        published(VARIANTS["onnx-fp32"].file(kind, folder / kind), tmp_path / name, layout, kind)
    refiner = make_runner("refiner", device="cpu", quantized=tmp_path)
    original = NetworkRunner("refiner", folder, "cpu")
    assert refiner.config.rotation_limit == NetworkConfig().rotation_limit
    with torch.inference_mode():
        for wanted, found in zip(original.refine(A, B), refiner.refine(A, B), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
        scorer = make_runner("scorer", device="cpu", quantized=tmp_path, batch_size=2)
        assert scorer.chunks(5) == [slice(0, 5)], "a published scorer compares all pairs in one run"
        found = scorer.score(A, B)[1]
        wanted = NetworkRunner("scorer", folder, "cpu").score(A, B)[1]
    torch.testing.assert_close(found.ranking, wanted.ranking, atol=1e-4, rtol=0)
    assert found.confidence is None
    assert ScorePredictor(tmp_path / "score_model.onnx", "cpu").config.min_depth == 0.1


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        (["n", 4, 224, 224], "float", r"expected inputs \(N, 6, s, s\) or \(N, s, s, 6\).*A \['n', 4, 224, 224\]"),
        (["n", 6, 160, 120], "float", r"expected inputs \(N, 6, s, s\)"),
        (["n", 6, 160, 160], "double", r"of floats; it has inputs A .* tensor\(double\)"),
        ([1, 6, 160, 160], "float", "takes exactly 1 pairs; an export with a dynamic batch is needed"),
        (["n", 6], "float", "expected inputs"),
    ],
)
def test_files_of_other_shapes_are_refused(tmp_path: Path, shape: list[str | int], kind: str, message: str) -> None:
    element = getattr(onnx.TensorProto, kind.upper())
    values = {name: onnx.helper.make_tensor_value_info(name, element, shape) for name in ("A", "B", "trans", "rot")}
    nodes = [onnx.helper.make_node("Identity", [a], [b]) for a, b in (("A", "trans"), ("B", "rot"))]
    graph = onnx.helper.make_graph(nodes, "g", [values["A"], values["B"]], [values["trans"], values["rot"]])
    file = tmp_path / "refiner.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), file)
    with pytest.raises(WeightsError, match=message):
        make_runner("refiner", device="cpu", quantized=file)


def test_where_imported_files_are_looked_for(tmp_path: Path) -> None:
    assert imported_file(tmp_path, "refiner") is None
    assert imported_file("lite", "refiner") is None
    assert imported_file("a/b.onnx", "scorer") == Path("a/b.onnx")
