"""The compiled loops and filters of a CPU against the tensor expressions that they replace."""

from __future__ import annotations

import pytest
import torch

from pose6d.geometry.camera import backproject, crop_transforms, crop_windows
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import make_transform
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search import alignment, evidence, pair_evidence
from tests.rendering_scenes import box, noisy_depth

SIZE = (240, 320)
K = torch.tensor([[400.0, 0.3, 158.3], [0.0, 410.0, 121.7], [0.0, 0.0, 1.0]])
BOX = RenderedObject.from_mesh(box(), "cpu")
MIDDLE = torch.tensor([0.03, -0.02, 0.6])


@pytest.fixture(scope="module")
def observation() -> Observation:
    """A box before noisy surroundings, partly hidden, with rows without depth."""
    drawn = BOX.render(make_transform(rotation_hypotheses()[17], MIDDLE)[None], K[None], SIZE)
    mask = drawn.mask[0].clone()
    mask[:, :150] = False
    depth = torch.where(mask, drawn.depth[0], noisy_depth(*SIZE, seed=0))
    depth[::7] = 0.0
    noise = torch.rand(*SIZE, 3, generator=torch.Generator().manual_seed(0))
    return observe((0.2 + 0.6 * drawn.color[0] + 0.05 * noise).clamp(0, 1), filter_depth(depth), K)


@pytest.fixture
def poses() -> torch.Tensor:
    """Where the box is, a little beside it, in another place, at the border of the picture, and outside of it."""
    moves = [[0.0, 0.0, 0.0], [0.004, 0.0, 0.003], [0.0, 0.01, -0.03], [-0.22, 0.02, 0.1], [9.0, 0.0, 0.0]]
    return make_transform(rotation_hypotheses()[[17, 17, 30, 45, 17]], MIDDLE + torch.tensor(moves))


@pytest.mark.parametrize("ratio", [1.0, 1.2])
def test_windows(poses: torch.Tensor, ratio: float) -> None:
    behind = poses.clone()
    behind[:, 2, 3] *= -1.0
    for each, diameter in ((poses, 0.17), (behind, torch.full((5,), 0.17))):
        transforms, crop_K = crop_windows(each, K, diameter, ratio, 96)
        expected = crop_transforms(each, K, diameter, ratio, 96)
        torch.testing.assert_close(transforms, expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(crop_K, expected @ K, rtol=1e-5, atol=1e-4)
    assert crop_windows(poses[:0], K, 0.17, ratio, 96)[0].shape == (0, 3, 3)


def test_cameras_of_several_images_have_windows_of_their_own(poses: torch.Tensor) -> None:
    cameras = K * torch.tensor([1.0, 1.1, 0.9, 1.0, 1.2])[:, None, None]
    transforms, crop_K = crop_windows(poses, cameras, 0.17, 1.0, 96)
    torch.testing.assert_close(transforms, crop_transforms(poses, cameras, 0.17, 1.0, 96))
    torch.testing.assert_close(crop_K, transforms @ cameras)


def test_colours_and_points_of_a_frame() -> None:
    rgb = torch.randint(256, (*SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    depth = noisy_depth(*SIZE, seed=1)
    for part in (slice(None), slice(3, 77)):  # a part of a frame is not in one piece
        seen = observe(rgb[:, part], depth[:, part], K)
        torch.testing.assert_close(seen.rgb, rgb[:, part].permute(2, 0, 1) / 255.0)
        torch.testing.assert_close(seen.xyz, backproject(depth[:, part], K).permute(2, 0, 1), equal_nan=True)


def test_what_a_frame_says_of_poses(
    poses: torch.Tensor, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = torch.stack(evidence.measure_evidence(poses, BOX, observation))
    monkeypatch.setattr(evidence, "_measure_loops", evidence._measure_tensors)
    expected = torch.stack(evidence.measure_evidence(poses, BOX, observation))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std(dim=1).min() > 1e-3, "every cue tells something"
    assert evidence.measure_evidence(poses[:0], BOX, observation).visible.shape == (0,)


def test_steps_of_the_alignment(poses: torch.Tensor, observation: Observation, monkeypatch: pytest.MonkeyPatch) -> None:
    found = alignment.align_poses(poses, BOX, observation, rounds=3, coarse=2)
    monkeypatch.setattr(alignment, "_step_loops", alignment._step)
    expected = alignment.align_poses(poses, BOX, observation, rounds=3, coarse=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert (expected - poses).abs().amax(dim=(1, 2))[:2].min() > 1e-4
    torch.testing.assert_close(found[4], poses[4])


def test_blurred_images_and_counted_pixels() -> None:
    images = torch.rand(2, 3, 50, 50, generator=torch.Generator().manual_seed(0)).permute(1, 0, 3, 2)
    apart = (torch.arange(50)[:, None] - torch.arange(50)).abs()
    gaussian = torch.exp(-0.5 * (apart / pair_evidence._SIGMA) ** 2)
    torch.testing.assert_close(pair_evidence._blur(images), gaussian @ images @ gaussian, rtol=0, atol=5e-5)
    band = (apart <= pair_evidence._EDGE).float()
    torch.testing.assert_close(pair_evidence._count_around(images), band @ images @ band)
