"""Alignment of texture and depth removes most of a small error, in any light; what neither tells stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from estimater import FoundationPose
from pose6d.cuda_kernels import available
from pose6d.geometry.camera import crop_windows
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.part import GREY
from pose6d.rendering import make_renderer
from pose6d.rendering.interface import ALBEDO, Shading
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.alignment import _Crops, _step, _step_kernels, _sum_loops, _sum_tensors, align_poses
from pose6d.search.cuda_graphs import GraphedFunction
from pose6d.search.interfaces import Hypotheses
from pose6d.search.texture_correlation import _correlate, _correlate_loops, _texture_tensors, texture_pair
from tests.estimater_scene import MatchingScorer, PlantingRefiner, Scene, render_scene
from tests.rendering_scenes import K, random_poses, torus

SIZE = (100, 128)
TEXTURE = torch.randint(60, 200, (16, 48, 3), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
MESH = replace(torus(), uv=torus().uv / [3, 1], texture=TEXTURE.numpy())  # once around, so that no turn looks like it
DIAMETER = float(MESH.diameter)
CARTON = RenderedObject.from_mesh(MESH, "cpu")
TRUTH = random_poses(4, distance=0.45, spread=0.01, seed=5)


def seen(mesh: Mesh, pose: Tensor, noise: float = 0.0, gain: float = 1.0) -> Observation:
    """The mesh in front of a wall, in light from the camera."""
    drawn = make_renderer(mesh, "cpu").render(pose[None], K, SIZE, shading=Shading(0.5, 0.5))
    generator = torch.Generator().manual_seed(0)
    rgb = torch.where(drawn.mask[0][..., None], gain * drawn.color[0], torch.tensor(0.5)).clamp(0, 1)
    depth = torch.where(drawn.mask[0], drawn.depth[0], torch.tensor(0.9))
    depth = depth + noise * DIAMETER * torch.randn(depth.shape, generator=generator)
    return observe(rgb, depth, K)


def off(pose: Tensor, degrees: float, shift: float, seed: int = 0) -> Tensor:
    """The pose (4, 4) in error by so many degrees and diameters in random directions."""
    generator = torch.Generator().manual_seed(seed)
    axis, move = (torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0) for _ in range(2))
    turn = so3_exp(axis * torch.tensor(degrees).deg2rad())
    return make_transform(turn @ pose[:3, :3], pose[:3, 3] + move * shift * DIAMETER)


def errors(poses: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Degrees and diameters."""
    return (
        rotation_angle(poses[..., :3, :3], truth[..., :3, :3]).rad2deg(),
        (poses[..., :3, 3] - truth[..., :3, 3]).norm(dim=-1) / DIAMETER,
    )


@pytest.mark.parametrize(("noise", "gain"), [(0.0, 1.0), (0.01, 0.5), (0.01, 1.2)])
def test_most_of_a_small_error_goes_whatever_the_light(noise: float, gain: float) -> None:
    left, shifted = [], []
    for i, truth in enumerate(TRUTH):
        start = off(truth, 1.0, 0.006, seed=i)
        result = align_poses(start[None], CARTON, seen(MESH, truth, noise, gain))
        degrees, shift = errors(result[0], truth)
        left.append(float(degrees))
        shifted.append(float(shift))
    assert sum(left) / len(left) < 0.4, left
    assert sum(shifted) / len(shifted) < 0.0011, shifted


def test_the_truth_stays() -> None:
    result = align_poses(TRUTH[:1], CARTON, seen(MESH, TRUTH[0]))
    degrees, shift = errors(result, TRUTH[:1])
    assert float(degrees) < 0.25 and float(shift) < 0.002


def test_without_texture_depth_alone_moves_the_pose() -> None:
    mesh = replace(
        MESH, texture=None, uv=None, colors=torch.full((len(MESH.vertices), 3), GREY, dtype=torch.uint8).numpy()
    )
    start = off(TRUTH[0], 0.0, 0.006)
    result = align_poses(start[None], RenderedObject.from_mesh(mesh, "cpu"), seen(MESH, TRUTH[0]))
    assert float(errors(result[0], TRUTH[0])[1]) < 0.4 * 0.006  # though the picture is full of texture


def test_a_pose_that_nothing_is_seen_of_stays() -> None:
    away = TRUTH[:1].clone()
    away[:, 0, 3] += 10.0
    result = align_poses(away, CARTON, seen(MESH, TRUTH[0]))
    assert torch.allclose(result, away, atol=1e-5)
    far = observe(torch.zeros(*SIZE, 3), torch.zeros(SIZE), K)  # neither light nor depth
    result = align_poses(TRUTH[:1], CARTON, far)
    assert torch.allclose(result, TRUTH[:1], atol=1e-5)


