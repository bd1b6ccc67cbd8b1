"""Smaller networks that look at the many starts of a search in place of the large ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from live.pose_batch import PoseBatch
from many_objects import EstimatorFactory, ManyObjects
from pose6d.errors import Pose6DError
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.scenes.frame import Frame
from pose6d.search.interfaces import Hypotheses, Scores
from pose6d.weights import find_scouts, weights_folder
from tests.estimater_scene import MatchingScorer, PlantingRefiner, Scene, random_networks, render_scene
from tests.rendering_scenes import box


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene(
        box(), make_transform(so3_exp(torch.tensor([0.4, -0.3, 0.2])), torch.tensor([0.01, 0.0, 0.6])).float()
    )


class CountingRefiner(PlantingRefiner):
    counts: tuple[int, ...] = ()

    def predict(self, hypotheses: Hypotheses, *arguments: Any, **more: Any) -> Tensor:
        self.counts += (len(hypotheses),)
        return super().predict(hypotheses, *arguments, **more)


class CountingScorer(MatchingScorer):
    counts: tuple[int, ...] = ()

    def predict(self, hypotheses: Hypotheses, *arguments: Any) -> Scores:
        self.counts += (len(hypotheses),)
        return super().predict(hypotheses, *arguments)


@pytest.mark.parametrize(
    ("schedule", "many", "few"), [("pruned", (60,), (12,)), ("thorough", (120, 24), (12,)), ("full", (), (252,))]
)
def test_scouts_see_the_many_and_the_large_networks_the_few(
    scene: Scene, schedule: str, many: tuple[int, ...], few: tuple[int, ...]
) -> None:
    pairs = [
        (CountingRefiner(scene.truth, scene.mesh.center), CountingScorer()) for _ in ("the large ones", "the scouts")
    ]
    (refiner, scorer), scouts = pairs
    estimator = FoundationPose(
        scene.mesh, refiner=refiner, scorer=scorer, scouts=scouts, schedule=schedule, device="cpu"
    )
    estimator.register(**scene.frame, ob_mask=scene.mask)
    assert tuple(part.counts for part in scouts) == (many, many)
    assert refiner.counts[:1] == scorer.counts[:1] == few


def test_released_large_weights_bring_the_small_ones_as_scouts(scene: Scene, tmp_path: Path) -> None:
    estimator = FoundationPose(scene.mesh, weights="base", device="cpu")
    assert estimator.scouts is not None
    assert [part.config.width for part in estimator.scouts] == [32, 32]
    assert estimator.refiner.config.width == estimator.scorer.config.width == 64
    assert EstimatorFactory("base", "cpu").scouts is not None
    lite = FoundationPose(scene.mesh, weights="lite", device="cpu")
    assert lite.scouts is not None
    assert [part.config.width for part in lite.scouts] == [16, 16]
    assert FoundationPose(scene.mesh, weights="mini", device="cpu").scouts is None
    assert FoundationPose(scene.mesh, **random_networks()).scouts is None  # who brings networks brings scouts
    assert (find_scouts(weights_folder() / "base"), find_scouts("lite")) == ("lite", "mini")
    shutil.copytree(weights_folder() / "base", tmp_path / "base")
    assert find_scouts(tmp_path / "base") is None  # somebody's own


def test_what_is_no_network_is_refused(scene: Scene) -> None:
    with pytest.raises(Pose6DError, match="object is no Refiner: it has no "):
        FoundationPose(scene.mesh, scouts=(object(), MatchingScorer()), **random_networks())
    with pytest.raises(Pose6DError, match=r"scouts is MatchingScorer: a pair \(refiner, scorer\) is needed, or None"):
        FoundationPose(scene.mesh, scouts=MatchingScorer(), **random_networks())


@pytest.mark.parametrize(("shift", "steps", "taken"), [(0.0, 2, (1, 0)), (0.04, 3, (1, 2)), (0.04, 1, (0, 1))])
def test_on_a_cpu_a_scout_takes_the_first_of_several_steps_of_tracking(
    scene: Scene, shift: float, steps: int, taken: tuple[int, int]
) -> None:
    class Shifting(CountingRefiner):
        def predict(self, hypotheses: Hypotheses, *arguments: Any, **more: Any) -> Tensor:
            self.counts += (len(hypotheses),)
            poses = hypotheses.poses.clone()
            poses[:, 0, 3] += shift * estimator.diameter
            return poses

    scout, own = (Shifting(scene.truth, scene.mesh.center) for _ in range(2))
    networks = {"refiner": own, "scorer": MatchingScorer(), "scouts": (scout, MatchingScorer())}
    estimator = FoundationPose(scene.mesh, device="cpu", **networks)
    follow = PoseBatch([estimator]).follow
    follow(Frame("0", scene.rgb, scene.depth, scene.frame["K"]), [0], scene.truth[None], steps, 0, judge=False)
    assert (len(scout.counts), len(own.counts)) == taken
    for one_of_many in (estimator, ManyObjects([estimator])):
        scout.counts = own.counts = ()
        start = scene.truth if one_of_many is estimator else scene.truth[None]
        one_of_many.start_from(start)
        track = one_of_many.track_one if one_of_many is estimator else one_of_many.track_many
        track(scene.rgb, scene.depth, scene.frame["K"], steps)
        assert (len(scout.counts), len(own.counts)) == taken
