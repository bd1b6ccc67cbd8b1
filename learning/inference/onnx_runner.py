"""Running networks in ONNX Runtime: our own exports, and the files that NVIDIA publishes for FoundationPose.

Our exports carry their config and the SHA-256 of the weights that they were made from. Published files carry neither;
they are recognised by their inputs and outputs, and get the config of the published networks.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learning.inference.inputs import apply_update, pair_inputs
from learning.inference.torch_int8 import products_saturate
from learning.inference.variants import check_source
from learning.models.config import Kind, NetworkConfig
from learning.models.score_network import Scores
from pose6d.errors import DeviceError, MissingDependencyError, WeightsError
from pose6d.geometry.observation import Observation
from pose6d.search.interfaces import Hypotheses, ObjectModel
from pose6d.weights import sha256

FORMAT = "pose6d.format"
CONFIG = "pose6d.config"
SOURCE = "pose6d.weights_sha256"
PRECISION = "pose6d.precision"
FORMAT_VERSION = "1"

_BATCH = {"cpu": 32, "cuda": 256}
_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_ENGINES = "tensorrt_engines"  # folder beside a model's file, where TensorRT keeps what it has compiled
# Names of the inputs, rendered first, and outputs in the order in which this module uses them.
_INPUTS = (("A", "B"), ("inputA", "inputB"), ("input1", "input2"))
_OUTPUTS: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "refiner": (("trans", "rot"), ("output1", "output2")),
    "scorer": (("features", "ranking", "confidence"), ("features", "ranking"), ("score_logit",), ("output1",)),
}
# Files in a folder of imported networks: ours, and as Isaac ROS names its downloads.
_IMPORTED = {"refiner": ("refiner.onnx", "refine_model.onnx"), "scorer": ("scorer.onnx", "score_model.onnx")}
_TENSORRT_CURE = (
    "For TensorRT install onnxruntime-gpu and the version of TensorRT that it names in its table of requirements, with "
    "its libraries on LD_LIBRARY_PATH; or leave out --quantized"
)
_CUDA_CURE = (
    "For CUDA uninstall onnxruntime and install onnxruntime-gpu (they share an import name: never both), or use "
    "--device cpu, or leave out --quantized"
)
_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_NUMPY = {torch.float32: np.float32, torch.float16: np.float16}


def import_onnxruntime() -> Any:
    """The package, or an error that says how to get it; it does not report to its maker what it is used for.

    Its official packages do so by default, and keep a number of this machine in the user's cache, from the moment when
    they are imported. Who wants that sets ORT_DISABLE_TELEMETRY=0.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX Runtime cannot be imported ({error}): pip install 'pose6d[onnx]' for the CPU, or "
            "'pose6d[onnx-gpu]' for CUDA (never both: their packages share an import name)"
        ) from error
    return onnxruntime


def provider_for(device: torch.device, available: Sequence[str], tensorrt: bool = False) -> str:
    """What ONNX Runtime is to run on, given what the installed package offers.

    Raises:
        DeviceError: the device's provider is not there.
    """
    wanted = _PROVIDERS["tensorrt" if tensorrt else device.type]
    if wanted not in available:
        raise DeviceError(
            f"ONNX Runtime cannot run on {device} here: it needs {wanted}, and the installed packages ({_packages()}) "
            f"offer {', '.join(available)}. {_TENSORRT_CURE if tensorrt else _CUDA_CURE}"
        )
    return wanted


def _packages() -> str:
    """The installed packages that may be behind `import onnxruntime`; with both, the CPU's may hide the other."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found) or "none known to pip"


@dataclass(frozen=True)
class _Interface:
    """How a file's tensors are named and laid out."""

    inputs: tuple[str, str]
    outputs: tuple[str, ...]
    channels_last: bool  # inputs are (N, s, s, 6)
    types: dict[str, torch.dtype]  # of every tensor
    own: bool  # made by quantization.onnx_quantization


