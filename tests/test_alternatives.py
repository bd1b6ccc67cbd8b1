"""What is left open after a registration: evidence between two poses, poses that count as one, and probabilities."""

from __future__ import annotations

from dataclasses import replace
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
from pose6d.errors import WeightsError
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Shading
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.alternatives import join_alike, none_of, weigh
from pose6d.search.device_runner import DeviceRunner
from pose6d.search.hypotheses import near_mask
from pose6d.search.interfaces import ChoiceWeights, Hypotheses, ObjectModel, Progress
from pose6d.search.look_alike import is_round, look_alike
from pose6d.search.pair_evidence import PairEvidence, compare_poses
from pose6d.search.search_steps import SearchSteps
from tests.estimater_scene import SMALL, K, MatchingScorer, PlantingRefiner, random_networks, render_scene

SIZE = (240, 320)
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
WEIGHTS = ChoiceWeights(0.5, 4.0, 0.6, 0.7, 0.6)


def block(marked: bool, extents: tuple[float, float, float] = (0.05, 0.07, 0.12)) -> Mesh:
    """A grey block; the upper half of one of its sides may be darker."""
    solid = trimesh.creation.box(extents).subdivide().subdivide().subdivide()
    solid.unmerge_vertices()
    middle = solid.triangles_center.repeat(3, axis=0)
    mark = (middle[:, 0] > 0.024) & (middle[:, 2] > 0.0) & marked
    colors = np.where(mark[:, None], [90, 90, 110], [150, 150, 150]).astype(np.uint8)
    return Mesh(solid.vertices, solid.faces, solid.vertex_normals, colors=colors, name="block")


def can(handle: bool = False) -> Mesh:
    """About z, grey."""
    parts = [trimesh.creation.cylinder(radius=0.03, height=0.08, sections=64)]
    if handle:
        parts.append(trimesh.creation.box((0.03, 0.01, 0.05)).apply_translation([0.04, 0, 0]))
    solid = trimesh.util.concatenate(parts)
    colors = np.full((len(solid.vertices), 3), 140, np.uint8)
    return Mesh(solid.vertices, solid.faces, solid.vertex_normals, colors=colors, name="can")


def turned(axis: tuple[float, float, float], *degrees: float) -> Tensor:
    """Poses of an object that shows its +x and +z sides, after turns about one of its axes."""
    start = so3_exp(torch.tensor([0.0, 0.9, 0.0])) @ so3_exp(torch.tensor([0.6, 0.0, 0.0]))
    start = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]) @ start
    turns = torch.stack([so3_exp(torch.tensor(axis) * np.deg2rad(angle)) for angle in degrees])
    return make_transform(start @ turns, torch.tensor([0.01, -0.02, 0.5]))


def observation(
    mesh: Mesh, pose: Tensor, device: str, light: tuple[float, ...] = (1.1, 0.9, 0.7)
) -> tuple[Observation, Tensor]:
    """The object in front of a wall, in coloured light from the camera, with noise; and its mask."""
    drawn = make_renderer(mesh, "cpu").render(pose[None], torch.tensor(K).float(), SIZE, shading=Shading(0.4, 0.5))
    rgb = torch.where(drawn.mask[0][..., None], drawn.color[0] * torch.tensor(light), torch.tensor(0.4))
    rgb = rgb + 0.02 * torch.randn(rgb.shape, generator=torch.Generator().manual_seed(0))
    depth = torch.where(drawn.mask[0], drawn.depth[0], torch.tensor(0.9))
    frame = observe((rgb.clamp(0, 1) * 255).round().to(torch.uint8).to(device), depth.to(device), K)
    return frame, drawn.mask[0].to(device)


def evidence(mesh: Mesh, poses: Tensor, device: str, light: tuple[float, ...] = (1.1, 0.9, 0.7)) -> PairEvidence:
    frame, mask = observation(mesh, poses[0], device, light)
    return compare_poses(poses.to(device), RenderedObject.from_mesh(mesh, device), frame, mask)


