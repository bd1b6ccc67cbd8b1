"""FoundationPose: the 6D pose of an object that is known by its mesh alone, from RGB-D frames.

An independent implementation of the method of Wen et al., "FoundationPose: Unified 6D Pose Estimation and Tracking of
Novel Objects" (CVPR 2024, arXiv 2312.08344).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from learning.training.predict_pose_refine import PoseRefinePredictor
from learning.training.predict_score import ScorePredictor, Scores
from pose6d.device import resolve_device
from pose6d.errors import FrameError, MeshError, Pose6DError
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.distinct_poses import distinct_best
from pose6d.geometry.frame_input import check_depth_roughly, check_frame, check_mask, initial_translation, upload
from pose6d.geometry.mesh import Mesh
from pose6d.geometry.mesh_files import load_mesh
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.geometry.viewpoints import icosahedral_rotations, rotation_hypotheses
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Renderer
from pose6d.schedule import SCHEDULES, Schedule, Stage

_DIAMETERS = (0.002, 5.0)  # metres; outside, a mesh is most likely in another unit


class Refiner(Protocol):
    """What the estimator asks of a refiner; `PoseRefinePredictor` is the one it makes itself."""

    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float,
        iterations: int = 5,
        progress: Callable[[int], object] | None = None,
    ) -> Tensor: ...


class Scorer(Protocol):
    """What the estimator asks of a scorer; `ScorePredictor` is the one it makes itself."""

    def predict(
        self,
        renderer: Renderer,
        poses: Tensor,
        observation: Observation,
        K: Tensor,
        diameter: float,
        progress: Callable[[int], object] | None = None,
    ) -> Scores: ...


class FoundationPose:
    """Finds one object in a frame (`register`) and follows it through the next ones (`track_one`).

    Args:
        mesh: the object, in metres; a path is read as metres too (`load_mesh` converts other units).
        symmetries: (S, 4, 4) transforms of the mesh frame that leave the object's look unchanged, identity included
            (`pose6d.geometry.symmetry`). They thin out the hypotheses.
        scorer: ranks hypotheses; made from `weights` where omitted.
        refiner: moves hypotheses; made from `weights` where omitted.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        weights: `auto`, a released set's name, or a folder.
        schedule: `full` refines all 252 hypotheses of the published method, `pruned` starts with 60, soon goes
            on with the best dozen, and falls back to full where that leaves doubt; or a Schedule. `auto` is pruned on
            the CPU, if the scorer has a confidence, and full on CUDA.
        seed: 0 uses the plain grid of hypotheses; any other number turns the whole grid by a random rotation drawn from
            it, to see how much a result depends on the grid. Nothing else is random.
        profile: wait for the device after each stage, so that `timings` is exact on CUDA.

    Attributes:
        poses: (N, 4, 4) float32 hypotheses of the last `register` (of its last stage), original mesh in camera, best
            first; None before.
        scores: (N,) float32, descending, comparable with each other only; None before.
        confidence: of the last call's pose, the probability that it is within 0.1 diameter; None before, and where the
            scorer has no head for it or tracking does not ask for it.
        timings: seconds of each stage of the last call.
        mesh: the object in its original frame.
        diameter: of the mesh, metres.

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
        self.device = resolve_device(device)
        if not isinstance(mesh, (Mesh, str, Path)):
            raise MeshError(f"mesh is a {type(mesh).__name__}: pass a Mesh (Mesh.from_trimesh makes one) or a path")
        self.mesh = mesh if isinstance(mesh, Mesh) else load_mesh(mesh)
        self.diameter = float(self.mesh.diameter)
        _check_diameter(self.diameter, self.mesh.name)
        self.profile = profile
        self.timings: dict[str, float] = {}
        self.poses: np.ndarray | None = None
        self.scores: np.ndarray | None = None
        self.confidence: float | None = None

        self.refiner = refiner if refiner is not None else PoseRefinePredictor(weights, self.device)
        self.scorer = scorer if scorer is not None else ScorePredictor(weights, self.device)
        # Networks and renderer know only the mesh moved by -center; poses are converted where they enter and leave.
        center = torch.as_tensor(np.asarray(self.mesh.center), dtype=torch.float32)
        eye = torch.eye(3)
        self._centred_from_mesh = make_transform(eye, -center).to(self.device)
        self._mesh_from_centred = make_transform(eye, center).to(self.device)
        self._renderer = make_renderer(self.mesh.centered(), self.device)
        self.schedule = _choose_schedule(schedule, self.device, self.scorer)
        self._symmetries, self._seed = self._centred(symmetries), seed
        self._grids: dict[str, Tensor] = {}
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
        6. If that leaves doubt, search again with the full schedule.
        7. The best is the result, and where tracking starts.

        Args:
            K: (3, 3) intrinsics of both images.
            rgb: (H, W, 3) uint8.
            depth: (H, W) metres, 0 = missing.
            ob_mask: (H, W), non-zero on the object.
            iteration: refinement steps that the result shall have taken.
            progress: called with (pairs done, pairs in all) while the networks run.

        Returns:
            (4, 4) float32, original mesh in camera (OpenCV axes), metres.

        Raises:
            SceneError: K does not fit the image.
            FrameError: the frame cannot be used; the message says why.
        """
        self.timings, self.confidence = {}, None
        with self._stage("check"):
            rgb, depth = check_frame(K, rgb, depth, iteration)
            mask = check_mask(ob_mask, depth)
        with self._stage("filter depth"):
            observation, intrinsics = self._observe(K, rgb, depth)
        with self._stage("hypotheses"):
            translation = initial_translation(observation.xyz[2], mask, intrinsics)
        done = _Counter(progress)
        poses, scores = self._search(self.schedule, translation, observation, intrinsics, iteration, done)
        if scores.confidence is not None and float(scores.confidence[0]) < self.schedule.sure:
            poses, scores = self._search(SCHEDULES["full"], translation, observation, intrinsics, iteration, done)
        with self._stage("sort"):
            self.poses = (poses @ self._centred_from_mesh).cpu().numpy()
            self.scores = scores.ranking.cpu().numpy()
            self.confidence = None if scores.confidence is None else float(scores.confidence[0])
        _check_result(self.poses[0], "registration")
        self._last = poses[0]
        return self.poses[0].copy()

    def track_one(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int = 2, judge: bool = False
    ) -> np.ndarray:
        """Follow the object into the next frame.

        1. Check the inputs.
        2. Filter the depth and turn it into points.
        3. Refine the last pose `iteration` times.
        4. If asked to, judge the result: `confidence` tells when to register again.

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
            rgb, depth = check_frame(K, rgb, depth, iteration)
            check_depth_roughly(depth)
        with self._stage("filter depth"):
            observation, intrinsics = self._observe(K, rgb, depth)
        with self._stage("refine"):
            pose = self.refiner.predict(
                self._renderer, self._last[None], observation, intrinsics, self.diameter, iteration
            )[0]
            object_in_camera = (pose @ self._centred_from_mesh).cpu().numpy()
        _check_result(object_in_camera, "tracking")
        self._last = pose
        if judge:
            with self._stage("judge"):
                scores = self.scorer.predict(self._renderer, pose[None], observation, intrinsics, self.diameter)
                self.confidence = None if scores.confidence is None else float(scores.confidence[0])
        return object_in_camera

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

    def _search(
        self,
        schedule: Schedule,
        translation: Tensor,
        observation: Observation,
        K: Tensor,
        iteration: int,
        done: _Counter,
    ) -> tuple[Tensor, Scores]:
        """The hypotheses (N, 4, 4) that a schedule leaves, centred mesh in camera, and their scores, best first."""
        poses = make_transform(self._rotations(schedule.grid), translation)
        plan = list(schedule.plan(iteration))
        done.expect(_pairs(plan, len(poses)))
        scores = Scores(torch.zeros(len(poses), device=self.device), None)
        for stage in plan:
            with self._stage("refine"):
                poses = self.refiner.predict(
                    self._renderer, poses, observation, K, self.diameter, stage.steps, progress=done
                )
            with self._stage("score"):
                scores = self.scorer.predict(self._renderer, poses, observation, K, self.diameter, progress=done)
                if stage.keep is not None:
                    poses = poses[distinct_best(poses, scores.ranking, stage.keep, self.diameter)]
        order = torch.argsort(scores.ranking, descending=True, stable=True)
        confidence = None if scores.confidence is None else scores.confidence[order]
        return poses[order], Scores(scores.ranking[order], confidence)

    def _rotations(self, grid: str) -> Tensor:
        """(N, 3, 3) starting rotations of a schedule's grid; made when first asked for."""
        if grid not in self._grids:
            self._grids[grid] = self._make_grid(grid)
        return self._grids[grid]

    def _make_grid(self, grid: str) -> Tensor:
        rotations = (rotation_hypotheses if grid == "views" else icosahedral_rotations)(self._symmetries)
        if self._seed:
            rotations = random_rotations(1, torch.Generator().manual_seed(self._seed)) @ rotations
        return rotations.to(self.device)

    def _centred(self, symmetries: np.ndarray | Tensor | None) -> Tensor | None:
        """(S, 4, 4) symmetries of the centred mesh, on the CPU."""
        if symmetries is None:
            return None
        symmetries = torch.as_tensor(symmetries, dtype=torch.float32)
        if symmetries.ndim != 3 or symmetries.shape[1:] != (4, 4):
            raise MeshError(f"symmetries: shape {tuple(symmetries.shape)}; (S, 4, 4) transforms are needed")
        if not symmetries.isfinite().all():
            raise MeshError("symmetries hold values that are not finite; (S, 4, 4) transforms are needed")
        return self._centred_from_mesh.cpu() @ symmetries @ self._mesh_from_centred.cpu()

    def _observe(self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray) -> tuple[Observation, Tensor]:
        """The frame on the device, depth filtered; and K (3, 3)."""
        intrinsics = upload(np.asarray(K, dtype=np.float32), self.device)
        filtered = filter_depth(upload(depth, self.device))
        return observe(upload(rgb, self.device), filtered, intrinsics), intrinsics

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.profile and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - start


