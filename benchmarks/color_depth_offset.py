"""How well an offset of depth beside colour is measured: synthetic scenes of known offset, seen by a noisy camera.

python -m benchmarks.color_depth_offset --mesh_folder MESHES --scenes 400
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.accuracy.scenes import ScenePool
from benchmarks.accuracy.scoreboard import make_targets
from benchmarks.accuracy.suites import SUITES
from learning.datasets.scenes.scene_batches import sample_scenes
from pose6d.camera_simulation.simulated_camera import NOISY_DEPTH, TRAINING
from pose6d.command import run_command_line
from pose6d.errors import OptionError
from pose6d.geometry.color_depth_offset import measure_color_depth_offset

_LARGEST = 6.0  # pixels along each axis
_CAMERAS = tuple(replace(camera, misaligned=0.0) for camera in (TRAINING, NOISY_DEPTH))


@dataclass(frozen=True)
class OffsetOptions:
    """What is measured."""

    mesh_folder: Path | None = None
    """Folder that is searched for meshes in metres. Default: procedural objects."""
    scenes: int = 100
    seed: int = 0


def make_views(options: OffsetOptions) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cluttered scenes, rgb (480, 640, 3) uint8 and depth (480, 640) metres, in turn by two kinds of noisy camera."""
    suite = SUITES["cluttered"]
    pool = ScenePool.from_meshes([t.mesh for t in make_targets([suite], options.mesh_folder, (), 7)[suite.name]])
    views = []
    for index in tqdm(range(options.scenes), desc="make", unit="scene"):
        shown = index % pool.meshes.objects
        draws = torch.Generator().manual_seed(options.seed * 1_000_003 + index)
        scene = sample_scenes(pool.meshes, 1, draws, suite.config, torch.tensor([shown]))
        rgb, depth = _CAMERAS[index % 2].capture(scene.rgb, scene.depth, draws)
        color = (rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        views.append((color, (depth[0] * pool.diameters[shown]).numpy()))
    return views


def main(options: OffsetOptions) -> None:
    """Print, for scenes without and with an offset, how often it is known and certain, and the errors."""
    if options.scenes < 1:
        raise OptionError(f"--scenes is {options.scenes}: at least 1 is needed")
    views = make_views(options)
    random = np.random.default_rng(options.seed)
    print("| offset | scenes | known | certain | error of certain ones, pixels along an axis: median / 95 % / most |")
    print("|---|---:|---:|---:|---:|")
    for name, largest in (("none", 0.0), (f"up to {_LARGEST:g} pixels", _LARGEST)):
        known, errors = 0, []
        for rgb, depth in tqdm(views, desc=name, unit="scene", leave=False):
            offset = random.uniform(-largest, largest, 2)
            move = np.array([[1, 0, -offset[0]], [0, 1, -offset[1]]])
            moved = cv2.warpAffine(rgb, move, rgb.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            measured = measure_color_depth_offset([(moved, depth)])
            known += measured.known
            if measured.certain:
                errors.append(np.abs(np.array([measured.right, measured.down]) - offset).max())
        spread = " / ".join(f"{np.quantile(errors, share):.2f}" for share in (0.5, 0.95, 1.0)) if errors else ""
        count = len(views)
        print(f"| {name} | {count} | {100 * known / count:.0f} % | {100 * len(errors) / count:.1f} % | {spread} |")


if __name__ == "__main__":
    run_command_line(main, OffsetOptions, description=__doc__, use_underscores=True)
