"""The suites of one run, from their objects to the records of all results."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.accuracy.evaluation import Effort, FewerHypotheses, evaluate
from benchmarks.accuracy.objects import TargetObject, grey_objects, load_objects, symmetric_objects
from benchmarks.accuracy.real_frames import load_real_frames
from benchmarks.accuracy.real_overlays import write_overlays
from benchmarks.accuracy.reconstruction import reconstruct_mesh
from benchmarks.accuracy.report import write_records
from benchmarks.accuracy.scene_workers import SceneWorkers
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool
from benchmarks.accuracy.suites import SUITES, Suite, Task
from benchmarks.accuracy.trajectories import FRAMES
from benchmarks.versions import versions
from many_objects import EstimatorFactory
from pose6d.errors import OptionError
from pose6d.evaluation.equivalent_poses import EquivalentPoses
from pose6d.evaluation.record import Record
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh

_SAVE_EVERY = 30.0  # seconds


@dataclass
class SceneChoice:
    """The options of every command that goes through the suites."""

    suites: tuple[str, ...] = ("cluttered",)
    """suites of benchmarks.accuracy with frames to register in"""
    scenes: int = 100
    """of each suite"""
    mesh_folder: Path | None = None
    """folder that is searched for meshes in metres; procedural objects if omitted"""
    symmetric: tuple[str, ...] = ()
    """parts of the names of objects that look the same from several sides; ADD(-S) counts ADD-S for these"""
    given_folder: Path | None = None
    """meshes that the estimator gets in place of those of --mesh-folder, made from scans or views: same paths, .glb"""
    workers: int | None = None
    """processes of Ray that make scenes; all cores but two if omitted, 0 or without Ray: none besides this one"""
    seed: int = 7

    def check(self, *tasks: Task) -> None:
        """Refuse suites of other tasks, and no scenes.

        Raises:
            OptionError: saying which.
        """
        fit = [suite.name for suite in SUITES.values() if suite.task in tasks]
        unfit = [name for name in self.suites if name not in fit]
        if unfit:
            raise OptionError(f"--suites {' '.join(unfit)}: unknown, or of no use here; choose from {', '.join(fit)}")
        if self.scenes < 1:
            raise OptionError(f"--scenes {self.scenes}: at least one is needed")


@dataclass
class Options(SceneChoice):
    """What to score on what."""

    suites: tuple[str, ...] = tuple(SUITES)
    """which suites, in this order"""
    scenes: int = 100
    """of each suite; a tenth as many sequences of 20 frames for tracking; frames of each object of a real recording"""
    weights: str = "auto"
    """a released set's name, or a folder"""
    device: str = "auto"
    hypotheses: int = 0
    """how many of the estimator's hypotheses to keep, the most different ones; 0: all"""
    schedule: str = "full"
    """of register: full, thorough or pruned"""
    quantized: str | None = None
    """a quantised variant of the networks (docs/quantization.md); the weights as they are if omitted"""
    iterations: int = 5
    """refinement steps of register"""
    track_iterations: int | None = None
    """refinement steps of track_one; as it decides if omitted"""
    real_folder: Path | None = None
    """a real recording, or a folder that holds some, for the suite real, which is left out without it"""
    pose_sets: bool = True
    """find the poses that no picture tells from the truth, and measure against them; a second a frame on a CPU"""
    output: Path | None = None
    """JSON of all records; the tables and the reliability diagram go beside it as .md and .png"""
    from_json: Path | None = None
    """print the tables of an earlier run's JSON, and compute nothing"""