def _choose_schedule(schedule: str | Schedule, device: torch.device, scorer: Scorer) -> Schedule:
    if isinstance(schedule, Schedule):
        return schedule
    if schedule == "auto":
        # Without a confidence nobody would notice that a pruned search has missed.
        judges = getattr(getattr(scorer, "config", None), "confidence", False)
        schedule = "pruned" if device.type == "cpu" and judges else "full"
    if schedule not in SCHEDULES:
        raise Pose6DError(f"schedule is {schedule!r}: choose auto, {', '.join(SCHEDULES)}, or pass a Schedule")
    return SCHEDULES[schedule]


def _pairs(plan: list[Stage], hypotheses: int) -> int:
    """How many pairs of images the networks will see."""
    pairs = 0
    for stage in plan:
        pairs += hypotheses * (stage.steps + 1)
        hypotheses = min(hypotheses, stage.keep or hypotheses)
    return pairs


class _Counter:
    """Turns "n more" into (done, in all) for a progress callback."""

    def __init__(self, report: Callable[[int, int], object] | None):
        self._report, self._total, self._done = report, 0, 0

    def expect(self, count: int) -> None:
        self._total += count

    def __call__(self, count: int) -> None:
        self._done += count
        if self._report is not None:
            self._report(self._done, self._total)


def _check_diameter(diameter: float, name: str) -> None:
    low, high = _DIAMETERS
    if not low <= diameter <= high:
        cure = (
            "is it in millimetres? load it with unit 'mm', or pass --mesh_unit mm"
            if diameter > high
            else "is its unit m?"
        )
        raise MeshError(f"mesh {name}: diameter is {diameter:.4g} m, expected {low} to {high} m; {cure}")


def _check_result(pose: np.ndarray, what: str) -> None:
    if not np.isfinite(pose).all():
        raise FrameError(f"{what} gave a pose that is not finite; are the weights sound, and is the object in view?")
