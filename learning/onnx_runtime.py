"""Running networks in ONNX Runtime: our own exports, and the files that NVIDIA publishes for FoundationPose.

Our exports carry their config and the SHA-256 of the weights that they were made from. Published files carry neither;
they are recognised by their inputs and outputs, and get the config of the published networks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learning.inputs import apply_update, pair_inputs
from learning.models.config import Kind, NetworkConfig
from learning.models.score_network import Scores
from learning.torch_int8 import products_saturate
from learning.variants import Variant
from pose6d.errors import DeviceError, MissingDependencyError, WeightsError
from pose6d.geometry.observation import Observation
from pose6d.rendering.interface import Renderer
from pose6d.weights import find_weights, load_weights, sha256

FORMAT = "pose6d.format"
CONFIG = "pose6d.config"
SOURCE = "pose6d.weights_sha256"
PRECISION = "pose6d.precision"
FORMAT_VERSION = "1"

_BATCH = {"cpu": 32, "cuda": 256}
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TENSORRT = "TensorrtExecutionProvider"
# Names of the inputs, rendered first, and outputs in the order in which this module uses them.
_INPUTS = (("A", "B"), ("inputA", "inputB"), ("input1", "input2"))
_OUTPUTS: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "refiner": (("trans", "rot"), ("output1", "output2")),
    "scorer": (("features", "ranking", "confidence"), ("features", "ranking"), ("score_logit",), ("output1",)),
}
# Files in a folder of imported networks: ours, and as Isaac ROS names its downloads.
_IMPORTED = {"refiner": ("refiner.onnx", "refine_model.onnx"), "scorer": ("scorer.onnx", "score_model.onnx")}
_NUMPY = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


def import_onnxruntime() -> Any:
    """The package, or an error that says how to get it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX Runtime cannot be imported ({error}): pip install 'pose6d[onnx]' for the CPU, or onnxruntime-gpu in "
            "place of onnxruntime for CUDA (they share an import name: never both)"
        ) from error
    return onnxruntime


def providers_for(device: torch.device, available: Sequence[str], tensorrt: bool = False) -> list[str]:
    """What ONNX Runtime is to run on, first choice first.

    Args:
        device: where the network is to run.
        available: what the installed package offers.
        tensorrt: prefer TensorRT, whose engines take minutes to build and are then kept beside the model.

    Raises:
        DeviceError: the device's provider is not there.
    """
    wanted = [_TENSORRT] if tensorrt else []
    wanted.append(_PROVIDERS[device.type])
    missing = [name for name in wanted if name not in available]
    if missing or (tensorrt and device.type != "cuda"):
        raise DeviceError(
            f"ONNX Runtime cannot run on {device} here: it needs {', '.join(wanted)} and has {', '.join(available)}. "
            "For CUDA install onnxruntime-gpu in place of onnxruntime (extra [onnx]), or use --device cpu, or leave "
            "out --quantized"
        )
    return wanted


@dataclass(frozen=True)
class _Interface:
    """How a file's tensors are named and laid out."""

    inputs: tuple[str, str]
    outputs: tuple[str, ...]
    channels_last: bool  # inputs are (N, s, s, 6)
    dtype: torch.dtype
    own: bool  # made by quantization.onnx_quantization


