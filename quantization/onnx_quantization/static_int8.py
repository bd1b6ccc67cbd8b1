"""Static int8: activations and weights quantised around each layer (QDQ), the most sensitive layers kept in float.

Weights get one scale per output channel, activations one range per tensor from calibration pairs (Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from learning.inference.onnx_runner import import_onnxruntime
from learning.models.config import NetworkConfig
from quantization.calibration_pairs import Pairs
from quantization.onnx_quantization.export import import_onnx
from quantization.weight_int8 import quantize_weight

_WEIGHTED = ("Conv", "MatMul", "Gemm")
_TRUNK = ("Add", "Relu", "Concat")  # between the convolutions, where integers then flow through
_TRUNK_NAMES = ("encodeA", "encoderA")
_BATCH = 16
_SCOPES = "pkg.torch.onnx.name_scopes"
_SENSITIVITY_PAIRS = 32


@dataclass(frozen=True)
class LayerError:
    """What quantising one layer alone does.

    Attributes:
        layer: name of the module.
        node: name of the ONNX node.
        error: root mean square of the outputs' change over their standard deviation, mean over the outputs.
        work: its share of all multiplications.
    """

    layer: str
    node: str
    error: float
    work: float


def name_nodes(model: Any) -> dict[str, str]:
    """ONNX node -> module of the network, for each node with weights; also says so in the nodes' own names.

    The exporter writes the module path into metadata, which does not survive optimisation.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    layers: dict[str, str] = {}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), None)
        module = ".".join(ast.literal_eval(scopes)[-2:-1]) if scopes else ""
        node.name = f"{module.removeprefix('network.')}/{node.name}"
        if node.op_type in _WEIGHTED and any(name in constants for name in node.input):
            layers[node.name] = module.removeprefix("network.")
    return layers


