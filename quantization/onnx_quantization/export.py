"""From weights to an ONNX file, and the check that it gives what PyTorch gives."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learning.inference.onnx_runner import CONFIG, FORMAT, FORMAT_VERSION, PRECISION, SOURCE, OnnxRunner
from learning.inference.torch_runner import NetworkRunner, fold_batch_norm
from learning.models.config import NetworkConfig
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from pose6d.errors import MissingDependencyError, WeightsError
from quantization.calibration_pairs import Pairs

OPSET = 20  # has LayerNormalization and Gelu; runs in ONNX Runtime 1.18
PARITY = 1e-3  # in every output, float32
_MOST_PAIRS = 4096


def import_onnx() -> Any:
    """The package, or an error that says how to get it."""
    try:
        import onnx
        import onnxscript  # noqa: F401  # PyTorch's exporter needs it, and says so in a longer way
    except ImportError as error:
        raise MissingDependencyError(f"exporting needs {error.name}: pip install 'pose6d[onnx]'") from error
    return onnx


class _Refiner(nn.Module):
    def __init__(self, network: RefineNet):
        super().__init__()
        self.network = network

    def forward(self, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
        trans_head, rot_head = self.network.trans_head, self.network.rot_head
        tokens = _tokens(self.network.encodeA, self.network.encodeAB, self.network.pos_embed, A, B)
        return trans_head[1](trans_head[0](tokens).mean(dim=1)), rot_head[1](rot_head[0](tokens).mean(dim=1))


class _Scorer(nn.Module):
    """The scorer chunk by chunk: what earlier pairs looked like goes in, so that any number can be ranked together."""

    def __init__(self, network: ScoreNetMultiPair):
        super().__init__()
        self.network = network

    def forward(self, A: Tensor, B: Tensor, earlier: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        tokens = _tokens(network.encoderA, network.encoderAB, network.pos_embed, A, B)
        features = network.att.out_proj(network.att.attend(tokens).mean(dim=1))
        together = torch.cat([earlier, features])
        ranking = network.linear(network.att_cross(together[None]))[0, :, 0]
        confidence = network.judge(together)
        return (features, ranking) if confidence is None else (features, ranking, confidence)


def _tokens(image_trunk: nn.Module, pair_trunk: nn.Module, pos_embed: nn.Module, A: Tensor, B: Tensor) -> Tensor:
    """As `blocks.encode_pairs`, but split in a way that the exporter follows for any number of pairs."""
    n = A.shape[0]
    features = image_trunk(torch.cat([A, B]))
    pair = torch.cat([features[:n], features[n:]], dim=1)
    return pos_embed(pair_trunk(pair).flatten(2).transpose(1, 2))


def export(network: RefineNet | ScoreNetMultiPair, output: Path) -> None:
    """Write a network as float32 ONNX, without metadata."""
    config = network.config
    folded = fold_batch_norm(copy.deepcopy(network)).requires_grad_(False)
    pairs = torch.export.Dim("pairs", min=1, max=_MOST_PAIRS)
    size = (3, 6, config.input_size, config.input_size)
    inputs: dict[str, Tensor] = {"A": torch.rand(size), "B": torch.rand(size)}
    dynamic: dict[str, Any] = {"A": {0: pairs}, "B": {0: pairs}}
    wrapped: nn.Module
    if isinstance(folded, RefineNet):
        wrapped, names = _Refiner(folded), ["trans", "rot"]
    else:
        wrapped, names = _Scorer(folded), ["features", "ranking", "confidence"][: 2 + config.confidence]
        inputs["earlier"] = torch.rand(5, config.embedding)
        dynamic["earlier"] = {0: torch.export.Dim("earlier", min=0, max=_MOST_PAIRS)}
    with _quiet():
        torch.onnx.export(
            wrapped.eval(),
            tuple(inputs.values()),
            str(output),
            input_names=list(inputs),
            output_names=names,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def annotate(file: Path, config: NetworkConfig, weights_sha256: str, precision: str) -> None:
    """Put into an ONNX file what `OnnxRunner` checks."""
    onnx = import_onnx()
    model = onnx.load(file)
    facts = {
        FORMAT: FORMAT_VERSION,
        CONFIG: json.dumps(config.to_dict()),
        SOURCE: weights_sha256,
        PRECISION: precision,
    }
    kept = {entry.key: entry.value for entry in model.metadata_props if not entry.key.startswith("pose6d.")}
    onnx.helper.set_model_props(model, kept | facts)
    for node in model.graph.node:  # the exporter's stack traces, which are longer than all names together
        del node.metadata_props[:]
    onnx.save(model, file)


@torch.inference_mode()
def output_differences(
    original: NetworkRunner | OnnxRunner, other: NetworkRunner | OnnxRunner, pairs: Pairs
) -> dict[str, float]:
    """The largest absolute difference of each output."""
    wanted, found = all_outputs(original, pairs), all_outputs(other, pairs)
    if wanted.keys() != found.keys():
        raise WeightsError(f"outputs differ: {sorted(wanted)} and {sorted(found)}")
    return {name: float((wanted[name] - found[name]).abs().max()) for name in wanted}


@torch.inference_mode()
def all_outputs(runner: NetworkRunner | OnnxRunner, pairs: Pairs) -> dict[str, Tensor]:
    """Every output of a network for all pairs, float32 on the CPU; a scorer takes them as hypotheses of one object."""
    if runner.config.kind == "refiner":
        parts = [runner.refine(A, B) for A, B in pairs.chunks(runner.batch_size)]
        trans, rot = (torch.cat(values).float().cpu() for values in zip(*parts, strict=True))
        return {"trans": trans, "rot": rot}
    features = None
    for A, B in pairs.chunks(runner.batch_size):
        features, scores = runner.score(A, B, features)
    assert features is not None
    outputs = {"features": features, "ranking": scores.ranking, "confidence": scores.confidence}
    return {name: value.float().cpu() for name, value in outputs.items() if value is not None}


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter prints its steps and warns about its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
