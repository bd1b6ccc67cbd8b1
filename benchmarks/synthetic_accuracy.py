"""Register objects in synthetic cluttered scenes and print how often the pose is right.

`python -m benchmarks.synthetic_accuracy --mesh_folder FOLDER --scenes 200 --weights base`

The scenes come from a fixed seed and are always made on the CPU, so that every device sees the same ones. Without a
folder of meshes, procedural objects from held-out seeds are used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.versions import versions
from estimater import FoundationPose
from learning.datasets.mesh_pool import MeshPool
from learning.datasets.procedural_objects import make_objects
from learning.datasets.procedural_textures import make_textures
from learning.datasets.scene_batches import SceneBatch, SceneConfig, sample_scenes
from pose6d.evaluation.pose_errors import add, add_s, rotation_error, translation_error
from pose6d.geometry.mesh import Mesh
from pose6d.geometry.mesh_files import load_mesh

HELD_OUT_SEED = 1_000_000
_PROCEDURAL_DIAMETER = 0.2  # metres
_INTRINSICS = (610.0, 610.0, 320.0, 240.0)  # fx, fy, cx, cy of a common RGB-D camera at 640x480
_MESH_SUFFIXES = (".obj", ".ply", ".glb")


Record = dict[str, float | str | bool]


@dataclass
class Options:
    """What to evaluate on what."""

    mesh_folder: Path | None = None
    """folder that is searched for meshes in metres; procedural objects if omitted"""
    scenes: int = 200
    weights: str = "auto"
    device: str = "auto"
    iterations: int = 5
    least_visible: float = 0.3
    """scenes that show less of the object's silhouette are drawn again"""
    symmetric: tuple[str, ...] = ()
    """parts of the names of objects that look the same from several sides; ADD(-S) counts ADD-S for these"""
    seed: int = 7
    output: Path | None = None
    """JSON with one record per scene"""


def load_objects(folder: Path | None) -> list[Mesh]:
    """The meshes below a folder, in order of their path; held-out procedural ones without a folder."""
    if folder is None:
        return [m.scaled(_PROCEDURAL_DIAMETER) for m in make_objects(range(HELD_OUT_SEED, HELD_OUT_SEED + 16))]
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _MESH_SUFFIXES)
    if not files:
        raise SystemExit(f"{folder} holds no mesh ({', '.join(_MESH_SUFFIXES)})")
    return [replace(load_mesh(path), name=str(path.relative_to(folder))) for path in files]


def evaluation_scenes(objects: list[Mesh], options: Options) -> Iterator[tuple[int, SceneBatch]]:
    """(object index, one scene in units of the object's diameter), `options.scenes` times."""
    cpu = torch.device("cpu")
    pool = MeshPool(objects, make_textures(40, seed=HELD_OUT_SEED + options.seed), cpu)
    config = SceneConfig(
        image_size=(480, 640), pixels_per_diameter=(60.0, 160.0), centre_jitter=120.0, intrinsics=_INTRINSICS
    )
    generator = torch.Generator().manual_seed(options.seed)
    for i in range(options.scenes):
        index = i % len(objects)
        while True:
            scene = sample_scenes(pool, 1, generator, config, mesh_index=torch.tensor([index]))
            if scene.visible[0] >= options.least_visible:
                break
        yield index, scene


def truth_in_metres(scene: SceneBatch, mesh: Mesh) -> np.ndarray:
    """object_in_camera (4, 4) of the original mesh, of a scene made with its centred mesh of unit diameter."""
    pose = scene.poses[0].double().numpy().copy()
    pose[:3, 3] = pose[:3, 3] * mesh.diameter - pose[:3, :3] @ mesh.center
    return pose


def evaluate(options: Options) -> Iterator[Record]:
    """One record per scene, as soon as it is known."""
    objects = load_objects(options.mesh_folder)
    estimators: dict[int, FoundationPose] = {}
    for index, scene in tqdm(evaluation_scenes(objects, options), total=options.scenes, unit="scene"):
        mesh = objects[index]
        if index not in estimators:
            estimators[index] = FoundationPose(mesh, device=options.device, weights=options.weights)
        estimator = estimators[index]
        rgb = (scene.rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy()
        depth = (scene.depth[0] * mesh.diameter).numpy()
        start = time.perf_counter()
        pose = estimator.register(scene.K[0].numpy(), rgb, depth, scene.mask[0].numpy(), iteration=options.iterations)
        seconds = time.perf_counter() - start
        truth = truth_in_metres(scene, mesh)
        points = mesh.sample_surface(1000, seed=0)
        errors = add(np.asarray(estimator.poses), truth, points) / mesh.diameter
        yield {
            "object": mesh.name,
            "visible": float(scene.visible[0]),
            "add": float(errors[0]),
            "add_s": float(add_s(pose, truth, points)) / mesh.diameter,
            "symmetric": any(part in mesh.name for part in options.symmetric),
            "best_add": float(errors.min()),
            "degrees": float(np.degrees(rotation_error(pose, truth))),
            "metres": float(translation_error(pose, truth)),
            "seconds": seconds,
        }


def print_scores(records: list[Record]) -> None:
    """Recall at 0.1 diameters per object and over all scenes; `any` asks for one right pose among the hypotheses."""
    print(
        f"{'object':28s} {'scenes':>6s} {'ADD':>7s} {'ADD-S':>7s} {'ADD(-S)':>8s} {'any ADD':>8s} {'median ADD/d':>13s}"
    )
    for name in [*sorted({str(r["object"]) for r in records}), "all"]:
        rows = [r for r in records if name in (r["object"], "all")]
        errors = {key: np.array([r[key] for r in rows], float) for key in ("add", "add_s", "best_add")}
        errors["mixed"] = np.where([r["symmetric"] for r in rows], errors["add_s"], errors["add"])
        right, right_s, mixed, found = (
            f"{100 * (errors[key] < 0.1).mean():.1f}%" for key in ("add", "add_s", "mixed", "best_add")
        )
        median = np.median(errors["add"])
        print(f"{name:28s} {len(rows):6d} {right:>7s} {right_s:>7s} {mixed:>8s} {found:>8s} {median:13.4f}")
    seconds = np.array([r["seconds"] for r in records], float)
    print(f"register: median {np.median(seconds) * 1e3:.0f} ms, 90 % {np.percentile(seconds, 90) * 1e3:.0f} ms")


def main(options: Options) -> None:
    records = []
    for record in evaluate(options):
        records.append(record)
        if options.output:  # after every scene: on a CPU this takes hours, and a stopped run keeps what it has
            content = {"options": asdict(options), **versions(options.device), "scenes": records}
            options.output.write_text(json.dumps(content, indent=1, default=str))
    print_scores(records)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options))
