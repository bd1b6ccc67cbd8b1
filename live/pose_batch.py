"""Poses of several objects in one frame, refined and judged in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from estimater import FoundationPose
from many_objects import meshes_of_batch
from pose6d.errors import FrameError
from pose6d.geometry.transforms import make_transform
from pose6d.pieces import run_pieces
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.scenes.frame import Frame
from pose6d.search.alignment import align_poses
from pose6d.search.alternatives import weigh
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.evidence import PoseEvidence, measure_evidence
from pose6d.search.frame_input import NEAR, REACH, check_depth_roughly, check_frame, cut_around
from pose6d.search.interfaces import ChoiceWeights, Hypotheses, check_networks
from pose6d.search.pair_evidence import PairEvidence, compare_poses
from pose6d.search.placement import NearSides, place_rotations
from pose6d.search.tracker import refine_tracked


@dataclass(frozen=True)
class JudgedPoses:
    """N poses after refinement, and what the frame says of each.

    Attributes:
        poses: (N, 4, 4) float32, original meshes in camera, metres.
        ranking: (N,) of the scorer; poses of one object compare, those of two do not.
        confidence: (N,) of the scorer, 0..1; None where it has none.
        evidence: arrays (N,) by the names of `PoseEvidence`.
    """

    poses: np.ndarray
    ranking: np.ndarray
    confidence: np.ndarray | None
    evidence: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.poses)

    def take(self, rows: Sequence[int] | np.ndarray) -> JudgedPoses:
        """Those of some rows."""
        rows = np.asarray(rows, dtype=np.int64)
        confidence = None if self.confidence is None else self.confidence[rows]
        evidence = {name: values[rows] for name, values in self.evidence.items()}
        return JudgedPoses(self.poses[rows], self.ranking[rows], confidence, evidence)

    def __add__(self, other: JudgedPoses) -> JudgedPoses:
        """Both, one after the other."""
        known = self.confidence is not None and other.confidence is not None
        return JudgedPoses(
            np.concatenate([self.poses, other.poses]),
            np.concatenate([self.ranking, other.ranking]),
            np.concatenate([self.confidence, other.confidence]) if known else None,
            {name: np.concatenate([values, other.evidence[name]]) for name, values in self.evidence.items()},
        )


class PlacedPoses(NamedTuple):
    """Rotations of one object, laid against R regions of a frame.

    Attributes:
        poses: (R, C, 4, 4) float32, original mesh in camera, metres: of each region those that fit it best.
        evidence: arrays (R, C) by the names of `PoseEvidence`.
    """

    poses: np.ndarray
    evidence: dict[str, np.ndarray]


_USUAL_WEIGHTS = ChoiceWeights(ranking=0.0, texture=1.0, confidence=1.0, color=0.75, shape=0.35)
"""of scorers that bring none: about those of the released ones, but for the ranking, whose unit nobody knows"""

JudgedWatch = Callable[[Frame, Sequence[int], JudgedPoses], object]


def filled_size(count: int) -> int:
    """The least power of four that is at least as large."""
    size = 1
    while size < count:
        size *= 4
    return size


class PoseBatch:
    """Refines and judges poses of M objects that share their networks; the objects of a batch may be mixed and repeat.

    On CUDA every size of batch is recorded as a graph of its own; batches are filled up to powers of four, so that
    there are few.

    Args:
        estimators: one for each object, as for `ManyObjects`.
        watch: called with the frame, the index of the object of each pose, and what `follow` has refined and judged.

    Raises:
        Pose6DError: no estimators, or they differ in networks or device, or one has no mesh.
    """

    def __init__(self, estimators: Sequence[FoundationPose], watch: JudgedWatch | None = None):
        meshes, first = meshes_of_batch(estimators), estimators[0]
        self._watch = watch
        self.device, self._cropped = first.device, first.cropped
        self._refiner, self._scorer, self._scouts = first.refiner, first.scorer, first.scouts
        self._textured = [estimator.object.textured for estimator in estimators]
        self._objects = RenderedObject.from_meshes(meshes, first.device)
        self._diameters = np.array([mesh.diameter for mesh in meshes], dtype=np.float32)
        self._offsets = np.tile(np.eye(4, dtype=np.float32), (len(meshes), 1, 1))  # (M, 4, 4) centred in original
        self._offsets[:, :3, 3] = [mesh.center for mesh in meshes]
        self._back = self._offsets.copy()  # (M, 4, 4) original in centred
        self._back[:, :3, 3] *= -1.0
        networks = check_networks(self._refiner, self._scorer, self._scouts)
        self._runner = DeviceRunner(first.device, (*networks, self._objects))
        self._checked: Frame | None = None
        self._uploaded: tuple[Frame, list[Tensor]] | None = None  # whose images wait for the device

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of each stage of the last call."""
        return dict(self._runner.timings)

    def check(self, frame: Frame) -> Frame:
        """A frame whose colour, depth and K are arrays of the types that the rest expects.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used.
        """
        if not isinstance(frame, Frame):
            raise FrameError(
                f"frame is a {type(frame).__name__}: pass a Frame of pose6d.scenes, or what its scenes give"
            )
        rgb, depth, K = check_frame(frame.K, frame.rgb, frame.depth, 1, self._cropped)
        check_depth_roughly(depth)
        self._checked = replace(frame, rgb=rgb, depth=depth, K=K)
        return self._checked

    def _known(self, frame: Frame) -> Frame:
        """The frame as `check` gives it, which need not look at it again: a frame is looked at several times."""
        return frame if frame is self._checked else self.check(frame)

    def _inputs(self, frame: Frame, objects: Sequence[int], poses: np.ndarray, around: float) -> list[Tensor]:
        """Colour, depth and K of a frame, the centred poses, and the objects of each, as the device needs them; on CUDA
        the last pose fills the batch up.

        Args:
            frame: with depth in metres.
            objects: N indices of the estimators.
            poses: (N, 4, 4) original meshes in camera, metres.
            around: of the poses, see `cut_around`.
        """
        runner = self._runner
        runner.timings.clear()
        with runner.stage("check"):
            frame = self._known(frame)
            index = np.array(objects, dtype=np.int64)
            centred = np.asarray(poses, dtype=np.float32) @ self._offsets[index]
            if self.device.type == "cuda":
                fill = np.minimum(np.arange(filled_size(len(index))), len(index) - 1)
                centred, index = centred[fill], index[fill]
        with runner.stage("upload"):
            if self.device.type == "cpu":  # see `pose6d.search.tracker`
                part = cut_around(frame.rgb, frame.depth, frame.K, centred, self._diameters[index], around)
                images = runner.upload_frame(*part)
            else:
                images = self._upload(frame)
            return [*images, torch.from_numpy(centred), torch.from_numpy(index)]

    def _upload(self, frame: Frame) -> list[Tensor]:
        """What the device needs of all of a checked frame, copied once however often the frame is looked at."""
        if self._uploaded is None or self._uploaded[0] is not frame:
            self._uploaded = frame, self._runner.upload_frame(frame.rgb, frame.depth, frame.K)
        return self._uploaded[1]

    def _each(self, index: Tensor) -> RenderedObject:
        """The objects of so many poses (N,), on the device."""
        assert isinstance(self._objects.diameter, Tensor)
        return replace(self._objects, diameter=self._objects.diameter[index], index=index)

    def follow(
        self,
        frame: Frame,
        objects: Sequence[int],
        poses: np.ndarray,
        iteration: int,
        rounds: int,
        judge: bool = True,
        rough: bool = False,
    ) -> JudgedPoses:
        """Refine poses, align them with texture and depth, and judge the result.

        A pose that is not finite afterwards stays as it was, with no confidence and nothing of it visible.

        Args:
            frame: with depth in metres.
            objects: N indices of the estimators.
            poses: (N, 4, 4) original meshes in camera, metres.
            iteration: refinement steps, 0 or more.
            rounds: of the alignment, 0 or more.
            judge: ask the scorer; without, `ranking` is 0 and `confidence` None.
            rough: smaller networks refine, if there are any: enough to tell what is worth more work.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used.
        """
        runner, count = self._runner, len(objects)
        inputs = self._inputs(frame, objects, poses, REACH if iteration else NEAR)
        (results,) = runner.run(self._follow, inputs, iteration, rounds, judge, rough, size=len(inputs[-1]))
        with runner.stage("copy"):
            columns = results.cpu().numpy()[:, :count]
            with np.errstate(invalid="ignore", over="ignore"):
                found = columns[:16].T.reshape(count, 4, 4) @ self._back[list(objects)]
            sound = np.isfinite(found).all(axis=(1, 2))
            if not sound.all():
                found = np.where(sound[:, None, None], found, np.asarray(poses, dtype=np.float32))
                columns = np.where(sound, columns, np.float32(0.0))
            ranking = np.where(sound, columns[16], np.float32(-np.inf))
            shown, known = np.split(columns[17:], [len(PoseEvidence._fields)])
            values = dict(zip(PoseEvidence._fields, shown, strict=True))
        judged = JudgedPoses(found, ranking, known[0] if len(known) else None, values)
        if self._watch is not None and judge and iteration:
            self._watch(frame, objects, judged)
        return judged

    def look(self, frame: Frame, objects: Sequence[int], poses: np.ndarray) -> JudgedPoses:
        """What the frame says of poses as they are, without any network; arguments as of `follow`."""
        return self.follow(frame, objects, poses, 0, 0, judge=False)

    def weigh(self, frame: Frame, object: int, judged: JudgedPoses) -> np.ndarray:
        """Which of several poses of one object, all near the first, the frame favours (`pose6d.search.alternatives`).

        Args:
            frame: with depth in metres.
            object: index of its estimator.
            judged: N poses, of `follow`.

        Returns:
            (N,) log odds of each against the others, the likelier ones counting more.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used.
        """
        count = len(judged)
        inputs = self._inputs(frame, [object] * count, judged.poses, REACH)
        (results,) = self._runner.run(self._compare, inputs, size=len(inputs[-1]))
        color, shape = results.cpu()[:, :count, :count]
        if not self._textured[object]:
            color = torch.zeros_like(color)
        weights = self._scorer.choice_weights or _USUAL_WEIGHTS
        known = torch.full((count,), 0.5) if judged.confidence is None else torch.as_tensor(judged.confidence)
        poses = Hypotheses(torch.as_tensor(judged.poses), torch.as_tensor(judged.ranking), known)
        texture = torch.as_tensor(judged.evidence["texture"])
        return weigh(poses, known, texture, PairEvidence(color, shape), weights)[0].numpy()

    def place(
        self,
        frame: Frame,
        object: int,
        rotations: Tensor,
        near: NearSides,
        fronts: np.ndarray,
        masks: np.ndarray,
        count: int,
    ) -> PlacedPoses:
        """Lay rotations of one object against regions of a frame, without any network.

        Args:
            frame: with depth in metres.
            object: index of its estimator.
            rotations: (N, 3, 3) object in camera, on the device; near: the near sides of these.
            fronts: (R, 3) metres, a point of what was seen in each region.
            masks: (R, H, W) bool, the regions. On CUDA each number of them is recorded as a graph of its own.
            count: of poses of each region.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used.
        """
        runner, count = self._runner, min(count, len(rotations))
        runner.timings.clear()
        with runner.stage("check"):
            frame = self._known(frame)
        with runner.stage("upload"):
            inputs = [
                *self._upload(frame),
                runner.upload("fronts", np.ascontiguousarray(fronts, dtype=np.float32)),
                runner.upload("masks", np.ascontiguousarray(masks)),
                torch.full((len(masks) * count,), object),
                rotations,
                near.points,
            ]
        poses, evidence = runner.run(self._place, inputs, count, size=(len(masks), len(rotations)))
        with runner.stage("copy"):
            original = poses.cpu().numpy() @ self._back[object]
            values = dict(zip(PoseEvidence._fields, evidence.cpu().numpy(), strict=True))
        return PlacedPoses(original, values)

    def _place(
        self,
        rgb: Tensor,
        depth: Tensor,
        K: Tensor,
        fronts: Tensor,
        masks: Tensor,
        index: Tensor,
        rotations: Tensor,
        points: Tensor,
        count: int,
    ) -> tuple[Tensor, ...]:
        """Centred poses (R, C, 4, 4), and the evidence (12, R, C)."""
        runner, regions, objects = self._runner, len(masks), self._each(index)
        observation = runner.observe(rgb, depth, K)
        assert isinstance(objects.diameter, Tensor)
        near = NearSides(points, objects.diameter[0])

        def best(region: int) -> Tensor:
            centers, cost = place_rotations(near, fronts[region], observation, masks[region])
            chosen = cost.argsort(stable=True)[:count]
            return make_transform(rotations[chosen], centers[chosen])

        with runner.stage("place"):
            on_cpu = self.device.type == "cpu"
            poses = torch.cat(run_pieces(best, range(regions)) if on_cpu else [best(row) for row in range(regions)])
        with runner.stage("evidence"):
            evidence = torch.stack(measure_evidence(poses, objects, observation))
        return poses.unflatten(0, (regions, count)), evidence.unflatten(1, (regions, count))

    def _compare(self, rgb: Tensor, depth: Tensor, K: Tensor, poses: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        """(2, N, N) colour and shape, of `compare_poses`."""
        observation = self._runner.observe(rgb, depth, K)
        with self._runner.stage("compare"):
            return (torch.stack(tuple(compare_poses(poses, self._each(index), observation))),)

    def _follow(
        self,
        rgb: Tensor,
        depth: Tensor,
        K: Tensor,
        poses: Tensor,
        index: Tensor,
        iteration: int,
        rounds: int,
        judge: bool,
        rough: bool,
    ) -> tuple[Tensor, ...]:
        """(29, N) of each the centred pose, row by row, its ranking, and what is evident of it; where known its
        confidence, too, (30, N): all in one piece, which takes one copy."""
        runner, objects = self._runner, self._each(index)
        observation = runner.observe(rgb, depth, K)
        if iteration:
            with runner.stage("refine"):
                refiner = self._scouts[0] if rough and self._scouts is not None else self._refiner
                poses = refine_tracked(poses, objects, observation, refiner, self._scouts, iteration)
        if rounds:
            with runner.stage("align"):
                poses = align_poses(poses, objects, observation, rounds, coarse=rounds - 1)
        ranking, confidence = poses.new_zeros(len(poses)), None
        if judge:
            with runner.stage("judge"):
                ranking, confidence, _ = self._scorer.judge(Hypotheses(poses), objects, observation)
        with runner.stage("evidence"):
            evidence = measure_evidence(poses, objects, observation)
        single = [ranking, *evidence] if confidence is None else [ranking, *evidence, confidence]
        return (torch.cat([poses.flatten(1).T, torch.stack(single)]),)