class Scoreboard:
    """The suites of one run: their objects, and where their scenes come from.

    Args:
        options: what to score on what.
        workers: processes that make scenes.
        real_folder: of real frames, for the suite real.
        by_object: make all scenes of an object before those of the next, in place of taking turns.
    """

    def __init__(
        self, options: SceneChoice, workers: SceneWorkers, real_folder: Path | None = None, by_object: bool = False
    ) -> None:
        self.suites = [SUITES[name] for name in options.suites]
        self._seed, self._workers, self._by_object = options.seed, workers, by_object
        if real_folder is None:
            self.suites = [suite for suite in self.suites if suite.task != "real"]
            if not self.suites:
                raise OptionError("--suites real: give the frames by --real-folder")
        else:
            self._real = load_real_frames(real_folder, options.symmetric, options.scenes)
        self._scenes = options.scenes
        self._targets = make_targets(
            self.suites, options.mesh_folder, options.symmetric, options.seed, options.given_folder
        )

    def count(self, suite: Suite) -> int:
        """How many scenes a suite has."""
        if suite.task == "real":
            return len(self._real[1])
        return -(-self._scenes // 10) if suite.task == "track" else self._scenes

    def indices(self, suite: Suite) -> list[int]:
        """The numbers of a synthetic suite's scenes, in the order in which `scenes` gives them."""
        objects = len(self._targets[suite.name])
        # Scene i shows object i modulo their number.
        return sorted(range(self.count(suite)), key=lambda index: index % objects if self._by_object else index)

    def begin(self) -> None:
        """Start making scenes."""
        synthetic = [suite for suite in self.suites if suite.task != "real"]
        pools: dict[str, ScenePool] = {
            suite.objects: ScenePool.from_meshes([t.mesh for t in self._targets[suite.name]])
            for suite in {suite.objects: suite for suite in synthetic}.values()
        }
        tasks = [(suite, index) for suite in synthetic for index in self.indices(suite)]
        self._stream = self._workers.scenes(tasks, pools, self._seed)

    def scenes(self, suite: Suite) -> Iterator[tuple[TargetObject, EvaluationScene, str]]:
        """A suite's targets and scenes; the suites must be asked in their order."""
        if suite.task == "real":
            targets, scenes, recordings = self._real
            return ((targets[scene.object_index], scene, name) for scene, name in zip(scenes, recordings, strict=True))
        targets = self._targets[suite.name]
        return ((targets[scene.object_index], scene, "") for scene in islice(self._stream, self.count(suite)))


def make_targets(
    suites: Sequence[Suite],
    mesh_folder: Path | None,
    symmetric: Sequence[str],
    seed: int,
    given_folder: Path | None = None,
) -> dict[str, list[TargetObject]]:
    """The objects of each synthetic suite; suites with the same objects share them, and so their estimators.

    Args:
        suites: of any task; real frames bring their own objects.
        mesh_folder: see `load_objects`.
        symmetric: parts of the names of objects that look the same from several sides.
        seed: of the scoreboard.
        given_folder: meshes that the estimator gets in place of the true ones; None: these.
    """
    suites = [suite for suite in suites if suite.task != "real"]
    wanted = {suite.objects for suite in suites}
    meshes = load_objects(mesh_folder) if wanted & {"given", "grey"} else []
    same = [any(part in mesh.name for part in symmetric) for mesh in meshes]
    by_kind = {
        "given": [
            TargetObject(m, symmetric=s, given=None if given_folder is None else _given(given_folder, m.name))
            for m, s in zip(meshes, same, strict=True)
        ],
        "grey": grey_objects(meshes) if "grey" in wanted else [],
        "symmetric": symmetric_objects() if "symmetric" in wanted else [],
    }
    scanned = [
        TargetObject(m, symmetric=s, given=reconstruct_mesh(m, seed + i))
        for i, (m, s) in enumerate(zip(meshes, same, strict=True))
        if any(suite.reconstructed for suite in suites)
    ]
    return {suite.name: scanned if suite.reconstructed else by_kind[suite.objects] for suite in suites}


def _given(folder: Path, name: str) -> Mesh:
    """The mesh that the estimator gets in place of the one of this name."""
    return load_mesh((folder / name).with_suffix(".glb"))


def run(options: Options) -> tuple[list[Record], dict[str, Any]]:
    """Score all suites; what is known is in the JSON after each suite, and every half minute.

    Returns:
        The records, and what they were made with.
    """
    facts = {"options": asdict(options), **versions(options.device)}
    records: list[Record] = []
    with SceneWorkers(options.workers) as workers, ThreadPoolExecutor(1) as aside:
        making = aside.submit(
            EstimatorFactory,
            options.weights,
            options.device,
            options.schedule,
            options.quantized,
        )
        board = Scoreboard(options, workers, options.real_folder)
        board.begin()
        make_estimator = making.result()
        if options.hypotheses:
            make_estimator.refiner = FewerHypotheses(make_estimator.refiner, options.hypotheses)
        effort = Effort(options.iterations, options.track_iterations)

        @cache
        def find_equivalents(target: TargetObject) -> EquivalentPoses:
            return EquivalentPoses(target.mesh, target.symmetries, options.device)

        sets = find_equivalents if options.pose_sets else None
        saved = time.monotonic()
        for suite in board.suites:
            found = evaluate(suite.name, board.scenes(suite), make_estimator, effort, sets)
            poses = board.count(suite) * (FRAMES - 1 if suite.task == "track" else 1)
            for record in tqdm(found, total=poses, desc=suite.name, unit="pose", mininterval=1.0):
                record.quantized = options.quantized or ""
                records.append(record)
                if options.output and time.monotonic() - saved > _SAVE_EVERY:
                    write_records(options.output, records, facts)
                    saved = time.monotonic()
            if options.output:
                write_records(options.output, records, facts)
            if options.output and suite.task == "real":
                own = [record for record in records if record.suite == suite.name]
                for file in write_overlays(options.output.with_suffix(""), own, list(board.scenes(suite))):
                    print(f"overlays: {file}")
    return records, facts