def test_several_meshes_in_one_batch_are_as_each_alone() -> None:
    other = torus(radius=0.04, tube=0.015)
    both = RenderedObject.from_meshes([MESH, other], torch.device("cpu"))
    observation = seen(MESH, TRUTH[0], noise=0.005)
    starts = torch.stack([off(TRUTH[0], 1.0, 0.005), off(TRUTH[0], 1.0, 0.005, seed=1)])
    together = align_poses(starts, both, observation)
    for i, mesh in enumerate((MESH, other)):
        alone = align_poses(starts[i : i + 1], RenderedObject.from_mesh(mesh, "cpu"), observation)
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_compiled_loops_are_the_tensor_expressions(missing: float) -> None:
    """Of textures, too; the object of one pose reaches out of the image, that of another is not seen."""
    observation = seen(MESH, TRUTH[0], noise=0.005)
    holes = torch.rand(SIZE, generator=torch.Generator().manual_seed(1)) < missing
    observation = replace(observation, xyz=observation.xyz.masked_fill(holes, 0.0))
    poses = torch.stack([off(TRUTH[0], 1.0, 0.005, seed=i) for i in range(3)])
    poses[1, 0, 3] += 0.1
    poses[2, 0, 3] += 1.0
    diameter = torch.full((3,), DIAMETER)
    transforms, crop_K = crop_windows(poses, K, diameter, 1.0, 160)
    drawn = CARTON.render(poses, crop_K, (160, 160), shading=ALBEDO, normals=True)
    given = (drawn, observation, transforms, diameter)
    expected, found = _texture_tensors(*given), texture_pair(*given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5)
    torch.testing.assert_close(_correlate_loops(drawn, *found), _correlate(drawn, *found), rtol=0, atol=1e-5)
    crops = _Crops(crop_K, drawn, *found)
    for one, other in zip(_sum_loops(crops, poses, diameter), _sum_tensors(crops, poses, diameter), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.cuda
def test_a_cuda_graph_gives_what_the_cpu_does() -> None:
    device = torch.device("cuda")
    observation = seen(MESH, TRUTH[0], noise=0.005)
    start = torch.stack([off(TRUTH[0], 1.0, 0.005, seed=i) for i in range(3)])
    expected = align_poses(start, CARTON, observation)
    object = RenderedObject.from_mesh(MESH, device)

    def align(poses: Tensor, rgb: Tensor, xyz: Tensor, intrinsics: Tensor) -> tuple[Tensor, ...]:
        return (align_poses(poses, object, Observation(rgb, xyz, intrinsics)),)

    inputs = [start, observation.rgb, observation.xyz, K]
    (result,) = GraphedFunction(align, inputs, device)(*inputs)
    assert torch.allclose(result.cpu(), expected, atol=2e-4)


@pytest.mark.cuda
@pytest.mark.skipif(
    not (torch.cuda.is_available() and available(torch.device("cuda"))),
    reason="PyTorch sees no CUDA GPU, or CuPy is missing",
)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_kernels_step_as_the_tensor_expressions_do(missing: float) -> None:
    """For small and large objects, also such as reach out of the image."""
    device, other = torch.device("cuda"), torus(radius=0.04, tube=0.015)
    observation = seen(MESH, TRUTH[0], noise=0.005)
    holes = torch.rand(SIZE, generator=torch.Generator().manual_seed(1)) < missing
    xyz = observation.xyz.masked_fill(holes, 0.0)
    observation = Observation(observation.rgb.to(device), xyz.to(device), K.to(device))
    starts = torch.stack([off(TRUTH[0], 1.0, 0.005, seed=i) for i in range(5)]).to(device)
    starts[3, 0, 3] += 0.1
    index = torch.tensor([0, 1, 0, 0, 1], device=device)
    diameters = torch.tensor([MESH.diameter, other.diameter], device=device)[index]
    renderer, camera = make_renderer([MESH, other], device), K.to(device)
    poses, moved = starts.clone(), 1e-3 * torch.randn(5, 6, device=device)
    poses[:, :3, 3] += 0.001
    transforms, crop_K = crop_windows(poses, camera, diameters, 1.0, 160)
    drawn = renderer.render(poses, crop_K, (160, 160), mesh_index=index, shading=ALBEDO, normals=True)
    crops = _Crops(crop_K, drawn, *texture_pair(drawn, observation, transforms, diameters))
    given = (crops, starts, poses, moved, diameters)
    kept = moved.clone()
    for found, expected in zip(_step_kernels(*given), _step(*given), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert torch.equal(moved, kept)
    assert (_step(*given)[0] - poses)[0].abs().max() > 1e-3


class StillRefiner(PlantingRefiner):
    """Leaves poses where they are, once the given one is among them."""

    def predict(self, hypotheses: Hypotheses, *on: Any) -> Tensor:
        if len(hypotheses) <= 10:  # rotations, finalists, or the tracked pose
            return hypotheses.poses
        return super().predict(hypotheses, *on)


@pytest.fixture(scope="module")
def scene() -> Scene:
    pose = TRUTH[1].clone()
    pose[:3, 3] = torch.tensor([0.01, -0.01, 0.45])
    return render_scene(MESH, pose)


@pytest.mark.parametrize("texture_weight", [0.0, 3.0])
def test_what_is_found_is_aligned(scene: Scene, texture_weight: float) -> None:
    truth = torch.as_tensor(scene.truth)
    start = off(truth, 1.0, 0.006)
    scorer = MatchingScorer()
    scorer.texture_weight = texture_weight
    estimator = FoundationPose(MESH, refiner=StillRefiner(start.numpy(), MESH.center), scorer=scorer, device="cpu")
    found = estimator.register(**scene.frame, ob_mask=scene.mask)
    assert errors(torch.as_tensor(found), truth)[0] < 0.5


def test_what_is_tracked_is_aligned(scene: Scene) -> None:
    truth = torch.as_tensor(scene.truth)
    still = StillRefiner(scene.truth, MESH.center)
    estimator = FoundationPose(MESH, refiner=still, scorer=MatchingScorer(), device="cpu")
    estimator.start_from(off(truth, 1.0, 0.006).numpy())
    tracked = estimator.track_one(**scene.frame)
    assert errors(torch.as_tensor(tracked), truth)[0] < 0.5
