"""The scoreboard: its scenes repeat and keep their conditions, and known errors give known scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.evaluation import Effort, FewerHypotheses, evaluate
from benchmarks.accuracy.objects import TargetObject, symmetric_objects
from benchmarks.accuracy.reconstruction import reconstruct_mesh
from benchmarks.accuracy.report import read_records
from benchmarks.accuracy.scene_workers import SceneWorkers, make
from benchmarks.accuracy.scenes import EvaluationScene, ScenePool, View
from benchmarks.accuracy.scoreboard import Options, make_targets
from benchmarks.accuracy.scores import score
from benchmarks.accuracy.suites import SUITES
from benchmarks.accuracy.trajectories import LARGEST_STEP, LARGEST_TURN
from learning.datasets.objects.random_objects import make_kind, make_object
from learning.datasets.objects.training_pool import HELD_OUT_SEED
from pose6d.errors import FrameError, MeshError, Pose6DError
from pose6d.evaluation.pose_errors import add_s, rotation_error
from pose6d.evaluation.record import Record
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh
from pose6d.search.interfaces import Hypotheses

_SUITES = ("easy", "cluttered", "occluded", "textureless", "noisy_depth", "reconstructed_mesh")


@pytest.fixture(scope="module")
def targets() -> list[TargetObject]:
    return [TargetObject(make_object(HELD_OUT_SEED + i, size=0.2)) for i in range(3)]


@pytest.fixture(scope="module")
def pool(targets: list[TargetObject]) -> ScenePool:
    return ScenePool.from_meshes([target.mesh for target in targets])


_FEW = 20  # pixels of a picture that the rounding of a library may decide


def _differences(a: EvaluationScene, b: EvaluationScene) -> dict[str, object]:
    """What tells two scenes apart, beyond the last bit of a sum that a library takes in another order."""
    found: dict[str, object] = {}
    if a.object_index != b.object_index or abs(a.visible - b.visible) > 1e-3:
        found["object"] = (a.object_index, a.visible, b.object_index, b.visible)
    pictures = [("mask", a.mask, b.mask, 0.0)]
    for v, w in zip(a.views, b.views, strict=True):
        pictures += [("rgb", v.rgb, w.rgb, 1.0), ("depth", v.depth, w.depth, 1e-5)]
        if (v.truth is None) != (w.truth is None) or (v.truth is not None and np.abs(v.truth - w.truth).max() > 1e-5):
            found["truth"] = (v.truth, w.truth)
    for name, x, y, limit in pictures:
        off = np.abs(x.astype(np.float64) - y)
        if (off > limit).sum() > _FEW:
            found[name] = (
                f"{(off > limit).sum()} pixels by up to {off.max()}, at {np.argwhere(off > limit)[:3].tolist()}"
            )
    return found


class FakeEstimator:
    """Gives the truth with an error of its own; knows the frames by their depth."""

    def __init__(
        self, scenes: list[EvaluationScene], spoil: Callable[[np.ndarray], np.ndarray], confidence: float | None = None
    ) -> None:
        self.truths = {view.depth.tobytes(): view.truth for scene in scenes for view in scene.views}
        self.spoil, self.confidence = spoil, confidence
        self.poses: np.ndarray | None = None
        self.starts: list[np.ndarray] = []

    def register(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, ob_mask: np.ndarray, iteration: int = 5
    ) -> np.ndarray:
        truth = self.truths[depth.tobytes()]
        pose = np.eye(4) if truth is None else self.spoil(truth)
        self.poses = np.stack([pose] if truth is None else [pose, truth])
        return pose

    def track_one(
        self, rgb: np.ndarray, depth: np.ndarray, K: np.ndarray, iteration: int = 2, judge: bool = False
    ) -> np.ndarray:
        return self.register(K, rgb, depth, depth)

    def start_from(self, object_in_camera: np.ndarray) -> None:
        self.starts.append(object_in_camera)


def _shifted(metres: float) -> Callable[[np.ndarray], np.ndarray]:
    def spoil(truth: np.ndarray) -> np.ndarray:
        pose = truth.copy()
        pose[2, 3] += metres
        return pose

    return spoil


def _blank(truth: np.ndarray, object_index: int = 0, frames: int = 1) -> EvaluationScene:
    depth = np.random.default_rng(0).uniform(0.5, 1, (frames, 4, 4)).astype(np.float32)
    views = tuple(View(np.zeros((4, 4, 3), np.uint8), d, np.eye(3, dtype=np.float32), truth) for d in depth)
    return EvaluationScene(object_index, views, np.ones((4, 4), bool), 1.0)


def _truth() -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = [0.02, -0.03, 0.8]
    return pose


@pytest.mark.parametrize("name", _SUITES)
def test_scenes_keep_their_conditions(name: str, pool: ScenePool) -> None:
    suite = SUITES[name]
    scene = make(pool, suite, 7, 1)
    view = scene.views[0]
    assert suite.visible[0] <= scene.visible <= suite.visible[1]
    assert view.rgb.shape == (480, 640, 3) and view.rgb.dtype == np.uint8
    assert view.depth.dtype == np.float32 and (view.depth[scene.mask] > 0).any()
    assert view.truth is not None
    seen = view.depth[scene.mask & (view.depth > 0)]
    assert abs(np.median(seen) - view.truth[2, 3]) < 0.2  # metres: the object's diameter


def test_cluttered_scenes_are_those_of_the_published_scores() -> None:
    config = SUITES["cluttered"].config
    assert config.image_size == (480, 640) and config.intrinsics == (610.0, 610.0, 320.0, 240.0)
    assert config.pixels_per_diameter == (60.0, 160.0) and config.centre_jitter == 120.0
    assert (config.distractors, config.distractor_hidden, config.occluder) == (3, 0.3, 0.5)
    assert SUITES["cluttered"].visible == (0.3, 1.0)


def test_the_truth_fits_the_depth(targets: list[TargetObject]) -> None:
    """The surface in the true pose lies under the mask, at the measured depth or hidden behind it."""
    moved = [TargetObject(t.mesh.translated(np.array([0.3, -0.1, 0.2]))) for t in targets[:1]]
    scene = make(ScenePool.from_meshes([t.mesh for t in moved]), SUITES["easy"], 7, 0)
    view = scene.views[0]
    assert view.truth is not None
    u, v, nearer = _projected(moved[0].mesh, view)
    assert scene.mask[v, u].mean() > 0.97
    assert (nearer > 0.02).mean() < 0.05  # metres; at the silhouette, pixels of the table


def _projected(mesh: Mesh, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels u and v of points on the surface, and where there is depth, by how much they are nearer than it says."""
    assert view.truth is not None
    points = mesh.sample_surface(500) @ view.truth[:3, :3].T + view.truth[:3, 3]
    pixel = points @ view.K.T
    u, v = (pixel[:, :2] / pixel[:, 2:]).round().astype(int).T
    measured = view.depth[v, u]
    return u, v, (measured - points[:, 2])[measured > 0]


