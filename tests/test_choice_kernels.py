"""The CUDA kernels of the first and the last steps of a search, against the tensor expressions that they replace."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from learning.inference import relight as relight_module
from pose6d.cuda_kernels import available
from pose6d.geometry import observation as observation_module
from pose6d.geometry.depth import filter_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import make_transform
from pose6d.rendering import light as light_module
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search import evidence as cues_module
from pose6d.search import hypotheses as hypotheses_module
from pose6d.search import pair_evidence as evidence_module
from pose6d.search import placement as placement_module
from tests.rendering_scenes import box, noisy_depth

DEVICE = torch.device("cuda")
SIZE = (240, 320)
K = torch.tensor([[400.0, 0.3, 158.3], [0.0, 410.0, 121.7], [0.0, 0.0, 1.0]])

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not (torch.cuda.is_available() and available(DEVICE)), reason="PyTorch sees no CUDA GPU, or CuPy is missing"
    ),
]


def without_kernels(patch: pytest.MonkeyPatch, *modules: object) -> None:
    for module in modules:
        patch.setattr(module, "available", lambda device: False)


def surface(count: int, pixels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Albedo, normals and colours (N, 3, P), as permuted views of images, which renderers give."""
    albedo, normal, color = torch.rand(3, count, pixels, 3, device=DEVICE)
    return albedo.mT, normalize(normal - 0.5, dim=-1).mT, color.mT


@pytest.mark.parametrize(("count", "choices", "pixels"), [(5, 5, 9216), (1, 1, 25600), (3, 2, 100), (40, 8, 300)])
def test_the_light_that_fits(count: int, choices: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    albedo, normal, color = surface(count, pixels)
    weight = (torch.rand(count, choices, pixels, device=DEVICE) < 0.7).float()
    weight[0, 0] = 0.0  # nothing is seen
    found = light_module.fit_light(albedo, normal, color, weight)
    without_kernels(monkeypatch, light_module)
    expected = light_module.fit_light(*(x.double() for x in (albedo, normal, color, weight)))
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)
    assert not found[0, 0].any()
    assert light_module.fit_light(albedo[:0], normal[:0], color[:0], weight[:0]).shape == (0, choices, 3, 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_relit_colours(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    count, size = 3, 64
    albedo, normal, _ = (x.unflatten(-1, (size, size)) for x in surface(count, size * size))
    pairs = torch.rand(2 * count, 8, size, size, device=DEVICE).to(dtype).to(memory_format=torch.channels_last)
    pairs[:, 3:6] *= 0.15  # some of the surface is seen
    pairs[0, 3:6, :20] = 0.0
    given = [pairs.clone(memory_format=torch.preserve_format) for _ in range(2)]
    relight_module.relight(given[0][:count, :6], given[0][count:, :6], albedo, normal)
    without_kernels(monkeypatch, relight_module, light_module)
    relight_module.relight(given[1][:count, :6], given[1][count:, :6], albedo, normal)
    torch.testing.assert_close(given[0], given[1], rtol=0, atol=2e-3)
    assert (given[0] != pairs).float().mean() > 0.05


def frame_of_a_box() -> tuple[RenderedObject, torch.Tensor, Observation, torch.Tensor]:
    """A box, a pose, a noisy frame that shows it there, and its mask."""
    object = RenderedObject.from_mesh(box(), "cuda")
    pose = make_transform(rotation_hypotheses()[17], torch.tensor([0.03, -0.02, 0.6])).to(DEVICE)
    drawn = object.render(pose[None], K.to(DEVICE)[None], SIZE)
    mask = drawn.mask[0].clone()
    mask[:, :150] = False
    depth = torch.where(mask, drawn.depth[0], noisy_depth(*SIZE, seed=0).to(DEVICE))
    depth[::7] = 0.0
    color = (0.2 + 0.6 * drawn.color[0] + 0.05 * torch.rand(*SIZE, 3, device=DEVICE)).clamp(0, 1)
    return object, pose, observe(color, filter_depth(depth), K.to(DEVICE)), mask


def test_evidence_of_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    object, pose, observation, mask = frame_of_a_box()
    rotations = rotation_hypotheses()[[0, 17, 30, 45, 60]].to(DEVICE)
    poses = make_transform(rotations, pose[:3, 3].expand(5, 3))
    found = evidence_module.compare_poses(poses, object, observation, mask)
    without_kernels(monkeypatch, evidence_module, light_module)
    expected = evidence_module.compare_poses(poses, object, observation, mask)
    torch.testing.assert_close(found.color, expected.color, rtol=1e-2, atol=0.05)
    torch.testing.assert_close(found.shape, expected.shape)
    assert found.color.abs().max() > 1


def test_what_a_frame_says_of_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    object, pose, observation, _ = frame_of_a_box()
    moves = torch.tensor(
        [[0.0, 0.0, 0.0], [0.004, 0.0, 0.003], [0.0, 0.01, -0.03], [-0.12, 0.02, 0.1], [9.0, 0.0, 0.0]]
    )
    rotations = rotation_hypotheses()[[17, 17, 30, 45, 17]].to(DEVICE)
    poses = make_transform(rotations, pose[:3, 3] + moves.to(DEVICE))
    found = torch.stack(cues_module.measure_evidence(poses, object, observation))
    without_kernels(monkeypatch, cues_module)
    expected = torch.stack(cues_module.measure_evidence(poses, object, observation))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std(dim=1).min() > 1e-3, "every cue tells something"
    assert cues_module.measure_evidence(poses[:0], object, observation).visible.shape == (0,)


def test_a_frame_as_colours_and_points(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = torch.randint(256, (*SIZE, 3), dtype=torch.uint8, device=DEVICE)
    depth = noisy_depth(*SIZE, seed=1).to(DEVICE)
    found = observe(rgb, depth, K)
    without_kernels(monkeypatch, observation_module)
    expected = observe(rgb, depth, K)
    torch.testing.assert_close(found.rgb, expected.rgb, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.xyz, expected.xyz, rtol=1e-6, atol=1e-7, equal_nan=True)
    assert (found.rgb.stride(), found.xyz.stride()) == (expected.rgb.stride(), expected.xyz.stride())


def test_where_rotations_start(monkeypatch: pytest.MonkeyPatch) -> None:
    object, _, observation, mask = frame_of_a_box()
    middle = torch.tensor([170.0, 110.0], device=DEVICE)
    near = placement_module.NearSides.of(object, rotation_hypotheses().to(DEVICE))
    results = []
    for masks in ([mask, mask & False, mask | True], [mask, mask & False, mask | True]):
        found = []
        for one in masks:
            start = hypotheses_module.initial_translation(observation.xyz[2], one, middle, observation.K)
            found.append((start, *placement_module.place_rotations(near, start, observation, one)))
        results.append(found)
        without_kernels(monkeypatch, hypotheses_module, placement_module)
    for (start, centers, costs), (expected_start, expected_centers, expected_costs) in zip(*results, strict=True):
        torch.testing.assert_close(start, expected_start, rtol=1e-6, atol=0)
        if not start.isfinite().all():
            assert not centers.isfinite().any()
            continue
        # A point between two pixels may be looked up on either side, and two places may fit as well.
        assert ((costs - expected_costs).abs() > 0.02).float().mean() < 0.02
        assert ((centers - expected_centers).norm(dim=-1) > 1e-3).float().mean() < 0.05
    assert results[0][0][2].std() > 0.05
