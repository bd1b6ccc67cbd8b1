"""How time and memory grow: with the image, the mesh, and the number of objects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.speed.bench import Bench, Table, free_unused_memory
from benchmarks.speed.frames import TimedFrame, group_frame, lumpy_body
from benchmarks.speed.fresh_process import measure_memory
from benchmarks.speed.timing import median
from estimater import FoundationPose
from many_objects import ManyObjects

_MIB = 2**20


def image_sizes(bench: Bench) -> Table:
    """Time and memory of larger images; the object covers the same part of each."""
    on_cuda = bench.device.type == "cuda"
    table = Table(
        note="MiB of GPU memory. held: by the estimator between calls (weights, mesh, buffers); register: what PyTorch "
        "has taken beyond that for registering and tracking, CUDA graphs included."
        if on_cuda
        else "MiB of main memory, in a process of its own. before register: with PyTorch, mesh and weights; register: "
        "beyond that at the peak."
    )
    for size in bench.options.image_sizes:
        frame = bench.frame(size)
        if on_cuda:
            times_and_memory = _on_cuda(bench, frame)
        else:
            times_and_memory = bench.register_and_track(bench.estimator_without_doubt(), frame)
            times_and_memory |= measure_memory(bench, frame)
        table.rows.append({"image": size, "Mpixel": frame.depth.size / 1e6, **times_and_memory})
    return table


def _on_cuda(bench: Bench, frame: TimedFrame) -> dict[str, float]:
    free_unused_memory()
    device = bench.device
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    estimator = bench.estimator_without_doubt(
        weights=bench.options.weights
    )  # networks of its own: they may keep graphs
    times = bench.register_and_track(estimator, frame)
    free_unused_memory()  # of the calls before there were graphs
    held = torch.cuda.memory_allocated(device) - allocated
    taken = torch.cuda.memory_reserved(device) - reserved
    return {**times, "held MiB": held / _MIB, "register MiB": (taken - held) / _MIB}


def mesh_sizes(bench: Bench) -> Table:
    """The same body, made of more and more faces."""
    table = Table(note="One lumpy body in front of a wall, 640x480; setup: upload of the mesh and its diameter, once.")
    frame = group_frame([lumpy_body(20_000)])
    for faces in bench.options.mesh_faces:
        mesh = lumpy_body(faces)
        made: list[FoundationPose] = []
        setup = median(lambda mesh=mesh, made=made: made.append(bench.estimator_without_doubt(mesh)), 1, 0)
        row = bench.register_and_track(made[0], frame)
        table.rows.append({"faces": len(mesh.faces), **row, "setup ms": setup})
    return table


def objects(bench: Bench) -> Table:
    """Several objects in one frame at once, against one call after another."""
    options = bench.options
    most = max(options.objects)
    meshes = [bench.meshes[i % len(bench.meshes)] for i in range(most)]
    frame = group_frame(meshes)
    K, rgb, depth, masks = frame.K, frame.rgb, frame.depth, list(frame.masks)
    estimators = [bench.estimator_without_doubt(mesh) for mesh in meshes]
    bench.warm_up(estimators[0], frame)
    steps = {"iteration": options.register_iterations}
    track_steps = {"iteration": options.track_iterations}
    table = Table(
        note=f"{len(set(map(id, meshes)))} different meshes, 640x480; medians of the time for all objects of a row. "
        "Singly: one call of one estimator after another; gain: that over one call of ManyObjects, in the same run."
    )
    repeats = max(1, options.repeats // 10)
    for count in options.objects:
        several = ManyObjects(estimators[:count])
        calls: dict[str, Callable[[], object]] = {
            "register singly ms": partial(
                _each, estimators[:count], masks, lambda e, m: e.register(K, rgb, depth, m, **steps)
            ),
            "register_many ms": partial(several.register_many, K, rgb, depth, masks[:count], **steps),
            "track singly ms": partial(
                _each, estimators[:count], masks, lambda e, _: e.track_one(rgb, depth, K, **track_steps)
            ),
            "track_many ms": partial(several.track_many, rgb, depth, K, **track_steps),
        }
        ms = {
            name: median(call, repeats, options.warm_ups) if "register" in name else median(call, options.repeats)
            for name, call in calls.items()
        }
        gains = {f"{what} gain": ms[f"{what} singly ms"] / ms[f"{what}_many ms"] for what in ("register", "track")}
        table.rows.append({"objects": count, **ms, **gains})
    return table


def _each(estimators: list[FoundationPose], masks: list, call: Callable[..., object]) -> None:
    for estimator, mask in zip(estimators, masks, strict=False):
        call(estimator, mask)