def test_scenes_do_not_depend_on_who_makes_them(pool: ScenePool) -> None:
    tasks = [(SUITES["cluttered"], 0), (SUITES["absent"], 0), (SUITES["cluttered"], 1)]
    with SceneWorkers(2) as workers:
        elsewhere = list(workers.scenes(tasks, {"given": pool}, seed=7))
    for (suite, index), scene in zip(tasks, elsewhere, strict=True):
        assert not _differences(scene, make(pool, suite, 7, index))
    assert _differences(elsewhere[0], make(pool, SUITES["cluttered"], 8, 0)).keys() >= {"mask", "rgb", "depth", "truth"}


def test_absent_objects_are_not_under_the_mask(pool: ScenePool) -> None:
    for index in (0, 3):  # the mask on another object, then on the background
        scene = make(pool, SUITES["absent"], 7, index)
        assert scene.visible == 0 and scene.views[0].truth is None
        assert scene.mask.any() and (scene.views[0].depth[scene.mask] > 0).any()


@pytest.fixture(scope="module")
def sequence(pool: ScenePool) -> EvaluationScene:
    return make(pool, SUITES["tracking"], 7, 1)


def test_sequences_move_fast_and_within_bounds(pool: ScenePool, sequence: EvaluationScene) -> None:
    poses = np.stack([view.truth for view in sequence.views if view.truth is not None])
    assert len(poses) == 20
    middle = poses[:, :3, :3] @ pool.centers[1] + poses[:, :3, 3]
    steps = np.linalg.norm(np.diff(middle, axis=0), axis=1) / pool.diameters[1]
    turns = rotation_error(poses[1:], poses[:-1])
    assert steps.max() <= LARGEST_STEP + 1e-4 and turns.max() <= LARGEST_TURN + 1e-4
    assert steps.max() > 0.15 and turns.max() > LARGEST_TURN / 2
    for view, point in zip(sequence.views, middle, strict=True):
        u, v, w = view.K @ point
        assert 0 < u / w < 640 and 0 < v / w < 480


def test_nothing_comes_between_the_camera_and_what_moves(
    targets: list[TargetObject], pool: ScenePool, sequence: EvaluationScene
) -> None:
    """Tables are drawn until none does: the first ones of these two sequences hid the object in every frame."""
    for scene in (sequence, make(pool, SUITES["tracking"], 7, 7)):
        mesh = targets[scene.object_index].mesh
        for view in scene.views:
            nearer = _projected(mesh, view)[2]
            assert np.median(nearer) > -1.1 * mesh.diameter  # points of the far side are hidden by the near one


