"""One object in one frame: the stages, the schedules, tracking, and how the time grows with the hypotheses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.arithmetic import CountingRefiner, CountingScorer, matrix_ceiling, network_flops
from benchmarks.speed.bench import Bench, Table
from benchmarks.speed.frames import TimedFrame
from benchmarks.speed.timing import call_ms, median, percentiles, time_calls, until_done
from estimater import FoundationPose
from learning.inference.inputs import observed_inputs
from learning.inference.runners import make_runner
from pose6d.geometry.camera import crop_transforms
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.cuda_graphs import Recorder, TensorFunction
from pose6d.search.device_runner import HostBuffers
from pose6d.search.interfaces import Hypotheses

_PIECE_REPEATS = {"cuda": 9, "cpu": 3}


def stages(bench: Bench) -> Table:
    """Where the time of one call goes, by the estimator's own clocks, and each piece of work by itself."""
    options, frame = bench.options, bench.frame()
    table = Table(
        note="Stages: means of the estimator's own clocks over the middle half of the calls, profile=True, which waits "
        "for the device after each stage and runs without CUDA graphs. Pieces: called by themselves, on CUDA ten in a "
        "row between two synchronisations, for so many hypotheses at once; TFLOP/s of the networks' convolutions and "
        "matrix products."
    )
    estimator = bench.estimator(profile=True)
    bench.warm_up(estimator, frame)
    name = f"register, {estimator.schedule.name}"
    table.rows += _stage_rows(name, estimator, bench.register_call(estimator, frame), options.repeats, options.warm_ups)
    estimator.start_from(frame.truths[0])
    name = f"track, {options.track_iterations} iterations"
    table.rows += _stage_rows(name, estimator, bench.track_call(estimator, frame), 5 * options.repeats, 2)
    table.rows += _pieces(bench, frame)
    return table


