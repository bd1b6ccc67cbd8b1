"""The doors of the estimator: a foreign object, renderer, sampler, refiner and scorer each take their place by keeping
to `pose6d.search.interfaces`, and what does not keep to it is named."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from pose6d.errors import Pose6DError
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import Rendering
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import Hypotheses, ObjectModel, Scores
from tests.estimater_scene import K, MatchingScorer, PlantingRefiner, Scene, random_networks, render_scene
from tests.rendering_scenes import box


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene(
        box(), make_transform(so3_exp(torch.tensor([0.4, -0.3, 0.2])), torch.tensor([0.01, 0.0, 0.6])).float()
    )


class Ball:
    """An object without a mesh: a sphere, drawn by intersecting rays."""

    diameter, center, textured, recordable = 0.12, np.zeros(3, np.float32), False, False

    def render(self, poses: Tensor, K: Tensor, size: tuple[int, int], **_: Any) -> Rendering:
        v, u = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in size), indexing="ij")
        rays = torch.stack([u, v, torch.ones_like(u)], -1) @ torch.linalg.inv(K).mT[:, None]
        rays = rays / rays.norm(dim=-1, keepdim=True)
        middle = poses[:, None, None, :3, 3]
        along = (rays * middle).sum(-1)
        under = along**2 - (middle**2).sum(-1) + (self.diameter / 2) ** 2
        hit = under > 0
        xyz = torch.where(hit[..., None], rays * (along - under.clamp(min=0).sqrt())[..., None], 0.0)
        normal = torch.where(hit[..., None], (xyz - middle) / (self.diameter / 2), 0.0)
        index = torch.arange(len(poses), dtype=torch.int32)[:, None, None].expand_as(hit)
        return Rendering(0.5 * hit[..., None].expand(*hit.shape, 3).float(), xyz, normal, torch.where(hit, index, -1))

    def principal_axes(self) -> Tensor:
        return torch.eye(3)

    def rows(self, rows: slice) -> Ball:
        return self


def test_an_object_without_a_mesh_is_found_and_followed() -> None:
    pose = torch.eye(4)[None]
    pose[0, :3, 3] = torch.tensor([0.03, -0.02, 0.7])
    drawn = Ball().render(pose, torch.as_tensor(K, dtype=torch.float32)[None], (240, 320))
    rgb, depth = (drawn.color[0] * 255).byte().numpy(), drawn.depth[0].numpy()
    depth = np.where(depth > 0, depth, np.float32(1.5))
    refiner = PlantingRefiner(pose[0].numpy(), np.zeros(3))
    estimator = FoundationPose(Ball(), refiner=refiner, scorer=MatchingScorer(), device="cpu")
    assert estimator.mesh is None and estimator.diameter == 0.12
    found = estimator.register(K, rgb, depth, drawn.mask[0].numpy())
    np.testing.assert_allclose(found[:3, 3], pose[0, :3, 3], atol=2e-3)
    np.testing.assert_allclose(estimator.track_one(rgb, depth, K)[:3, 3], pose[0, :3, 3], atol=2e-3)


def test_a_foreign_renderer_draws_all_that_is_compared(scene: Scene) -> None:
    class CountingRenderer:
        device, recordable, drawn = torch.device("cpu"), False, 0

        def render(self, poses: Tensor, *arguments: Any, **options: Any) -> Rendering:
            self.drawn += len(poses)
            return own.render(poses, *arguments, **options)

    own, renderer = make_renderer(scene.mesh.centered(), "cpu"), CountingRenderer()
    found = []
    for mesh in (scene.mesh, RenderedObject(renderer, float(scene.mesh.diameter), mesh=scene.mesh)):
        networks = {"refiner": PlantingRefiner(scene.truth, scene.mesh.center), "scorer": MatchingScorer()}
        found.append(FoundationPose(mesh, device="cpu", **networks).register(**scene.frame, ob_mask=scene.mask))
    np.testing.assert_array_equal(found[0], found[1])
    assert renderer.drawn >= 252


def test_a_foreign_sampler_says_where_the_search_starts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    class NearTheTruth:
        def count(self, starts: int | None) -> int:
            return 3

        def sample(self, observation: Observation, mask: Tensor, middle: Tensor, starts: int | None) -> Hypotheses:
            assert mask.dtype == torch.bool and observation.xyz.shape == (3, *mask.shape)
            return Hypotheses(torch.as_tensor(scene.truth).expand(3, 4, 4))

    seen: list[tuple[str, int]] = []
    done: list[tuple[int, int]] = []
    estimator = FoundationPose(scene.mesh, sampler=NearTheTruth(), schedule="full", **random_networks())
    estimator.register(
        **scene.frame,
        ob_mask=scene.mask,
        iteration=2,
        progress=lambda *pairs: done.append(pairs),
        watch=lambda step, poses, parents: seen.append((step, len(poses))),
    )
    assert seen[0] == ("start", 3) and len(estimator.poses) == 3
    assert done[-1] == (9, 9)
    monkeypatch.setattr(NearTheTruth, "sample", lambda *_: Hypotheses(torch.empty(0, 4, 4)))
    with pytest.raises(Pose6DError, match="NearTheTruth gave no hypotheses"):
        estimator.register(**scene.frame, ob_mask=scene.mask)


def test_a_foreign_scorer_decides_about_schedule_and_texture(scene: Scene) -> None:
    class FirstIsBest:
        has_confidence, texture_weight, choice_weights, recordable = True, 0.0, None, False

        def predict(self, hypotheses: Hypotheses, object: ObjectModel, observation: Observation, *_: Any) -> Scores:
            order = torch.arange(len(hypotheses), dtype=torch.float32)
            return Scores(-order, torch.ones_like(order))

        judge = predict

    refiner = random_networks()["refiner"]
    estimator = FoundationPose(scene.mesh, refiner=refiner, scorer=FirstIsBest(), device="cpu")
    assert estimator.schedule.name == "pruned"
    estimator.register(**scene.frame, ob_mask=scene.mask, iteration=2)
    assert estimator.confidence == 1 and "texture" not in estimator.timings


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"scorer": PlantingRefiner(np.eye(4, dtype=np.float32), np.zeros(3))},
            "is no Scorer: it has no has_confidence, texture_weight, choice_weights",
        ),
        ({"refiner": object()}, "object is no Refiner: it has no recordable, predict"),
        ({"sampler": object()}, "object is no HypothesisSampler: it has no count, sample"),
    ],
)
def test_a_part_that_lacks_something_is_named(scene: Scene, part: dict[str, Any], message: str) -> None:
    with pytest.raises(Pose6DError, match=message):
        FoundationPose(scene.mesh, **(random_networks() | part))
    flat = type("Flat", (), {"render": None})()
    with pytest.raises(Pose6DError, match="Flat is no ObjectModel: it has no diameter, center"):
        FoundationPose(flat, **random_networks())


def test_who_watches_sees_where_each_hypothesis_comes_from(scene: Scene) -> None:
    steps: list[tuple[str, Tensor, Tensor]] = []
    refiner = PlantingRefiner(scene.truth, scene.mesh.center)
    scorer = MatchingScorer()
    scorer.texture_weight = 1.0
    estimator = FoundationPose(scene.mesh, refiner=refiner, scorer=scorer, device="cpu", schedule="pruned")
    watched = estimator.register(**scene.frame, ob_mask=scene.mask, watch=lambda *step: steps.append(step))
    names = [name for name, _, _ in steps]
    assert names[:4] == ["start", "refine", "select", "refine"] and names[-1] == "sort"
    assert names.count("refine") == 5 + 1 + 2 and names.count("rotate") == 2 and "align" in names
    for (_, before, _), (name, after, parents) in pairwise(steps):
        assert len(parents) == len(after) and parents.max() < len(before)
        if name in ("select", "sort"):
            torch.testing.assert_close(after, before[parents])
    turned = names.index("rotate")
    competitors = len(steps[turned - 1][1])
    after = steps[turned + 1][1]  # what rotations compete with stays, and is not counted
    torch.testing.assert_close(after[:competitors], steps[turned][1][:competitors])
    assert abs(after[competitors + 7] - torch.as_tensor(scene.truth)).max() < 1e-4
    np.testing.assert_allclose(steps[-1][1].numpy(), estimator.poses, atol=1e-6)
    plain = estimator.register(**scene.frame, ob_mask=scene.mask)
    np.testing.assert_allclose(watched, plain, atol=1e-4)


def test_what_a_scorer_has_seen_is_not_looked_at_again(scene: Scene) -> None:
    """Hypotheses that are scored once more, among others, score as if all were new; only the others are drawn."""
    scorer, object = random_networks()["scorer"], RenderedObject.from_mesh(scene.mesh, "cpu")
    frame = observe(torch.from_numpy(scene.rgb), torch.from_numpy(scene.depth), torch.from_numpy(K).float())
    turns = so3_exp(torch.tensor([[0.4, -0.3, 0.2]]) + 0.1 * torch.arange(5.0)[:, None])
    poses = make_transform(turns, torch.tensor([0.01, 0.0, 0.6]))
    first = scorer.predict(Hypotheses(poses[:3]), object, frame)
    known = Hypotheses(poses[:3], *first[:2], features=first.features).take(torch.tensor([2, 0]))
    drawn: list[int] = []

    class Counting(RenderedObject):
        def render(self, poses: Tensor, *arguments: Any, **options: Any) -> Rendering:
            drawn.append(len(poses))
            return super().render(poses, *arguments, **options)

    order = torch.tensor([2, 0, 3, 4])
    again = scorer.predict(
        Hypotheses(poses[order], features=known.features), Counting(object.renderer, object.diameter), frame
    )
    fresh = scorer.predict(Hypotheses(poses[order]), object, frame)
    assert sum(drawn) == 2
    torch.testing.assert_close(again.ranking, fresh.ranking, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again.confidence, fresh.confidence, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fresh.ranking[:1], fresh.ranking[1:2])
    scorer.config = scorer.config.replace(judge_weights=(1.0, 6.0, -0.5))
    judged, known_before = (
        scorer.judge(Hypotheses(poses[:2], features=x), object, frame) for x in (None, known.features)
    )
    torch.testing.assert_close(judged.confidence, known_before.confidence)  # in another light, so looked at again