def test_symmetric_objects_look_the_same_from_their_symmetric_sides() -> None:
    for target in symmetric_objects():
        assert target.symmetries is not None and len(target.symmetries) > 1
        points = target.mesh.sample_surface(10000, seed=1)
        for S in target.symmetries[:: max(1, len(target.symmetries) // 12)]:
            apart = float(add_s(S, np.eye(4), points))
            # Two random samples of 10,000 points of one surface lie about 0.006 diameters apart.
            assert apart < 0.01 * target.mesh.diameter, (target.mesh.name, S)


def test_a_reconstruction_is_the_same_object_and_not_the_same_mesh(targets: list[TargetObject]) -> None:
    mesh = targets[0].mesh
    scan = reconstruct_mesh(mesh, 3)
    assert abs(scan.diameter / mesh.diameter - 1) < 0.03
    np.testing.assert_allclose(scan.center, mesh.center, atol=0.02 * mesh.diameter)
    distance = cKDTree(mesh.sample_surface(20000)).query(scan.sample_surface(2000))[0] / mesh.diameter
    assert 0.001 < np.median(distance) < 0.02 and distance.max() < 0.08
    again = reconstruct_mesh(mesh, 3)
    assert np.array_equal(scan.vertices, again.vertices) and np.array_equal(scan.colors, again.colors)


def test_known_errors_give_known_scores(targets: list[TargetObject]) -> None:
    scenes = [_blank(_truth(), i) for i in range(3)]
    shift = {targets[0].mesh.name: 0.001, targets[1].mesh.name: 0.006, targets[2].mesh.name: 0.05}

    def estimator(mesh: Mesh) -> FakeEstimator:
        return FakeEstimator(scenes, _shifted(shift[mesh.name]), confidence=0.9)

    found = ((targets[scene.object_index], scene, "") for scene in scenes)
    scores = score(list(evaluate("cluttered", found, estimator, Effort())))
    assert scores.results == 3
    assert scores.add == scores.error == pytest.approx(200 / 3)
    assert scores.any_add == 100  # the truth is among the fake's hypotheses
    assert scores.auc_add == pytest.approx(100 * (0.99 + 0.94 + 0.5) / 3, abs=1e-4)
    assert scores.median == pytest.approx(0.03, abs=1e-6) and scores.millimetres == pytest.approx(6.0)
    assert scores.auc_diameter == pytest.approx(100 * (0.95 + 0.7 + 0) / 3, abs=1e-4)
    assert scores.degrees == pytest.approx(0, abs=1e-4)
    assert scores.ece == pytest.approx(0.9 - 2 / 3) and scores.roc_auc == 0.5


def test_a_turn_about_a_symmetry_axis_is_no_error() -> None:
    bar = next(target for target in symmetric_objects() if target.mesh.name == "square_bar")
    scene = _blank(_truth())

    def turned(degrees: float) -> Record:
        a = np.radians(degrees)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
        estimator = FakeEstimator([scene], lambda truth: truth @ turn)
        return next(evaluate("symmetric", iter([(bar, scene, "")]), lambda mesh: estimator, Effort()))

    quarter, tilted = turned(90), turned(100)
    assert quarter.right and quarter.error == pytest.approx(0, abs=1e-6)
    assert quarter.degrees == pytest.approx(0, abs=1e-3)
    assert tilted.degrees == pytest.approx(10, abs=1e-3) and tilted.best_add == pytest.approx(0, abs=1e-6)


def test_add_s_counts_for_objects_named_symmetric(targets: list[TargetObject]) -> None:
    target = replace(targets[0], symmetric=True)
    scene = _blank(_truth())
    estimator = FakeEstimator([scene], _shifted(0.03))
    record = next(evaluate("easy", iter([(target, scene, "")]), lambda mesh: estimator, Effort()))
    assert record.error == record.add_s and record.add_s is not None and record.add is not None
    assert record.add_s < record.add == pytest.approx(0.15, abs=1e-5)


def test_a_lost_object_starts_again_from_the_truth(targets: list[TargetObject]) -> None:
    scene = _blank(_truth(), frames=5)
    calls = iter([0.0, 0.3, 0.01, 0.03])  # metres

    estimator = FakeEstimator([scene], lambda truth: _shifted(next(calls))(truth), confidence=0.5)
    records = list(evaluate("tracking", iter([(targets[0], scene, "")]), lambda mesh: estimator, Effort()))
    assert [r.lost for r in records] == [False, True, False, False]
    assert [r.right for r in records] == [True, False, True, False]
    assert len(estimator.starts) == 2
    assert score(records).losses == 1 and score(records).add == 50


def test_refused_frames_count_as_wrong_and_stop_nothing(targets: list[TargetObject]) -> None:
    class Refuses(FakeEstimator):
        def register(self, *arguments: object, **named: object) -> np.ndarray:
            raise FrameError("no depth")

    scene = _blank(_truth())
    records = list(
        evaluate("easy", iter([(targets[0], scene, "")] * 2), lambda mesh: Refuses([scene], _shifted(0)), Effort())
    )
    scores = score(records)
    assert [r.failure for r in records] == ["no depth"] * 2
    assert scores.failures == scores.results == 2 and scores.add == 0 and scores.median == np.inf


def test_only_the_confidence_of_absent_objects_counts(targets: list[TargetObject]) -> None:
    scene = replace(_blank(_truth()), visible=0.0)
    scene = replace(scene, views=(replace(scene.views[0], truth=None),))
    estimator = FakeEstimator([scene], _shifted(0), confidence=0.2)
    record = next(evaluate("absent", iter([(targets[0], scene, "")]), lambda mesh: estimator, Effort()))
    assert record.right is False
    scores = score([record])
    assert scores.results == 0 and np.isnan(scores.add) and scores.ece == pytest.approx(0.2)


def test_fewer_hypotheses_are_the_most_different() -> None:
    class Still:
        def predict(self, hypotheses: Hypotheses, *_: object) -> torch.Tensor:
            return hypotheses.poses

    angles = torch.tensor([0.0, 0.01, 0.02, 1.5, 3.1])
    poses = torch.eye(4).repeat(5, 1, 1)
    poses[:, 0, 0] = poses[:, 1, 1] = torch.cos(angles)
    poses[:, 1, 0], poses[:, 0, 1] = torch.sin(angles), -torch.sin(angles)
    kept = FewerHypotheses(Still(), 3).predict(Hypotheses(poses), None, None)  # type: ignore[arg-type]
    assert torch.equal(kept, poses[[0, 4, 3]])


def test_one_command_leaves_records_tables_and_diagram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: list[TargetObject]
) -> None:
    blind = FakeEstimator([], _shifted(0), confidence=0.25)
    monkeypatch.setattr(blind, "register", lambda *_, **__: np.eye(4))
    asked: list[Mesh] = []

    def factory(*given: object) -> Callable[[Mesh], FakeEstimator]:
        assert given[-1] == "torch-int8"
        return lambda mesh: asked.append(mesh) or blind  # type: ignore[func-returns-value]

    monkeypatch.setattr("benchmarks.accuracy.scoreboard.EstimatorFactory", factory)
    monkeypatch.setattr("benchmarks.accuracy.scoreboard.load_objects", lambda folder: [targets[0].mesh])
    file = tmp_path / "new" / "scores.json"
    suites = ("reconstructed_mesh", "textureless", "symmetric", "absent")
    options = Options(suites=suites, scenes=1, workers=0, device="cpu", quantized="torch-int8", output=file)
    main(replace(options, pose_sets=False))
    records, facts = read_records(file)
    assert [r.suite for r in records] == list(suites)
    assert [r.right for r in records] == [False] * 4 and [r.present for r in records] == [True] * 3 + [False]
    assert {r.quantized for r in records} == {"torch-int8"}
    assert facts["options"]["scenes"] == 1 and facts["commit"]
    assert "| all suites" in file.with_suffix(".md").read_text() and file.with_suffix(".png").stat().st_size > 5000
    assert asked[0] is not targets[0].mesh and asked[3] is targets[0].mesh
    assert asked[0].texture is None and len(np.unique(asked[1].colors, axis=0)) == 1  # colours of a scan, and grey
    with pytest.raises(Pose6DError, match="--real-folder"):
        main(Options(suites=("real",), workers=0))


def test_the_estimator_gets_the_meshes_of_another_folder(tmp_path: Path) -> None:
    true, made = make_kind("carton", np.random.default_rng(1)), make_kind("carton", np.random.default_rng(2))
    (tmp_path / "given").mkdir()
    (tmp_path / "true").mkdir()
    save_mesh(true, tmp_path / "true" / "thing.ply")
    save_mesh(made, tmp_path / "given" / "thing.glb")
    suites = [SUITES["cluttered"]]
    (target,) = make_targets(suites, tmp_path / "true", (), 7, tmp_path / "given")["cluttered"]
    assert target.mesh.diameter == pytest.approx(true.diameter, rel=1e-4)
    assert target.given is not None and target.given.diameter == pytest.approx(made.diameter, rel=1e-4)
    with pytest.raises((MeshError, FileNotFoundError), match=r"thing\.glb"):
        make_targets(suites, tmp_path / "true", (), 7, tmp_path / "elsewhere")


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(Pose6DError, match="clutered"):
        main(Options(suites=("clutered",)))
