"""Following objects from frame to frame: each new pose starts from the last one, or from where they move to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pose6d.errors import FrameError
from pose6d.geometry.observation import Observation
from pose6d.geometry.pose_check import ANNOTATED, check_in_front, check_rigid
from pose6d.geometry.transforms import make_transform, rotation_angle
from pose6d.search import alignment_alone
from pose6d.search.alignment import TRACKING_ROUNDS, align_poses
from pose6d.search.alignment_alone import TrackMemory
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.evidence import PoseEvidence, measure_evidence
from pose6d.search.frame_input import NEAR, REACH, as_array, check_depth_roughly, check_frame, check_result, cut_around
from pose6d.search.interfaces import Hypotheses, ObjectModel, Refiner, Scorer, Scouts

# What a step moves at most, radians and diameters, where no other one follows: on a CPU the step before, on a GPU the
# last frame's, for to know the other it would have to be waited for.
_STILL_TURN, _STILL_SHIFT = 0.07, 0.03
_STEPS = 2  # where the networks follow, if nothing else is asked for

_Seen = list[dict[str, float]] | None


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
        self._on_cpu = runner.device.type == "cpu"
        self._diameters = np.broadcast_to(torch.as_tensor(object.diameter).cpu().numpy(), len(self._centers))
        self._memory = TrackMemory(self._diameters)
        self.reset()

    def reset(self) -> None:
        """Forget where the objects are."""
        self.poses: Tensor | None = None

    def begin(self, poses: Tensor) -> None:
        """The next frame starts from these poses (M, 4, 4) of the centred objects, which are on the device."""
        self.poses = poses
        self._memory.begin(poses.cpu().numpy())

    def start_from(self, objects_in_camera: np.ndarray, name: str = "objects_in_camera") -> None:
        """Set the poses (M, 4, 4) of the original objects that the next frame starts from, metres.

        Raises:
            FrameError: they are of another shape, no rotations and translations, or not in front of the camera; the
                message calls them `name`.
        """
        given = as_array(objects_in_camera, name)
        if given.dtype.kind not in "iuf":
            raise FrameError(f"{name}: values of {given.dtype}; 4x4 poses of floats are needed")
        poses = torch.as_tensor(given, dtype=torch.float32, device=self._runner.device)
        if poses.shape != self._original_from_centred.shape:
            wanted = tuple(self._original_from_centred.shape)
            raise FrameError(f"{name}: shape {tuple(poses.shape)}; finite {wanted} poses are needed")
        if not poses.isfinite().all():
            raise FrameError(f"{name} holds values that are not finite; 4x4 poses are needed")
        for pose, center in zip(given.astype(np.float64), self._centers, strict=True):
            try:
                check_rigid(pose, ANNOTATED)
                check_in_front(pose[:3, :3] @ center + pose[:3, 3], what="its middle")
            except ValueError as error:
                raise FrameError(f"{name}: {error}") from error
        self.begin(poses @ self._original_from_centred)

    def track(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int | None, judge: bool, cropped: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Follow all objects into the next frame: see `FoundationPose.track_one`. Where one of several needs the
        networks, they follow all.

        Returns:
            (M, 4, 4) float32, original objects in camera, metres; and their confidence (M,), if asked for and known.
        """
        assert self.poses is not None, "the callers say where to start"
        self._runner.timings.clear()
        with self._runner.stage("check"):
            rgb, depth, K = check_frame(K, rgb, depth, _STEPS if iteration is None else iteration, cropped)
            if self._on_cpu:
                check_depth_roughly(depth)
        if iteration is None and self._on_cpu and self._memory.may_go_alone(judge):
            found = self._go_alone(rgb, depth, K)
            if found is not None:
                return found, self._memory.confidence if judge else None
        if iteration is None:
            return self._follow_by_networks(rgb, depth, K, self._steps(), judge, seldom=True)
        return self._follow_by_networks(rgb, depth, K, iteration, judge, seldom=False)

    def warm_up(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int | None, judged: Sequence[bool]
    ) -> None:
        """Run all that following objects from where they are may need, once; `judged`: whether they will be judged."""
        usual = [_STEPS] if self._on_cpu else [1, _STEPS]
        for steps in usual if iteration is None else [iteration]:
            for judge in judged:
                self._follow_by_networks(rgb, depth, K, steps, judge, seldom=iteration is None)
        if iteration is None and self._on_cpu:
            self._go_alone(rgb, depth, K)

    def _steps(self) -> int:
        """Refinement steps where nobody says how many. A GPU takes as long for a look at what the frame shows as for a
        step or two, and the networks follow in every frame there: what hardly moves takes one step."""
        hardly_moves = self._memory.rest(np.degrees(_STILL_TURN), _STILL_SHIFT)
        return 1 if hardly_moves and not self._on_cpu else _STEPS

    def _go_alone(self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray) -> np.ndarray | None:
        """Follow all objects by the alignment alone; None where the frame shows less of one than before."""
        with self._runner.stage("upload"):
            starts = self._memory.starts()
            inputs = [*self._upload(rgb, depth, K, torch.from_numpy(starts), NEAR), torch.from_numpy(starts)]
        (results,) = self._runner.run(self._align, inputs)
        with self._runner.stage("copy"):
            centred, original, _, seen = self._unpack(results)
        assert seen is not None
        if not self._memory.went_alone(starts, centred, seen):
            return None
        self.poses = self._poses_of(results)
        return original

    def _follow_by_networks(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, steps: int, judge: bool, seldom: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Refine all objects so many times; `seldom`: as far as need be, so that what follows may go alone."""
        runner = self._runner
        assert self.poses is not None
        with runner.stage("upload"):
            inputs = [*self._upload(rgb, depth, K, self.poses, REACH), self.poses]
        (results,) = runner.run(self._follow, inputs, steps, judge, seldom)
        if not self._on_cpu:  # while the GPU computes; nothing has changed yet
            with runner.stage("check"):
                check_depth_roughly(depth)
        with runner.stage("copy"):
            centred, original, known, seen = self._unpack(results)
            check_result(original, "tracking")
        self.poses = self._poses_of(results)
        self._memory.went_with_networks(centred, known, seen, judge)
        return original, known

    def _upload(self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, poses: Tensor, around: float) -> list[Tensor]:
        """What the device needs of a frame in which the objects are near these poses (M, 4, 4)."""
        if self._on_cpu:
            # Filtering takes its time with each pixel there. A GPU does not notice, and would have to record a graph
            # for every size.
            rgb, depth, K = cut_around(rgb, depth, K, poses.numpy(), self._diameters, around)
        return self._runner.upload_frame(rgb, depth, K)

    def _follow(
        self, rgb: Tensor, depth: Tensor, K: Tensor, poses: Tensor, iteration: int, judge: bool, seldom: bool
    ) -> tuple[Tensor, ...]:
        """What `_pack` makes of the poses, of their confidence, if asked for and known, and of what the frame shows, if
        that tells whether the next one needs networks."""
        runner = self._runner
        observation = runner.observe(rgb, depth, K)
        with runner.stage("refine"):
            poses = refine_tracked(poses, self._object, observation, self._refiner, self._scouts, iteration)
        with runner.stage("align"):
            rounds = alignment_alone.ROUNDS if seldom else TRACKING_ROUNDS[runner.device.type]
            poses = align_poses(poses, self._object, observation, rounds, coarse=rounds - 1 if seldom else 0)
        confidence = None
        if judge:
            with runner.stage("judge"):
                confidence = self._scorer.judge(Hypotheses(poses), self._object, observation).confidence
        evidence = self._look(poses, observation) if seldom and self._on_cpu else None
        return (self._pack(poses, confidence, evidence),)

    def _align(self, rgb: Tensor, depth: Tensor, K: Tensor, poses: Tensor) -> tuple[Tensor, ...]:
        """The same without networks, and so without confidence."""
        observation = self._runner.observe(rgb, depth, K)
        rounds = alignment_alone.ROUNDS
        with self._runner.stage("align"):
            poses = align_poses(poses, self._object, observation, rounds, coarse=rounds - 1)
        return (self._pack(poses, None, self._look(poses, observation)),)

    def _pack(self, poses: Tensor, confidence: Tensor | None, evidence: Tensor | None) -> Tensor:
        """(L,) all results in one piece, which takes one copy: poses of the centred objects and of the original ones,
        what the frame shows of them (12, M), and their confidence (M,)."""
        parts = poses, poses @ self._centred_from_original, evidence, confidence
        return torch.cat([part.flatten() for part in parts if part is not None])

    def _unpack(self, results: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, _Seen]:
        """The same on the host, with None for what is not there; the evidence is by object and name."""
        values, count = results.cpu().numpy(), len(self._centers)
        (centred, original), others = values[: 32 * count].reshape(2, count, 4, 4), values[32 * count :]
        others = others.reshape(-1, count)
        shown, known = np.split(others, [len(others) // len(PoseEvidence._fields) * len(PoseEvidence._fields)])
        seen = [dict(zip(PoseEvidence._fields, each, strict=True)) for each in shown.T.tolist()] if len(shown) else None
        return centred, original, known[0] if len(known) else None, seen

    def _poses_of(self, results: Tensor) -> Tensor:
        """(M, 4, 4) of the centred objects, on the device."""
        return results[: 16 * len(self._centers)].reshape(-1, 4, 4)

    def _look(self, poses: Tensor, observation: Observation) -> Tensor:
        with self._runner.stage("look"):
            return torch.stack(measure_evidence(poses, self._object, observation))


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