class OnnxRunner:
    """A network in ONNX Runtime; the counterpart of `learning.runtime.NetworkRunner`.

    Args:
        kind: `refiner` or `scorer`.
        model: the .onnx file.
        device: cpu or cuda.
        source: file of the weights that the model must have been made from; not checked where None.
        batch_size: pairs per run; None chooses by the device.
        tensorrt: use TensorRT.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        DeviceError: it lacks a provider for the device.
        WeightsError: the file is missing, broken, no such network, or made from other weights or another config.
    """

    recordable = False  # ONNX Runtime's kernels cannot be part of PyTorch's CUDA graph

    def __init__(
        self,
        kind: Kind,
        model: Path,
        device: torch.device,
        source: Path | None = None,
        batch_size: int | None = None,
        tensorrt: bool = False,
    ):
        self.device, self.model = device, model
        self._session = _open_session(model, device, tensorrt)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._interface, size = _read_interface(self._session, kind, model)
        self._interface = _Interface(**{**vars(self._interface), "own": CONFIG in metadata})
        self.config = _read_config(metadata, kind, model, size)
        if source is not None:
            _check_source(metadata, self.config, kind, model, source)
        self.batch_size = batch_size or _BATCH[device.type]
        self.half = self._interface.dtype == torch.float16

    def chunks(self, n: int) -> list[slice]:
        """Slices of at most `batch_size` that cover n pairs; a single one for an imported scorer, which compares all of
        its pairs at once."""
        whole = self.config.kind == "scorer" and not self._interface.own
        size = max(n, 1) if whole else self.batch_size
        return [slice(i, min(i + size, n)) for i in range(0, n, size)]

    def inputs(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float | Tensor,
        mesh_index: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `learning.inputs.pair_inputs`."""
        return pair_inputs(renderer, poses, observation, K, diameter, self.config, mesh_index)

    def move(self, poses: Tensor, trans: Tensor, rot: Tensor, diameter: float | Tensor) -> Tensor:
        """As `learning.inputs.apply_update`."""
        return apply_update(poses, trans, rot, diameter, self.config.rotation_limit)

    def refine(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        """As `RefineNet.forward`; float32 on the runner's device."""
        trans, rot = self._run(A, B)
        return trans, rot

    def score(self, A: Tensor, B: Tensor, earlier: Tensor | None = None) -> tuple[Tensor, Scores]:
        """As `NetworkRunner.score`; an imported scorer gives no features and takes none."""
        if not self._interface.own:
            assert earlier is None, "an imported scorer sees all pairs at once"
            (ranking,) = self._run(A, B)
            return ranking.new_empty((len(A), 0)), Scores(ranking.reshape(-1), None)
        if earlier is None:
            earlier = torch.empty((0, self.config.embedding), device=self.device)
        features, ranking, *confidence = self._run(A, B, earlier=earlier)
        return torch.cat([earlier, features]), Scores(ranking, confidence[0] if confidence else None)

    def _run(self, A: Tensor, B: Tensor, **further: Tensor) -> list[Tensor]:
        """One run without copies of the inputs; the outputs are small and come by way of the host."""
        size = self.config.input_size
        for name, x in (("A", A), ("B", B)):
            if x.ndim != 4 or x.shape[1:] != (6, size, size) or len(x) != len(A):
                raise ValueError(f"{name}: shape {tuple(x.shape)}; ({len(A)}, 6, {size}, {size}) is needed")
        layout = self._interface
        if layout.channels_last:
            A, B = A.permute(0, 2, 3, 1), B.permute(0, 2, 3, 1)
        inputs = dict(zip(layout.inputs, (A, B), strict=True)) | further
        binding = self._session.io_binding()
        held = []  # ONNX Runtime reads the memory, so it has to outlive the run
        for name, x in inputs.items():
            held.append(x.to(self.device, layout.dtype if name in layout.inputs else torch.float32).contiguous())
            binding.bind_input(
                name, self.device.type, self.device.index or 0, _element(held[-1]), held[-1].shape, held[-1].data_ptr()
            )
        for name in layout.outputs:
            binding.bind_output(name, "cpu")
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self._session.run_with_iobinding(binding)
        return [torch.from_numpy(value.numpy()).float().to(self.device) for value in binding.get_outputs()]


def open_variant(
    variant: Variant, kind: Kind, weights: str | Path, device: torch.device, batch_size: int | None = None
) -> OnnxRunner:
    """The runner of a set's exported variant.

    Raises:
        WeightsError: it has not been exported yet, or from other weights; see `OnnxRunner`.
    """
    import_onnxruntime()
    source = find_weights(weights, kind, device.type)
    model = variant.file(kind, source)
    if not model.is_file():
        raise WeightsError(
            f"quantized={variant.name!r}: {model} is not there yet; make it with: {variant.command(source.parent)}"
        )
    return OnnxRunner(kind, model, device, source, batch_size)


def imported_file(path: str | Path, kind: Kind) -> Path | None:
    """The .onnx file that a path names, itself or as a folder with one for this kind; None where it names neither."""
    path = Path(path).expanduser()
    if path.suffix == ".onnx":
        return path
    candidates = [path / name for name in _IMPORTED[kind]]
    return next((file for file in candidates if file.is_file()), None)


def _open_session(model: Path, device: torch.device, tensorrt: bool) -> Any:
    ort = import_onnxruntime()
    if not model.is_file():
        raise WeightsError(f"ONNX file {model} does not exist")
    names = providers_for(device, ort.get_available_providers(), tensorrt)
    settings: dict[str, dict[str, Any]] = {
        "CUDAExecutionProvider": {"device_id": device.index or 0},
        _TENSORRT: {
            "device_id": device.index or 0,
            "trt_fp16_enable": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(model.with_suffix(".tensorrt")),
        },
    }
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Its threads would otherwise burn the cores that the renderer needs between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if products_saturate():  # only there: it also replaces the fast kernels that would be right
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = ort.InferenceSession(
            str(model), options, providers=names, provider_options=[settings.get(name, {}) for name in names]
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        raise WeightsError(f"ONNX file {model} cannot be loaded: {error}") from error
    if names[0] not in session.get_providers():  # it falls back without a word
        raise DeviceError(f"ONNX Runtime could not start {names[0]} and fell back to {session.get_providers()}")
    return session


def _read_interface(session: Any, kind: Kind, model: Path) -> tuple[_Interface, int | None]:
    """Names, layout, and the input's size where the file fixes it."""
    inputs = {x.name: x for x in session.get_inputs()}
    outputs = {x.name: x for x in session.get_outputs()}
    names_in = next((names for names in _INPUTS if set(names) <= set(inputs)), None)
    names_out = next((names for names in _OUTPUTS[kind] if set(names) <= set(outputs)), None)
    found = f"inputs {_describe(inputs)} and outputs {_describe(outputs)}"
    if names_in is None or names_out is None or (kind == "scorer" and len(outputs) > len(names_out)):
        raise WeightsError(f"ONNX file {model} is no {kind}: it has {found}")
    shapes = [list(inputs[name].shape) for name in names_in]
    dtype = _NUMPY.get(inputs[names_in[0]].type)
    last = [len(shape) == 4 and shape[3] == 6 for shape in shapes]
    first = [len(shape) == 4 and shape[1] == 6 for shape in shapes]
    if not (all(last) or all(first)) or dtype is None:
        raise WeightsError(f"ONNX file {model}: expected inputs (N, 6, s, s) or (N, s, s, 6) of floats; it has {found}")
    if isinstance(shapes[0][0], int):
        raise WeightsError(
            f"ONNX file {model} takes exactly {shapes[0][0]} pairs; an export with a dynamic batch is needed: {found}"
        )
    side = shapes[0][2]
    layout = _Interface((names_in[0], names_in[1]), names_out, all(last) and not all(first), dtype, own=False)
    return layout, side if isinstance(side, int) else None


def _describe(tensors: dict[str, Any]) -> str:
    return ", ".join(f"{name} {x.shape}" for name, x in tensors.items())


def _read_config(metadata: dict[str, str], kind: Kind, model: Path, size: int | None) -> NetworkConfig:
    if CONFIG not in metadata:  # a published network, whose scorer takes everything nearer than 0.1 m as missing
        return NetworkConfig(kind, input_size=size or 160, min_depth=0.1 if kind == "scorer" else 0.001)
    if metadata.get(FORMAT) != FORMAT_VERSION:
        raise WeightsError(f"ONNX file {model} is of format {metadata.get(FORMAT)}, expected {FORMAT_VERSION}")
    try:
        config = NetworkConfig.from_dict(json.loads(metadata[CONFIG]), kind)
    except (json.JSONDecodeError, TypeError, WeightsError) as error:
        raise WeightsError(f"ONNX file {model}: {error}") from error
    if size is not None and size != config.input_size:
        raise WeightsError(f"ONNX file {model} takes crops of {size} px, but its config says {config.input_size}")
    return config


def _check_source(metadata: dict[str, str], config: NetworkConfig, kind: Kind, model: Path, source: Path) -> None:
    again = "it is stale; make it again with `python -m quantization create`"
    if metadata.get(SOURCE) != sha256(source):
        raise WeightsError(
            f"ONNX file {model} was made from other weights (SHA-256 {metadata.get(SOURCE, 'unknown')[:12]}...) than "
            f"{source} ({sha256(source)[:12]}...): {again}"
        )
    now = NetworkConfig.from_dict(load_weights(source, kind).config, kind).to_dict()
    changed = [f"{key} {old!r} instead of {now[key]!r}" for key, old in config.to_dict().items() if old != now[key]]
    if changed:
        raise WeightsError(f"ONNX file {model} was made for another config ({', '.join(changed)}): {again}")


def _element(x: Tensor) -> Any:
    import numpy as np

    return np.float16 if x.dtype == torch.float16 else np.float32
