"""FoundationPose: the 6D pose of an object that is known by its mesh alone, from RGB-D frames.

An independent implementation of the method of Wen et al., "FoundationPose: Unified 6D Pose Estimation and Tracking of
Novel Objects" (CVPR 2024, arXiv 2312.08344).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learning.training.predict_pose_refine import PoseRefinePredictor, Refiner
from learning.training.predict_score import ScorePredictor, Scorer
from pose6d.device import resolve_device
from pose6d.errors import FrameError, Pose6DError
from pose6d.geometry.observation import Observation
from pose6d.geometry.rotation_grids import starting_rotations
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import as_mesh
from pose6d.mesh.symmetry import centred_symmetries
from pose6d.mesh.units import check_diameter
from pose6d.rendering import make_renderer
from pose6d.search.alignment import TRACKING_ROUNDS, aligned
from pose6d.search.axis_rotations import Turns, finest_turns, likely_turns, principal_axes
from pose6d.search.distinct_poses import distinct_best
from pose6d.search.frame_input import (
    check_depth_roughly,
    check_frame,
    check_mask,
    check_result,
    check_translation,
    initial_translation,
    mask_middle,
)
from pose6d.search.frame_processor import FrameProcessor
from pose6d.search.schedule import (
    DISTINCT,
    FALLBACK,
    FINALISTS,
    LAST_STEPS,
    RIVALS,
    SCHEDULES,
    TURN_STEPS,
    TURNED,
    Grid,
    PairCounter,
    Schedule,
    choose_schedule,
)
from pose6d.search.texture_correlation import appearance

_On = tuple[Observation, Tensor, float]
"""what hypotheses are compared with: a frame, its K (3, 3), and the object's diameter"""


