"""The fused CUDA kernels against the tensor expressions that they replace, and inside CUDA graphs."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from learning.inference.fused_inputs import CHANNELS, available, network_pairs, update_poses
from learning.inference.inputs import apply_update, pair_inputs
from learning.models.config import NetworkConfig
from pose6d import cuda_kernels
from pose6d.geometry import depth as depth_module
from pose6d.geometry.camera import crop_transforms, crop_windows
from pose6d.geometry.depth import erode_depth, filter_depth, smooth_depth
from pose6d.geometry.observation import Observation, observe
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.rendering import Renderer, make_renderer
from pose6d.rendering.interface import ALBEDO
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search import distinct_poses as distinct_module
from pose6d.search import texture_correlation as texture_module
from pose6d.search.distinct_poses import select_distinct
from pose6d.search.interfaces import Hypotheses
from pose6d.search.texture_correlation import texture_correlation, texture_pair
from tests.rendering_scenes import box, noisy_depth, torus

DEVICE = torch.device("cuda")
K = torch.tensor([[400.0, 0.3, 158.3], [0.0, 410.0, 121.7], [0.0, 0.0, 1.0]])
SIZE = (240, 320)
LIMIT = 0.35  # radians per axis
DIAMETER = 0.16

with_gpu = pytest.mark.skipif(
    not (torch.cuda.is_available() and available(DEVICE)), reason="PyTorch sees no CUDA GPU, or CuPy is missing"
)


def on_gpu(test: Callable) -> Callable:
    return pytest.mark.cuda(with_gpu(test))


# Large enough for many blocks, less than a block, single pixels, rows and columns.
SHAPES = [(60, 80), (119, 161), (5, 7), (1, 1), (1, 300), (300, 1)]


@on_gpu
@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_depth_kernels_agree_with_tensor_expressions_and_loops(shape: tuple[int, int], radius: int) -> None:
    for seed in range(3):
        depth = noisy_depth(*shape, seed=seed).to(DEVICE)
        eroded = erode_depth(depth, radius)
        assert torch.equal(eroded, depth_module._erode_windows(depth, radius))
        for given in (depth, eroded):
            smooth = smooth_depth(given, radius)
            # float32 rounding of a mean of 25 values near 1 m; the weights' rounding differs between devices.
            torch.testing.assert_close(smooth.cpu(), smooth_depth(given.cpu(), radius), rtol=0, atol=2e-6)
            # The tensor expressions sum in another order: of a million holes, a few have a mean whose last bit decides
            # whether a pixel agrees with it.
            other = (smooth - depth_module._smooth_windows(given, radius)).abs() > 2e-6
            assert not (other & depth_module._valid(given)).any()
            assert other.sum() <= 2


@on_gpu
def test_differences_at_the_tolerance_decide_as_tensor_expressions_do() -> None:
    """Two pixels of four agree or do not: differences of the tolerance, and one float more or less."""
    for z in torch.linspace(0.3, 3.0, 50):
        edge = z + depth_module.depth_tolerance(z)
        for other in (edge, torch.nextafter(edge, torch.tensor(9.0)), torch.nextafter(edge, torch.tensor(0.0))):
            # A fifth of 5, 10 and 15 pixels is 1, 2 and 3, on one limit or the other.
            depth = torch.zeros(1, 5)
            depth[0, 2], depth[0, 1] = z, other
            for rows in (1, 2, 3):
                given = torch.cat([depth, torch.zeros(rows - 1, 5)]).to(DEVICE)
                given[-1, 4] = other
                assert torch.equal(erode_depth(given), depth_module._erode_windows(given, 2))
                wanted = depth_module._smooth_windows(given, 2)
                torch.testing.assert_close(smooth_depth(given), wanted, rtol=0, atol=1e-6)


@on_gpu
def test_depth_kernels_take_batches_and_other_types_and_nothing() -> None:
    maps = torch.stack([noisy_depth(20, 30, seed).to(DEVICE) for seed in range(4)]).reshape(2, 2, 20, 30)
    together = filter_depth(maps)
    assert together.shape == maps.shape
    assert torch.equal(together[1, 0], filter_depth(maps[1, 0]))
    assert torch.equal(filter_depth(maps[0, 0].double()), together[0, 0])
    assert torch.equal(filter_depth(maps[0, 0].T), filter_depth(maps[0, 0].T.contiguous()))
    assert filter_depth(maps[:0]).shape == (0, 2, 20, 30)


def hypotheses(count: int, seed: int = 0) -> torch.Tensor:
    """Random poses: before the camera, and from the fifth on some at the edge, outside, behind and at the camera."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn(count, 3, generator=generator) * torch.tensor([0.06, 0.04, 0.08]) + torch.tensor([0.0, 0.0, 0.6])
    odd = [(0.25, 0.1, 0.6), (-0.24, -0.18, 0.6), (3.0, 0.0, 0.5), (0.02, 0.01, -0.4), (0.0, 0.0, 0.0), (0.01, 0, 2e-4)]
    for i, translation in zip(range(4, count), odd, strict=False):
        t[i] = torch.tensor(translation)
    return make_transform(random_rotations(count, generator), t).to(DEVICE)


