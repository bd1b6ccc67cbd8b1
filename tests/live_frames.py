"""Rendered frames of a box and a torus that move, with things in front, and parts that know the truth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from estimater import FoundationPose
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.scenes.frame import Frame
from pose6d.search.interfaces import Hypotheses, ObjectModel, Progress, Scores
from pose6d.search.schedule import Schedule
from tests.estimater_scene import K
from tests.rendering_scenes import box, torus

WALL = 1.5  # metres
SIZE = (240, 320)
_RADIANS, _METRES = 0.9, 0.05  # from how far the knowing refiner finds the truth


def pose_at(x: float, y: float = 0.0, z: float = 0.6, turn: tuple[float, float, float] = (0.3, -0.5, 0.2)) -> Tensor:
    """(4, 4) object in camera."""
    return make_transform(so3_exp(torch.tensor(turn)), torch.tensor([x, y, z]))


def moved(i: int, name: str = "box") -> Tensor:
    """The pose in frame `i` of a smooth motion, 4 millimetres and a degree and a half a frame."""
    return pose_at(0.004 * i - (0.1 if name == "torus" else 0.0), turn=(0.3 + 0.02 * i, -0.5 + 0.015 * i, 0.2))


def draw_frame(
    poses: list[Tensor | None], meshes: list[Mesh], name: str = "0", cover: tuple[slice, slice] | None = None
) -> tuple[Frame, list[np.ndarray]]:
    """The objects before a wall, with something flat painted in front of a part of the picture; and their masks."""
    shown = [i for i, pose in enumerate(poses) if pose is not None]
    rgb, depth = np.full((*SIZE, 3), 90, np.uint8), np.full(SIZE, WALL, np.float32)
    masks = [np.zeros(SIZE, bool) for _ in poses]
    if shown:
        drawn = make_renderer(meshes, "cpu").render(
            torch.stack([poses[i] for i in shown]),  # type: ignore[misc]
            torch.as_tensor(K, dtype=torch.float32),
            SIZE,
            mesh_index=torch.tensor(shown),
            image_index=torch.zeros(len(shown), dtype=torch.int64),
        )
        instance = drawn.instance[0].numpy()
        rgb = np.where((instance >= 0)[..., None], (drawn.color[0] * 255).round().to(torch.uint8).numpy(), rgb)
        depth = np.where(instance >= 0, drawn.depth[0].numpy(), depth)
        for row, i in enumerate(shown):
            masks[i] = instance == row
    if cover is not None:
        rgb[cover], depth[cover] = (200, 60, 60), 0.4
        for mask in masks:
            mask[cover] = False
    return Frame(name, rgb, depth, K, seconds=int(name) / 30), masks


class KnowingRefiner:
    """Moves poses that are near the truth of their object there, and leaves the others as they are.

    Attributes:
        truths: by diameter of the object, (4, 4) centred object in camera, or None where it is out of the picture.
        pairs: how many poses it has been given.
    """

    recordable = False

    def __init__(self) -> None:
        self.truths: dict[float, Tensor | None] = {}
        self.pairs = 0

    def is_near(self, pose: Tensor, diameter: Tensor, limit: float = 1.0) -> bool:
        truth = self._truth(diameter)
        if truth is None:
            return False
        near = (pose[:3, 3] - truth[:3, 3]).norm() < limit * _METRES
        return bool(near and rotation_angle(pose[:3, :3], truth[:3, :3]) < limit * _RADIANS)

    def predict(
        self,
        hypotheses: Hypotheses,
        object: ObjectModel,
        observation: Observation,
        steps: int = 5,
        progress: Progress | None = None,
    ) -> Tensor:
        poses = hypotheses.poses.clone()
        self.pairs += len(poses)
        diameters = torch.as_tensor(object.diameter).expand(len(poses))
        for row, diameter in enumerate(diameters):
            if self.is_near(poses[row], diameter):
                poses[row] = self._truth(diameter)
        return poses

    def _truth(self, diameter: Tensor) -> Tensor | None:
        key = min(self.truths, key=lambda known: abs(known - float(diameter)))
        return self.truths[key]


class KnowingScorer:
    """Sure of the truth, and of nothing else."""

    has_confidence, texture_weight, choice_weights, recordable = True, 0.0, None, False

    def __init__(self, refiner: KnowingRefiner):
        self._refiner = refiner

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        diameters = torch.as_tensor(object.diameter).expand(len(hypotheses))
        near = [self._refiner.is_near(p, d, 0.2) for p, d in zip(hypotheses.poses, diameters, strict=True)]
        confidence = torch.tensor(near) * 0.97 + 0.01
        return Scores(confidence.clone(), confidence)

    judge = predict


class Stage:
    """A box and a torus, estimators that know where they are, and frames of both.

    Attributes:
        estimators: by name.
        refiner: of all.
        frame: the last.
        masks: (H, W) of both in it.
    """

    def __init__(self) -> None:
        self.refiner = KnowingRefiner()
        scorer = KnowingScorer(self.refiner)
        self._meshes = {"box": box(), "torus": torus()}
        self.estimators = {
            name: FoundationPose(
                mesh, refiner=self.refiner, scorer=scorer, device="cpu", schedule=Schedule("brief", 40)
            )
            for name, mesh in self._meshes.items()
        }
        self._count = 0

    def show(self, cover: tuple[slice, slice] | None = None, **poses: Tensor | None) -> Frame:
        """The next frame, with objects of those names at these poses."""
        given = [poses.get(name) for name in self._meshes]
        for estimator, pose, mesh in zip(self.estimators.values(), given, self._meshes.values(), strict=True):
            offset = make_transform(torch.eye(3), torch.as_tensor(mesh.center, dtype=torch.float32))
            self.refiner.truths[float(estimator.diameter)] = None if pose is None else pose @ offset
        self.frame, self.masks = draw_frame(given, [*self._meshes.values()], str(self._count), cover)
        self._count += 1
        return self.frame
