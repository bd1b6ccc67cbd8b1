"""What is particular to a rendering backend: agreement of CPU and CUDA, CUDA graphs, and what each one refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from pose6d.cuda_kernels import load_cupy
from pose6d.errors import DeviceError, MeshError, MissingDependencyError
from pose6d.rendering import cuda, make_renderer
from pose6d.rendering.cpu import CpuRenderer
from pose6d.rendering.nvdiffrast import _clip_from_camera
from tests.rendering_scenes import SIZE, K, box, random_poses, render, torus

without_nvdiffrast = pytest.mark.skipif(not importlib.util.find_spec("nvdiffrast"), reason="not installed")
rivals = pytest.mark.parametrize("backend", ["cuda", pytest.param("nvdiffrast", marks=without_nvdiffrast)])


@pytest.mark.cuda
@rivals
def test_agrees_with_cpu(backend: str) -> None:
    poses = random_poses(8)
    camera = K.repeat(8, 1, 1)
    camera[:, 0, 2] += torch.arange(8)
    for mesh in (torus(), box()):
        ours = render(make_renderer(mesh, "cpu"), poses, camera, normals=True)
        theirs = render(make_renderer(mesh, "cuda", backend), poses, camera, normals=True)
        both = ours.mask & theirs.mask
        assert (ours.mask != theirs.mask).float().mean() < 1e-3
        # Rounding may decide which of two touching triangles a pixel shows, so a few pixels may differ.
        for name, tolerance in (("xyz", 1e-5), ("color", 2 / 255), ("normal", 1e-2)):
            different = (getattr(ours, name) - getattr(theirs, name)).abs().amax(-1)[both] > tolerance
            assert different.float().mean() < 2e-3, name


@pytest.mark.cuda
@pytest.mark.parametrize("shared_images", [False, True])
def test_cuda_graph_replays_with_new_poses(shared_images: bool) -> None:
    renderer = make_renderer([torus(), box()], "cuda")
    options = {"mesh_index": torch.arange(6, device="cuda") % 2}
    if shared_images:
        options["image_index"] = torch.arange(6, device="cuda") // 2
    camera = K.repeat(3 if shared_images else 6, 1, 1).cuda()
    static = random_poses(6, seed=1).cuda()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        renderer.render(static, camera, SIZE, **options)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = renderer.render(static, camera, SIZE, **options)
    for seed in (2, 3):
        poses = random_poses(6, seed=seed).cuda()
        static.copy_(poses)
        graph.replay()
        eager = renderer.render(poses, camera, SIZE, **options)
        assert eager.mask.any()
        assert torch.equal(captured.instance, eager.instance)
        assert torch.equal(captured.xyz, eager.xyz)


@pytest.mark.cuda
@pytest.mark.parametrize("split", [1, 2, 16, 128])
def test_splitting_rows_over_threads_changes_nothing(split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, poses = make_renderer([torus(), box()], "cuda"), random_poses(4, distance=0.25)
    index = torch.tensor([0, 1, 1, 0])
    expected = render(renderer, poses, mesh_index=index, normals=True)
    monkeypatch.setattr(cuda, "rows_split", lambda faces, height: split)
    images = render(renderer, poses, mesh_index=index, normals=True)
    assert torch.equal(images.instance, expected.instance)
    assert torch.equal(images.color, expected.color)


@pytest.mark.cuda
def test_cuda_skips_indices_that_name_nothing() -> None:
    renderer, poses = make_renderer(box(), "cuda"), random_poses(3)
    images = render(renderer, poses, mesh_index=torch.tensor([0, 5, -1]))
    assert images.mask[0].any()
    assert not images.mask[1:].any()


def test_cpu_refuses_indices_that_name_nothing() -> None:
    renderer, poses = make_renderer(box(), "cpu"), random_poses(2)
    with pytest.raises(ValueError, match="mesh_index runs from 0 to 1, expected 0 to 0"):
        renderer.render(poses, K, SIZE, mesh_index=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="image_index runs from 0 to 4, expected 0 to 1"):
        renderer.render(poses, K.expand(2, 3, 3), SIZE, image_index=torch.tensor([0, 4]))


def test_wrong_shapes_are_refused(device: torch.device) -> None:
    renderer, poses = make_renderer(box(), device), random_poses(3)
    for arguments, message in (
        ((poses[0], K, SIZE), r"poses are \(4, 4\), expected \(M, 4, 4\)"),
        ((poses, K[:2], SIZE), r"K is \(2, 3\)"),
        ((poses, K.expand(2, 3, 3), SIZE), "K holds 2 matrices for 3 poses"),
        ((poses, K, (0, 4)), r"size is \(0, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            renderer.render(*arguments)
    with pytest.raises(ValueError, match=r"image_index is \(2,\), expected \(3,\)"):
        renderer.render(poses, K, SIZE, image_index=torch.tensor([0, 1]))


def test_backend_follows_the_device() -> None:
    assert isinstance(make_renderer(box(), "cpu"), CpuRenderer)
    for backend in ("cuda", "nvdiffrast"):
        with pytest.raises(DeviceError, match=f"backend '{backend}' does not run on device 'cpu'"):
            make_renderer(box(), "cpu", backend)
    with pytest.raises(ValueError, match="backend 'opengl' is unknown"):
        make_renderer(box(), "cpu", "opengl")
    with pytest.raises(MeshError, match="at least one mesh"):
        make_renderer([], "cpu")


def test_missing_packages_name_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    load_cupy.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'pose6d\[gpu\]'"):
        load_cupy()
    from pose6d.rendering.nvdiffrast import NvdiffrastRenderer

    with pytest.raises(MissingDependencyError, match="backend 'nvdiffrast' cannot import its package"):
        NvdiffrastRenderer([box()])


def test_importing_the_package_needs_no_gpu_package() -> None:
    code = "import sys, pose6d.rendering, pose6d.rendering.cuda, pose6d.rendering.nvdiffrast as n\n"
    code += "assert not {'cupy', 'nvdiffrast', 'numba'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_clip_space_puts_pixel_centres_where_a_rasteriser_samples() -> None:
    """nvdiffrast samples image column j at x = 2 (j + 0.5) / width - 1, and puts row 0 at y = -1."""
    clip = _clip_from_camera(K[None], 104, 128, near=0.1)[0]
    pixels = torch.tensor([[0.0, 0.0], [127.0, 103.0], [30.0, 77.0]])
    rays = torch.cat([pixels, torch.ones(3, 1)], 1) @ torch.linalg.inv(K).T
    for z in (0.1, 0.5, 100.0):
        points = torch.cat([rays * z, torch.ones(3, 1)], 1) @ clip.T
        seen = points[:, :2] / points[:, 3:]
        assert (seen - (2 * (pixels + 0.5) / torch.tensor([128.0, 104.0]) - 1)).abs().max() < 1e-5
        assert points[0, 2] / points[0, 3] == pytest.approx({0.1: -1, 100.0: 1}.get(z, 0.6), abs=1e-1)