def scene(seed: int = 0) -> Observation:
    """A frame of random colours and a rough surface with holes, as `observe` gives it: views of (H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    rgb = torch.randint(0, 256, (*SIZE, 3), generator=generator, dtype=torch.uint8)
    depth = 0.6 + 0.03 * torch.randn(SIZE, generator=generator)
    depth[torch.rand(SIZE, generator=generator) < 0.1] = 0
    depth[100:110] = 0.05  # nearer than the scorer's limit
    return observe(rgb, depth.to(DEVICE), K)


def renderer_of_two() -> Renderer:
    return make_renderer([torus(), box()], DEVICE)


def assert_same_inputs(found: torch.Tensor, *pair: torch.Tensor) -> None:
    """A and B within the rounding of float16, but for one pixel in a thousand, where a tie is decided otherwise."""
    wanted = torch.cat(pair)
    assert found.shape == (len(wanted), CHANNELS, *wanted.shape[2:])
    assert found.dtype == torch.float16
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found[:, 6:] == 0).all()
    difference = (found[:, :6].float() - wanted).abs().amax(1)  # (2N, s, s)
    assert (difference > 1e-3).float().mean() < 1e-3
    assert (difference > 1e-3).flatten(1).float().mean(1).max() < 1e-2  # of any one image


@on_gpu
@pytest.mark.parametrize("layout", ["observed", "planar", "cropped"])
@pytest.mark.parametrize("size", [128, 160])
def test_network_pairs_are_what_the_tensor_expressions_give(size: int, layout: str) -> None:
    object, poses, observation = RenderedObject(renderer_of_two(), DIAMETER), Hypotheses(hypotheses(12)), scene()
    if layout == "planar":
        observation = replace(observation, rgb=observation.rgb.contiguous(), xyz=observation.xyz.contiguous())
    elif layout == "cropped":  # neither colour nor pixels lie side by side
        observation = replace(observation, rgb=observation.rgb[:, ::2, 10:-20:3], xyz=observation.xyz[:, ::2, 10:-20:3])
    config = NetworkConfig(input_size=size, clip_to_image=layout != "cropped")  # the part shows little of the objects
    found = network_pairs(poses, object, observation, config)
    A, B = pair_inputs(poses, object, observation, config)
    assert (A[:4, 3:] != 0).float().mean() > 0.05
    assert (B[:4, 3:] != 0).float().mean() > 0.05
    assert_same_inputs(found, A, B)


@on_gpu
def test_observed_colours_and_points_are_sampled_where_the_tensor_expressions_sample_them() -> None:
    """Windows from less than a pixel to more than the image, partly outside it."""
    renderer = renderer_of_two()
    for seed, (zoom, diameter) in enumerate([(0.5, 0.1), (1.0, 0.3), (2.0, 0.2), (1.0, 3.0), (1.0, 1e-4)]):
        camera = (K * torch.tensor([[zoom], [zoom], [1.0]])).to(DEVICE)
        config, object = NetworkConfig(kind="scorer", input_size=64), RenderedObject(renderer, diameter)
        given = (Hypotheses(hypotheses(12, seed)), object, replace(scene(seed), K=camera), config)
        assert_same_inputs(network_pairs(*given), *pair_inputs(*given))


@on_gpu
def test_every_hypothesis_may_have_its_mesh_and_diameter() -> None:
    renderer, poses, observation = renderer_of_two(), Hypotheses(hypotheses(12)), scene()
    config = NetworkConfig(kind="scorer", input_size=128, min_depth=0.1)
    meshes = (torch.arange(12) % 2).to(DEVICE)
    diameters = torch.linspace(0.1, 0.3, 12).to(DEVICE)

    def pairs(diameter: float | torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
        return network_pairs(poses, RenderedObject(renderer, diameter, index), observation, config)

    found = pairs(diameters, meshes)
    assert_same_inputs(found, *pair_inputs(poses, RenderedObject(renderer, diameters, meshes), observation, config))
    assert torch.equal(pairs(diameters[3]), pairs(float(diameters[3])))
    assert torch.equal(found, pairs(torch.stack([diameters, diameters], 1)[:, 0], meshes))


@on_gpu
def test_a_pose_that_is_not_finite_gives_black_observed_inputs() -> None:
    poses = hypotheses(3)
    poses[0, 2, 3], poses[1, 0, 3] = float("nan"), float("inf")
    config = NetworkConfig(input_size=64)
    found = network_pairs(Hypotheses(poses), RenderedObject(renderer_of_two(), DIAMETER), scene(), config)
    assert (found[3:5] == 0).all()
    assert (found[5] != 0).any()


@on_gpu
def test_no_hypotheses_give_no_inputs_and_no_poses() -> None:
    none = hypotheses(2)[:0]
    config = NetworkConfig(input_size=128)
    object = RenderedObject(renderer_of_two(), DIAMETER)
    assert network_pairs(Hypotheses(none), object, scene(), config).shape == (0, 8, 128, 128)
    assert update_poses(none, none[:, 0, :3], none[:, 0, :3], DIAMETER, LIMIT).shape == (0, 4, 4)


def test_tensors_that_a_kernel_would_misread_are_refused() -> None:
    pose, image, config = torch.eye(4)[None], torch.zeros(3, 8, 8), NetworkConfig()
    frame, several = Observation(image, image, K[None]), Observation(image[None], image[None], K)
    elsewhere = Observation(image, image.to("meta"), K)
    renderer: Any = None
    given = (Hypotheses(pose), RenderedObject(renderer, 0.2))
    with pytest.raises(ValueError, match=r"rgb is \(1, 3, 8, 8\): one frame"):
        network_pairs(*given, several, config)
    with pytest.raises(ValueError, match=r"xyz is \(3, 8, 8\) on meta, expected \(3, 8, 8\) on cpu"):
        network_pairs(*given, elsewhere, config)
    with pytest.raises(ValueError, match=r"K is \(1, 3, 3\) on cpu, expected \(3, 3\)"):
        network_pairs(*given, frame, config)
    with pytest.raises(ValueError, match=r"diameter is \(3,\) on cpu, expected \(2,\)"):
        update_poses(pose.repeat(2, 1, 1), torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(3), LIMIT)
    with pytest.raises(ValueError, match=r"rot is \(2, 3\) on cpu, expected \(1, 3\)"):
        update_poses(pose, torch.zeros(1, 3), torch.zeros(2, 3), 0.2, LIMIT)


@pytest.mark.parametrize("package", ["learning.inference", "pose6d.geometry", "pose6d.rendering", "pose6d.search"])
def test_sources_hold_what_they_include(package: str) -> None:
    """CuPy compiles a text, not a folder of files."""
    for file in importlib.resources.files(package).iterdir():
        if file.name.endswith(".cu"):
            source = cuda_kernels._source(package, file.name)
            assert "#include" not in source and "BLOCK" in source and "#define BLOCK" not in source, file.name


def test_constants_are_lines_of_the_source() -> None:
    """CuPy finds binaries by the text: one that is made with other constants must be another text."""
    constants = (("COUNT", 96), ("WEIGHT", 0.25), ("WHOLE", 1.0), ("SMALL", 4e-7))
    defined = "#define COUNT 96\n#define WEIGHT 0.25f\n#define WHOLE 1.0f\n#define SMALL 4e-07f\n"
    assert cuda_kernels._defines(constants) == defined


def test_kernels_run_on_gpus_only() -> None:
    assert not available(torch.device("cpu"))


@on_gpu
@pytest.mark.parametrize("ratio", [1e-4, 1.2, 30.0])
def test_crop_windows_are_those_of_the_tensor_expressions(ratio: float) -> None:
    poses, camera = hypotheses(300), K.to(DEVICE)
    poses[0, :3, 3], poses[1, :3, 3] = torch.tensor([[0.0, 0.0, -1.0], [900.0, 0.0, 1.0]], device=DEVICE)
    diameters = torch.linspace(0.1, 0.4, 300).to(DEVICE)
    for diameter in (DIAMETER, diameters):
        transforms, crop_K = crop_windows(poses, camera, diameter, ratio, 96)
        expected = crop_transforms(poses, camera, diameter, ratio, 96)
        # a window whose edge falls on half a pixel may be rounded to either side
        same = (transforms - expected).abs().amax((1, 2)) < 1e-3
        assert same.float().mean() > 0.99
        torch.testing.assert_close(crop_K[same], (expected @ camera)[same], rtol=1e-5, atol=1e-2)
    assert crop_windows(poses[:0], camera, DIAMETER, ratio, 96)[0].shape == (0, 3, 3)


@on_gpu
@pytest.mark.parametrize("size", [96, 160])
def test_textures_are_those_of_the_tensor_expressions(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, poses, observation, camera = renderer_of_two(), hypotheses(12), scene(), K.to(DEVICE)
    diameters = torch.linspace(0.1, 0.3, 12).to(DEVICE)
    for diameter in (DIAMETER, diameters):
        transforms, crop_K = crop_windows(poses, camera, diameter, 1.1, size)
        drawn = renderer.render(poses, crop_K, (size, size), shading=ALBEDO)
        found = texture_pair(drawn, observation, transforms, diameter)
        with monkeypatch.context() as patch:
            patch.setattr(texture_module, "available", lambda device: False)
            expected = texture_pair(drawn, observation, transforms, diameter)
        assert found[2].mean() > 0.02  # two thirds of the hypotheses are at the edge or outside
        for a, b in zip(found, expected, strict=True):  # a pixel at a tie may be looked up to either side
            assert ((a - b).abs() > 5e-3).float().mean() < 1e-4


@on_gpu
def test_agreement_of_texture_is_that_of_the_tensor_expressions(monkeypatch: pytest.MonkeyPatch) -> None:
    object, poses, observation = RenderedObject(renderer_of_two(), DIAMETER), hypotheses(30), scene()
    found = texture_correlation(poses, object, observation)
    monkeypatch.setattr(texture_module, "available", lambda device: False)
    expected = texture_correlation(poses, object, observation)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert found.shape == (30,) and found.std() > 1e-3
    assert texture_correlation(poses[:0], object, observation).shape == (0,)


@on_gpu
@pytest.mark.parametrize("count", [1, 120, 252, 1000])
def test_the_select_distinct_are_those_of_the_tensor_expressions(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(count)
    poses = hypotheses(count).clone()
    near = random_rotations(count, generator).to(DEVICE)[: count // 2]
    poses[: count // 2] = make_transform(near, 0.01 * torch.randn(count // 2, 3, generator=generator).to(DEVICE))
    ranking = torch.randn(count, generator=generator).to(DEVICE)
    coarse, unknown = ranking.round(), ranking.clone()
    unknown[::3] = float("nan")
    for values in (ranking, coarse, unknown):
        for keep, degrees in ((1, 10.0), (12, 25.0), (count + 5, 40.0)):
            found = select_distinct(poses, values, keep, DIAMETER, degrees)
            with monkeypatch.context() as patch:
                patch.setattr(distinct_module, "available", lambda device: False)
                assert torch.equal(found, select_distinct(poses, values, keep, DIAMETER, degrees))
    assert select_distinct(poses[:0], ranking[:0], 3, DIAMETER).shape == (0,)
    with pytest.raises(ValueError, match="ranking is"):
        select_distinct(poses, ranking[:-1], 3, DIAMETER)


@on_gpu
def test_a_shared_window_is_packed_once() -> None:
    object, poses, observation = RenderedObject(renderer_of_two(), DIAMETER), hypotheses(7), scene()
    poses[:, :3, 3] = poses[:1, :3, 3]
    config = NetworkConfig(input_size=128)
    several = network_pairs(Hypotheses(poses), object, observation, config)
    once = network_pairs(Hypotheses(poses, shared_window=True), object, observation, config)
    assert torch.equal(once, several[:8])


@on_gpu
@pytest.mark.parametrize("dtypes", [("float16", "float16"), ("float32", "float32"), ("float16", "float32")])
@pytest.mark.parametrize("count", [1, 12, 300])
def test_updates_are_what_the_tensor_expressions_give(count: int, dtypes: tuple[str, str]) -> None:
    generator = torch.Generator().manual_seed(count)
    # from steps that float16 rounds to nothing to those at the limit
    scales = 10.0 ** torch.linspace(-8, 4, count)[torch.randperm(count, generator=generator), None]
    trans, rot = (
        (scale * torch.randn(count, 3, generator=generator)).clamp(-6e4, 6e4).to(DEVICE, getattr(torch, dtype))
        for scale, dtype in zip((1.0, scales), dtypes, strict=True)
    )
    rot[0] = 0
    poses = hypotheses(count)
    diameters = torch.linspace(0.1, 0.4, count).to(DEVICE)
    for diameter in (DIAMETER, diameters, diameters[0]):
        found = update_poses(poses, trans, rot, diameter, LIMIT)
        wanted = apply_update(poses, trans, rot, diameter, LIMIT)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
    # slices of a wider output, as a head may give them
    both = torch.cat([trans.float(), rot.float()], 1)
    wanted = apply_update(poses, trans, rot, DIAMETER, LIMIT)
    torch.testing.assert_close(
        update_poses(poses, both[:, :3], both[:, 3:], DIAMETER, LIMIT), wanted, rtol=0, atol=2e-6
    )


@on_gpu
def test_rotations_stay_rotations_over_thousands_of_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    poses = hypotheses(4)
    steps = torch.randn(3000, 4, 3, generator=generator).to(DEVICE)
    for step in steps:
        poses = update_poses(poses, torch.zeros_like(step), step, DIAMETER, LIMIT)
    R = poses[:, :3, :3].double()
    torch.testing.assert_close(R @ R.mT, torch.eye(3, dtype=R.dtype, device=DEVICE).expand_as(R), rtol=0, atol=1e-6)


def graph_of(function: Callable[..., torch.Tensor], *examples: torch.Tensor) -> Callable[..., torch.Tensor]:
    """The function recorded as a CUDA graph after one warm-up call, with the values of `examples`."""
    held = [x.clone() for x in examples]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        function(*held)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*held)

    def replay(*inputs: torch.Tensor) -> torch.Tensor:
        for place, given in zip(held, inputs, strict=True):
            place.copy_(given)
        graph.replay()
        return output.clone()

    return replay


@on_gpu
def test_graphs_of_the_depth_filter_follow_their_input() -> None:
    replay = graph_of(filter_depth, noisy_depth(60, 80, seed=1).to(DEVICE))
    for seed in (2, 3):
        depth = noisy_depth(60, 80, seed).to(DEVICE)
        assert torch.equal(replay(depth), filter_depth(depth))


@on_gpu
def test_graphs_of_a_refinement_step_follow_their_inputs() -> None:
    object, config = RenderedObject(renderer_of_two(), DIAMETER), NetworkConfig(input_size=128)
    camera = K.to(DEVICE)

    def pairs(poses: torch.Tensor, rgb: torch.Tensor, xyz: torch.Tensor, K: torch.Tensor) -> torch.Tensor:
        return network_pairs(Hypotheses(poses), object, Observation(rgb, xyz, K), config)

    def update(poses: torch.Tensor, trans: torch.Tensor, rot: torch.Tensor) -> torch.Tensor:
        return update_poses(poses, trans, rot, DIAMETER, LIMIT)

    first, second = scene(1), scene(2)
    replay = graph_of(pairs, hypotheses(3, seed=1), first.rgb, first.xyz, camera)
    inputs = (hypotheses(3, seed=2), second.rgb, second.xyz, 1.1 * camera)
    assert torch.equal(replay(*inputs), pairs(*inputs))

    rng = np.random.default_rng(0)
    steps = [torch.from_numpy(rng.normal(size=(4, 3)).astype(np.float16)).to(DEVICE) for _ in range(4)]
    replay = graph_of(update, hypotheses(4, seed=1), *steps[:2])
    inputs = (hypotheses(4, seed=2), *steps[2:])
    assert torch.equal(replay(*inputs), update(*inputs))
