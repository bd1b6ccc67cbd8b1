"""Following objects from frame to frame: each new pose starts from the last one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pose6d.errors import FrameError
from pose6d.geometry.observation import Observation
from pose6d.geometry.pose_check import ANNOTATED, check_in_front, check_rigid
from pose6d.geometry.transforms import make_transform, rotation_angle
from pose6d.search.alignment import TRACKING_ROUNDS, align_poses
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.frame_input import check_depth_roughly, check_frame, check_result, cut_around
from pose6d.search.interfaces import Hypotheses, ObjectModel, Refiner, Scorer, Scouts

# What a step moves at most, radians and diameters, where no other one follows on a CPU.
_STILL_TURN, _STILL_SHIFT = 0.07, 0.03


class Tracker:
    """Follows M objects at once, in one batch; one object is a batch of one.

    Args:
        object: what is followed, one for each of the M poses.
        centers: (M, 3) metres, the origins of the centred objects in their original frames.
        refiner, scorer: what moves the poses and judges them.
        runner: of the device.
        scouts: smaller networks, see `refine_tracked`.

    Attributes:
        poses: (M, 4, 4) on the device, centred objects in camera, where the next frame starts from; None before.
    """

    def __init__(
        self,
        object: ObjectModel,
        centers: np.ndarray,
        refiner: Refiner,
        scorer: Scorer,
        runner: DeviceRunner,
        scouts: Scouts | None = None,
    ):
        self._object, self._refiner, self._scorer, self._runner = object, refiner, scorer, runner
        self._scouts = scouts
        self._centers = np.asarray(centers, dtype=np.float64)
        offsets = torch.as_tensor(centers, dtype=torch.float32)
        self._centred_from_original = make_transform(torch.eye(3), -offsets).to(runner.device)
        self._original_from_centred = make_transform(torch.eye(3), offsets).to(runner.device)
        self.poses: Tensor | None = None

    def start_from(self, objects_in_camera: np.ndarray, name: str = "objects_in_camera") -> None:
        """Set the poses (M, 4, 4) of the original objects that the next frame starts from, metres.

        Raises:
            FrameError: they are of another shape, no rotations and translations, or not in front of the camera; the
                message calls them `name`.
        """
        poses = torch.as_tensor(np.asarray(objects_in_camera), dtype=torch.float32, device=self._runner.device)
        if poses.shape != self._original_from_centred.shape:
            wanted = tuple(self._original_from_centred.shape)
            raise FrameError(f"{name}: shape {tuple(poses.shape)}; finite {wanted} poses are needed")
        if not poses.isfinite().all():
            raise FrameError(f"{name} holds values that are not finite; 4x4 poses are needed")
        for pose, center in zip(np.asarray(objects_in_camera, dtype=np.float64), self._centers, strict=True):
            try:
                check_rigid(pose, ANNOTATED)
                check_in_front(pose[:3, :3] @ center + pose[:3, 3], what="its middle")
            except ValueError as error:
                raise FrameError(f"{name}: {error}") from error
        self.poses = poses @ self._original_from_centred

    def track(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int, judge: bool, cropped: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Follow all objects into the next frame: see `FoundationPose.track_one`.

        Returns:
            (M, 4, 4) float32, original objects in camera, metres; and their confidence (M,), if asked for and known.
        """
        assert self.poses is not None, "the callers say where to start"
        runner = self._runner
        runner.timings.clear()
        with runner.stage("check"):
            rgb, depth = check_frame(K, rgb, depth, iteration, cropped)
            check_depth_roughly(depth)
        with runner.stage("upload"):
            if runner.device.type == "cpu":
                # Filtering takes its time with each pixel there. A GPU does not notice, and would have to record a
                # graph for every size.
                rgb, depth, K = cut_around(rgb, depth, K, self.poses.numpy(), np.asarray(self._object.diameter))
            inputs = [*runner.upload_frame(rgb, depth, K), self.poses]
        poses, objects_in_camera, confidence = runner.run(self._follow, inputs, iteration, judge)
        with runner.stage("copy"):
            result = objects_in_camera.cpu().numpy()
            check_result(result, "tracking")
            known = confidence.cpu().numpy() if len(confidence) else None
        self.poses = poses
        return result, known

    def _follow(
        self, rgb: Tensor, depth: Tensor, K: Tensor, poses: Tensor, iteration: int, judge: bool
    ) -> tuple[Tensor, ...]:
        """Poses (M, 4, 4) of the centred objects and of the original ones, and their confidence, (M,) or (0,)."""
        runner = self._runner
        observation = runner.observe(rgb, depth, K)
        with runner.stage("refine"):
            poses = refine_tracked(poses, self._object, observation, self._refiner, self._scouts, iteration)
        with runner.stage("align"):
            poses = align_poses(poses, self._object, observation, TRACKING_ROUNDS[runner.device.type])
        confidence = None
        if judge:
            with runner.stage("judge"):
                confidence = self._scorer.judge(Hypotheses(poses), self._object, observation).confidence
        return poses, poses @ self._centred_from_original, poses.new_empty(0) if confidence is None else confidence


def refine_tracked(
    poses: Tensor,
    object: ObjectModel,
    observation: Observation,
    refiner: Refiner,
    scouts: Scouts | None,
    steps: int,
) -> Tensor:
    """Poses of the frame before, refined to this one.

    On a CPU the scouts' refiner, if there are any, takes the first of several steps, and where that hardly moves any
    object no other one follows: what is left then is the alignment's. A GPU would have to be waited for to know.

    Args:
        poses: (N, 4, 4) float32, centred objects in camera.
        object: of each pose, or of all.
        observation: one frame.
        refiner, scouts: what moves the poses.
        steps: at most so many.

    Returns:
        (N, 4, 4) float32.
    """
    if poses.device.type != "cpu":
        return refiner.predict(Hypotheses(poses), object, observation, steps)
    for done in range(steps):
        before, own = poses, refiner if scouts is None or done or steps == 1 else scouts[0]
        poses = own.predict(Hypotheses(before), object, observation, 1)
        if _hardly_moved(before, poses, object.diameter):
            break
    return poses


def _hardly_moved(before: Tensor, after: Tensor, diameter: float | Tensor) -> bool:
    turn = rotation_angle(before[:, :3, :3], after[:, :3, :3])
    shift = (after[:, :3, 3] - before[:, :3, 3]).norm(dim=1) / diameter
    return bool(((turn < _STILL_TURN) & (shift < _STILL_SHIFT)).all())