@DEVICES
def test_a_mark_tells_two_sides_apart_in_any_light_and_nothing_else_does(device: str) -> None:
    half_turn = turned((0.0, 0.0, 1.0), 0.0, 180.0)
    seen = evidence(block(marked=True), half_turn, device)
    assert seen.color[0, 1] > 10 and abs(seen.shape[0, 1]) < 4
    torch.testing.assert_close(seen.color, -seen.color.mT)
    torch.testing.assert_close(seen.shape, -seen.shape.mT)
    dim = evidence(block(marked=True), half_turn, device, (0.4, 0.3, 0.25))  # darker than the mark is drawn
    assert dim.color[0, 1] > 10
    plain = evidence(block(marked=False), half_turn, device)
    assert abs(plain.color[0, 1]) < 4


@DEVICES
def test_shape_tells_a_handle_from_none_and_what_sticks_out_of_the_mask(device: str) -> None:
    seen = evidence(can(handle=True), turned((0.0, 0.0, 1.0), 80.0, 140.0), device)
    assert seen.shape[0, 1] > 8


@DEVICES
def test_what_leaves_the_mask_to_others_is_another_thing(device: str) -> None:
    poses = turned((0.0, 0.0, 1.0), 0.0, 0.0)
    poses[1, 0, 3] += 0.08  # on a neighbour that looks the same: only the mask tells
    frame, mask = observation(block(marked=True), poses[0], device)
    frame_of_neighbour, _ = observation(block(marked=True), poses[1], device)
    object = RenderedObject.from_mesh(block(marked=True), device)
    found = compare_poses(poses.to(device), object, frame_of_neighbour, mask)
    assert found.shape[0, 1] > 1e4
    middle = frame.K[:2] @ (poses[0, :3, 3] / poses[0, 2, 3]).to(device)
    near = near_mask(poses.to(device), middle, frame.K, 0.1)
    assert near.tolist() == [True, False]


@DEVICES
def test_poses_count_as_one_if_they_are_near_or_look_the_same_from_all_sides(device: str) -> None:
    def alike(mesh: Mesh, axis: tuple[float, float, float], *degrees: float, round_body: bool = False) -> list[bool]:
        poses = turned(axis, 0.0, *degrees).to(device)
        return look_alike(poses, RenderedObject.from_mesh(mesh, device), round_body)[0, 1:].tolist()

    up = (0.0, 0.0, 1.0)
    assert alike(block(marked=False), up, 5.0, 90.0, 180.0) == [True, False, True]
    assert alike(block(marked=True), up, 5.0, 180.0) == [True, False], "the mark is on the far side, too"
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    stated = torch.stack([torch.eye(4), half_turn]).to(device)
    block_marked = RenderedObject.from_mesh(block(marked=True), device)
    poses = turned(up, 0.0, 180.0, 90.0).to(device)
    assert look_alike(poses, block_marked, False, stated)[0].tolist() == [True, True, False], "stated to be the same"
    assert alike(can(), up, 37.0, 110.0) == [True, True]
    assert alike(can(handle=True), up, 110.0) == [False]
    matrix = look_alike(turned(up, 0.0, 180.0, 90.0).to(device), RenderedObject.from_mesh(can(), device), True)
    assert matrix.diagonal().all() and torch.equal(matrix, matrix.mT)


@DEVICES
def test_round_bodies_are_known(device: str) -> None:
    ball = trimesh.creation.icosphere(3, radius=0.05)
    pen = trimesh.creation.cylinder(radius=0.004, height=0.15, sections=32)
    round_meshes = [can(), Mesh(ball.vertices, ball.faces, ball.vertex_normals)]
    others = [can(handle=True), block(marked=False), Mesh(pen.vertices, pen.faces, pen.vertex_normals)]
    phases = np.sin(3.0 * ball.vertex_normals + [1.0, 2.0, 0.5])
    fruit = ball.vertices * (1 + 0.1 * phases.prod(axis=1, keepdims=True))  # lumps about each axis
    round_meshes.append(Mesh(fruit.astype(np.float32), ball.faces, ball.vertex_normals))
    others.append(Mesh.from_trimesh(trimesh.creation.box((0.07, 0.07, 0.07))))
    found = [is_round(RenderedObject.from_mesh(m, device), torch.device(device)) for m in (*round_meshes, *others)]
    assert found == [True, True, True, False, False, False, False]


