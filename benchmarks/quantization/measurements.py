"""What each variant costs and gives: file size, time of the network alone, and how far its poses drift from fp32's."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from learning.inference.inputs import apply_update
from learning.inference.onnx_runner import OnnxRunner
from learning.inference.runners import make_runner
from learning.inference.torch_runner import NetworkRunner, fold_batch_norm
from learning.inference.variants import VARIANTS
from learning.models.config import Kind
from learning.models.loading import load_network
from pose6d.geometry.transforms import rotation_angle
from pose6d.weights import find_weights
from quantization.calibration_pairs import Pairs

BASELINE = "torch-fp32"
FASTEST = {torch.float16: "torch-fp16", torch.bfloat16: "torch-bf16"}
"""The weights as they are, in the number format that a device uses unless told otherwise."""
PLAIN = {BASELINE: False, **dict.fromkeys(FASTEST.values(), True)}
"""No quantised variants; and whether `amp` is on."""
_REPEATS = 3  # of which the quickest counts
DIAMETER = 0.2  # metres, of the objects whose drift is reported


@dataclass
class Row:
    """One variant.

    Attributes:
        name: one of PLAIN, or what `quantized=` takes.
        megabytes: both files; of float16 weights that are computed in float32, their float32 size.
        setup: seconds until both networks are ready.
        per_pair: milliseconds of the refiner alone, by number of pairs.
        scorer_per_pair: the same of the scorer.
        degrees, millimetres: mean difference of one refinement step from fp32's, for an object of DIAMETER.
        first_frame: median seconds of register, end to end.
        frames_per_second: of track_one, end to end.
        add: percent of scenes with ADD(-S) within 0.1 diameters.
        add_difference: to that of BASELINE, points.
    """

    name: str
    megabytes: float = float("nan")
    setup: float = float("nan")
    per_pair: dict[int, float] = field(default_factory=dict)
    scorer_per_pair: dict[int, float] = field(default_factory=dict)
    degrees: float = float("nan")
    millimetres: float = float("nan")
    first_frame: float = float("nan")
    frames_per_second: float = float("nan")
    add: float = float("nan")
    add_difference: float = float("nan")


def open_runner(name: str, kind: Kind, weights: str, device: torch.device) -> NetworkRunner | OnnxRunner:
    """A variant's runner; of one of PLAIN the network as it is."""
    if name in PLAIN:
        return make_runner(kind, weights, device, amp=PLAIN[name])
    return make_runner(kind, weights, device, quantized=name)


def megabytes(name: str, weights: str) -> float:
    """Size of both networks' files."""
    kinds: tuple[Kind, Kind] = ("refiner", "scorer")
    if name in FASTEST.values():
        return sum(find_weights(weights, kind).stat().st_size for kind in kinds) / 1e6
    if (variant := VARIANTS.get(name)) is not None:
        return sum(variant.file(kind, find_weights(weights, kind)).stat().st_size for kind in kinds) / 1e6
    total = 0
    for kind in kinds:
        runner = open_runner(name, kind, weights, torch.device("cpu"))
        assert isinstance(runner, NetworkRunner)
        total += _saved_size(fold_batch_norm(load_network(weights, kind, "cpu")).to(runner.dtype))
    return total / 1e6


def _saved_size(network: torch.nn.Module) -> int:
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.tell()