class OnnxRunner:
    """A network in ONNX Runtime; the counterpart of `torch_runner.NetworkRunner`.

    Args:
        kind: `refiner` or `scorer`.
        model: the .onnx file.
        device: cpu or cuda.
        source: file of the weights that the model must have been made from; not checked where None.
        batch_size: pairs per run; None chooses by the device.
        tensorrt: let TensorRT run what it can of the model, CUDA the rest. It compiles at the first run, which takes
            minutes, and again for numbers of pairs beyond those seen; what it has compiled stays beside the file.

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
        # Not PyTorch's default stream: its address is 0, which ONNX Runtime takes for none and makes one of its own.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._session = _open_session(model, device, self._stream, tensorrt)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._interface, size = _read_interface(self._session, kind, model, CONFIG in metadata)
        self.config = _read_config(metadata, kind, model, size)
        if source is not None:
            check_source(model, metadata.get(SOURCE, "unknown"), self.config, source)
        self.batch_size = batch_size or _BATCH[device.type]

    def chunks(self, n: int) -> list[slice]:
        """Slices of at most `batch_size` that cover n pairs; a single one for an imported scorer, which compares all of
        its pairs at once."""
        whole = self.config.kind == "scorer" and not self._interface.own
        size = max(n, 1) if whole else self.batch_size
        return [slice(i, min(i + size, n)) for i in range(0, n, size)]

    def inputs(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> tuple[Tensor, Tensor]:
        """As `learning.inference.inputs.pair_inputs`."""
        return pair_inputs(hypotheses, object, observation, self.config)

    def move(self, poses: Tensor, trans: Tensor, rot: Tensor, diameter: float | Tensor) -> Tensor:
        """As `learning.inference.inputs.apply_update`."""
        return apply_update(poses, trans, rot, diameter, self.config.rotation_limit)

    def refine(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        """As `NetworkRunner.refine`; float32 on the runner's device."""
        trans, rot = self._run(A, B.expand_as(A) if len(B) == 1 else B)
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
        """One run on the tensors' own memory; float32 outputs on the runner's device."""
        size = self.config.input_size
        for name, x in (("A", A), ("B", B)):
            if x.ndim != 4 or x.shape[1:] != (6, size, size) or len(x) != len(A):
                raise ValueError(f"{name}: shape {tuple(x.shape)}; ({len(A)}, 6, {size}, {size}) is needed")
        layout = self._interface
        if layout.channels_last:
            A, B = A.permute(0, 2, 3, 1), B.permute(0, 2, 3, 1)
        inputs = {
            name: x.to(self.device, layout.types[name]).contiguous()
            for name, x in (dict(zip(layout.inputs, (A, B), strict=True)) | further).items()
        }
        outputs = {
            name: torch.empty(shape, dtype=layout.types[name], device=self.device)
            for name, shape in self._output_shapes(len(A), len(further.get("earlier", ()))).items()
        }
        binding = self._session.io_binding()
        for tensors, bind in ((inputs, binding.bind_input), (outputs, binding.bind_output)):
            for name, x in tensors.items():
                bind(name, self.device.type, self.device.index or 0, _NUMPY[x.dtype], tuple(x.shape), x.data_ptr())
        if not outputs:
            binding.bind_output(layout.outputs[0], "cpu")
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
        self._session.run_with_iobinding(binding)  # waits for its stream, so that the inputs' memory may go
        results = outputs.values() or [torch.from_numpy(binding.copy_outputs_to_cpu()[0]).to(self.device)]
        return [x.float() for x in results]

    def _output_shapes(self, pairs: int, earlier: int) -> dict[str, tuple[int, ...]]:
        """Of the outputs that are used, in their order; empty for an imported scorer, whose file alone knows it."""
        if self.config.kind == "refiner":
            return dict.fromkeys(self._interface.outputs, (pairs, 3))
        if not self._interface.own:
            return {}
        features, *logits = self._interface.outputs
        return {features: (pairs, self.config.embedding)} | dict.fromkeys(logits, (earlier + pairs,))


def imported_file(path: str | Path, kind: Kind) -> Path | None:
    """The .onnx file that a path names, itself or as a folder with one for this kind; None where it names neither."""
    path = Path(path).expanduser()
    if path.suffix == ".onnx":
        return path
    candidates = [path / name for name in _IMPORTED[kind]]
    return next((file for file in candidates if file.is_file()), None)