def test_evidence_between_two_poses_decides_and_none_of_them_has_its_share() -> None:
    hypotheses = Hypotheses(
        torch.eye(4).repeat(3, 1, 1), ranking=torch.tensor([1.0, 1.0, -8.0]), confidence=torch.tensor([0.9, 0.9, 0.01])
    )
    nothing = PairEvidence(torch.zeros(3, 3), torch.zeros(3, 3))
    judged = hypotheses.confidence
    assert judged is not None
    utility, probability = weigh(hypotheses, judged, torch.zeros(3), nothing, WEIGHTS)
    assert probability[0] == pytest.approx(0.45, abs=0.01) and probability[1] == pytest.approx(0.45, abs=0.01)
    assert utility.argmin() == 2 and probability.sum() == pytest.approx(0.9, abs=0.01)
    color = torch.tensor([[0.0, -40.0, 0.0], [40.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    _, told = weigh(hypotheses, judged, torch.zeros(3), PairEvidence(color, torch.zeros(3, 3)), WEIGHTS)
    assert told[1] > 0.8 and told[0] < 0.06
    for part in (replace(hypotheses, ranking=torch.tensor([1.0, 4.0, -8.0])),):
        assert weigh(part, judged, torch.zeros(3), nothing, WEIGHTS)[1].argmax() == 1
    assert weigh(hypotheses, judged, torch.tensor([0.1, 0.7, 0.0]), nothing, WEIGHTS)[1].argmax() == 1
    assert weigh(hypotheses, torch.tensor([0.02, 0.02, 0.9]), torch.zeros(3), nothing, WEIGHTS)[1].sum() < 0.05


def test_poses_that_count_as_one_share_their_probability() -> None:
    poses = np.stack([np.eye(4) * (i + 1) for i in range(4)])
    alike = np.eye(4, dtype=bool)
    alike[0, 3] = alike[3, 0] = True
    found = join_alike(poses, np.array([0.3, 0.25, 0.0002, 0.2]), alike)
    assert [round(a.probability, 4) for a in found] == [0.5, 0.25], "less than a thousandth is not named"
    np.testing.assert_array_equal(found[1].pose, poses[1])
    assert none_of(found) == pytest.approx(0.25)


class UnsureScorer(MatchingScorer):
    """Knows where the object is, and not which side of it is seen."""

    has_confidence, choice_weights = True, WEIGHTS

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        ranking = super().predict(hypotheses, object, observation, progress).ranking
        return Scores((20 * ranking).round() / 20, torch.sigmoid(20 * (ranking + 0.2)))

    def judge(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation) -> Scores:
        scores = self.predict(hypotheses, object, observation)
        assert scores.confidence is not None
        return scores._replace(confidence=scores.confidence.amax().expand(len(hypotheses)))


class BlindScorer(UnsureScorer):
    """Ranks all alike."""

    def predict(
        self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, progress: Progress | None = None
    ) -> Scores:
        return Scores(torch.zeros(len(hypotheses)), torch.full((len(hypotheses),), 0.9))


@pytest.mark.parametrize("textured", [True, False])
def test_the_likeliest_comes_first_with_its_own_probability_and_its_like(textured: bool) -> None:
    mesh = block(marked=True)
    true, near, rival = turned((0.0, 0.0, 1.0), 0.0, 3.0, 180.0)
    steps = search_steps(mesh, true, BlindScorer())
    same = Hypotheses(torch.stack([rival, true, near]))
    best, probability, alike = steps.choose(same, WEIGHTS, textured=textured, round_body=False, symmetries=None)
    of_rival = float(probability[(best.poses == rival).all(dim=(1, 2)).nonzero()[0, 0]])
    if textured:
        torch.testing.assert_close(best.poses[2], rival)
        assert probability.tolist() == sorted(probability.tolist(), reverse=True)
        assert of_rival < 0.05 * float(probability.sum())
        assert alike.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    else:  # colours that the mesh does not have must not decide
        assert of_rival > 0.4 * float(probability.sum())


def search_steps(mesh: Mesh, pose: Tensor, scorer: MatchingScorer) -> SearchSteps:
    """Of a frame that shows the object at this pose."""
    frame, mask = observation(mesh, pose, "cpu")
    parts = (RenderedObject.from_mesh(mesh, "cpu"), PlantingRefiner(pose.numpy(), mesh.center), scorer)
    middle = frame.K[:2] @ (pose[:3, 3] / pose[2, 3])
    return SearchSteps(*parts, frame, mask, middle, DeviceRunner(torch.device("cpu"), ()))


def test_what_has_gone_over_to_another_thing_goes_on_only_where_there_is_nothing_else() -> None:
    poses = turned((0.0, 0.0, 1.0), 0.0, 90.0, 180.0)
    poses[0, 0, 3] += 0.12
    steps = search_steps(block(marked=True), poses[1], UnsureScorer())
    ranked = Hypotheses(poses, ranking=torch.tensor([9.0, 1.0, 2.0]))
    torch.testing.assert_close(steps.select(ranked, 3, 10.0).poses, poses[[2, 1, 0]])
    torch.testing.assert_close(steps.select(ranked.take(torch.tensor([0])), 3, 10.0).poses, poses[:1])


@pytest.mark.parametrize("sure", [0.9, 0.02])
def test_what_is_chosen_is_judged_anew(sure: float) -> None:
    class Judge(UnsureScorer):
        def judge(self, hypotheses: Hypotheses, *_: object) -> Scores:
            return Scores(torch.zeros(len(hypotheses)), torch.full((len(hypotheses),), sure))

    poses = turned((0.0, 0.0, 1.0), 0.0, 90.0)
    before = Hypotheses(poses, ranking=torch.zeros(2), confidence=torch.full((2,), 0.5))
    steps = search_steps(block(marked=True), poses[0], Judge())
    best, probability, _ = steps.choose(before, WEIGHTS, textured=True, round_body=False, symmetries=None)
    assert float(probability.sum()) == pytest.approx(sure, abs=0.03)
    assert best.confidence is not None and best.confidence.tolist() == pytest.approx([sure, sure])


class StartPlantingRefiner(PlantingRefiner):
    """Plants the true pose among those that the search starts from, and leaves turns of it alone."""

    def predict(self, hypotheses: Hypotheses, *arguments: Any, **options: Any) -> Tensor:
        return super().predict(hypotheses, *arguments, **options) if len(hypotheses) > 20 else hypotheses.poses


def alternatives(given: Mesh, truth: Tensor, symmetries: np.ndarray | None = None) -> FoundationPose:
    """An estimator that has found an object whose picture shows only its shape."""
    scene = render_scene(replace(given, colors=np.full((len(given.vertices), 3), 150, np.uint8)), truth)
    refiner = StartPlantingRefiner(truth.numpy(), given.center)
    estimator = FoundationPose(given, symmetries, refiner=refiner, scorer=UnsureScorer(), device="cpu", schedule="full")
    estimator.register(**scene.frame, ob_mask=scene.mask)
    return estimator


def test_symmetries_that_are_stated_join_alternatives() -> None:
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    pose = make_transform(torch.diag(torch.tensor([1.0, -1.0, -1.0])), torch.tensor([0.0, 0.0, 0.5]))  # seen from above
    named = alternatives(block(marked=True), pose)
    stated = alternatives(block(marked=True), pose, np.stack([np.eye(4), half_turn]))

    def other_side(estimator: FoundationPose) -> bool:
        turned_round = estimator.alternatives[0].pose @ half_turn
        return any(np.abs(a.pose - turned_round).max() < 0.15 for a in estimator.alternatives[1:])

    assert other_side(named) and not other_side(stated)
    assert stated.confidence > named.confidence + 0.1


def test_turns_of_a_round_body_with_faint_print_are_one_alternative() -> None:
    def printed(contrast: int) -> Mesh:
        mesh = can()
        side = mesh.vertices[:, 0] > 0
        return replace(mesh, colors=np.where(side[:, None], 140 - contrast, 140).repeat(3, axis=1).astype(np.uint8))

    pose = turned((0.0, 0.0, 1.0), 20.0)[0]
    faint, strong = (len(alternatives(printed(contrast), pose).alternatives) for contrast in (20, 120))
    assert faint == 1 < strong


def test_register_names_all_sides_that_fit_and_their_probabilities() -> None:
    mesh = block(marked=False)
    # Only the given mesh has a mark, on a side that is not seen: two sides fit.
    given = block(marked=True)
    hidden = turned((0.0, 0.0, 1.0), 180.0)[0]
    scene = render_scene(mesh, hidden)
    estimator = FoundationPose(
        given,
        refiner=PlantingRefiner(hidden.numpy(), given.center),
        scorer=UnsureScorer(),
        device="cpu",
        schedule="full",
    )
    found = estimator.register(**scene.frame, ob_mask=scene.mask)
    assert estimator.none_probability is not None and estimator.confidence == estimator.alternatives[0].probability
    assert sum(a.probability for a in estimator.alternatives) + estimator.none_probability == pytest.approx(1)
    np.testing.assert_array_equal(found, estimator.alternatives[0].pose)
    probabilities = [a.probability for a in estimator.alternatives]
    assert probabilities[1:] == sorted(probabilities[1:], reverse=True)
    assert len(estimator.alternatives) > 1
    estimator.reset()
    assert estimator.alternatives == [] and estimator.none_probability is None


@pytest.mark.cuda
def test_a_cuda_graph_holds_the_whole_choice(caplog: pytest.LogCaptureFixture) -> None:
    mesh = block(marked=True)
    scene = render_scene(mesh, turned((0.0, 0.0, 1.0), 30.0)[0])
    torch.manual_seed(0)
    network = ScoreNetMultiPair(
        NetworkConfig(
            kind="scorer",
            confidence=True,
            appearance_weight=3.0,
            choice_weights=tuple(WEIGHTS),
            judge_weights=(1.0, 4.0, 0.0),
            **SMALL,
        )
    )
    parts = random_networks("cuda") | {"scorer": ScorePredictor(network=network, device="cuda")}
    found = []
    for profile in (True, False):  # without graphs, with
        estimator = FoundationPose(mesh, schedule="pruned", profile=profile, **parts)
        for _ in range(3):
            estimator.register(**scene.frame, ob_mask=scene.mask)
        found.append([alternative.probability for alternative in estimator.alternatives])
    assert not [record for record in caplog.records if "without a CUDA graph" in record.message]
    np.testing.assert_allclose(found[0], found[1], atol=0.05)


def test_weights_say_how_evidence_counts_or_that_they_do_not_know() -> None:
    fitted = NetworkConfig(kind="scorer", confidence=True, choice_weights=tuple(WEIGHTS))
    assert NetworkConfig.from_dict(fitted.to_dict()).choice_weights == tuple(WEIGHTS)
    assert NetworkConfig.from_dict({"kind": "scorer", "confidence": True, "choice_weights": list(WEIGHTS)}) == fitted
    for wrong in ([1.0], ["a"] * 5, 3, [float("nan")] * 5):
        with pytest.raises(WeightsError, match=r"network choice_weights is .* expected 5 numbers"):
            NetworkConfig.from_dict({"kind": "scorer", "confidence": True, "choice_weights": wrong})
    with pytest.raises(WeightsError, match=r"network judge_weights is .* expected 3 numbers"):
        NetworkConfig.from_dict({"kind": "scorer", "confidence": True, "judge_weights": list(WEIGHTS)})
    with pytest.raises(WeightsError, match="choice_weights are given, but confidence is false"):
        NetworkConfig(kind="scorer", choice_weights=tuple(WEIGHTS))
