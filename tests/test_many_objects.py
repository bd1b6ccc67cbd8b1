"""Several objects in one frame: each as if it were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from many_objects import ManyObjects
from pose6d.errors import FrameError, Pose6DError
from pose6d.geometry.transforms import make_transform, so3_exp
from pose6d.rendering import make_renderer
from pose6d.search.interfaces import Hypotheses
from pose6d.search.schedule import Schedule
from tests.estimater_scene import K, MatchingScorer, PlantingRefiner, random_networks
from tests.rendering_scenes import box, torus


@pytest.fixture(scope="module")
def frame() -> dict[str, np.ndarray]:
    """A box and a torus in front of a wall, their true poses and masks."""
    meshes = [box(), torus()]
    turns = so3_exp(torch.tensor([[0.3, -0.5, 0.2], [1.0, 0.2, 0.1]]))
    truth = make_transform(turns, torch.tensor([[-0.08, 0.0, 0.6], [0.09, 0.02, 0.7]]))
    drawn = make_renderer(meshes, "cpu").render(
        truth,
        torch.as_tensor(K, dtype=torch.float32),
        (240, 320),
        mesh_index=torch.arange(2),
        image_index=torch.zeros(2, dtype=torch.int64),
    )
    instance = drawn.instance[0].numpy()
    return {
        "meshes": meshes,
        "truth": truth.numpy(),
        "rgb": (drawn.color[0] * 255).round().to(torch.uint8).numpy(),
        "depth": np.where(instance >= 0, drawn.depth[0].numpy(), np.float32(1.5)),
        "masks": [instance == 0, instance == 1],
    }


def estimators(frame: dict, device: torch.device | str = "cpu", **changes: int) -> list[FoundationPose]:
    networks = random_networks(device, amp=False, **changes)
    return [FoundationPose(mesh, schedule=Schedule("brief", 40), **networks) for mesh in frame["meshes"]]


@pytest.mark.parametrize("batch_size", [1, 512])
def test_each_object_is_found_and_followed_as_if_it_were_alone(
    frame: dict, device: torch.device, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # random networks magnify rounding
    alone, together = estimators(frame, device), ManyObjects(estimators(frame, device, batch_size=batch_size))
    images = (frame["rgb"], frame["depth"])
    wanted = [e.register(K, *images, mask, 1) for e, mask in zip(alone, frame["masks"], strict=True)]
    found = together.register_many(K, *images, frame["masks"], 1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(together.confidences, [e.confidence for e in alone], atol=5e-4)
    for judge in (False, True):
        wanted = [e.track_one(*images, K, judge=judge) for e in alone]
        np.testing.assert_allclose(together.track_many(*images, K, judge=judge), wanted, atol=5e-3)
        assert (together.confidences is None) != judge


def test_tracking_starts_from_given_poses(frame: dict) -> None:
    together = ManyObjects(estimators(frame))
    with pytest.raises(Pose6DError, match="call register_many"):
        together.track_many(frame["rgb"], frame["depth"], K)
    with pytest.raises(FrameError, match=r"finite \(2, 4, 4\) poses are needed"):
        together.start_from(frame["truth"][:1])
    together.start_from(frame["truth"])
    tracked = together.track_many(frame["rgb"], frame["depth"], K, iteration=1)
    moved = np.linalg.norm(tracked[:, :3, 3] - frame["truth"][:, :3, 3], axis=1)
    assert (moved < [e.diameter for e in together.estimators]).all()


def test_a_mask_that_shows_nothing_names_its_object(frame: dict) -> None:
    together = ManyObjects(estimators(frame))
    empty = np.zeros_like(frame["masks"][0])
    with pytest.raises(FrameError, match=r"object 1 \(.*\): .*mask is empty"):
        together.register_many(K, frame["rgb"], frame["depth"], [frame["masks"][0], empty], 1)
    with pytest.raises(FrameError, match="1 for 2 objects"):
        together.register_many(K, frame["rgb"], frame["depth"], frame["masks"][:1])


def test_objects_must_share_their_networks(frame: dict) -> None:
    first, second = estimators(frame)[0], estimators(frame)[1]
    with pytest.raises(Pose6DError, match="estimator 1 has other networks"):
        ManyObjects([first, second])
    with pytest.raises(Pose6DError, match="no estimators"):
        ManyObjects([])


def test_any_refiner_and_scorer_that_keep_the_protocol_follow_many(frame: dict) -> None:
    meshes, truth = frame["meshes"], frame["truth"]

    class Homing(PlantingRefiner):
        def predict(self, hypotheses: Hypotheses, *_: Any) -> Tensor:
            return torch.as_tensor(truth) @ make_transform(torch.eye(3), torch.as_tensor(centers)).float()

    centers = np.stack([mesh.center for mesh in meshes])
    refiner, scorer = Homing(truth[0], centers[0]), MatchingScorer()
    together = ManyObjects([FoundationPose(mesh, refiner=refiner, scorer=scorer, device="cpu") for mesh in meshes])
    together.start_from(truth)
    np.testing.assert_allclose(together.track_many(frame["rgb"], frame["depth"], K), truth, atol=1e-2)


@pytest.mark.parametrize("given", [None, "a.obj", {"box": 1}, [box()], ["a.obj"]])
def test_what_are_no_estimators_is_named(given: object) -> None:
    with pytest.raises(Pose6DError, match="estimator"):
        ManyObjects(given)


@pytest.mark.parametrize("masks", [None, 3, "masks"])
def test_what_are_no_masks_is_named(frame: dict, masks: object) -> None:
    together = ManyObjects(estimators(frame)[:1])
    with pytest.raises(FrameError, match="for 1 objects"):
        together.register_many(K, frame["rgb"], frame["depth"], masks)
