"""What is looked at: a cluttered frame of any size, many objects in one frame, and a body of any number of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.accuracy.scene_workers import make
from benchmarks.accuracy.scenes import ScenePool
from benchmarks.accuracy.suites import SUITES
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer

_SEED = 7
_FOCAL = 610.0  # pixels at a height of 480
_ROWS = 4  # of objects in a group's picture
_MOST_PIXELS = 160.0  # that a diameter spans at a height of 480


@dataclass(frozen=True)
class TimedFrame:
    """One frame with its objects.

    Attributes:
        K: (3, 3) float32.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres, 0 = missing.
        masks: (M, H, W) bool, one per object.
        truths: (M, 4, 4) object in camera, metres.
    """

    K: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray
    masks: np.ndarray
    truths: np.ndarray

    @property
    def size(self) -> str:
        return f"{self.depth.shape[1]}x{self.depth.shape[0]}"


def cluttered_frame(pool: ScenePool, width: int, height: int) -> TimedFrame:
    """The pool's first object among distractors, as the suite `cluttered` draws it; the same scene in every size."""
    suite = SUITES["cluttered"]
    assert suite.config.intrinsics is not None
    fx, fy, cx, cy = suite.config.intrinsics
    scale = height / suite.config.image_size[0]
    margin = (width - scale * suite.config.image_size[1]) / 2  # of a wider picture
    low, high = suite.config.pixels_per_diameter
    config = replace(
        suite.config,
        image_size=(height, width),
        pixels_per_diameter=(scale * low, scale * high),
        centre_jitter=scale * suite.config.centre_jitter,
        # Integer pixel coordinates are pixel centres in both.
        intrinsics=(fx * scale, fy * scale, (cx + 0.5) * scale - 0.5 + margin, (cy + 0.5) * scale - 0.5),
    )
    scene = make(pool, replace(suite, config=config), _SEED, index=0)
    view = scene.views[0]
    assert view.truth is not None
    return TimedFrame(view.K, view.rgb, view.depth, scene.mask[None], view.truth[None])


def group_frame(meshes: Sequence[Mesh], width: int = 640, height: int = 480) -> TimedFrame:
    """Up to 16 objects side by side in front of a wall, without noise, drawn on the CPU."""
    count, columns = len(meshes), -(-len(meshes) // _ROWS)
    rows = min(count, _ROWS)
    cell = min(width / columns, height / rows)
    focal = _FOCAL * height / 480
    K = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    index = torch.arange(count)
    offset = torch.stack([index // rows - (columns - 1) / 2, index % rows - (rows - 1) / 2, torch.zeros(count)], dim=1)
    ray = offset * torch.tensor([width / columns, height / rows, 0]) / focal + torch.tensor([0.0, 0.0, 1.0])
    pixels = min(0.8 * cell, _MOST_PIXELS * height / 480)
    distance = focal * torch.tensor([mesh.diameter for mesh in meshes]) / pixels
    R = random_rotations(count, torch.Generator().manual_seed(_SEED))
    centers = torch.from_numpy(np.stack([mesh.center for mesh in meshes]))
    poses = make_transform(R, distance[:, None] * ray - (R @ centers[:, :, None])[:, :, 0])
    drawn = make_renderer(list(meshes), "cpu").render(
        poses, K[None], (height, width), mesh_index=index, image_index=torch.zeros(count, dtype=torch.int64)
    )
    instance, hit = drawn.instance[0].numpy(), drawn.mask[0].numpy()
    wall = np.float32(1.3 * distance.max())
    background = np.random.default_rng(_SEED).integers(90, 130, (height, width, 3))
    rgb = np.where(hit[..., None], drawn.color[0].numpy() * 255, background).round().astype(np.uint8)
    masks = instance[None] == np.arange(count)[:, None, None]
    return TimedFrame(K.numpy(), rgb, np.where(hit, drawn.depth[0].numpy(), wall), masks, poses.numpy())


def lumpy_body(faces: int, diameter: float = 0.2, seed: int = 0) -> Mesh:
    """A textured sphere with lumps, of exactly so many faces (an even number), metres; all counts have one shape."""
    quads = faces // 2  # each cap is a row of triangles, half a row of quads
    rings = min((n for n in range(2, quads + 1) if quads % n == 0), key=lambda n: abs(n - (quads / 2) ** 0.5))
    columns, rows = quads // rings, rings + 1
    v, u = np.meshgrid(np.linspace(0, 1, rows + 1), np.linspace(0, 1, columns + 1), indexing="ij")
    theta, phi = np.pi * v, 2 * np.pi * u
    radius = (
        1
        + 0.15 * np.sin(3 * phi + 1) * np.sin(theta) ** 3
        + 0.1 * np.cos(4 * theta)
        + 0.1 * np.sin(theta) * np.cos(phi)
    )
    points = radius * np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), 1.3 * np.cos(theta)])
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).reshape(rows, columns)
    below = corner + columns + 1
    upper = np.stack([corner, below, corner + 1], axis=-1)[1:].reshape(-1, 3)  # at the pole it would be a line
    lower = np.stack([corner + 1, below, below + 1], axis=-1)[:-1].reshape(-1, 3)
    coarse = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    texture = coarse.repeat(32, axis=0).repeat(32, axis=1)
    mesh = Mesh(
        points.reshape(3, -1).T,
        np.concatenate([upper, lower]),
        uv=np.stack([u, v], axis=-1).reshape(-1, 2),
        texture=texture,
        name=f"body of {faces} faces",
    )
    return mesh.scaled(diameter / mesh.diameter)
