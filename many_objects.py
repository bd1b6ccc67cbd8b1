"""Several objects with the same networks: one estimator each, or all followed at once in the same frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from estimater import FoundationPose
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from learning.training.scouts import load_scouts
from pose6d.device import resolve_device
from pose6d.errors import FrameError, Pose6DError
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.interfaces import Refiner, Scorer
from pose6d.search.schedule import Schedule
from pose6d.search.tracker import Tracker


class ManyObjects:
    """Finds M objects in a frame and follows them through the next ones.

    Each object is registered by itself: its hypotheses fill the device already. Tracking has one hypothesis for each
    object, and there all share one upload, one filtered depth map and one batch.

    Args:
        estimators: one for each object, of a mesh each, with the same networks:
            `FoundationPose(mesh, refiner=first.refiner, scorer=first.scorer, scouts=first.scouts)`.

    Attributes:
        confidences: (M,) of the last call, see `FoundationPose.confidence`; None before, and where there is none.
        timings: seconds of each stage of the last `track_many`.
        cropped: as of `FoundationPose`.

    Raises:
        Pose6DError: no estimators, or they differ in networks or device, or one has no mesh.
    """

    def __init__(self, estimators: Sequence[FoundationPose]):
        meshes = meshes_of_batch(estimators)
        self.estimators = list(estimators)
        first = self.estimators[0]
        self.cropped = first.cropped
        objects = RenderedObject.from_meshes(meshes, first.device)
        self._runner = DeviceRunner(first.device, (first.refiner, first.scorer, objects))
        centers = np.stack([mesh.center for mesh in meshes])
        self._tracker = Tracker(objects, centers, first.refiner, first.scorer, self._runner, first.scouts)
        self.confidences: np.ndarray | None = None

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of each stage of the last `track_many`."""
        return dict(self._runner.timings)

    def register_many(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, masks: Sequence[np.ndarray], iteration: int = 5
    ) -> np.ndarray:
        """Find all objects in one frame.

        Args:
            K, rgb, depth, iteration: see `FoundationPose.register`.
            masks: M masks (H, W), in the order of the estimators.

        Returns:
            (M, 4, 4) float32, original meshes in camera (OpenCV axes), metres.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used, or one object's mask; the message says which.
        """
        masks = list(masks) if isinstance(masks, Iterable) else []
        if len(masks) != len(self.estimators):
            raise FrameError(f"masks: {len(masks)} for {len(self.estimators)} objects; one for each is needed")
        poses, confidences = [], []
        for i, (estimator, mask) in enumerate(zip(self.estimators, masks, strict=True)):
            estimator.cropped = self.cropped
            try:
                poses.append(estimator.register(K, rgb, depth, mask, iteration))
            except FrameError as error:
                name = estimator.mesh.name if estimator.mesh is not None else "without a mesh"
                raise FrameError(f"object {i} ({name}): {error}") from error
            confidences.append(estimator.confidence)
        self.start_from(np.stack(poses))
        self.confidences = None if None in confidences else np.array(confidences, dtype=np.float32)
        return np.stack(poses)

    def track_many(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int | None = None, judge: bool = False
    ) -> np.ndarray:
        """Follow all objects into the next frame. Where one needs the networks, they follow all.

        Args:
            rgb, depth, K, iteration, judge: see `FoundationPose.track_one`.

        Returns:
            (M, 4, 4) float32, original meshes in camera (OpenCV axes), metres.

        Raises:
            Pose6DError: there are no poses to start from.
            SceneError, FrameError: the frame cannot be used; the last poses are kept.
        """
        if self._tracker.poses is None:
            raise Pose6DError("track_many has no poses to start from: call register_many, or start_from(poses)")
        self.confidences = None
        poses, self.confidences = self._tracker.track(rgb, depth, K, iteration, judge, self.cropped)
        return poses

    def start_from(self, objects_in_camera: np.ndarray) -> None:
        """Set the poses (M, 4, 4) of the original meshes that the next `track_many` starts from, metres."""
        self._tracker.start_from(objects_in_camera)


def meshes_of_batch(estimators: Sequence[FoundationPose]) -> list[Mesh]:
    """The meshes of estimators whose objects are to be followed in one batch.

    Raises:
        Pose6DError: no estimators, or they differ in networks or device, or one has no mesh.
    """
    if not isinstance(estimators, Sequence):
        raise Pose6DError(f"estimators: a {type(estimators).__name__}; a list with one for each object is needed")
    if not estimators:
        raise Pose6DError("no estimators: one for each object is needed")
    first = estimators[0]
    for i, other in enumerate(estimators):
        if not isinstance(other, FoundationPose):
            raise Pose6DError(f"estimator {i} is a {type(other).__name__}: make a FoundationPose of each mesh")
        if (other.refiner, other.scorer, other.device) != (first.refiner, first.scorer, first.device):
            raise Pose6DError(
                f"estimator {i} has other networks or another device than the first: make it with "
                "refiner=first.refiner, scorer=first.scorer, scouts=first.scouts, device=first.device"
            )
    meshes = [estimator.mesh for estimator in estimators if estimator.mesh is not None]
    if len(meshes) < len(estimators):
        raise Pose6DError("a batch draws all objects at once, from their meshes: an estimator has none")
    return meshes


class EstimatorFactory:
    """Makes one FoundationPose per mesh, all with the same networks.

    Args:
        weights: a released set's name, or a folder.
        device: auto, cpu, cuda or cuda:N.
        schedule: of register.
        quantized: a quantised variant of the networks; the weights as they are where None.
        amp: the fastest number format, float16 on CUDA; False is float32.

    Attributes:
        refiner, scorer, scouts: of all estimators that are made from now on.
    """

    def __init__(
        self,
        weights: str | Path = "auto",
        device: str | torch.device = "auto",
        schedule: str | Schedule = "auto",
        quantized: str | None = None,
        amp: bool = True,
    ) -> None:
        self.device, self.schedule = resolve_device(device), schedule
        self.refiner: Refiner = PoseRefinePredictor(weights, self.device, amp, quantized)
        self.scorer: Scorer = ScorePredictor(weights, self.device, amp, quantized)
        self.scouts = load_scouts(weights, self.device, amp)
        self._made: dict[int, tuple[Mesh, FoundationPose]] = {}  # with its mesh, so that no other one gets its id

    def __call__(self, mesh: Mesh, symmetries: np.ndarray | None = None) -> FoundationPose:
        """The estimator of a mesh, the same one for the same mesh."""
        if id(mesh) not in self._made:
            estimator = FoundationPose(
                mesh,
                symmetries,
                self.scorer,
                self.refiner,
                device=self.device,
                schedule=self.schedule,
                scouts=self.scouts,
            )
            self._made[id(mesh)] = mesh, estimator
        return self._made[id(mesh)][1]

    def forget(self) -> None:
        """Let go of all estimators made so far, and of the memory of their meshes."""
        self._made.clear()
