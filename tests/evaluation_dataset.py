"""A tiny data set in BOP format, an estimator that knows the truth, and a program that predicts with it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from pose6d.evaluation.bop_writer import Arrangement, BopWriter
from pose6d.evaluation.datasets import PoseDataset
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.detections import VisibleMasks
from pose6d.evaluation.prediction import FoundPose, Job, PoseRequest, predict
from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.mesh import Mesh
from tests.mesh_boxes import make_box

SIZE = (90, 120)
K = np.array([[150.0, 0, 59.5], [0, 150, 44.5], [0, 0, 1]])
BOX, ROD = 1, 5  # the rod is a prism with 24 sides, whose models_info states an axis of revolution
HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])
SYMMETRIES = {
    BOX: {"symmetries_discrete": [HALF_TURN.ravel().tolist()]},
    ROD: {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]},
}


def make_pose(R: object, t: object) -> np.ndarray:
    return rigid_transform(R, np.ravel(t))


def box_mesh() -> Mesh:
    return make_box((0.12, 0.08, 0.1))


def rod_mesh(sides: int = 24) -> Mesh:
    angles = np.arange(sides) * 2 * np.pi / sides
    ring = 0.03 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    low, high = (np.column_stack([ring, np.full(sides, z)]) for z in (-0.05, 0.05))
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    walls = np.concatenate([np.stack([i, j, i + sides], 1), np.stack([j, j + sides, i + sides], 1)])
    lids = [np.stack([np.full(sides, 2 * sides + side), i + side * sides, j + side * sides], 1) for side in (0, 1)]
    vertices = np.concatenate([low, high, [[0, 0, -0.05], [0, 0, 0.05]]])
    return Mesh(vertices, np.concatenate([walls, *lids]), name="rod")


def write_dataset(folder: Path, scenes: int = 2, images: int = 3, **options: object) -> Path:
    """Each image shows a box, and two rods of which one is partly behind the box."""
    writer = BopWriter(folder, {BOX: box_mesh(), ROD: rod_mesh()}, SIZE, symmetries=SYMMETRIES, **options)  # type: ignore[arg-type]
    for scene_id in range(1, scenes + 1):
        R = Rotation.random(3 * images, random_state=scene_id).as_matrix()
        writer.write_scene(
            scene_id,
            [
                Arrangement(
                    [
                        (BOX, make_pose(R[3 * i], [-0.06, 0, 0.6 + 0.01 * i])),
                        (ROD, make_pose(R[3 * i + 1], [0.02, 0.0, 0.75])),
                        (ROD, make_pose(R[3 * i + 2], [0.12, 0.05, 0.6])),
                    ],
                    K,
                )
                for i in range(images)
            ],
        )
    return folder


class TrueEstimator:
    """Finds the true pose, moved by `shift` metres; takes `seconds` for it. Under a mask, half a turn about z may be
    right as well."""

    def __init__(self, dataset: PoseDataset, shift: tuple[float, float, float] = (0, 0, 0), seconds: float = 0.0):
        self.dataset, self.shift, self.seconds = dataset, shift, seconds
        self.requests: list[PoseRequest] = []

    def __call__(self, request: PoseRequest) -> FoundPose:
        self.requests.append(request)
        time.sleep(self.seconds)
        pose = self._truth(request).copy()
        pose[:3, 3] += self.shift
        other = pose @ np.diag([-1.0, -1.0, 1.0, 1.0])
        return FoundPose(pose, [] if request.frame.mask is None else [(pose, 0.6), (other, 0.3)])

    def _truth(self, request: PoseRequest) -> np.ndarray:
        scene_id, im_id, obj_id = request.target[:3]
        truths = [truth for truth in self.dataset.truths(scene_id, im_id) if truth.object_id == obj_id]
        if request.frame.mask is None:
            assert request.previous is not None
            return truths[0].object_in_camera
        masks = [self.dataset.mask(scene_id, im_id, truth) for truth in truths]
        overlap = [int((mask & request.frame.mask).sum()) for mask in masks if mask is not None]
        return truths[int(np.argmax(overlap))].object_in_camera


class TrueJob:
    """Makes a job with a `TrueEstimator`; can be sent to other processes."""

    def __init__(self, folder: Path, seconds: float = 0.0, track: bool = False) -> None:
        self.folder, self.seconds, self.track = folder, seconds, track

    def __call__(self) -> Job:
        dataset = BopDataset(self.folder)
        return Job(dataset, VisibleMasks(dataset), TrueEstimator(dataset, seconds=self.seconds), self.track)


def predict_truth(folder: Path, output: Path, seconds: float = 0.0, **options: int) -> object:
    return predict(TrueJob(folder, seconds), BopDataset(folder).images(), output, {"dataset": folder.name}, **options)


if __name__ == "__main__":
    predict_truth(Path(sys.argv[1]), Path(sys.argv[2]), seconds=0.03)
