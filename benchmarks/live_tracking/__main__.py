"""Follow objects that leave the picture, are hidden or move fast, and count what is right, wrong and found again.

`python -m benchmarks.live_tracking --weights lite --mesh-folder MESHES --real-folders CUBE_SEQUENCE --output live.json`

simulates sequences of each kind (`benchmarks/live_tracking/sequences.py`), follows a real recording with a painted
occluder and as it is, prints a table, and writes all frames. `--fit` prints the weights of the cues in
`live/judgement.py` that these sequences ask for; to report, take others than those fitted to (`--seed`,
`--mesh-folder`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.objects import load_objects
from benchmarks.accuracy.scenes import ScenePool
from benchmarks.live_tracking.fit import JudgedRows, fit_weights
from benchmarks.live_tracking.scores import FrameScore, PoseScorer, SequenceScore, score_sequence
from benchmarks.live_tracking.sequences import Kind, LiveSequence, real_as_it_is, real_with_occluder, simulate
from benchmarks.live_tracking.table import HEADER, jitter, summary
from benchmarks.versions import versions
from live.judgement import CUES
from live.state_tracker import StateTracker, TrackingOptions
from many_objects import EstimatorFactory
from pose6d.command import run_command_line
from pose6d.errors import OptionError
from pose6d.evaluation.markdown_table import markdown_table
from pose6d.json_file import write_json

_FRAME_STEPS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Options:
    """What is followed, and by what."""

    kinds: tuple[Kind, ...] = ("leaves", "hidden", "fast")
    """of simulated sequences"""
    sequences: int = 20
    """of each kind"""
    mesh_folder: Path | None = None
    """folder that is searched for meshes in metres; procedural objects if omitted"""
    symmetric: tuple[str, ...] = ()
    """parts of the names of objects that look the same from several sides; ADD-S counts for these"""
    real_folders: tuple[Path, ...] = ()
    """recordings with a mesh, a mask of the first frame and true poses: as they are, and with a painted occluder"""
    loops: int = 1
    """how often a real recording is shown as it is, to and fro, for times; with more than one, another row begins again
    each time, with a jump from its end to its beginning"""
    still_folders: tuple[Path, ...] = ()
    """recordings in which nothing moves: how far the pose does from frame to frame"""
    weights: str = "auto"
    """a released set's name, or a folder"""
    device: str = "auto"
    iteration: int = 2
    """refinement steps of a frame"""
    rounds: int = 3
    """of the alignment in a frame"""
    starts: int | None = None
    """of one attempt to find a lost object; by device where omitted"""
    starts_in_doubt: int | None = None
    """of one frame of doubt; by device where omitted"""
    networks_every: int | None = None
    """frames from one that the networks follow an object in to the next, while it goes on as it moved; by device where
    omitted"""
    smoothing: bool = True
    """report the mean of the poses while nothing moves"""
    fit: bool = False
    """print the weights of the cues that fit these sequences best"""
    seed: int = 0
    output: Path | None = None
    """JSON of all frames"""


def sequences(options: Options) -> Iterator[tuple[str, LiveSequence]]:
    """The sequences with the name of the row that each counts for."""
    for folder in options.real_folders:
        yield f"{folder.name}, as it is", real_as_it_is(folder, options.loops)
        if options.loops > 1:
            yield f"{folder.name}, with jumps", real_as_it_is(folder, options.loops, jumps=True)
        yield f"{folder.name}, painted occluder", real_with_occluder(folder)
    for folder in options.still_folders:
        yield f"{folder.name}, nothing moves", real_as_it_is(folder)
    if not options.kinds or not options.sequences:
        return
    meshes = load_objects(options.mesh_folder)
    pool = ScenePool.from_meshes(meshes)
    for kind in options.kinds:
        for index in range(options.sequences):
            sequence = simulate(pool, meshes, kind, options.seed, index)
            if kind == "fast":
                yield from ((f"fast, frame step {step}", sequence.every(step)) for step in _FRAME_STEPS)
            else:
                yield kind, sequence


def count(options: Options) -> int:
    """How many sequences that gives."""
    simulated = sum(options.sequences * (len(_FRAME_STEPS) if kind == "fast" else 1) for kind in options.kinds)
    return (2 + (options.loops > 1)) * len(options.real_folders) + len(options.still_folders) + simulated


def follow(
    sequence: LiveSequence, factory: EstimatorFactory, options: Options, rows: list[JudgedRows]
) -> list[FrameScore]:
    """Every frame of a sequence, the registration first."""
    estimator = factory(sequence.mesh)
    symmetric = any(part in sequence.name for part in options.symmetric)
    scorer = PoseScorer(sequence.mesh, factory.device, symmetric)
    watch = JudgedRows(scorer) if options.fit else None
    rows += [watch] if watch is not None else []
    effort = TrackingOptions(
        options.iteration,
        options.rounds,
        starts=options.starts,
        starts_in_doubt=options.starts_in_doubt,
        networks_every=options.networks_every,
        smoothing=options.smoothing,
    )
    tracker = StateTracker({sequence.name: estimator}, effort, watch=watch)
    if factory.device.type == "cuda":  # as the command does, so that no frame waits for a graph to be recorded
        tracker.warm_up(*sequence.frames[0].depth.shape)
    scores = []
    for i, (frame, visible) in enumerate(zip(sequence.frames, sequence.visible, strict=True)):
        begun = time.perf_counter()
        (tracked,) = tracker.step(frame) if i else tracker.start(frame, [frame.mask])
        seconds = time.perf_counter() - begun
        scores.append(scorer.score(tracked, frame, float(visible), seconds))
    factory.forget()
    return scores


def main(options: Options) -> None:
    """Follow all sequences, print the table, and write the frames."""
    for name, least in (("sequences", 0), ("loops", 1)):
        if getattr(options, name) < least:
            raise OptionError(f"--{name} is {getattr(options, name)}: {least} or more are needed")
    factory = EstimatorFactory(options.weights, options.device)
    frames: dict[str, list[list[FrameScore]]] = {}
    scores: dict[str, list[SequenceScore]] = {}
    rows: list[JudgedRows] = []
    bar = tqdm(sequences(options), total=count(options), desc="follow", unit="sequence")
    for row, sequence in bar:
        bar.set_postfix_str(sequence.name)
        frames.setdefault(row, []).append(follow(sequence, factory, options, rows))
        scores.setdefault(row, []).append(score_sequence(sequence.name, frames[row][-1]))
    facts = versions(factory.device)
    print("\n".join(markdown_table([HEADER, *([row, *summary(scores[row], frames[row])] for row in scores)])))
    for row, own in frames.items():
        if "nothing moves" in row:
            print(f"{row}: {jitter(own[0])} from frame to frame")
    print(", ".join(facts.values()))
    if rows:
        fitted, offset = fit_weights(np.concatenate([r.rows for r in rows]), np.concatenate([r.right for r in rows]))
        print("weights:", {name: round(float(w), 2) for name, w in zip(CUES, fitted, strict=True)}, round(offset, 2))
    if options.output is not None:
        content: dict[str, Any] = {
            **facts,
            "options": asdict(options),
            "rows": {row: [asdict(score) for score in own] for row, own in scores.items()},
            "frames": {row: [[asdict(f) for f in own] for own in several] for row, several in frames.items()},
        }
        write_json(options.output, content)


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