class FoundationPose(FrameProcessor):
    """Finds one object in a frame (`register`) and follows it through the next ones (`track_one`).

    Args:
        mesh: the object in metres, or the path of one (`load_mesh`). Its loose debris is left out (`Mesh.keep_debris`).
        symmetries: (S, 4, 4) transforms of the mesh frame that leave the object's look unchanged, identity included
            (`pose6d.mesh.symmetry`). They thin out the hypotheses.
        scorer: ranks hypotheses; made from `weights` where omitted.
        refiner: moves hypotheses; made from `weights` where omitted.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: `auto`, a released set's name, or a folder.
        schedule: `full` refines all 252 hypotheses of the published method, `thorough` goes on with the best 24 of
            them, `pruned` with 12 of only 120, and tries thorough too where that leaves doubt; or a Schedule.
            `auto` is pruned, or full if the scorer has no confidence.
        seed: 0 uses the plain grid of hypotheses; any other number turns the whole grid by a random rotation drawn from
            it, to see how much a result depends on the grid. Nothing else is random.
        profile: wait for the device after each stage and use no CUDA graph, so that `timings` is exact on CUDA.

    Attributes:
        poses: (N, 4, 4) float32 hypotheses that the last `register` ranked in the end, original mesh in camera, best
            first; None before.
        scores: (N,) float32, descending, comparable with each other only; None before.
        confidence: of the last call's pose, the probability that it is within 0.1 diameter; None before, and where the
            scorer has no head for it or tracking does not ask for it.
        timings: seconds of each stage of the last call.
        mesh, diameter: the object in its original frame, and its size in metres.

    Raises:
        MeshError, WeightsError, DeviceError: unusable mesh, weights or device.
    """

    def __init__(
        self,
        mesh: Mesh | str | Path,
        symmetries: np.ndarray | Tensor | None = None,
        scorer: Scorer | None = None,
        refiner: Refiner | None = None,
        device: str | torch.device = "auto",
        weights: str | Path = "auto",
        schedule: str | Schedule = "auto",
        seed: int = 0,
        profile: bool = False,
    ):
        device = resolve_device(device)
        self.mesh = as_mesh(mesh)
        self.diameter = float(self.mesh.diameter)
        check_diameter(self.mesh)
        self.poses: np.ndarray | None = None
        self.scores: np.ndarray | None = None
        self.confidence: float | None = None

        self.refiner = refiner if refiner is not None else PoseRefinePredictor(weights, device)
        self.scorer = scorer if scorer is not None else ScorePredictor(weights, device)
        self._renderer = make_renderer(self.mesh.centered(), device)
        super().__init__(device, profile)
        # Networks and renderer know only the mesh moved by -center; poses are converted where they enter and leave.
        center = torch.as_tensor(np.asarray(self.mesh.center), dtype=torch.float32)
        eye = torch.eye(3)
        self._centred_from_mesh = make_transform(eye, -center).to(self.device)
        self._mesh_from_centred = make_transform(eye, center).to(self.device)
        config = getattr(self.scorer, "config", None)
        judged = bool(getattr(config, "confidence", False))
        self._appearance_weight = float(getattr(config, "appearance_weight", 0.0))
        turns_tell = self._appearance_weight > 0 and self.mesh.colored
        self._turns = Turns.about(principal_axes(self.mesh).to(self.device)) if turns_tell else None
        self.schedule = choose_schedule(schedule, judged)
        self._symmetries = None if symmetries is None else centred_symmetries(symmetries, self.mesh.center)
        self._seed = seed
        self._grids: dict[Grid, Tensor] = {}
        self._rotations(self.schedule.grid)
        self._last: Tensor | None = None  # (4, 4) centred mesh in camera

    def register(
        self,
        K: np.ndarray,
        rgb: np.ndarray,
        depth: np.ndarray,
        ob_mask: np.ndarray,
        iteration: int = 5,
        progress: Callable[[int, int], object] | None = None,
    ) -> np.ndarray:
        """Find the object in one frame.

        1. Check the inputs.
        2. Filter the depth and turn it into points.
        3. Guess the translation: the middle of the mask at its median depth.
        4. Set up the hypotheses: that translation with rotations that cover all viewpoints.
        5. Refine them and score them against each other; in a pruned schedule, go on with the best and do so again.
           In the end, hypotheses whose texture agrees with the picture are worth more, and turns of the object that its
           texture favours compete with them; the best few of all are turned finely, refined, aligned with texture and
           depth, and compared once more.
        6. If that leaves doubt, search again more thoroughly, and keep what is surer.
        7. The best is the result, and where tracking starts.

        Args:
            K: (3, 3) intrinsics of both images.
            rgb: (H, W, 3) uint8.
            depth: (H, W) metres, 0 = missing.
            ob_mask: (H, W), non-zero on the object.
            iteration: refinement steps of each hypothesis; where turns are tried, they come on top.
            progress: called with (pairs done, pairs in all) while the networks run.

        Returns:
            (4, 4) float32, original mesh in camera (OpenCV axes), metres.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used; the message says why.
        """
        self.timings, self.confidence = {}, None
        with self._stage("check"):
            rgb, depth = check_frame(K, rgb, depth, iteration, self.cropped)
            mask = check_mask(ob_mask, depth)
        with self._stage("upload"):
            frame = [*self._frame(rgb, depth, K), self._host("mask", mask), self._host("middle", mask_middle(mask))]
        done = PairCounter(progress, self._cores.look)
        results = []
        for schedule in (self.schedule, SCHEDULES[FALLBACK]):
            poses, ranking, confidence, translation = self._search(schedule, iteration, frame, done)
            with self._stage("copy"):
                check_translation(translation.cpu(), mask)
                results.append((float(confidence[0]) if len(confidence) else 1.0, poses, ranking))
            if results[-1][0] >= schedule.sure:
                break
        surest, poses, ranking = max(results, key=lambda result: result[0])
        self.confidence = surest if len(confidence) else None
        with self._stage("copy"):
            self.poses, self.scores = (poses @ self._centred_from_mesh).cpu().numpy(), ranking.cpu().numpy()
        check_result(self.poses[0], "registration")
        self._last = poses[0]
        return self.poses[0].copy()

    def track_one(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int = 2, judge: bool = False
    ) -> np.ndarray:
        """Follow the object into the next frame.

        1. Check the inputs.
        2. Filter the depth and turn it into points.
        3. Refine the last pose `iteration` times.
        4. Align texture and depth.
        5. If asked to, judge the result: `confidence` tells when to register again.

        Args:
            rgb: (H, W, 3) uint8.
            depth: (H, W) metres, 0 = missing.
            K: (3, 3) intrinsics of both images.
            iteration: refinement steps.
            judge: set `confidence`, which costs about as much as one refinement step.

        Returns:
            (4, 4) float32, original mesh in camera (OpenCV axes), metres.

        Raises:
            Pose6DError: there is no pose to start from.
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used; the last pose is kept.
        """
        if self._last is None:
            raise Pose6DError(
                "track_one has no pose to start from: call register on a frame first, or start_from(pose)"
            )
        self.timings, self.confidence = {}, None
        with self._stage("check"):
            rgb, depth = check_frame(K, rgb, depth, iteration, self.cropped)
            check_depth_roughly(depth)
        with self._stage("upload"):
            inputs = [*self._frame_around(self._last[None], [self.diameter], rgb, depth, K), self._last]
        name = ("track", iteration, judge)
        pose, object_in_camera, confidence = self._run(name, partial(self._follow, iteration, judge), inputs)
        with self._stage("copy"):
            result = object_in_camera.cpu().numpy()
            check_result(result, "tracking")
            self.confidence = float(confidence[0]) if len(confidence) else None
        self._last = pose
        return result

    def warm_up(
        self, height: int = 480, width: int = 640, register_iteration: int = 5, track_iteration: int = 2
    ) -> float:
        """Compile kernels, choose them and record graphs, so that the first frame is as fast as any.

        Args:
            height, width: of the images that will come, pixels.
            register_iteration, track_iteration: `iteration` of the calls that will come.

        Returns:
            Seconds that it took. The estimator is as new afterwards.
        """
        start = time.perf_counter()
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float32)
        rgb = np.full((height, width, 3), 128, np.uint8)
        depth = np.full((height, width), max(2 * self.diameter, 0.05), np.float32)
        pose = np.eye(4, dtype=np.float32)
        pose[2, 3] = depth[0, 0]
        for _ in range(2 if self.device.type == "cuda" else 1):  # graphs are recorded at the second call
            if self.device.type == "cuda":  # on a CPU, one hypothesis warms up as much as many
                self.register(K, rgb, depth, np.ones((height, width), bool), register_iteration)
            for judge in (True, False):
                self.start_from(pose)
                self.track_one(rgb, depth, K, track_iteration, judge)
        self.reset()
        return time.perf_counter() - start

    def start_from(self, object_in_camera: np.ndarray) -> None:
        """Set the pose (4, 4) of the original mesh that the next `track_one` starts from, metres."""
        pose = torch.as_tensor(np.asarray(object_in_camera), dtype=torch.float32, device=self.device)
        if pose.shape != (4, 4):
            raise FrameError(f"object_in_camera: shape {tuple(pose.shape)}; a 4x4 pose is needed")
        if not pose.isfinite().all():
            raise FrameError("object_in_camera holds values that are not finite; a 4x4 pose is needed")
        self._last = pose @ self._mesh_from_centred

    def reset(self) -> None:
        """Forget the last frame: `track_one` needs a new start."""
        self._last, self.poses, self.scores, self.confidence, self.timings = None, None, None, None, {}

    @property
    def _parts(self) -> tuple[object, ...]:
        return self.refiner, self.scorer, self._renderer

    def _search(self, schedule: Schedule, iteration: int, frame: list[Tensor], done: PairCounter) -> tuple[Tensor, ...]:
        """What `_find` finds with a schedule."""
        if self._turns is None:
            schedule = schedule.without_texture()
        pairs = schedule.pairs(iteration, len(self._rotations(schedule.grid)))
        done.expect(pairs)
        on_cpu = self.device.type == "cpu"
        find = partial(self._find, schedule, iteration, done if on_cpu else None)
        found = self._run(("register", schedule, iteration), find, frame)
        if not on_cpu:  # there, what has been launched is not yet done
            done(pairs)
        return found

    def _find(
        self,
        schedule: Schedule,
        iteration: int,
        progress: Callable[[int], object] | None,
        rgb: Tensor,
        depth: Tensor,
        K: Tensor,
        mask: Tensor,
        middle: Tensor,
    ) -> tuple[Tensor, ...]:
        """The hypotheses (N, 4, 4) that a schedule leaves, centred mesh in camera, best first; their ranking (N,) and
        confidence, (0,) where the scorer has none; and the translation (3,) that they started from."""
        observation = self._observe(rgb, depth, K)
        with self._stage("hypotheses"):
            translation = initial_translation(observation.xyz[2], mask, middle, K)
            if self.device.type == "cpu":
                check_translation(translation, mask.numpy())
            poses = make_transform(self._rotations(schedule.grid), translation.nan_to_num(1.0, 1.0, 1.0))
        on = (observation, K, self.diameter)
        one_window = True  # all hypotheses start in one place
        for stage in schedule.plan(iteration):
            with self._stage("refine"):
                poses = self.refiner.predict(
                    self._renderer, poses, *on, stage.steps, progress=progress, one_window=one_window
                )
            one_window = False
            if stage.screen is not None:
                with self._stage("appearance"):
                    agreement = appearance(self._renderer, poses, *on)
                    poses = poses[distinct_best(poses, agreement, stage.screen, self.diameter, stage.apart)]
            with self._stage("score"):
                ranking, confidence = self.scorer.predict(self._renderer, poses, *on, progress=progress)
                if stage.keep is not None:
                    poses = poses[distinct_best(poses, ranking, stage.keep, self.diameter, stage.apart)]
        ranking = self._with_texture(ranking, poses, on)
        if schedule.turns:
            poses, ranking, confidence = self._turn(schedule.turns, poses, ranking, on, progress)
        order = torch.argsort(ranking, descending=True, stable=True)
        poses = poses[order]
        if not schedule.turns:
            with self._stage("align"):
                poses = torch.cat([aligned(self._renderer, poses[:1], *on), poses[1:]])
        return poses, ranking[order], ranking[:0] if confidence is None else confidence[order], translation

    def _with_texture(self, ranking: Tensor, poses: Tensor, on: _On) -> Tensor:
        """The ranking (N,) of (N, 4, 4) hypotheses with what the agreement of their texture adds."""
        if not self._appearance_weight:
            return ranking
        with self._stage("appearance"):
            agreement = appearance(self._renderer, poses, *on)
        return ranking + self._appearance_weight * agreement

    def _turn(
        self, count: int, poses: Tensor, ranking: Tensor, on: _On, progress: Callable[[int], object] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Let the best of (N, 4, 4) hypotheses with their ranking (N,) compete with so many turns of the object.

        Returns:
            (F, 4, 4) finalists, their ranking (F,) and confidence (F,).
        """
        assert self._turns is not None
        with self._stage("turns"):
            best = poses[distinct_best(poses, ranking, RIVALS, self.diameter, DISTINCT)]
            turned = likely_turns(self._renderer, best[:TURNED], self._turns, *on, keep=count)
            turned = self.refiner.predict(self._renderer, turned, *on, TURN_STEPS, progress=progress)
            poses = torch.cat([best, turned])
            ranking, _ = self.scorer.predict(self._renderer, poses, *on, progress=progress)
            poses = poses[self._with_texture(ranking, poses, on).topk(FINALISTS).indices]
            # Texture decides between what has converged only.
            poses = finest_turns(self._renderer, poses, self._turns, *on)
            poses = self.refiner.predict(self._renderer, poses, *on, LAST_STEPS, progress=progress)
            poses = aligned(self._renderer, poses, *on)
            ranking, confidence = self.scorer.predict(self._renderer, poses, *on, progress=progress)
        return poses, self._with_texture(ranking, poses, on), confidence

    def _follow(
        self, iteration: int, judge: bool, rgb: Tensor, depth: Tensor, K: Tensor, pose: Tensor
    ) -> tuple[Tensor, ...]:
        """The pose (4, 4) in the next frame, of the centred mesh and of the original one; and its confidence, (1,) or
        (0,)."""
        observation = self._observe(rgb, depth, K)
        with self._stage("refine"):
            pose = self.refiner.predict(self._renderer, pose[None], observation, K, self.diameter, iteration)
        with self._stage("align"):
            pose = aligned(self._renderer, pose, observation, K, self.diameter, TRACKING_ROUNDS[self.device.type])
        confidence = None
        if judge:
            with self._stage("judge"):
                confidence = self.scorer.predict(self._renderer, pose, observation, K, self.diameter).confidence
        return pose[0], pose[0] @ self._centred_from_mesh, pose.new_empty(0) if confidence is None else confidence

    def _rotations(self, grid: Grid) -> Tensor:
        """(N, 3, 3) starting rotations of a schedule's grid; made when first asked for."""
        if grid not in self._grids:
            self._grids[grid] = self._make_grid(grid)
        return self._grids[grid]

    def _make_grid(self, grid: Grid) -> Tensor:
        rotations = starting_rotations(grid, self._symmetries)
        if self._seed:
            rotations = random_rotations(1, torch.Generator().manual_seed(self._seed)) @ rotations
        return rotations.to(self.device)
