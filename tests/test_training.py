"""Training runs end to end on the CPU: data, both trainers, resume, and the guard against bad steps."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.objects.random_objects import make_objects
from learning.datasets.objects.training_pool import PoolConfig
from learning.datasets.scenes.pose_perturbation import Perturbation, perturb_poses, scoring_hypotheses
from learning.datasets.scenes.scene_batches import TRAINING_SCENES, SceneConfig, sample_scenes
from learning.datasets.surfaces.textures import make_textures
from learning.models.config import NetworkConfig
from learning.models.loading import start_from
from learning.models.refine_network import RefineNet
from learning.models.score_network import ScoreNetMultiPair
from learning.training.__main__ import Options
from learning.training.__main__ import main as draw_curves
from learning.training.loop import LoopConfig, TrainingLoop, Workers, read_log
from learning.training.sample_sheet import save_hardest
from learning.training.train_refiner import RefinerConfig
from learning.training.train_refiner import train as train_refiner
from learning.training.train_scorer import ScorerConfig
from learning.training.train_scorer import train as train_scorer
from pose6d.camera_simulation.simulated_camera import PERFECT, SimulatedCamera
from pose6d.errors import TrainingError, WeightsError
from pose6d.geometry.transforms import rotation_angle
from pose6d.weights import save_weights

_SCENES = SceneConfig(image_size=(96, 96), pixels_per_diameter=(25.0, 50.0))
_POOL = PoolConfig(objects=2, backgrounds=2, hands=1, workers=1)
_LOOP = LoopConfig(steps=5, warmup_steps=2)


@pytest.fixture(scope="module")
def pool() -> MeshPool:
    return MeshPool(make_objects(range(3), workers=1), make_textures(3, seed=0), torch.device("cpu"))


def _refiner_config(folder: Path, loop: LoopConfig = _LOOP) -> RefinerConfig:
    network = NetworkConfig(kind="refiner", width=8, input_size=32, rotation_limit=0.7, dropout=0.0)
    return RefinerConfig(folder, batch_size=4, network=network, loop=loop, pool=_POOL, scenes=_SCENES, device="cpu")


def test_scenes_repeat_with_the_seed_and_show_the_target(pool: MeshPool) -> None:
    first = sample_scenes(pool, 4, torch.Generator().manual_seed(3), _SCENES)
    again = sample_scenes(pool, 4, torch.Generator().manual_seed(3), _SCENES)
    torch.testing.assert_close(first.rgb, again.rgb)
    torch.testing.assert_close(first.depth, again.depth)
    assert ((first.visible >= 0) & (first.visible <= 1)).all()
    assert first.mask.any(dim=(1, 2)).sum() >= 3
    assert first.rgb.min() >= 0 and first.rgb.max() <= 1


def test_depth_without_noise_lies_on_the_target(pool: MeshPool) -> None:
    config = SceneConfig(image_size=(96, 96), distractors=0, table=0.0, wall=0.0, noise=PERFECT)
    scenes = sample_scenes(pool, 3, torch.Generator().manual_seed(0), config)
    for i in range(3):
        distance = scenes.depth[i][scenes.mask[i]]
        assert len(distance) > 100
        assert (distance - scenes.poses[i, 2, 3]).abs().max() < 0.87  # no point is farther from the centre of its box
    assert (scenes.visible > 0.99).all()


def test_the_border_cuts_targets_by_up_to_two_thirds(pool: MeshPool) -> None:
    bare = SceneConfig(distractors=0, table=0.0, wall=0.0, noise=PERFECT)
    for camera in (None, (600.0, 600.0, 111.5, 111.5)):
        config = replace(bare, cut=1.0, intrinsics=camera)
        scenes = sample_scenes(pool, 24, torch.Generator().manual_seed(0), config)
        K = scenes.K.clone()
        K[:, :2, 2] += 140
        whole = pool.renderer.render(scenes.poses, K, (504, 504), mesh_index=scenes.mesh_index).mask.sum((1, 2))
        inside = scenes.mask.sum((1, 2)) / whole
        assert inside.min() > 0.2 and inside.max() < 0.97
        assert 0.5 < inside.mean() < 0.72 and inside.std() > 0.1
        border = torch.stack([scenes.mask[:, :, 0].any(1), scenes.mask[:, :, -1].any(1), scenes.mask[:, 0].any(1),
                              scenes.mask[:, -1].any(1)])  # fmt: skip
        assert (border.sum(1) > 1).all(), "all four borders cut"
        assert (scenes.visible == 1).all(), "what is outside is not hidden by anything"
    some = sample_scenes(pool, 80, torch.Generator().manual_seed(0), replace(bare, cut=0.3))
    cut = (some.mask[:, :, [0, -1]].any((1, 2)) | some.mask[:, [0, -1]].any((1, 2))).float().mean()
    assert 0.2 < cut < 0.4


def test_scenes_of_configs_from_before_stay_as_they_are(pool: MeshPool) -> None:
    config = replace(TRAINING_SCENES, image_size=(96, 96), cut=0.0, noise=SimulatedCamera())
    scenes = sample_scenes(pool, 8, torch.Generator().manual_seed(1), config)
    means = [float(scenes.rgb.mean()), float(scenes.depth.mean()), float(scenes.visible.mean())]
    np.testing.assert_allclose(means, [0.41024, 4.97422, 0.72263], rtol=2e-3)


def test_perturbation_is_mostly_small_and_never_behind_the_camera() -> None:
    truth = torch.eye(4).repeat(4000, 1, 1)
    truth[:, 2, 3] = 2.3
    poses = perturb_poses(truth, torch.ones(4000), torch.Generator().manual_seed(0), Perturbation())
    angle = rotation_angle(poses[:, :3, :3], truth[:, :3, :3])
    assert angle.max() <= 0.8 + 1e-4
    assert 0.3 < (angle < 0.08).float().mean() < 0.8
    assert (poses[:, 2, 3] >= 0.6 - 1e-6).all()


def test_scoring_hypotheses_hold_small_errors_turns_and_random_ones() -> None:
    truth = torch.eye(4).repeat(200, 1, 1)
    truth[:, 2, 3] = 5
    poses = scoring_hypotheses(truth, torch.ones(200), 16, torch.Generator().manual_seed(0), Perturbation())
    angle = rotation_angle(poses[..., :3, :3], truth[:, None, :3, :3].expand(-1, 16, -1, -1))
    near, far = (angle < 0.81).float().mean(), (angle > 2.3).float().mean()
    assert 0.4 < near < 0.6
    assert 0.2 < far < 0.6
    exact = Perturbation(max_angle=0.0)  # what is off then was turned about an axis of the object, or is random
    poses = scoring_hypotheses(truth, torch.ones(200), 16, torch.Generator().manual_seed(0), exact)
    turned = (poses[..., :3, :3].abs() > 1 - 1e-4).any(-1).any(-1)
    angle = rotation_angle(poses[..., :3, :3], truth[:, None, :3, :3].expand(-1, 16, -1, -1))
    assert 0.27 < (~turned).float().mean() < 0.33
    assert 0.12 < (turned & (angle > math.pi - 1e-2)).float().mean() < 0.18
    other = turned & (angle > 1e-2) & (angle < math.pi - 1e-2)
    assert 0.12 < other.float().mean() < 0.18
    assert 1.4 < angle[other].mean() < 1.75  # any angle as often as any other


def test_refiner_then_scorer_train_and_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learning.training.loop._REFRESH", 5)
    for trainer in ("train_refiner", "train_scorer"):
        monkeypatch.setattr(f"learning.training.{trainer}.HARD_BATCHES", 2)
    refiner = train_refiner(_refiner_config(tmp_path / "refiner"))
    assert (refiner / "samples.png").exists()
    records = list(read_log(refiner))
    assert records[-1]["step"] == 5
    assert np.isfinite(records[-1]["loss"])
    assert (refiner / "hard_samples.png").exists()

    longer = LoopConfig(steps=10, warmup_steps=2)
    train_refiner(_refiner_config(tmp_path / "refiner", longer))
    assert [r["step"] for r in read_log(refiner)] == [5, 10]

    config = ScorerConfig(
        tmp_path / "scorer",
        refiner / "refiner.safetensors",
        scenes_per_step=2,
        hypotheses=8,
        start=refiner / "refiner.safetensors",
        network=NetworkConfig(kind="scorer", width=8, input_size=32, dropout=0.0, confidence=True),
        loop=_LOOP,
        pool=_POOL,
        scenes=_SCENES,
        device="cpu",
    )
    scorer = train_scorer(config)
    assert (scorer / "scorer.safetensors").exists()
    assert (scorer / "hard_samples.png").exists()
    record = next(read_log(scorer))
    assert record["regret"] >= 0
    assert 0 < record["confidence"] < 2


def test_the_hardest_samples_come_first(tmp_path: Path) -> None:
    def batch(*errors: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        values = torch.tensor(errors)
        image = values[:, None, None, None].expand(-1, 6, 4, 4)
        return image, image, values

    save_hardest([batch(0.1, 0.9), batch(0.5, 0.2)], tmp_path / "hard.png", samples=3)
    columns = np.asarray(Image.open(tmp_path / "hard.png"))[0, ::4, 0]
    assert columns.tolist() == [229, 127, 51]


def test_a_scorer_may_start_from_a_refiners_trunk(tmp_path: Path) -> None:
    refiner = RefineNet(NetworkConfig(width=8, input_size=32))
    save_weights(tmp_path, "refiner", refiner.state_dict(), refiner.config.to_dict())
    scorer = ScoreNetMultiPair(NetworkConfig(kind="scorer", width=8, input_size=32))
    fresh = start_from(scorer, tmp_path / "refiner.safetensors")
    assert {name.split(".")[0] for name in fresh} == {"att", "att_cross", "linear"}
    wanted = refiner.encodeAB[0].conv1.weight.half().float()
    torch.testing.assert_close(scorer.encoderAB[0].conv1.weight, wanted)
    with pytest.raises(WeightsError, match="cannot start a refiner of width 16"):
        start_from(RefineNet(NetworkConfig(width=16, input_size=32)), tmp_path / "refiner.safetensors")


def not_finite(model: nn.Module, *_: object) -> dict[str, torch.Tensor]:
    return {"loss": model(torch.full((4, 3), float("nan"))).sum()}


def test_a_step_without_finite_gradient_changes_nothing(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    saved: list[dict[str, torch.Tensor]] = []
    loop = TrainingLoop(network, LoopConfig(steps=20), Workers("cpu"), tmp_path, saved.append)
    before = {k: v.clone() for k, v in network.state_dict().items() if v.is_floating_point()}

    loop.run(not_finite, pairs=4)
    assert loop.skipped == 20
    for key, value in before.items():
        torch.testing.assert_close(network.state_dict()[key], value)
        torch.testing.assert_close(saved[-1][key], value)


def test_a_diverged_training_stops_and_says_so(tmp_path: Path) -> None:
    network = nn.Linear(3, 3)
    loop = TrainingLoop(network, LoopConfig(steps=1000), Workers("cpu"), tmp_path, lambda state: None)

    with pytest.raises(TrainingError, match=r"diverged at step 49.*learning_rate"):
        loop.run(not_finite, pairs=4)


def test_a_miscalibrated_camera_still_sees_the_target_where_its_pose_says(pool: MeshPool) -> None:
    config = SceneConfig(image_size=(96, 96), distractors=0, table=0.0, wall=0.0, intrinsics_error=0.03, noise=PERFECT)
    scenes = sample_scenes(pool, 8, torch.Generator().manual_seed(0), config)
    true = sample_scenes(pool, 8, torch.Generator().manual_seed(0), replace(config, intrinsics_error=0.0))
    assert ((scenes.K[:, 0, 0] / true.K[:, 0, 0] - 1).abs() > 1e-3).sum() >= 6
    pixel = (scenes.K @ scenes.poses[:, :3, 3:])[..., 0]
    expected = (true.K @ true.poses[:, :3, 3:])[..., 0]
    torch.testing.assert_close(pixel[:, :2] / pixel[:, 2:], expected[:, :2] / expected[:, 2:], atol=1e-2, rtol=0)
    torch.testing.assert_close(scenes.depth, true.depth)


def test_something_pressed_against_the_target_hides_much_of_it(pool: MeshPool) -> None:
    config = replace(_SCENES, pixels_per_diameter=(45.0, 45.0), distractor_hidden=1.0)
    free = sample_scenes(pool, 24, torch.Generator().manual_seed(0), config)
    pressed = sample_scenes(pool, 24, torch.Generator().manual_seed(0), replace(config, pressed=1.0))
    assert free.visible.mean() > 0.95
    assert not free.hidden.any(dim=(1, 2))[free.visible > 0.999].any()
    assert 0.1 < pressed.visible.mean() < 0.8
    assert not (pressed.hidden & pressed.mask).any()


def test_curves_of_runs_are_drawn(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": 20 * i, "seconds": 9.0 * i, "loss": 1 / i, "skipped": 0}) for i in range(1, 40)]
        (tmp_path / name / "log.jsonl").write_text("\n".join(lines))
    out = tmp_path / "curves.png"
    draw_curves(Options((tmp_path / "first", tmp_path / "second"), out))
    assert Image.open(out).width > 800
    with pytest.raises(TrainingError, match=r"holds no log\.jsonl"):
        draw_curves(Options((tmp_path,), out))