def setup_seconds(name: str, weights: str, device: torch.device) -> float:
    """Least time until both networks have answered for the first time."""
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        for kind in ("refiner", "scorer"):
            open_runner(name, kind, weights, device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@torch.inference_mode()
def per_pair_milliseconds(
    runners: dict[str, NetworkRunner | OnnxRunner],
    pairs: Pairs,
    batches: Sequence[int],
    clock: Callable[[], float] = time.perf_counter,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, dict[int, float]]:
    """Least milliseconds per pair of the network alone.

    The variants take turns, so that whatever else the machine does hits all of them.
    """
    best: dict[str, dict[int, float]] = {name: {} for name in runners}
    for attempt in range(_REPEATS + 1):  # the first one warms up
        for batch in batches:
            repeats = [i % len(pairs) for i in range(batch)]
            for name, runner in runners.items():
                A, B = pairs.A[repeats].to(runner.device), pairs.B[repeats].to(runner.device)
                start = clock()
                _run(runner, A, B)
                if runner.device.type == "cuda":
                    torch.cuda.synchronize(runner.device)
                elapsed = 1e3 * (clock() - start) / batch
                if attempt:
                    best[name][batch] = min(elapsed, best[name].get(batch, np.inf))
                tick()
    return best


def _run(runner: NetworkRunner | OnnxRunner, A: Tensor, B: Tensor) -> None:
    features = None
    for rows in runner.chunks(len(A)):
        if runner.config.kind == "refiner":
            runner.refine(A[rows], B[rows])
        else:
            features, _ = runner.score(A[rows], B[rows], features)


@torch.inference_mode()
def refine_once(runner: NetworkRunner | OnnxRunner, pairs: Pairs) -> Tensor:
    """The poses (N, 4, 4) after one step; in diameters."""
    moved = []
    for rows in runner.chunks(len(pairs)):
        trans, rot = runner.refine(pairs.A[rows].to(runner.device), pairs.B[rows].to(runner.device))
        moved.append(apply_update(pairs.poses[rows], trans.cpu(), rot.cpu(), 1.0, runner.config.rotation_limit))
    return torch.cat(moved)


def drift(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Mean difference of poses (N, 4, 4) given in diameters: degrees, and millimetres for an object of DIAMETER."""
    degrees = torch.rad2deg(rotation_angle(found[:, :3, :3], wanted[:, :3, :3])).mean()
    return float(degrees), float((found[:, :3, 3] - wanted[:, :3, 3]).norm(dim=1).mean() * DIAMETER * 1e3)


def markdown(rows: Sequence[Row], facts: Sequence[str]) -> str:
    """The table, and below it what it was made with."""
    batches = sorted({batch for row in rows for batch in row.per_pair})
    heads = ["variant", "files MB", "of fp32", "setup s"]
    heads += [f"refiner ms/pair, {batch}" for batch in batches] + [f"scorer ms/pair, {batch}" for batch in batches]
    heads += ["drift °", "drift mm", "first frame s", "tracking fps", "ADD(-S)-0.1d %", "points to fp32"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        values = [row.megabytes, 100 * row.megabytes / rows[0].megabytes, row.setup]
        values += [row.per_pair.get(batch, np.nan) for batch in batches]
        values += [row.scorer_per_pair.get(batch, np.nan) for batch in batches]
        values += [row.degrees, row.millimetres, row.first_frame, row.frames_per_second, row.add, row.add_difference]
        decimals = [2, 1, 2, *[1] * (2 * len(batches)), 3, 3, 2, 2, 1, 1]
        cells = [_cell(v, d) for v, d in zip(values, decimals, strict=True)]
        cells[1] += "" if cells[1] == "–" else " %"
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *[f"- {fact}" for fact in facts]]) + "\n"


def _cell(value: float, decimals: int) -> str:
    """With so many decimals, or more, up to four, where fewer would leave less than two digits."""
    if np.isnan(value):
        return "–"
    needed = 1 - int(np.floor(np.log10(abs(value)))) if value else 0
    return f"{value:.{max(decimals, min(needed, 4))}f}"


def available(weights: str, names: Sequence[str], device_type: str = "cpu") -> tuple[list[str], list[str]]:
    """Which variants run on a device and have their files; of the others, why not and what helps."""
    ready, missing = [], []
    for name in names:
        variant = VARIANTS[name]
        files = [variant.file(kind, find_weights(weights, kind)) for kind in ("refiner", "scorer")]
        if device_type != variant.device:
            missing.append(f"{name} is left out, it runs on {variant.device} only")
        elif not all(file.is_file() for file in files):
            missing.append(f"{name} is left out, it has no files yet: {variant.command(weights)}")
        else:
            ready.append(name)
    return ready, missing
