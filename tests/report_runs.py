"""A made-up run whose page the tests of the report open."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.symmetry import parse_symmetry
from pose6d.rendering import make_renderer
from pose6d.report.comparison import compare_poses
from pose6d.report.html_report import write_html_report
from pose6d.report.result_writer import ResultWriter
from pose6d.report.run_facts import RunFacts
from pose6d.report.run_folder import RunFolder
from pose6d.report.run_record import RunRecord
from pose6d.scenes.frame import Frame, Scene
from tests.mesh_boxes import make_box
from tests.rendering_scenes import draw

K = np.array([[200.0, 0, 79.5], [0, 200.0, 59.5], [0, 0, 1]])
FRAMES = 24
HOSTILE = 'cup "5" & </script><b>'
BOX = make_box(0.1, np.array([[60 + 24 * i, 200 - 20 * i, 120] for i in range(8)]), "models/box.ply")


def make_pose(index: int, error: float = 0.0) -> np.ndarray:
    place = [0.004 * index - 0.05 + error / 5, 0.01 * np.sin(index / 3), 0.5 + 0.002 * index]
    return rigid_transform(cv2.Rodrigues(np.array([0.4, 0.5 + 0.05 * index + error, 0.2]))[0], place)


class Recording(Scene):
    kind = "folder"
    description = "folder layout, for a test"

    def _read(self, index: int) -> Frame:
        raise NotImplementedError


def write_page(folder: Path, *, compare: bool, level: int = 1) -> Path:
    """Run nothing, but write the page as a run would."""
    mesh, record = BOX, RunRecord()
    renderer = make_renderer(mesh, "cpu")
    symmetries = parse_symmetry("180 x").numpy() if compare else None
    background = np.random.default_rng(0).integers(90, 150, (120, 160, 3)).astype(np.uint8)
    with ResultWriter(
        RunFolder(folder), record, mesh, renderer, level, compare=compare, symmetries=symmetries
    ) as writer:
        for i in range(FRAMES):
            drawn = draw(renderer, make_pose(i), K, (120, 160))
            mask = drawn.mask[0].numpy()
            rgb = np.where(mask[..., None], (255 * drawn.color[0].numpy()).astype(np.uint8), background)
            depth = np.where(mask, drawn.depth[0].numpy(), 0.8).astype(np.float32)
            frame = Frame(f"{i:04d}", rgb, depth, K, mask, make_pose(i) if compare else None)
            writer.write(frame, make_pose(i, 0.02 * np.sin(i)))
    record.seconds |= {"register": 1.5, "track": 2.0}
    record.add_details("track", {"refine": 1.2, "render": 0.4})
    record.alternatives["0000"] = [(make_pose(0), 0.61), (make_pose(3), 0.27), (make_pose(6), 0.02)]
    record.failures["0099"] = "depth is truncated </script>"
    seconds = {name: i / 30 for i, name in enumerate(record.poses)}
    comparison = compare_poses(record.poses, record.truths, seconds, mesh, symmetries)
    settings = {"mesh_file": None, "compare": compare, "frames": HOSTILE}
    facts = RunFacts(
        Recording(folder / HOSTILE.replace("/", "|")), mesh, settings, torch.device("cpu"), folder, [HOSTILE]
    )
    return write_html_report(folder / "report.html", facts, record, writer, seconds, comparison)
