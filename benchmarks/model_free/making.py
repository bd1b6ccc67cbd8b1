"""Objects made of simulated views and scored, in several processes at once."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.model_free.surface import score_surface
from benchmarks.model_free.views import ViewSimulation, simulate_views
from mesh_creation.object_field.make_object import ObjectOptions, make_object
from pose6d.evaluation.pose_errors import rotation_error
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh


@dataclass(frozen=True)
class MakingJob:
    """An object to be made of views.

    Attributes:
        folder: where its mesh is written to, under `mesh_key`.
        simulation: how the views are taken.
        mesh: what they show, metres.
        seed: of the views.
        options: how the object is made.
    """

    folder: Path
    simulation: ViewSimulation
    mesh: Mesh
    seed: int
    options: ObjectOptions


def mesh_key(mesh: Mesh) -> str:
    """The path of what is made of a mesh, and its name among the scores."""
    return str(Path(mesh.name).with_suffix(".glb"))


def make_objects(jobs: Sequence[MakingJob], processes: int) -> Iterator[dict[str, Any]]:
    """The scores of all jobs, in their order: `SurfaceScore`, errors of the poses before and after, and seconds."""
    if processes < 2:
        yield from map(_make, jobs)
        return
    # Not forked: neither PyTorch's threads nor a GPU's context outlive that.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_make, jobs)


def pose_errors(poses: np.ndarray, truth: np.ndarray, center: np.ndarray) -> tuple[float, float]:
    """Mean error of cameras (N, 4, 4): degrees, and millimetres by which they move the object's middle (3,)."""
    moved = poses @ np.linalg.inv(truth)
    offset = moved[:, :3, :3] @ center + moved[:, :3, 3] - center
    return float(np.degrees(rotation_error(poses, truth)).mean()), 1000 * float(np.linalg.norm(offset, axis=1).mean())


def _make(job: MakingJob) -> dict[str, Any]:
    views, truth = simulate_views(job.mesh, job.simulation, job.seed)
    begun = time.perf_counter()
    made = make_object(views, job.options)
    seconds = time.perf_counter() - begun
    target = job.folder / mesh_key(job.mesh)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_mesh(made.mesh, target)
    before = pose_errors(np.stack([view.camera_in_object for view in views]), truth, job.mesh.center)
    after = pose_errors(made.camera_in_object, truth, job.mesh.center)
    return {**asdict(score_surface(made, job.mesh)), "poses_before": before, "poses": after, "seconds": seconds}
