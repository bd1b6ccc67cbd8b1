"""Time the renderer on the work of pose estimation, tracking and training, and print a table.

`python -m benchmarks.rendering [--device cuda] [--mesh FILE]`

Every row is the median of several runs after a warm-up. The last column compares with the first row. Open3D's ray
casting, where it can be imported, does the first row's geometry without colour as an outside yardstick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh

from benchmarks.speed.timing import call_ms
from benchmarks.versions import versions
from pose6d.command import run_command_line
from pose6d.device import resolve_device
from pose6d.geometry.transforms import random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.rendering import Backend, Renderer, make_renderer

SIZE = 160
DISTANCE = 0.7  # metres
FOCAL = 600.0


@dataclass
class Options:
    """What is timed, and where."""

    device: str = "auto"
    backend: Backend = "auto"
    poses: int = 252
    # A textured mesh in metres for the first row; a torus of 16k faces if omitted.
    mesh: Path | None = None
    repeats: int = 9
    # Also time Open3D's ray casting.
    open3d: bool = True


@dataclass
class RenderingRow:
    name: str
    milliseconds: float


def textured_torus(faces: int, texture_size: int = 1024) -> Mesh:
    """About `faces` triangles, 14 cm across, with a texture of smooth noise."""
    segments = round((faces / 2) ** 0.5)
    around, across = np.meshgrid(*[np.linspace(0, 1, segments + 1)] * 2, indexing="ij")
    a, b = 2 * np.pi * around, 2 * np.pi * across
    ring = 0.05 + 0.02 * np.cos(b)
    vertices = np.stack([ring * np.cos(a), ring * np.sin(a), 0.02 * np.sin(b)], -1).reshape(-1, 3)
    corner = (np.arange(segments)[:, None] * (segments + 1) + np.arange(segments)).reshape(-1)
    right, up = corner + segments + 1, corner + 1
    triangles = np.concatenate([np.stack([corner, right, up], -1), np.stack([right, right + 1, up], -1)])
    texture = np.random.default_rng(0).integers(0, 256, (texture_size, texture_size, 3), dtype=np.uint8)
    uv = np.stack([around, across], -1).reshape(-1, 2)
    return Mesh(vertices=vertices, faces=triangles, uv=uv, texture=texture, name=f"torus of {len(triangles)} faces")


def box() -> Mesh:
    """Twelve triangles that each cover much of the picture."""
    shape = trimesh.creation.box(extents=(0.1, 0.08, 0.06))
    return Mesh(vertices=np.asarray(shape.vertices), faces=np.asarray(shape.faces), name="box of 12 faces")


def poses_of(mesh: Mesh, count: int, device: torch.device) -> torch.Tensor:
    """(count, 4, 4): random rotations about the mesh's centre, straight ahead."""
    rotations = random_rotations(count, generator=torch.Generator().manual_seed(0))
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, :3, :3] = rotations
    poses[:, :3, 3] = torch.tensor([0.0, 0.0, DISTANCE]) - rotations @ torch.from_numpy(mesh.bounds.mean(0))
    return poses.to(device)


def crop_camera(mesh: Mesh, count: int, device: torch.device) -> torch.Tensor:
    """(count, 3, 3): a window of 1.2 diameters about the object, as the networks see it."""
    focal = SIZE / (1.2 * mesh.diameter) * DISTANCE
    camera = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])
    return camera.repeat(count, 1, 1).to(device)