def _stage_rows(
    name: str, estimator: FoundationPose, call: Callable[[], object], repeats: int, warm_ups: int
) -> list[dict[str, object]]:
    collected: list[dict[str, float]] = []

    def noted() -> None:
        call()
        collected.append(estimator.timings)

    whole = time_calls(noted, repeats, warm_ups)
    # Means over the same calls add up to no more than their whole; medians of each stage need not.
    middle = np.argsort(whole)[repeats // 4 : repeats - repeats // 4]
    middle_ms = float(whole[middle].mean())
    calls = [collected[-repeats:][i] for i in middle]
    stages = dict.fromkeys(stage for seconds in calls for stage in seconds)
    counted = {stage: 1e3 * float(np.mean([seconds.get(stage, 0.0) for seconds in calls])) for stage in stages}
    rows = [{"of": name, "stage": stage, "ms": ms, "share %": 100 * ms / middle_ms} for stage, ms in counted.items()]
    return [*rows, {"of": name, "stage": "all", "ms": middle_ms, "share %": 100.0}]


@torch.inference_mode()
def _pieces(bench: Bench, frame: TimedFrame) -> list[dict[str, object]]:
    device, options = bench.device, bench.options
    n = options.piece_hypotheses
    runner = make_runner("refiner", options.weights, device)
    judge = make_runner("scorer", options.weights, device)
    object, hypotheses, observation = _hypotheses(bench, frame, n)
    poses, config = hypotheses.poses, runner.config
    size = (config.input_size, config.input_size)
    transforms = crop_transforms(poses, observation.K, bench.mesh.diameter, config.window, config.input_size)
    A, B = runner.inputs(hypotheses, object, observation)
    trans, rot = runner.refine(A, B)
    host, depth = HostBuffers(device), torch.from_numpy(frame.depth).to(device)
    work: dict[str, Callable[[], object]] = {
        "upload of rgb and depth": lambda: [
            host(name, getattr(frame, name)).to(device, non_blocking=True) for name in ("rgb", "depth")
        ],
        "depth filter": lambda: filter_depth(depth),
        f"render {n} of {size[1]}x{size[0]}": lambda: object.render(poses, transforms @ observation.K, size),
        f"crop {n} of the frame, plain": lambda: observed_inputs(poses, object, observation, transforms, config),
        "render, crop and normalise, fused on CUDA": lambda: runner.inputs(hypotheses, object, observation),
        f"refiner network, {n} pairs": lambda: runner.refine(A, B),
        f"scorer network, {n} pairs": lambda: judge.score(A, B),
        "move the hypotheses": lambda: runner.move(poses, trans, rot, object.diameter),
        "copy of the poses to the host": lambda: poses.cpu(),
    }
    flops = {"refiner": network_flops(config, n), "scorer": network_flops(judge.config, n)}
    rows: list[dict[str, object]] = []
    for piece, call in work.items():
        ms = call_ms(call, device, _PIECE_REPEATS[device.type])
        row: dict[str, object] = {"of": "piece by itself", "stage": piece, "ms": ms}
        if "network" in piece:
            row["TFLOP/s"] = flops[piece.split()[0]] / (1e9 * ms)
        rows.append(row)
    return rows


def upload(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """As estimators upload: by way of page-locked memory."""
    return HostBuffers(device)("array", array).to(device, non_blocking=True)


def _hypotheses(bench: Bench, frame: TimedFrame, count: int) -> tuple[RenderedObject, Hypotheses, Observation]:
    """The object, `count` random rotations of it at its true place, and the frame, on the device."""
    mesh, device = bench.mesh, bench.device
    R = random_rotations(count, torch.Generator().manual_seed(0))
    truth = torch.as_tensor(frame.truths[0], dtype=torch.float32)
    place = truth[:3, :3] @ torch.as_tensor(mesh.center) + truth[:3, 3]
    rgb, depth, K = (torch.from_numpy(array).to(device) for array in (frame.rgb, frame.depth, frame.K))
    poses = make_transform(R, place).to(device)
    return RenderedObject.from_mesh(mesh, device), Hypotheses(poses), observe(rgb, filter_depth(depth), K)


def register(bench: Bench) -> Table:
    """Each schedule, compared with the first, and what the networks reach of the device's arithmetic."""
    options, frame = bench.options, bench.frame()
    ceiling, yardstick = matrix_ceiling(bench.device)
    table = Table(
        note=f"Ceiling: {1e-12 * ceiling:.3g} TFLOP/s, {yardstick}, in this run. FLOP: the networks' convolutions and "
        "matrix products, 2 for each multiplication with its addition, over the time of the whole call. Confidence is "
        "the result's; where a pruned schedule leaves doubt, the pairs of the thorough one that follows are counted."
    )
    first = None
    for schedule in options.schedules:
        refiner, scorer = CountingRefiner(bench.networks.refiner), CountingScorer(bench.networks.scorer)
        scouts = None
        if bench.networks.scouts is not None:
            scouts = CountingRefiner(bench.networks.scouts[0]), CountingScorer(bench.networks.scouts[1])
        counting = bench.estimator(schedule=schedule, refiner=refiner, scorer=scorer, scouts=scouts)
        bench.register_call(counting, frame)()
        estimator = bench.estimator(schedule=schedule)
        milliseconds = time_calls(bench.register_call(estimator, frame), options.repeats, options.warm_ups)
        p50 = float(np.median(milliseconds))
        first = first or p50
        flops = refiner.flops + scorer.flops + sum(scout.flops for scout in scouts or ())
        table.rows.append(
            {
                "schedule": schedule,
                **percentiles(milliseconds),
                f"times {options.schedules[0]}": first / p50,
                "pairs refined": refiner.pairs,
                "pairs scored": scorer.pairs,
                "by scouts": sum(scout.pairs for scout in scouts or ()),
                "TFLOP": 1e-12 * flops,
                "TFLOP/s": 1e-9 * flops / p50,
                "% of ceiling": 1e5 * flops / p50 / ceiling,
                "confidence": estimator.confidence,
            }
        )
    return table


def track(bench: Bench) -> Table:
    """As many steps as are needed where nothing moves, one step, two steps, and judging the result."""
    options, frame = bench.options, bench.frame()
    estimator = bench.estimator()
    table = Table(note="One object, from its true pose on, in the same frame.")
    ways: tuple[tuple[int | None, bool], ...] = ((None, False), (None, True), (1, False), (2, False), (2, True))
    for steps, judge in ways:
        estimator.start_from(frame.truths[0])
        call = partial(estimator.track_one, frame.rgb, frame.depth, frame.K, iteration=steps, judge=judge)
        table.rows.append(
            {
                "iterations": "as needed" if steps is None else steps,
                "judged": "yes" if judge else "no",
                **percentiles(time_calls(call, 5 * options.repeats)),
            }
        )
    return table


def hypotheses(bench: Bench) -> Table:
    """How refining and scoring grow with the number of hypotheses."""
    options, frame = bench.options, bench.frame()
    steps = options.hypothesis_steps
    table = Table(
        note=f"Random rotations: {steps} refinement step(s), then scoring, on CUDA as one graph each. The frame and "
        "the mesh are on the device."
    )
    warm_ups = 2 if bench.device.type == "cuda" else 0
    repeats = max(1, options.repeats // 2)
    for count in options.hypotheses:
        object, start, observation = _hypotheses(bench, frame, count)

        def refine(poses: Tensor, on: tuple = (object, observation)) -> tuple[Tensor, ...]:
            return (bench.networks.refiner.predict(Hypotheses(poses), *on, steps=steps),)

        def score(poses: Tensor, on: tuple = (object, observation)) -> tuple[Tensor, ...]:
            return (bench.networks.scorer.predict(Hypotheses(poses), *on).ranking,)

        works = (refine, score)
        times = {f"{work.__name__} ms": median(_record_graph(work, start.poses), repeats, warm_ups) for work in works}
        pairs = count * (steps + 1)
        table.rows.append({"hypotheses": count, **times, "pairs": pairs, "ms per pair": sum(times.values()) / pairs})
    return table


def _record_graph(work: TensorFunction, poses: Tensor) -> Callable[[], None]:
    """`work(poses)` as the estimator runs it: on CUDA as a graph, waited for."""
    if poses.device.type == "cuda":
        record = Recorder(poses.device)
        return until_done(lambda: record("work", work, [poses]), poses.device)
    return until_done(lambda: work(poses), poses.device)
