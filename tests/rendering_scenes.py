"""Meshes, poses and a camera that the rendering tests share."""

from __future__ import annotations

import numpy as np
import torch
import trimesh
from scipy.spatial.transform import Rotation

from pose6d.mesh.mesh import Mesh
from pose6d.rendering import Renderer, Rendering

K = torch.tensor([[500.0, 0.0, 63.0], [0.0, 480.0, 49.5], [0.0, 0.0, 1.0]])
SIZE = (100, 128)


def draw(renderer: Renderer, pose: np.ndarray, camera: np.ndarray, size: tuple[int, int]) -> Rendering:
    """One object in the pose (4, 4)."""
    return renderer.render(torch.as_tensor(pose[None]).float(), torch.as_tensor(camera).float(), size)


def torus(segments: int = 48, radius: float = 0.05, tube: float = 0.02) -> Mesh:
    """A textured torus: occludes itself, and its uv run over the texture's border."""
    around, across = np.meshgrid(*[np.linspace(0, 1, segments + 1)] * 2, indexing="ij")
    a, b = 2 * np.pi * around, 2 * np.pi * across
    ring = radius + tube * np.cos(b)
    vertices = np.stack([ring * np.cos(a), ring * np.sin(a), tube * np.sin(b)], -1).reshape(-1, 3)
    normals = np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], -1).reshape(-1, 3)
    corner = (np.arange(segments)[:, None] * (segments + 1) + np.arange(segments)).reshape(-1)
    right, up = corner + segments + 1, corner + 1
    faces = np.concatenate([np.stack([corner, right, up], -1), np.stack([right, right + 1, up], -1)])
    uv = np.stack([3 * around - 1, 2 * across], -1).reshape(-1, 2)
    texture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Mesh(vertices=vertices, faces=faces, normals=normals, uv=uv, texture=texture, name="torus")


def box(extents: tuple[float, float, float] = (0.1, 0.06, 0.08)) -> Mesh:
    """Twelve large triangles with vertex colours."""
    shape = trimesh.creation.box(extents=extents)
    colors = np.random.default_rng(1).integers(0, 256, (8, 3), dtype=np.uint8)
    return Mesh(vertices=np.asarray(shape.vertices), faces=np.asarray(shape.faces), colors=colors, name="box")


def square(side: float = 1.0, texture: np.ndarray | None = None, colors: np.ndarray | None = None) -> Mesh:
    """Faces an unrotated camera; the uv run from the lower left of the picture."""
    vertices = side / 2 * np.array([[-1, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0]], np.float32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) if texture is not None else None
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices=vertices, faces=faces, uv=uv, texture=texture, colors=colors, name="square")


def random_poses(count: int, distance: float = 0.5, spread: float = 0.02, seed: int = 0) -> torch.Tensor:
    """(count, 4, 4) with random rotations, about `distance` ahead."""
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, :3, :3] = torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix()).float()
    offsets = np.random.default_rng(seed).uniform(-spread, spread, (count, 3))
    poses[:, :3, 3] = torch.from_numpy(offsets).float() + torch.tensor([0.0, 0.0, distance])
    return poses


def at(z: float) -> torch.Tensor:
    """(1, 4, 4), unrotated and straight ahead."""
    pose = torch.eye(4)[None].clone()
    pose[0, 2, 3] = z
    return pose


def render(renderer: Renderer, poses: torch.Tensor, camera: torch.Tensor = K, size=SIZE, **options) -> Rendering:
    """Render with tensors moved to the renderer's device, and bring the images back to the CPU."""
    options = {k: v.to(renderer.device) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    images = renderer.render(poses.to(renderer.device), camera.to(renderer.device), size, **options)
    assert images.color.device.type == renderer.device.type
    return Rendering(**{name: None if image is None else image.cpu() for name, image in vars(images).items()})


def noisy_depth(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A floor, a box before it, noise that grows with distance, holes, specks, 1 mm steps, and no measurements."""
    generator = torch.Generator().manual_seed(seed)
    depth = torch.linspace(1.6, 0.5, height)[:, None].repeat(1, width)
    depth[height // 3 : height * 3 // 4, width // 3 : width * 2 // 3] = 0.55
    depth += 0.0025 * depth**2 * torch.randn(height, width, generator=generator)
    odd = torch.rand(height, width, generator=generator)
    specks = 5 * torch.rand(height, width, generator=generator)
    depth = torch.where(odd < 0.02, specks, depth)
    depth = (depth * 1000).round() / 1000
    for i, value in enumerate((0.0, float("nan"), float("inf"), -1.0, 65.535e3, 0.0005)):
        depth[(odd > 0.8 + 0.01 * i) & (odd < 0.81 + 0.01 * i)] = value
    depth[odd > 0.9] = 0
    return depth