class StaticQuantizer:
    """Calibrates a float32 export once, and then quantises any choice of its layers.

    Args:
        model: the float32 file, as `export` wrote it (with the exporter's metadata).
        config: of the network.
        pairs: to calibrate on.
    """

    def __init__(self, model: Path, config: NetworkConfig, pairs: Pairs):
        onnx = import_onnx()
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.config, self._pairs = config, pairs
        with TemporaryDirectory() as folder:
            named, prepared = Path(folder) / "named.onnx", Path(folder) / "prepared.onnx"
            content = onnx.load(model)
            self.layers = name_nodes(content)
            onnx.save(content, named)
            quant_pre_process(str(named), str(prepared), skip_symbolic_shape=True, skip_optimization=True)
            self._model = onnx.load(prepared)
            self._trunk = [
                node.name
                for node in self._model.graph.node
                if node.op_type in _TRUNK and node.name.startswith(_TRUNK_NAMES)
            ]
            self._ranges = self._calibrate(prepared, Path(folder) / "augmented.onnx")

    def _calibrate(self, model: Path, augmented: Path) -> Any:
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        calibrator = create_calibrator(
            model,
            [*_WEIGHTED, *_TRUNK],
            augmented_model_path=str(augmented),
            calibrate_method=CalibrationMethod.MinMax,
            providers=["CPUExecutionProvider"],
            # Means over batches of the least and the largest value, so that one odd pair does not set the range.
            extra_options={"moving_average": True, "averaging_constant": 0.01},
        )
        calibrator.collect_data(_Reader(self.config, self._pairs))
        return calibrator.compute_data()

    def quantize(self, nodes: Sequence[str]) -> Any:
        """The model with these nodes in int8; with all of the trunk's, also what lies between them."""
        import copy

        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        between = self._trunk if len(nodes) > 1 else []
        quantizer = QDQQuantizer(
            copy.deepcopy(self._model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[*nodes, *between],
            nodes_to_exclude=[],
            op_types_to_quantize=[*_WEIGHTED, *_TRUNK],
            extra_options={"MatMulConstBOnly": True},
        )
        quantizer.quantize_model()
        return quantizer.model.model

    def sensitivity(self) -> list[LayerError]:
        """What quantising each layer alone does to the outputs, the worst first."""
        work = _multiplications(self._model, self.layers)
        total = sum(work.values())
        few = Pairs(*(x[:_SENSITIVITY_PAIRS] for x in (self._pairs.poses, self._pairs.A, self._pairs.B)))
        wanted = _outputs(self._model, self.config, few)
        errors = []
        for node, layer in tqdm(self.layers.items(), desc="sensitivity", unit="layer", leave=False):
            found = _outputs(self.quantize([node]), self.config, few)
            relative = [np.sqrt(np.mean((f - w) ** 2)) / w.std() for f, w in zip(found, wanted, strict=True)]
            errors.append(LayerError(layer, node, float(np.mean(relative)), work[node] / total))
        return sorted(errors, key=lambda layer: -layer.error)

    def save(self, output: Path, keep_float: Sequence[str] = ()) -> None:
        """Write the model with all layers in int8 but for some nodes, which compute in float from int8 weights."""
        onnx = import_onnx()
        model = self.quantize([node for node in self.layers if node not in keep_float])
        for node in [node for node in model.graph.node if node.name in keep_float]:
            _store_weight_in_int8(onnx, model, node)
        _store_embedding_in_half(onnx, model)
        onnx.save(model, output)


def worst_layers(errors: Sequence[LayerError], budget: float) -> list[LayerError]:
    """The layers to keep in float: the most squared error for the least work, within a budget.

    Args:
        errors: of all layers.
        budget: share of all multiplications that may stay in float.
    """
    kept, spent = [], 0.0
    for layer in sorted(errors, key=lambda layer: -(layer.error**2) / layer.work):
        if spent + layer.work <= budget:
            kept.append(layer)
            spent += layer.work
    return kept


def _multiplications(model: Any, nodes: Iterable[str]) -> dict[str, float]:
    """Of each of these nodes, for one pair."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    shapes |= {value.name: value.type.tensor_type.shape.dim for value in model.graph.output}
    weights = {initializer.name: list(initializer.dims) for initializer in model.graph.initializer}
    by_name = {node.name: node for node in model.graph.node}
    counts = {}
    for name in nodes:
        node = by_name[name]
        output = shapes[node.output[0]]
        # Symbolic sizes are `pairs`, or `2*pairs` where rendered and observed images share a layer.
        sizes = [dim.dim_value or (2 if dim.dim_param.startswith("2*") else 1) for dim in output]
        per_output = np.prod(weights[node.input[1]]) / sizes[1 if node.op_type == "Conv" else -1]
        counts[name] = float(np.prod(sizes) * per_output)
    return counts


class _Reader:
    """Feeds calibration pairs to ONNX Runtime (its CalibrationDataReader)."""

    def __init__(self, config: NetworkConfig, pairs: Pairs):
        bar = tqdm(total=len(pairs), desc="calibrate", unit="pair", leave=False)
        self._feeds = _feeds(config, pairs, bar)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _feeds(config: NetworkConfig, pairs: Pairs, bar: Any = None) -> Iterator[dict[str, np.ndarray]]:
    for A, B in pairs.chunks(_BATCH):
        feed = {"A": A.numpy(), "B": B.numpy()}
        if config.kind == "scorer":
            feed["earlier"] = np.zeros((0, config.embedding), np.float32)
        yield feed
        if bar is not None:
            bar.update(len(A))
    if bar is not None:
        bar.close()


def _outputs(model: Any, config: NetworkConfig, pairs: Pairs) -> list[np.ndarray]:
    """Each output but the features, for all pairs."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name != "features"]
    parts = [session.run(names, feed) for feed in _feeds(config, pairs)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _store_weight_in_int8(onnx: Any, model: Any, node: Any) -> None:
    """Replace a node's float weight by int8 values and one scale per output channel."""
    weights = {initializer.name: initializer for initializer in model.graph.initializer}
    name = node.input[1]
    if name not in weights or sum(name in other.input for other in model.graph.node) > 1:
        return
    weight = onnx.numpy_helper.to_array(weights[name])
    axis = weight.ndim - 1 if node.op_type == "MatMul" else 0  # Gemm's weights are (out, in), as PyTorch's
    values, scale = quantize_weight(torch.from_numpy(weight.copy()), axis)
    model.graph.initializer.remove(weights[name])
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(values.numpy(), f"{name}_int8"),
            onnx.numpy_helper.from_array(scale.numpy(), f"{name}_scale"),
            onnx.numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{name}_zero"),
        ]
    )
    dequantize = onnx.helper.make_node(
        "DequantizeLinear",
        [f"{name}_int8", f"{name}_scale", f"{name}_zero"],
        [name],
        name=f"{name}_dequantize",
        axis=axis,
    )
    model.graph.node.insert(0, dequantize)


def _store_embedding_in_half(onnx: Any, model: Any) -> None:
    """The sines and cosines, which no layer multiplies, in float16: half a per cent of the float32 file."""
    for pe in [initializer for initializer in model.graph.initializer if initializer.name.endswith("pos_embed.pe")]:
        half = onnx.numpy_helper.to_array(pe).astype(np.float16)
        model.graph.initializer.remove(pe)
        model.graph.initializer.append(onnx.numpy_helper.from_array(half, f"{pe.name}_half"))
        cast = onnx.helper.make_node(
            "Cast", [f"{pe.name}_half"], [pe.name], name=f"{pe.name}_cast", to=onnx.TensorProto.FLOAT
        )
        model.graph.node.insert(0, cast)
