"""FoundationPose: the 6D pose of an object that is known by its mesh alone, from RGB-D frames.

An independent implementation of the method of Wen et al., "FoundationPose: Unified 6D Pose Estimation and Tracking of
Novel Objects" (CVPR 2024, arXiv 2312.08344).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor
from learning.training.scouts import load_scouts
from pose6d.device import resolve_device
from pose6d.errors import FrameError, Pose6DError, as_whole_number
from pose6d.geometry.transforms import make_transform
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.symmetry import centred_symmetries
from pose6d.search.alternatives import Alternative, join_alike, none_of
from pose6d.search.axis_rotations import AxisRotations
from pose6d.search.ball_rotations import BallColors
from pose6d.search.cuda_graphs import side_by_side
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.frame_input import as_array, check_frame, check_mask, check_result, check_translation, mask_middle
from pose6d.search.given_object import as_object
from pose6d.search.hypotheses import GridSampler, first_hypotheses
from pose6d.search.interfaces import (
    HypothesisSampler,
    ObjectModel,
    Progress,
    Refiner,
    Scorer,
    Scouts,
    Watch,
    check_networks,
    check_part,
)
from pose6d.search.long_bodies import LongBody
from pose6d.search.look_alike import is_round
from pose6d.search.plain_frame import plain_frame
from pose6d.search.schedule import FALLBACK, SCHEDULES, PairCounter, Schedule, choose_schedule
from pose6d.search.search_steps import SearchSteps, watch_original
from pose6d.search.tracker import Tracker


def object_from_views(views: Any, **options: Any) -> Mesh:
    """A mesh from pictures alone: `mesh_creation.reference_views.object_from_views`, which is loaded when called."""
    from mesh_creation.reference_views.object_from_views import object_from_views as make

    return make(views, **options)


class FoundationPose:
    """Finds one object in a frame (`register`) and follows it through the next ones (`track_one`).

    Args:
        mesh: the object in metres, or the path of one (`load_mesh`). Its loose debris is left out (`Mesh.keep_debris`).
            Or any other model of an object that can be drawn (`pose6d.search.interfaces.ObjectModel`).
        symmetries: (S, 4, 4) transforms of the mesh frame that leave the object's look unchanged, identity included
            (`pose6d.mesh.symmetry`). They thin out the hypotheses; poses that differ by one are one alternative.
        scorer: ranks hypotheses; made from `weights` where omitted, like the refiner.
        refiner: moves hypotheses. What is asked of both is in `pose6d.search.interfaces`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: `auto`, a released set's name, or a folder.
        schedule: `full` refines all 252 hypotheses of the published method; `pruned` the 60 that fit depth and mask
            best, and 12 of them to the end; `thorough` 120 with more steps. Where pruned leaves doubt, it
            tries thorough too. Or a Schedule. `auto` is pruned, or full if the scorer has no confidence.
        seed: 0 uses the plain grid of hypotheses; any other number turns the whole grid by a random rotation drawn from
            it, to see how much a result depends on the grid. Nothing else is random.
        profile: wait for the device after each stage and use no CUDA graph, so that `timings` is exact on CUDA.
        sampler: where the search starts; `symmetries` and `seed` are then its own.
        scouts: smaller networks that refine and score the many starts of pruned and thorough. Where networks are made
            from `weights`, those of the released set that scouts for these weights (`lite` for `base`).

    Attributes:
        poses: (N, 4, 4) float32 hypotheses that the last `register` ranked in the end, original mesh in camera, best
            first, and scores: (N,) float32, comparable with each other only; None before.
        confidence: of the last call's pose, the probability that it is within 0.1 diameter; None before, and where the
            scorer has no head for it or tracking does not ask for it. After `register` it is the first alternative's;
            `track_one` judges whether the object is where the pose says, and knows nothing of other sides.
        alternatives: the distinct poses that the last `register` leaves, likeliest first, with their probabilities; the
            first is its result. Poses that look the same from all sides count as one, and so do the turns of a round
            body without strong print. Empty before, and where the scorer has no confidence.
        cropped: set to True for pictures that are cut out of larger ones: their principal point may lie anywhere. Else
            one that looks like that of another resolution is refused.
        object, diameter: what is looked for, and its size in metres; mesh: in its original frame, None without one.
        symmetries: (S, 4, 4) those given, of the centred object, on the device; None without any. scouts: those used.

    Raises:
        MeshError, WeightsError, DeviceError, OptionError: unusable mesh, weights, device or seed.
        Pose6DError: a part lacks something that is asked of it.
    """

    def __init__(
        self,
        mesh: Mesh | str | Path | ObjectModel,
        symmetries: np.ndarray | Tensor | None = None,
        scorer: Scorer | None = None,
        refiner: Refiner | None = None,
        device: str | torch.device = "auto",
        weights: str | Path = "auto",
        schedule: str | Schedule = "auto",
        seed: int = 0,
        profile: bool = False,
        sampler: HypothesisSampler | None = None,
        scouts: Scouts | None = None,
    ):
        self.device, self.cropped = resolve_device(device), False
        self.object = as_object(mesh, self.device)
        made_here = refiner is None and scorer is None and scouts is None
        self.scouts = load_scouts(weights, self.device) if made_here else scouts
        self.refiner: Refiner = refiner if refiner is not None else PoseRefinePredictor(weights, self.device)
        self.scorer: Scorer = scorer if scorer is not None else ScorePredictor(weights, self.device)
        networks = check_networks(self.refiner, self.scorer, self.scouts)
        self.mesh: Mesh | None = getattr(self.object, "mesh", None)
        self.diameter = float(self.object.diameter)
        self.schedule = choose_schedule(schedule, self.scorer.has_confidence)
        center, self.symmetries = np.asarray(self.object.center), None
        if symmetries is not None:
            self.symmetries = centred_symmetries(symmetries, center).float().to(self.device)
        if sampler is None:
            sampler = GridSampler(self.object, self.symmetries, self.device, seed)
        check_part(sampler, HypothesisSampler)
        self._sampler = sampler
        sampler.count(self.schedule.starts)  # prepared here, so that the first frame need not wait
        self._textured = self.object.textured and self.scorer.texture_weight > 0
        chooses = self.scorer.choice_weights is not None
        axes = self.object.principal_axes().to(self.device) if self._textured or chooses else None
        self._rotations = None if axes is None else AxisRotations.about(axes)
        self._round_body = chooses and is_round(self.object, self.device)
        self._long = LongBody.of(self.object, self.device) if chooses else None
        self._ball = BallColors.of(self.object, self.device) if self._textured and self._round_body else None
        self._runner = DeviceRunner(self.device, (*networks, self.object), profile)
        self._tracker = Tracker(self.object, center[None], self.refiner, self.scorer, self._runner, self.scouts)
        # Networks and renderer know only the object moved by -center; poses are converted where they enter and leave.
        moved = make_transform(torch.eye(3), -torch.as_tensor(center, dtype=torch.float32))
        self._centred_from_original = moved.to(self.device)
        self.poses: np.ndarray | None = None
        self.scores: np.ndarray | None = None
        self.confidence: float | None = None
        self.alternatives: list[Alternative] = []

    @property
    def none_probability(self) -> float | None:
        """The probability that none of the alternatives is right; with theirs it sums to one. None without any."""
        return none_of(self.alternatives) if self.alternatives else None

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of each stage of the last call."""
        return dict(self._runner.timings)

    def register(
        self,
        K: np.ndarray,
        rgb: np.ndarray,
        depth: np.ndarray,
        ob_mask: np.ndarray,
        iteration: int = 5,
        progress: Callable[[int, int], object] | None = None,
        watch: Watch | None = None,
    ) -> np.ndarray:
        """Find the object in one frame.

        1. Check the inputs and bring them to the device.
        2. Search for the pose (`_search`).
        3. If that leaves doubt, search again more thoroughly, and keep what is surer.
        4. The best is the result, and where tracking starts.

        Args:
            K: (3, 3) intrinsics of both images.
            rgb: (H, W, 3) uint8.
            depth: (H, W) metres, 0 or masked = missing.
            ob_mask: (H, W), non-zero on the object.
            iteration: refinement steps of each hypothesis; where turns are tried, they come on top.
            progress: called with (pairs done, pairs in all) while the networks run.
            watch: called after each step of the search with its name, the hypotheses (N, 4, 4), original mesh in
                camera, and (N,) which of the hypotheses before the step each comes from. Watching takes time.

        Returns:
            (4, 4) float32, original mesh in camera (OpenCV axes), metres.

        Raises:
            OptionError: iteration is no number of steps.
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used; the message says why.
        """
        runner, watch = self._runner, watch and watch_original(watch, self._centred_from_original)
        runner.timings.clear()
        self.confidence, self.alternatives = None, []
        with runner.stage("check"):
            rgb, depth, K = check_frame(K, rgb, depth, iteration, self.cropped)
            mask = check_mask(ob_mask, depth, K, self.diameter)
        with runner.stage("upload"):
            frame = runner.upload_frame(rgb, depth, K)
            frame += [runner.upload("mask", mask), runner.upload("middle", mask_middle(mask))]
        done = PairCounter(progress)
        results: list[tuple[float, tuple[Tensor, ...]]] = []
        for schedule in (self.schedule, SCHEDULES[FALLBACK]):
            plan = schedule if self._textured else schedule.without_texture(self._rotations is not None)
            pairs = plan.pairs(iteration, self._sampler.count(plan.starts), self._long is not None)
            done.expect(pairs)
            # A GPU is not waited for: what has been launched is not yet done.
            report = done if self.device.type == "cpu" else None
            found = runner.run(self._search, frame, plan, iteration, report, watch)
            done(pairs if report is None else 0)
            with runner.stage("copy"):
                confidence, start = found[2:4]
                check_translation(start.cpu(), mask)
                results.append((float(confidence[0]) if len(confidence) else 1.0, found))
            if results[-1][0] >= schedule.min_confidence:
                break
        surest, (poses, ranking, confidence, _, probability, alike) = max(results, key=lambda result: result[0])
        with runner.stage("copy"):
            self.poses, self.scores = (poses @ self._centred_from_original).cpu().numpy(), ranking.cpu().numpy()
            check_result(self.poses[0], "registration")
            if len(probability):
                self.alternatives = join_alike(self.poses, probability.cpu().numpy(), alike.cpu().numpy())
            elif len(confidence):
                self.alternatives = [Alternative(self.poses[0].copy(), surest)]
        self.confidence = self.alternatives[0].probability if self.alternatives else None
        self._tracker.begin(poses[:1])
        return self.poses[0].copy()

    def _search(
        self,
        rgb: Tensor,
        depth: Tensor,
        K: Tensor,
        mask: Tensor,
        middle: Tensor,
        schedule: Schedule,
        iteration: int,
        progress: Progress | None,
        watch: Watch | None,
    ) -> tuple[Tensor, ...]:
        """Search for the object as a schedule says.

        1. Filter the depth and turn it into points.
        2. Set up the hypotheses: rotations that cover all viewpoints, behind the middle of the mask at its median
           depth; or only those that fit depth and mask best, each where it fits best.
        3. Refine them and score them against each other; in a pruned schedule, go on with the best and do so again,
           scouts, if any, with the many.
        4. Hypotheses whose texture agrees with the picture are worth more.
        5. Rotations about the object's axes that its texture favours, and quarter turns, compete with the best; of a
           ball, all rotations.
        6. The best few are rotated finely, refined, aligned with texture and depth, and compared with each other.

        Returns:
            The hypotheses (N, 4, 4) that are left, centred mesh in camera, best first; their ranking (N,) and
            confidence, (0,) where the scorer has none; the translation (3,) that they started from; and the
            probabilities (N,) and which count as one (N, N), both empty where they are not compared with each other.
        """
        observation = self._runner.observe(rgb, depth, K)
        with self._runner.stage("hypotheses"):
            hypotheses, start = first_hypotheses(self._sampler, observation, mask, middle, schedule.starts)
        parts = (self.object, self.refiner, self.scorer)
        steps = SearchSteps(*parts, observation, mask, middle, self._runner, progress, watch, self._long)
        started, last = steps.start(hypotheses), schedule.rotations
        hypotheses, along_line = side_by_side(
            lambda: steps.narrow(started, schedule.plan(iteration), self.scouts),
            lambda: steps.along_line(start, 0 if last is None else last.lines),
        )
        hypotheses = steps.score(hypotheses)
        add_texture = steps.add_texture if self._textured else lambda hypotheses: hypotheses
        hypotheses = add_texture(hypotheses)
        probability, alike = hypotheses.poses.new_empty(0), hypotheses.poses.new_empty(0, 0)
        if last is not None:
            assert self._rotations is not None
            hypotheses = steps.select(hypotheses, last.competitors, last.nms_degrees)
            hypotheses = steps.join(hypotheses, along_line)
            competitors = len(hypotheses)
            hypotheses = steps.propose_rotations(hypotheses, self._rotations, last, self._ball)
            hypotheses = steps.refine(hypotheses, last.steps, first=competitors)
            hypotheses = add_texture(steps.score(hypotheses))
            hypotheses = steps.select(hypotheses, last.finalists, last.final_nms_degrees)
            if self._textured:  # it decides between what has converged only
                hypotheses = steps.refine_rotations(hypotheses, self._rotations)
            hypotheses = steps.settle(hypotheses, last.final_steps)
            hypotheses = steps.align(hypotheses)
            if (weights := self.scorer.choice_weights) is not None:
                hypotheses, probability, alike = steps.choose(
                    hypotheses,
                    weights,
                    textured=self._textured,
                    round_body=self._round_body,
                    symmetries=self.symmetries,
                )
            else:
                hypotheses = steps.sort(add_texture(steps.score(hypotheses)))
        else:
            hypotheses = steps.align(steps.sort(hypotheses), last=1)

        assert hypotheses.ranking is not None
        confidence = hypotheses.ranking[:0] if hypotheses.confidence is None else hypotheses.confidence
        return hypotheses.poses, hypotheses.ranking, confidence, start, probability, alike

    def track_one(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int | None = None, judge: bool = False
    ) -> np.ndarray:
        """Follow the object into the next frame.

        1. Check the inputs, filter the depth and turn it into points.
        2. Refine the last pose. On a CPU, an object that goes on as it moved needs that in one frame of twelve.
        3. Align texture and depth.
        4. If asked to, judge the result: `confidence` tells when to register again.

        Args:
            rgb: (H, W, 3) uint8.
            depth: (H, W) metres, 0 = missing.
            K: (3, 3) intrinsics of both images.
            iteration: refinement steps of every frame, on a CPU no more where one hardly moves the object. None: two,
                or as many as are needed: on a CPU often none (`pose6d.search.alignment_alone`), on CUDA often one.
            judge: set `confidence`, which costs about as much as one refinement step; of a frame that needs none it is
                that of the last one that did.

        Returns:
            (4, 4) float32, original mesh in camera (OpenCV axes), metres.

        Raises:
            Pose6DError: there is no pose to start from; OptionError: iteration is no number of steps.
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used; the last pose is kept.
        """
        if self._tracker.poses is None:
            raise Pose6DError("no pose to start from: call register on a frame first, or start_from(pose)")
        self.confidence = None
        poses, confidences = self._tracker.track(rgb, depth, K, iteration, judge, self.cropped)
        self.confidence = None if confidences is None else float(confidences[0])
        return poses[0]

    def warm_up(
        self,
        height: int = 480,
        width: int = 640,
        register_iteration: int = 5,
        track_iteration: int | None = None,
        judge: bool | None = None,
    ) -> float:
        """Compile kernels, choose them and record graphs, so that the first frame is as fast as any.

        Args:
            height, width: of the images that will come, pixels.
            register_iteration, track_iteration: `iteration` of the calls that will come.
            judge: of the calls of `track_one` that will come; None for either.

        Returns:
            Seconds that it took. The estimator is as new afterwards.

        Raises:
            OptionError: one of the numbers is none, or less than 1.
        """
        start = time.perf_counter()
        as_whole_number(register_iteration, "register_iteration", least=1)
        as_whole_number(1 if track_iteration is None else track_iteration, "track_iteration", least=1)
        pose = np.eye(4, dtype=np.float32)
        pose[2, 3] = max(2 * self.diameter, 0.05)
        rgb, depth, K = plain_frame(height, width, pose[2, 3])
        for _ in range(2 if self.device.type == "cuda" else 1):  # graphs are recorded at the second call
            if self.device.type == "cuda":  # on a CPU, one hypothesis warms up as much as many
                self.register(K, rgb, depth, np.eye(height, width, dtype=bool), register_iteration)
            self.start_from(pose)
            self._tracker.warm_up(rgb, depth, K, track_iteration, (True, False) if judge is None else (judge,))
        self.reset()
        return time.perf_counter() - start

    def start_from(self, object_in_camera: np.ndarray) -> None:
        """Set the pose (4, 4) of the original mesh that the next `track_one` starts from, metres."""
        pose = as_array(object_in_camera, "object_in_camera")
        if pose.shape != (4, 4):
            raise FrameError(f"object_in_camera: shape {pose.shape}; a 4x4 pose is needed")
        self._tracker.start_from(pose[None], "object_in_camera")

    def reset(self) -> None:
        """Forget the last frame: `track_one` needs a new start."""
        self._tracker.reset()
        self.poses, self.scores, self.confidence, self.alternatives = None, None, None, []
        self._runner.timings.clear()
