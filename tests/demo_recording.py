"""A recording of a box for the tests of run_demo.py, an estimator that knows its poses, and a run with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh
from pose6d.rendering import make_renderer
from pose6d.scenes.images import write_depth, write_image
from pose6d.search.alternatives import Alternative
from tests.mesh_boxes import make_box
from tests.rendering_scenes import draw

HEIGHT, WIDTH, FRAMES = 120, 160, 5
K = np.array([[150.0, 0, 79.5], [0, 150.0, 59.5], [0, 0, 1]])
BOX = make_box((0.1, 0.08, 0.14), colors=150)


def true_pose(index: int) -> np.ndarray:
    return rigid_transform(np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]), [0.01 * index, 0, 0.5])


def estimated_pose(index: int) -> np.ndarray:
    pose = true_pose(index).astype(np.float32)
    pose[0, 3] += 0.002
    return pose


def write_recording(scene: Path) -> Path:
    """A box on a wall at 1 m; the first colour value of each frame is its number."""
    renderer = make_renderer(BOX, "cpu")
    for i in range(FRAMES):
        drawn = draw(renderer, true_pose(i), K, (HEIGHT, WIDTH))
        mask = drawn.mask[0].numpy()
        rgb = (drawn.color[0].numpy() * 255).astype(np.uint8)
        rgb[0, 0, 0] = i
        write_image(scene / "rgb" / f"{i:04d}.png", rgb)
        write_depth(scene / "depth" / f"{i:04d}.png", np.where(mask, drawn.depth[0].numpy(), 1.0))
        np.savetxt(_made(scene / "annotated_poses") / f"{i:04d}.txt", true_pose(i))
        if i == 0:
            write_image(scene / "masks" / "0000.png", mask)
    np.savetxt(scene / "cam_K.txt", K)
    save_mesh(BOX, _made(scene / "mesh") / "box.ply")
    return scene


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class FakeEstimator:
    """Knows the poses, and is 2 mm off; takes the frame's number from the first colour value."""

    def __init__(self, mesh: Mesh, *, symmetries: np.ndarray | None, **_: Any) -> None:
        self.mesh, self.symmetries, self.timings = mesh, symmetries, {"refine": 0.001}
        self.poses, self.scores = None, None
        self.confidence: float | None = None
        self.alternatives: list[Alternative] = []

    def register(
        self, K: Any, rgb: Any, depth: Any, ob_mask: Any, iteration: int, progress: Any, watch: Any
    ) -> np.ndarray:
        assert ob_mask.dtype == bool
        progress(252, 252)
        for step in range(iteration + 1 if watch else 0):
            poses = torch.eye(4).repeat(2, 1, 1)
            poses[:, :3, 3] = torch.tensor([0.001 * step, 0.0, 0.5])
            watch("refine" if step else "start", poses, torch.arange(2))
        pose = self.track_one(rgb, depth, K, iteration)
        self.poses = np.stack([pose, true_pose(3).astype(np.float32)])
        self.scores = np.array([2.0, 1.0])
        self.confidence = 0.9
        self.alternatives = [Alternative(pose, 0.9)]
        return pose

    def track_one(self, rgb: Any, depth: Any, K: Any, iteration: int, judge: bool = False) -> np.ndarray:
        self.confidence = 0.8 if judge else None
        return estimated_pose(int(rgb[0, 0, 0]))


def run_scene(scene: Path, tmp_path: Path, **options: Any) -> int:
    """Run the demo on a scene with this estimator; its results are in `out`."""
    from recorded.options import RecordedOptions  # here, for all tests load this file
    from recorded.run import run_recorded

    options = {"test_scene_dir": scene, "device": "cpu", "debug_dir": tmp_path / "out", **options}
    return run_recorded(RecordedOptions(**options), make_estimator=FakeEstimator)
