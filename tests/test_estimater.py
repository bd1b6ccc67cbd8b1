"""The estimator as users call it: poses of the original mesh frame, clear errors, no surprises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from estimater import FoundationPose
from learning.models.config import NetworkConfig
from learning.models.score_network import ScoreNetMultiPair, Scores
from learning.training.predict_score import ScorePredictor
from pose6d.errors import FrameError, MeshError, Pose6DError, SceneError
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.symmetry import symmetry_transforms
from pose6d.rendering import make_renderer
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses
from pose6d.search.schedule import Schedule, Stage
from tests.estimater_scene import SMALL, K, MatchingScorer, PlantingRefiner, Scene, random_networks, render_scene
from tests.rendering_scenes import draw


@pytest.fixture(scope="module")
def scene() -> Scene:
    solid = trimesh.creation.box((0.10, 0.06, 0.16)).subdivide().subdivide()
    solid.visual.vertex_colors = np.random.default_rng(0).integers(40, 255, (len(solid.vertices), 3), dtype=np.uint8)
    solid.apply_translation((0.3, -0.2, 0.15))
    mesh = Mesh.from_trimesh(solid)
    R = random_rotations(1, torch.Generator().manual_seed(4))[0]
    middle = torch.tensor([0.02, -0.01, 0.7])
    return render_scene(mesh, make_transform(R, middle - R @ torch.as_tensor(mesh.center, dtype=torch.float32)))


def knowing(scene: Scene, **changes: Any) -> tuple[FoundationPose, PlantingRefiner]:
    """An estimator that picks the true pose out of its hypotheses, and the refiner that puts it there."""
    refiner = PlantingRefiner(scene.truth, scene.mesh.center)
    options = {"scorer": MatchingScorer(), "device": "cpu", **changes}
    return FoundationPose(scene.mesh, refiner=refiner, **options), refiner


def assert_rigid(poses: np.ndarray) -> None:
    R = poses[..., :3, :3]
    np.testing.assert_allclose(R @ np.swapaxes(R, -1, -2), np.broadcast_to(np.eye(3), R.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(R), 1, atol=1e-5)
    np.testing.assert_array_equal(poses[..., 3, :], np.broadcast_to([0, 0, 0, 1], poses[..., 3, :].shape))


def test_the_true_pose_is_picked_and_given_in_the_original_mesh_frame(scene: Scene, device: torch.device) -> None:
    estimator, _ = knowing(scene, device=device)
    pose = estimator.register(K, scene.rgb, scene.depth, scene.mask)
    np.testing.assert_allclose(pose, scene.truth, atol=5e-3)
    assert pose.dtype == np.float32
    # Drawing the original mesh at the result gives the observed depth back.
    drawn = draw(make_renderer(scene.mesh, "cpu"), pose, K, (240, 320))
    assert (drawn.mask[0].numpy() == scene.mask).mean() > 0.998
    assert np.abs(drawn.depth[0].numpy() - scene.depth)[scene.mask].mean() < 5e-4
    # Tracking goes on from it, and answers in the same frame.
    tracked = estimator.track_one(scene.rgb, scene.depth, K)
    np.testing.assert_allclose(tracked, scene.truth, atol=5e-3)


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [("full", 252, 252), ("pruned", 60, 12), (Schedule("other", 30, (Stage(1, top_k=5),)), 30, 5)],
)
def test_hypotheses_start_on_the_object_and_come_back_sorted(
    scene: Scene, schedule: str | Schedule, first: int, last: int
) -> None:
    estimator, refiner = knowing(scene, schedule=schedule)
    pose = estimator.register(K, scene.rgb, scene.depth, scene.mask)
    assert refiner.seen.shape == (first, 4, 4)
    starts = refiner.seen[:, :3, 3].numpy()
    # All at one point of the near side, within a radius of the object's middle, or each where it fits.
    together = schedule == "full"
    assert (np.ptp(starts, axis=0).max() == 0) == together
    off = np.linalg.norm(starts - refiner.pose[:3, 3].numpy(), axis=1)
    assert np.median(off) < estimator.diameter * (0.5 if together else 0.2)
    assert estimator.poses.shape == (last, 4, 4)
    assert (np.diff(estimator.scores) <= 0).all()
    np.testing.assert_array_equal(estimator.poses[0], pose)
    stages = {"check", "upload", "filter depth", "hypotheses", "refine", "score", "align", "copy"}
    assert set(estimator.timings) == stages


def test_first_guess_is_the_middle_of_the_mask_at_its_median_depth(scene: Scene) -> None:
    estimator, refiner = knowing(scene)
    mask = np.zeros_like(scene.mask)
    mask[80:121, 100:141] = True  # its middle is pixel (120, 100)
    depth = np.where(mask, np.float32(0.8), np.float32(2.0))
    depth[80:90, 100:141] = 0.0
    estimator.register(K, scene.rgb, depth, mask)
    wanted = np.array([(120 - K[0, 2]) / 400, (100 - K[1, 2]) / 400, 1.0]) * 0.8
    np.testing.assert_allclose(refiner.seen[0, :3, 3], wanted, atol=1e-5)


def test_networks_run_end_to_end_and_repeatably(scene: Scene, device: torch.device) -> None:
    results = []
    for _ in range(2):
        estimator = FoundationPose(scene.mesh, **random_networks(device))
        state = torch.get_rng_state()
        registered = estimator.register(K, scene.rgb, scene.depth, scene.mask, iteration=2)
        tracked = [estimator.track_one(scene.rgb, scene.depth, K) for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), state), "the caller's random state was touched"
        assert torch.get_default_dtype() == torch.float32
        assert_rigid(estimator.poses)
        assert_rigid(np.stack(tracked))
        results.append([registered, *tracked])
    np.testing.assert_array_equal(results[0], results[1])


def seen(scene: Scene) -> tuple[RenderedObject, Observation]:
    """The object and the frame on the CPU."""
    return RenderedObject.from_mesh(scene.mesh, "cpu"), observe(scene.rgb, scene.depth, K)


def test_batch_size_does_not_change_the_result(scene: Scene) -> None:
    R = random_rotations(20, torch.Generator().manual_seed(0))
    poses = make_transform(R, torch.tensor([0.02, -0.01, 0.7]))
    results = []
    for batch_size in (7, 512):
        networks = random_networks(batch_size=batch_size)
        arguments = (Hypotheses(poses), *seen(scene))
        scores = networks["scorer"].predict(*arguments)
        results.append((networks["refiner"].predict(*arguments, steps=1), scores.ranking, scores.confidence))
    assert results[0][1].std() > 1e-3, "the scores should tell hypotheses apart"
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=0)


def test_hypotheses_in_one_place_may_share_their_window(scene: Scene) -> None:
    poses = make_transform(random_rotations(9, torch.Generator().manual_seed(0)), torch.tensor([0.02, -0.01, 0.7]))
    refiner = random_networks(batch_size=4)["refiner"]
    wanted = refiner.predict(Hypotheses(poses), *seen(scene), 2)
    found = refiner.predict(Hypotheses(poses, shared_window=True), *seen(scene), 2)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    assert (wanted - poses).abs().max() > 1e-3


@pytest.mark.parametrize(("schedule", "pairs"), [("full", 20 * 4), ("pruned", 20 * 2 + 12 * 3 + 20 * 3 + 20 * 2)])
def test_progress_counts_every_pair(scene: Scene, schedule: str, pairs: int) -> None:
    symmetries = symmetry_transforms(continuous=[((0.0, 0.0, 1.0), scene.mesh.center)])
    estimator = FoundationPose(scene.mesh, symmetries, schedule=schedule, **random_networks(batch_size=8))
    calls: list[tuple[int, int]] = []
    estimator.register(K, scene.rgb, scene.depth, scene.mask, 3, progress=lambda *counts: calls.append(counts))
    assert calls[-1] == (pairs, pairs)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@pytest.mark.parametrize(("sure", "surer"), [(1.0, 1.0), (0.1, 0.2), (0.2, 0.1)])
def test_doubt_brings_a_second_search_and_the_surer_result_counts(scene: Scene, sure: float, surer: float) -> None:
    class Doubting(MatchingScorer):
        again = 0  # after it has seen the 120 starts of the second search

        def predict(self, hypotheses: Hypotheses, *arguments: Any) -> Scores:
            self.again |= len(hypotheses) == 120
            scores = super().predict(hypotheses, *arguments)
            return Scores(scores.ranking + 1e3 * self.again, (surer if self.again else sure) * scores.confidence)

    estimator, _ = knowing(scene, scorer=Doubting(), schedule="pruned")
    estimator.register(K, scene.rgb, scene.depth, scene.mask)
    assert (estimator.scores[0] > 500) == (surer > sure)
    assert estimator.confidence == pytest.approx(max(sure, surer), rel=0.05)


def test_weights_without_confidence_are_not_pruned_by_themselves(scene: Scene) -> None:
    networks = random_networks()
    assert FoundationPose(scene.mesh, **networks).schedule.name == "pruned"
    networks["scorer"] = ScorePredictor(network=ScoreNetMultiPair(NetworkConfig(kind="scorer", **SMALL)), device="cpu")
    assert FoundationPose(scene.mesh, **networks).schedule.name == "full"


def test_an_unknown_schedule_is_refused(scene: Scene) -> None:
    with pytest.raises(Pose6DError, match="schedule is 'fast': choose auto, full, thorough, pruned"):
        FoundationPose(scene.mesh, schedule="fast", **random_networks())


def test_seed_turns_the_grid_and_zero_is_the_plain_one(scene: Scene) -> None:
    def starts(seed: int) -> Tensor:
        estimator, refiner = knowing(scene, seed=seed)
        estimator.register(K, scene.rgb, scene.depth, scene.mask, iteration=1)
        return refiner.seen[:, :3, :3]

    assert torch.equal(starts(0), starts(0))
    assert torch.equal(starts(5), starts(5))
    turn = starts(5) @ starts(0).mT
    torch.testing.assert_close(turn, turn[:1].expand_as(turn), atol=1e-5, rtol=0)
    assert (turn[0] - torch.eye(3)).abs().max() > 0.1


def test_tracking_starts_from_a_given_pose_and_ends_with_reset(scene: Scene) -> None:
    estimator = FoundationPose(scene.mesh, **random_networks())
    with pytest.raises(Pose6DError, match="call register on a frame first"):
        estimator.track_one(scene.rgb, scene.depth, K)
    with pytest.raises(FrameError, match="not finite"):
        estimator.start_from(np.full((4, 4), np.nan))
    estimator.start_from(scene.truth)
    tracked = estimator.track_one(scene.rgb, scene.depth, K, iteration=1)
    # A random network moves it a little, but from here and not from elsewhere.
    middle = tracked[:3, :3] @ scene.mesh.center + tracked[:3, 3]
    wanted = scene.truth[:3, :3] @ scene.mesh.center + scene.truth[:3, 3]
    assert np.linalg.norm(middle - wanted) < estimator.diameter
    estimator.reset()
    with pytest.raises(Pose6DError, match="call register"):
        estimator.track_one(scene.rgb, scene.depth, K)


def test_warming_up_leaves_an_estimator_as_new(scene: Scene, device: torch.device) -> None:
    brief = Schedule("brief", 40)
    fresh, warm = (FoundationPose(scene.mesh, schedule=brief, **random_networks(device)) for _ in range(2))
    assert warm.warm_up(240, 320) > 0
    assert warm.poses is None and warm.confidence is None
    with pytest.raises(Pose6DError, match="call register"):
        warm.track_one(scene.rgb, scene.depth, K)
    poses = [e.register(K, scene.rgb, scene.depth, scene.mask, 1) for e in (fresh, warm)]
    np.testing.assert_array_equal(*poses)


def test_depth_that_filtering_removes_altogether_is_an_error(scene: Scene, device: torch.device) -> None:
    speckles = np.zeros_like(scene.depth)
    speckles[::7, ::7] = 0.7
    estimator = FoundationPose(scene.mesh, **random_networks(device))
    with pytest.raises(FrameError, match="is left after filtering"):
        estimator.register(K, scene.rgb, speckles, scene.mask)


def test_missing_depth_is_missing_however_it_is_written(scene: Scene, device: torch.device) -> None:
    generator = np.random.default_rng(0)
    unseen = ~scene.mask | (generator.random(scene.depth.shape) < 0.1)  # most of the picture
    written = generator.choice(np.float32([np.nan, np.inf, -np.inf, -1, 65.535, 65535]), scene.depth.shape)
    results = []
    for missing in (np.float32(0), written):
        estimator = FoundationPose(scene.mesh, schedule=Schedule("brief", 40), **random_networks(device))
        depth = np.where(unseen, missing, scene.depth)
        found = estimator.register(K, scene.rgb, depth, scene.mask, 1)
        results.append([found, estimator.track_one(scene.rgb, depth, K, 1)])
    np.testing.assert_array_equal(*results)


def test_pictures_cut_out_of_larger_ones(scene: Scene) -> None:
    rows, columns = slice(0, 140), slice(0, 160)
    part = scene.rgb[rows, columns], scene.depth[rows, columns]
    estimator = FoundationPose(scene.mesh, **random_networks())
    estimator.start_from(scene.truth)
    with pytest.raises(SceneError, match=r"another resolution.*part of a larger one.*cropped"):
        estimator.track_one(*part, K, iteration=1)
    estimator.cropped = True
    estimator.track_one(*part, K, iteration=1)


def changed(scene: Scene, **changes: object) -> dict:
    return {"K": K, "rgb": scene.rgb, "depth": scene.depth, "ob_mask": scene.mask} | changes


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"ob_mask": None}, FrameError, "no mask"),
        (lambda s: {"ob_mask": np.zeros_like(s.mask)}, FrameError, "mask is empty"),
        (lambda s: {"ob_mask": s.mask[::2, ::2]}, FrameError, "160x120.*320x240"),
        (lambda s: {"ob_mask": np.stack([s.mask] * 3, -1)}, FrameError, r"ob_mask: shape \(240, 320, 3\)"),
        (lambda s: {"depth": np.where(s.mask, 0, s.depth)}, FrameError, "0 valid depth values under the mask"),
        (lambda s: {"depth": s.depth * 1000}, FrameError, "millimetres"),
        (lambda s: {"depth": s.depth / 1000}, FrameError, "metres are needed"),
        (lambda s: {"depth": (s.depth * 1000).astype(np.uint16)}, FrameError, "uint16; metres as floats"),
        (lambda s: {"depth": s.depth[::2, ::2]}, FrameError, "rgb is 320x240 and depth 160x120"),
        (lambda s: {"rgb": s.rgb[..., 0]}, FrameError, r"rgb: shape \(240, 320\)"),
        (lambda s: {"rgb": s.rgb / 255.0}, FrameError, "rgb: .* of float64"),
        (lambda s: {"K": None}, SceneError, "no camera intrinsics"),
        (lambda s: {"K": "K.txt"}, SceneError, "no matrix of numbers"),
        (lambda s: {"K": K[:2]}, SceneError, r"shape \(2, 3\)"),
        (lambda s: {"K": np.diag([2.0, 2.0, 1.0]) @ K}, SceneError, "another resolution"),
    ],
)
def test_bad_frames_say_what_is_wrong(
    scene: Scene, change: Callable[[Scene], dict], error: type[Exception], message: str
) -> None:
    estimator = knowing(scene)[0]
    with pytest.raises(error, match=message):
        estimator.register(**changed(scene, **change(scene)))
    assert estimator.poses is None


def test_an_inverted_mask_is_named_where_register_is_called(scene: Scene) -> None:
    estimator = knowing(scene)[0]
    with pytest.warns(UserWarning, match="ob_mask: the mask covers .* is it inverted") as warned:
        estimator.register(K, scene.rgb, scene.depth, ~scene.mask)
    assert warned[0].filename == __file__


def test_confidence_is_that_of_the_best_hypothesis_and_of_tracking_only_on_request(scene: Scene) -> None:
    class Judge(MatchingScorer):
        def judge(self, hypotheses: Hypotheses, *_: Any) -> Scores:
            return Scores(torch.zeros(len(hypotheses)), torch.full((len(hypotheses),), 0.3))

    estimator = knowing(scene, scorer=Judge())[0]
    assert estimator.confidence is None
    estimator.register(K, scene.rgb, scene.depth, scene.mask)
    assert estimator.confidence == pytest.approx(float(np.exp(0.1 * estimator.scores[0])))
    estimator.track_one(scene.rgb, scene.depth, K)
    assert estimator.confidence is None
    estimator.track_one(scene.rgb, scene.depth, K, judge=True)
    assert estimator.confidence == pytest.approx(0.3), "in the light that fits, where `predict` is for ranking"


def test_a_bad_tracked_frame_leaves_the_tracker_as_it_was(scene: Scene, device: torch.device) -> None:
    spared, estimator = (FoundationPose(scene.mesh, **random_networks(device)) for _ in range(2))
    for each in (spared, estimator):
        each.start_from(scene.truth)
        each.track_one(scene.rgb, scene.depth, K)
    before = estimator._tracker.poses.clone()
    for depth, message in (
        (scene.depth[::2, ::2], "rgb is 320x240 and depth 160x120"),
        (np.zeros_like(scene.depth), "0 valid depth values in the image"),
        (np.full_like(scene.depth, np.nan), "0 valid depth values in the image"),
        (np.full_like(scene.depth, 65.535), "0 valid depth values in the image"),
        (scene.depth * 1000, "millimetres"),
        (scene.depth / 1000, "metres are needed"),
    ):
        with pytest.raises(FrameError, match=message):
            estimator.track_one(scene.rgb, depth, K)
        assert torch.equal(estimator._tracker.poses, before), message
    tracked = [[each.track_one(scene.rgb, scene.depth, K) for _ in range(2)] for each in (spared, estimator)]
    np.testing.assert_allclose(*tracked, atol=5e-3)  # random networks magnify rounding


def test_each_tracked_frame_starts_from_the_result_of_the_last(scene: Scene) -> None:
    class Shifting(PlantingRefiner):
        def __init__(self) -> None:
            super().__init__(scene.truth, scene.mesh.center)
            self.starts: list[Tensor] = []

        def predict(self, hypotheses: Hypotheses, *_: Any) -> Tensor:
            self.starts.append(hypotheses.poses.clone())
            shift = torch.zeros(4, 4)
            shift[0, 3] = 0.05
            return hypotheses.poses + shift

    refiner = Shifting()
    estimator = FoundationPose(scene.mesh, refiner=refiner, scorer=MatchingScorer(), device="cpu")
    away = scene.truth.copy()
    away[0, 3] += 1.0  # where nothing of the object is seen, alignment leaves the pose
    estimator.start_from(away)
    for _ in range(3):
        tracked = estimator.track_one(scene.rgb, scene.depth, K, iteration=1)
    middles = torch.cat(refiner.starts)[:, 0, 3]
    np.testing.assert_allclose(middles - middles[0], [0.0, 0.05, 0.1], atol=1e-3)
    assert tracked[0, 3] - away[0, 3] == pytest.approx(0.15, abs=1e-3)


def test_debris_changes_neither_the_pose_nor_its_frame(scene: Scene) -> None:
    m = scene.mesh
    speck = m.center + np.array([[0.6, 0, 0], [0.601, 0, 0], [0.6, 0.001, 0]])
    colors = np.concatenate([[[255, 0, 0]] * 3, m.colors])
    dirty = Mesh(np.concatenate([speck, m.vertices]), np.concatenate([[[0, 1, 2]], m.faces + 3]), colors=colors)
    refiner = PlantingRefiner(scene.truth, m.center)
    with pytest.warns(UserWarning, match="1 loose piece"):
        estimator = FoundationPose(dirty, refiner=refiner, scorer=MatchingScorer(), device="cpu")
    assert estimator.diameter == pytest.approx(m.diameter)
    np.testing.assert_allclose(estimator.register(K, scene.rgb, scene.depth, scene.mask), scene.truth, atol=5e-3)
    dirty.keep_debris = True
    assert FoundationPose(dirty, refiner=refiner, scorer=MatchingScorer(), device="cpu").diameter > 3 * m.diameter


def test_a_mesh_in_millimetres_is_refused(scene: Scene) -> None:
    with pytest.raises(MeshError, match="is it in millimetres"):
        FoundationPose(scene.mesh.scaled(1000.0), **random_networks())
    with pytest.raises(MeshError, match=r"symmetries: shape \(4, 4\)"):
        FoundationPose(scene.mesh, symmetries=np.eye(4), **random_networks())
    with pytest.raises(MeshError, match="symmetries hold values that are not finite"):
        FoundationPose(scene.mesh, symmetries=np.full((1, 4, 4), np.nan), **random_networks())


def test_a_mesh_of_another_library_is_refused_with_the_way_to_convert_it() -> None:
    with pytest.raises(MeshError, match=r"mesh is a Trimesh.*Mesh\.from_trimesh"):
        FoundationPose(trimesh.creation.box((0.1, 0.1, 0.1)), **random_networks())


@pytest.mark.parametrize(("shift", "steps"), [(0.0, 1), (0.02, 1), (0.04, 3)])
def test_where_a_step_hardly_moves_the_object_a_cpu_takes_no_other(scene: Scene, shift: float, steps: int) -> None:
    class Shifting(PlantingRefiner):
        taken = 0

        def predict(self, hypotheses: Hypotheses, *arguments: Any) -> Tensor:
            self.taken += arguments[2]
            poses = hypotheses.poses.clone()
            poses[:, 0, 3] += shift * estimator.diameter
            return poses

    refiner = Shifting(scene.truth, scene.mesh.center)
    estimator = FoundationPose(scene.mesh, refiner=refiner, scorer=MatchingScorer(), device="cpu")
    estimator.start_from(scene.truth)
    estimator.track_one(scene.rgb, scene.depth, K, iteration=3)
    assert refiner.taken == steps
