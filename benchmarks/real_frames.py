"""Register the objects of real RGB-D frames whose poses are known, and print the errors.

`python -m benchmarks.real_frames --folder FOLDER --output pictures`, where FOLDER holds `meshes/<object>/*.obj` and
scenes with `rgb/ depth/ masks/<object>/ cam_K.txt poses.json`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from estimater import FoundationPose
from pose6d.evaluation.pose_errors import add_s, rotation_error, translation_error
from pose6d.geometry.mesh_files import load_mesh
from pose6d.scenes import open_scene


@dataclass
class Options:
    """Where the frames are and what runs on them."""

    folder: Path
    weights: str = "auto"
    device: str = "auto"
    iterations: int = 5


def evaluate(options: Options) -> list[dict[str, object]]:
    """One record per object of every scene."""
    records: list[dict[str, object]] = []
    for poses_file in sorted(options.folder.glob("*/poses.json")):
        frame = open_scene(poses_file.parent)[0]
        for name, entry in sorted(json.loads(poses_file.read_text()).items()):
            mesh = load_mesh(next((options.folder / "meshes" / name).glob("*.obj")))
            mask_file = next((poses_file.parent / "masks" / name).glob("*.png"))
            mask = cv2.imread(str(mask_file), cv2.IMREAD_UNCHANGED)
            mask = (mask if mask.ndim == 2 else mask.max(axis=2)) > 0
            estimator = FoundationPose(mesh, device=options.device, weights=options.weights)
            start = time.perf_counter()
            pose = estimator.register(frame.K, frame.rgb, frame.depth, mask, iteration=options.iterations)
            record: dict[str, object] = {
                "scene": poses_file.parent.name,
                "object": name,
                "verified": entry["verified"],
                "symmetry": entry.get("symmetry", ""),
                "seconds": time.perf_counter() - start,
                "pose": pose.tolist(),
            }
            if entry.get("object_in_camera") is not None:
                truth = np.array(entry["object_in_camera"])
                points = mesh.sample_surface(1000, seed=0)
                record["degrees"] = float(np.degrees(rotation_error(pose, truth)))
                record["millimetres"] = 1e3 * float(translation_error(pose, truth))
                record["add_s"] = float(add_s(pose, truth, points)) / mesh.diameter
            records.append(record)
    return records


def main(options: Options) -> None:
    columns = (("degrees", "8.2f"), ("millimetres", "12.2f"), ("add_s", "8.4f"), ("seconds", "8.2f"))
    print(f"{'scene':12s} {'object':24s} {'verified':>8s}  degrees  millimetres  ADD-S/d  seconds")
    for record in evaluate(options):
        numbers = " ".join(
            format(record[key], form) if key in record else " " * int(form[:-3]) for key, form in columns
        )
        print(f"{record['scene']:12s} {record['object']:24s} {record['verified']!s:>8s} {numbers}")


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options))