def _open_session(model: Path, device: torch.device, stream: torch.cuda.Stream | None, tensorrt: bool = False) -> Any:
    ort = import_onnxruntime()
    if not model.is_file():
        raise WeightsError(f"ONNX file {model} does not exist")
    provider = provider_for(device, ort.get_available_providers(), tensorrt)
    settings: dict[str, dict[str, str]] = {provider: {}}  # in order of preference
    if stream is not None:
        if hasattr(ort, "preload_dlls"):  # finds CUDA's libraries in pip's packages; since ONNX Runtime 1.21
            ort.preload_dlls()
        here = {"device_id": str(device.index or 0), "user_compute_stream": str(stream.cuda_stream)}
        if tensorrt:
            settings[provider] = here | {"trt_fp16_enable": "1"} | _engine_cache(model)
        # Its default tries all kernels of each convolution again whenever the number of pairs changes.
        settings[_PROVIDERS["cuda"]] = here | {"cudnn_conv_algo_search": "HEURISTIC"}
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Its threads would otherwise burn the cores that the renderer needs between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if products_saturate():  # only there: it also replaces the fast kernels that would be right
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = ort.InferenceSession(
            str(model), options, providers=list(settings), provider_options=list(settings.values())
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        if device.type == "cuda" and any(
            word in str(error) for word in ("CUDA", "cuDNN", "TensorRT", "ExecutionProvider")
        ):
            raise _failed_provider(ort, provider, str(error)) from error
        raise WeightsError(f"ONNX file {model} cannot be loaded: {error}") from error
    if provider not in session.get_providers():  # it falls back without a word
        raise _failed_provider(ort, provider, f"it fell back to {', '.join(session.get_providers())}")
    return session


def _engine_cache(model: Path) -> dict[str, str]:
    """Where TensorRT keeps what it has compiled, none if nothing can be written there.

    It tells engines apart by the shape of the network, not by its weights: each file has a folder of its own.
    """
    folder = model.parent / _ENGINES / sha256(model)[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return {}
    return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}


def _failed_provider(ort: Any, provider: str, reason: str) -> DeviceError:
    cure = _TENSORRT_CURE if provider == _PROVIDERS["tensorrt"] else _CUDA_CURE
    return DeviceError(
        f"ONNX Runtime could not start {provider} ({reason}). Installed: {_packages()}, built for CUDA "
        f"{getattr(ort, 'cuda_version', '') or 'unknown'}; PyTorch {torch.__version__} brings CUDA {torch.version.cuda}"
        f" and cuDNN {torch.backends.cudnn.version()}: the major versions must agree. {cure}"
    )


def _read_interface(session: Any, kind: Kind, model: Path, own: bool) -> tuple[_Interface, int | None]:
    """Names, layout, and the input's size where the file fixes it."""
    inputs = {x.name: x for x in session.get_inputs()}
    outputs = {x.name: x for x in session.get_outputs()}
    names_in = next((names for names in _INPUTS if set(names) <= set(inputs)), None)
    names_out = next((names for names in _OUTPUTS[kind] if set(names) <= set(outputs)), None)
    found = f"inputs {_describe(inputs)} and outputs {_describe(outputs)}"
    if names_in is None or names_out is None or (kind == "scorer" and len(outputs) > len(names_out)):
        raise WeightsError(f"ONNX file {model} is no {kind}: it has {found}")
    shapes = [list(inputs[name].shape) for name in names_in]
    types = {name: _TYPES[x.type] for name, x in (inputs | outputs).items() if x.type in _TYPES}
    last = [len(shape) == 4 and shape[3] == 6 for shape in shapes]
    first = [len(shape) == 4 and shape[1] == 6 for shape in shapes]
    sides = {side for shape in shapes for side in shape[1:] if isinstance(side, int) and side != 6}
    if not (all(last) or all(first)) or len(sides) > 1 or len(types) < len(inputs | outputs):
        raise WeightsError(f"ONNX file {model}: expected inputs (N, 6, s, s) or (N, s, s, 6) of floats; it has {found}")
    if isinstance(shapes[0][0], int):
        raise WeightsError(
            f"ONNX file {model} takes exactly {shapes[0][0]} pairs; an export with a dynamic batch is needed: {found}"
        )
    layout = _Interface((names_in[0], names_in[1]), names_out, all(last) and not all(first), types, own)
    return layout, next(iter(sides), None)


def _describe(tensors: dict[str, Any]) -> str:
    return ", ".join(f"{name} {x.shape} {x.type}" for name, x in tensors.items())


def _read_config(metadata: dict[str, str], kind: Kind, model: Path, size: int | None) -> NetworkConfig:
    if CONFIG not in metadata:  # a published network, whose scorer takes everything nearer than 0.1 m as missing
        min_depth = 0.1 if kind == "scorer" else 0.001
        return NetworkConfig(kind, input_size=size or 160, min_depth=min_depth, clip_to_image=False)
    if metadata.get(FORMAT) != FORMAT_VERSION:
        raise WeightsError(f"ONNX file {model} is of format {metadata.get(FORMAT)}, expected {FORMAT_VERSION}")
    try:
        config = NetworkConfig.from_dict(json.loads(metadata[CONFIG]), kind)
    except (json.JSONDecodeError, TypeError, WeightsError) as error:
        raise WeightsError(f"ONNX file {model}: {error}") from error
    if size is not None and size != config.input_size:
        raise WeightsError(f"ONNX file {model} takes crops of {size} px, but its config says {config.input_size}")
    return config
