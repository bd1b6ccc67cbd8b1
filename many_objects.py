"""Several objects in the same frames: found one after the other, followed all at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from estimater import FoundationPose
from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from pose6d.errors import FrameError, Pose6DError
from pose6d.geometry.transforms import make_transform
from pose6d.rendering import make_renderer
from pose6d.search.alignment import TRACKING_ROUNDS, aligned
from pose6d.search.frame_input import check_depth_roughly, check_frame, check_result
from pose6d.search.frame_processor import FrameProcessor


class ManyObjects(FrameProcessor):
    """Finds M objects in a frame and follows them through the next ones.

    Each object is registered by itself: its hypotheses fill the device already. Tracking has one hypothesis for each
    object, and there all share one upload, one filtered depth map and one batch.

    Args:
        estimators: one for each object, with the same networks:
            `FoundationPose(mesh, refiner=first.refiner, scorer=first.scorer)`.

    Attributes:
        confidences: (M,) of the last call, see `FoundationPose.confidence`; None before, and where there is none.
        timings: seconds of each stage of the last `track_many`.

    Raises:
        Pose6DError: no estimators, or they differ in networks or device.
    """

    def __init__(self, estimators: Sequence[FoundationPose]):
        self.estimators = list(estimators)
        if not self.estimators:
            raise Pose6DError("ManyObjects got no estimators: one for each object is needed")
        first = self.estimators[0]
        for i, other in enumerate(self.estimators):
            if (other.refiner, other.scorer, other.device) != (first.refiner, first.scorer, first.device):
                raise Pose6DError(
                    f"estimator {i} has other networks or another device than the first: make it with "
                    "refiner=first.refiner, scorer=first.scorer, device=first.device"
                )
        refiner, scorer = first.refiner, first.scorer
        if not (isinstance(refiner, PoseRefinePredictor) and isinstance(scorer, ScorePredictor)):
            raise Pose6DError("ManyObjects needs a PoseRefinePredictor and a ScorePredictor: other ones take one mesh")
        super().__init__(first.device)
        self.cropped = first.cropped
        self._refiner, self._scorer = refiner, scorer
        self._renderer = make_renderer([e.mesh.centered() for e in self.estimators], self.device)
        centers = torch.as_tensor(np.stack([e.mesh.center for e in self.estimators]), dtype=torch.float32)
        self._centred_from_mesh = make_transform(torch.eye(3), -centers).to(self.device)
        self._mesh_from_centred = make_transform(torch.eye(3), centers).to(self.device)
        self._diameters = torch.tensor([e.diameter for e in self.estimators], device=self.device)
        self._index = torch.arange(len(self.estimators), device=self.device)
        self._last: Tensor | None = None  # (M, 4, 4) centred meshes in camera
        self.confidences: np.ndarray | None = None

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
        if len(masks) != len(self.estimators):
            raise FrameError(f"masks: {len(masks)} for {len(self.estimators)} objects; one for each is needed")
        poses, confidences = [], []
        for i, (estimator, mask) in enumerate(zip(self.estimators, masks, strict=True)):
            estimator.cropped = self.cropped
            try:
                poses.append(estimator.register(K, rgb, depth, mask, iteration))
            except FrameError as error:
                raise FrameError(f"object {i} ({estimator.mesh.name}): {error}") from error
            confidences.append(estimator.confidence)
        self.start_from(np.stack(poses))
        self.confidences = None if None in confidences else np.array(confidences, dtype=np.float32)
        return np.stack(poses)

    def track_many(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int = 2, judge: bool = False
    ) -> np.ndarray:
        """Follow all objects into the next frame.

        Args:
            rgb, depth, K, iteration, judge: see `FoundationPose.track_one`.

        Returns:
            (M, 4, 4) float32, original meshes in camera (OpenCV axes), metres.

        Raises:
            Pose6DError: there are no poses to start from.
            SceneError, FrameError: the frame cannot be used; the last poses are kept.
        """
        if self._last is None:
            raise Pose6DError("track_many has no poses to start from: call register_many, or start_from(poses)")
        self.timings, self.confidences = {}, None
        with self._stage("check"):
            rgb, depth = check_frame(K, rgb, depth, iteration, self.cropped)
            check_depth_roughly(depth)
        with self._stage("upload"):
            diameters = [estimator.diameter for estimator in self.estimators]
            inputs = [*self._frame_around(self._last, diameters, rgb, depth, K), self._last]
        follow = partial(self._follow, iteration, judge)
        poses, objects_in_camera, confidences = self._run((iteration, judge), follow, inputs)
        with self._stage("copy"):
            result = objects_in_camera.cpu().numpy()
            check_result(result, "tracking")
            self.confidences = confidences.cpu().numpy() if len(confidences) else None
        self._last = poses
        return result

    def start_from(self, objects_in_camera: np.ndarray) -> None:
        """Set the poses (M, 4, 4) of the original meshes that the next `track_many` starts from, metres."""
        poses = torch.as_tensor(np.asarray(objects_in_camera), dtype=torch.float32, device=self.device)
        if poses.shape != self._mesh_from_centred.shape or not poses.isfinite().all():
            raise FrameError(
                f"objects_in_camera: shape {tuple(poses.shape)}; finite {tuple(self._mesh_from_centred.shape)} poses "
                "are needed"
            )
        self._last = poses @ self._mesh_from_centred

    @property
    def _parts(self) -> tuple[object, ...]:
        return self._refiner, self._scorer, self._renderer

    def _follow(
        self, iteration: int, judge: bool, rgb: Tensor, depth: Tensor, K: Tensor, poses: Tensor
    ) -> tuple[Tensor, ...]:
        """Poses (M, 4, 4) of the centred meshes and of the original ones, and confidences, (M,) or (0,)."""
        observation, index = self._observe(rgb, depth, K), self._index
        with self._stage("refine"):
            poses = self._refiner.predict(
                self._renderer, poses, observation, K, self._diameters, iteration, mesh_index=index
            )
        with self._stage("align"):
            poses = aligned(
                self._renderer, poses, observation, K, self._diameters, TRACKING_ROUNDS[self.device.type], index
            )
        confidences = None
        if judge:
            with self._stage("judge"):
                confidences = self._scorer.predict(
                    self._renderer, poses, observation, K, self._diameters, mesh_index=index
                ).confidence
        return poses, poses @ self._centred_from_mesh, poses.new_empty(0) if confidences is None else confidences