def record_graph(work: Callable[[], object]) -> Callable[[], object]:
    """The same work as a CUDA graph: without the time Python needs to launch it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def time_crops(
    label: str, renderer: Renderer, mesh: Mesh, count: int, options: Options, normals: bool = False
) -> list[RenderingRow]:
    """Crops of hypotheses of one mesh; on CUDA also as a graph."""
    device = renderer.device
    poses, camera = poses_of(mesh, count, device), crop_camera(mesh, count, device)

    def work() -> object:
        return renderer.render(poses, camera, (SIZE, SIZE), normals=normals)

    name = f"{label}: {count} x {SIZE}x{SIZE}"
    rows = [RenderingRow(name, call_ms(work, device, options.repeats))]
    if device.type == "cuda":
        rows.append(RenderingRow(f"{name}, CUDA graph", call_ms(record_graph(work), device, options.repeats)))
    return rows


def time_scenes(options: Options, device: torch.device) -> list[RenderingRow]:
    """Upload a pool of small meshes, then draw cluttered scenes of them, as training does."""
    pool, images, objects = 256, 16 if device.type == "cuda" else 2, 10
    meshes = [textured_torus(4000, 256)] * pool
    upload = call_ms(lambda: make_renderer(meshes, device, options.backend), device, 3 if device.type == "cpu" else 1)
    renderer = make_renderer(meshes, device, options.backend)
    poses = poses_of(meshes[0], images * objects, device)
    poses[:, :2, 3] += 0.3 * (torch.rand(len(poses), 2, device=device) - 0.5)
    index = torch.arange(len(poses), device=device)
    camera = torch.tensor([[FOCAL, 0, 319.5], [0, FOCAL, 239.5], [0, 0, 1]], device=device).repeat(images, 1, 1)

    def work() -> object:
        return renderer.render(
            poses, camera, (480, 640), mesh_index=index % pool, image_index=index // objects, normals=True
        )

    scenes = f"scenes: {images} x 640x480, {objects} objects of 4k faces, normals"
    return [
        RenderingRow(f"upload {pool} meshes of 4k faces, 256x256 textures", upload),
        RenderingRow(scenes, call_ms(work, device, options.repeats)),
    ]


def time_open3d(mesh: Mesh, options: Options) -> list[RenderingRow]:
    """The first row's rays by Open3D on the CPU, without colour; empty where it cannot be imported."""
    try:
        import open3d
    except ImportError as error:
        print(f"Open3D is left out: {error}")
        return []
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(open3d.core.Tensor(mesh.vertices), open3d.core.Tensor(mesh.faces.astype(np.uint32)))
    camera = crop_camera(mesh, 1, torch.device("cpu"))[0].numpy().astype(np.float64)
    pose = poses_of(mesh, options.poses, torch.device("cpu")).numpy()
    extrinsics = [open3d.core.Tensor(p.astype(np.float64)) for p in pose]
    intrinsic = open3d.core.Tensor(camera)

    def work() -> None:
        for extrinsic in extrinsics:
            scene.cast_rays(scene.create_rays_pinhole(intrinsic, extrinsic, SIZE, SIZE))["t_hit"].numpy()

    row = f"Open3D ray casting on CPU, no colour: {options.poses} x {SIZE}x{SIZE}"
    return [RenderingRow(row, call_ms(work, torch.device("cpu"), 1))]


def main(options: Options) -> None:
    """Print the table."""
    device = resolve_device(options.device)
    mesh = load_mesh(options.mesh) if options.mesh else textured_torus(16384)
    renderer = make_renderer(mesh, device, options.backend)
    rows = time_crops(f"{len(mesh.faces)} faces", renderer, mesh, options.poses, options)
    rows += time_crops(f"{len(mesh.faces)} faces, normals", renderer, mesh, options.poses, options, normals=True)
    rows += time_crops(f"{len(mesh.faces)} faces, tracking", renderer, mesh, 1, options)
    for other in (box(), textured_torus(5000), textured_torus(50000)):
        rows += time_crops(other.name, make_renderer(other, device, options.backend), other, options.poses, options)
    if options.backend != "nvdiffrast":
        rows += time_scenes(options, device)
    if options.open3d:
        rows += time_open3d(mesh, options)

    facts = " | ".join(f"{key} {value}" for key, value in versions(device).items())
    print(f"\n{facts} | backend {type(renderer).__name__}")
    print(f"mesh {mesh.name}, {len(mesh.faces)} faces\n\n| work | median ms | to the first row |\n|---|---:|---:|")
    for row in rows:
        print(f"| {row.name} | {row.milliseconds:.3f} | {row.milliseconds / rows[0].milliseconds:.2f} |")


if __name__ == "__main__":
    run_command_line(main, Options, description=__doc__)
