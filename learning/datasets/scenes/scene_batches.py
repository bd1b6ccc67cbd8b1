"""Batches of synthetic RGB-D scenes, sampled, rendered and lit on one device.

Lengths are in diameters of the target, which has diameter 1. A scene holds the target, distractors (some of which
occlude it), a support plane that the target touches, and a wall behind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.scenes.lighting import Lighting, light_surfaces
from pose6d.camera_simulation.simulated_camera import TRAINING, SimulatedCamera
from pose6d.geometry.camera import backproject
from pose6d.geometry.observation import Observation
from pose6d.geometry.transforms import make_transform, random_rotations
from pose6d.random_draws import Draw
from pose6d.rendering.interface import ALBEDO

_HIDDEN_DEPTH = -10.0
_LEAST_CUT, _MOST_CUT = 0.1, 0.67  # of a target that the border cuts, the share outside
_PRESSED_SCALE = 0.85  # a larger thing right in front would leave nothing to see


@dataclass(frozen=True)
class SceneConfig:
    """What scenes look like; ranges are (low, high) of uniform draws unless said otherwise."""

    image_size: tuple[int, int] = (224, 224)
    """height, width in pixels"""
    distance: tuple[float, float] = (2.3, 12.0)
    """target's depth in diameters, log-uniform"""
    pixels_per_diameter: tuple[float, float] = (45.0, 125.0)
    off_axis: float = 0.35
    """largest |x/z| and |y/z| of the target"""
    centre_jitter: float = 12.0
    """the target projects to the image centre within this many pixels"""
    intrinsics: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy of one camera for all scenes, in place of random ones; `distance` and `off_axis` then follow from
    where the target is in the image and how large"""
    distractors: int = 3
    distractor_hidden: float = 0.3
    """probability that a distractor is left out"""
    occluder: float = 0.5
    """probability that a distractor stands in front of the target"""
    table: float = 0.85
    """probability of a support plane"""
    wall: float = 0.85
    """probability of a wall"""
    light: Lighting = field(default_factory=Lighting)
    pressed: float = 0.0
    """probability that one distractor stands right in front of the target and hides much of it"""
    hands: float = 0.0
    """probability that this distractor is a hand, where the pool has any"""
    shape_error: float = 0.0
    """standard deviation of how much longer the real object is than its mesh, along each axis and as a whole"""
    intrinsics_error: float = 0.0
    """standard deviation of the relative error of the focal lengths that `SceneBatch.K` states"""
    cut: float = 0.0
    """probability that the picture's border cuts the target, of which up to two thirds are then outside"""
    noise: SimulatedCamera = field(default_factory=SimulatedCamera)


TRAINING_SCENES = SceneConfig(
    pressed=0.3, hands=0.4, shape_error=0.008, intrinsics_error=0.006, cut=0.15, noise=TRAINING
)
"""what the trainers draw from; the plain SceneConfig is a calibrated camera and a true mesh"""


@dataclass
class SceneBatch:
    """N scenes as a camera sees them, with the truth.

    Attributes:
        rgb: (N, 3, H, W) float32 in 0..1, with sensor noise.
        depth: (N, H, W) float32, 0 = missing, with sensor noise.
        K: (N, 3, 3) float32, as calibrated, so with `SceneConfig.intrinsics_error`.
        poses: (N, 4, 4) float32, target in camera, as seen through that K.
        mesh_index: (N,) int64, the target.
        mask: (N, H, W) bool, visible pixels of the target.
        hidden: (N, H, W) bool, pixels where something stands in front of the target.
        visible: (N,) float32, the part of the target's silhouette inside the image that nothing hides.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    K: torch.Tensor
    poses: torch.Tensor
    mesh_index: torch.Tensor
    mask: torch.Tensor
    hidden: torch.Tensor
    visible: torch.Tensor

    def observation(self, poses_per_scene: int) -> Observation:
        """The scenes as the networks' inputs want them, for so many hypotheses in each."""
        xyz = backproject(self.depth, self.K).permute(0, 3, 1, 2)
        return Observation(self.rgb, xyz, self.K.repeat_interleave(poses_per_scene, 0))


def sample_scenes(
    pool: MeshPool,
    count: int,
    generator: torch.Generator,
    config: SceneConfig | None = None,
    mesh_index: torch.Tensor | None = None,
) -> SceneBatch:
    """Sample, render and degrade `count` scenes.

    Args:
        pool: objects and backgrounds.
        generator: on the pool's device; decides everything that is random.
        mesh_index: (count,) int64, the targets; random where omitted.
    """
    config = config or SceneConfig()
    draw = Draw(pool.device, generator)
    if mesh_index is None:
        mesh_index = draw.index((count,), pool.objects)
    K, targets = _sample_view(draw, count, config)
    if config.cut > 0:
        targets = _cut_by_border(draw, pool.points[mesh_index], K, targets, config)
    poses, meshes = _sample_layout(draw, pool, targets, mesh_index, config)
    per_scene = poses.shape[1]
    rendering = pool.renderer.render(
        poses.reshape(-1, 4, 4),
        K,
        config.image_size,
        mesh_index=meshes.reshape(-1),
        image_index=torch.arange(count, device=pool.device).repeat_interleave(per_scene),
        shading=ALBEDO,
        normals=True,
    )
    alone = pool.renderer.render(poses[:, 0], K, config.image_size, mesh_index=mesh_index, shading=ALBEDO).mask
    target_instance = torch.arange(count, device=pool.device).view(-1, 1, 1) * per_scene
    mask = rendering.instance == target_instance
    visible = mask.sum((1, 2)) / alone.sum((1, 2)).clamp(min=1)
    K, targets = _miscalibrate(draw, K, targets, config)
    rgb = light_surfaces(rendering, draw, config.light)
    rgb, depth = config.noise.capture(rgb, rendering.depth, generator, targets[:, 2, 3])
    return SceneBatch(
        rgb=rgb,
        depth=depth,
        K=K,
        poses=targets,
        mesh_index=mesh_index,
        mask=mask,
        hidden=alone & ~mask,
        visible=visible,
    )


def _sample_view(draw: Draw, count: int, config: SceneConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras (N, 3, 3) that look past the target, and the target's poses (N, 4, 4)."""
    height, width = config.image_size
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], device=draw.device)
    pixel = middle + draw.uniform((count, 2), -config.centre_jitter, config.centre_jitter)
    pixels_per_diameter = draw.uniform((count,), *config.pixels_per_diameter)
    K = torch.zeros((count, 3, 3), device=draw.device)
    K[:, 2, 2] = 1.0
    if config.intrinsics is None:
        low, high = (math.log(x) for x in config.distance)
        z = torch.exp(draw.uniform((count,), low, high))
        slope = draw.uniform((count, 2), -config.off_axis, config.off_axis)
        focal = torch.stack([pixels_per_diameter * z, pixels_per_diameter * z * draw.uniform((count,), 0.99, 1.01)], 1)
        centre = pixel - focal * slope
    else:
        focal, centre = torch.tensor(config.intrinsics, device=draw.device).view(2, 1, 2).expand(2, count, 2)
        z = focal[:, 0] / pixels_per_diameter
        slope = (pixel - centre) / focal
    K[:, 0, 0], K[:, 1, 1], K[:, :2, 2] = focal[:, 0], focal[:, 1], centre
    translation = torch.cat([slope, torch.ones_like(slope[:, :1])], dim=1) * z[:, None]
    return K, make_transform(random_rotations(count, draw.generator, draw.device), translation)


def _cut_by_border(
    draw: Draw, points: torch.Tensor, K: torch.Tensor, targets: torch.Tensor, config: SceneConfig
) -> torch.Tensor:
    """Some of the targets (N, 4, 4), moved sideways until a share of their points (N, P, 3) is beyond one border."""
    count, size = len(targets), torch.tensor(config.image_size[::-1], dtype=torch.float32, device=draw.device)
    seen = points @ targets[:, :3, :3].transpose(1, 2) + targets[:, None, :3, 3]
    pixels = seen[..., :2] / seen[..., 2:] * K[:, None, [0, 1], [0, 1]] + K[:, None, :2, 2]
    side = draw.index((count, 1), 4)  # left, right, top, bottom
    across, far = side // 2 == torch.arange(2, device=draw.device), side % 2 == 1
    outside = draw.uniform((count, 1), _LEAST_CUT, _MOST_CUT)
    rank = ((points.shape[1] - 1) * torch.where(far, 1.0 - outside, outside)).long()
    edge = pixels.sort(dim=1).values.gather(1, rank[:, None].expand(-1, 1, 2))[:, 0]
    along = draw.uniform((count, 2), -0.25, 0.25) * size
    shift = torch.where(across, torch.where(far, size - 0.5, -0.5) - edge, along)
    shift = shift * draw.happens((count, 1), config.cut)
    moved = targets.clone()
    moved[:, :2, 3] += shift * targets[:, 2:3, 3] / K[:, [0, 1], [0, 1]]
    return moved


def _miscalibrate(
    draw: Draw, K: torch.Tensor, targets: torch.Tensor, config: SceneConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """K with wrong focal lengths, and the poses at the same pixel and depth as seen through it."""
    wrong = 1.0 + config.intrinsics_error * draw.normal((len(K), 1))
    K, targets = K.clone(), targets.clone()
    K[:, 0, 0] *= wrong[:, 0]
    K[:, 1, 1] *= wrong[:, 0]
    targets[:, :2, 3] /= wrong
    return K, targets


def _stretch(draw: Draw, targets: torch.Tensor, config: SceneConfig) -> torch.Tensor:
    """The target's poses with the stretch (in its own axes) by which the real object differs from its mesh."""
    stretch = 1.0 + config.shape_error * (draw.normal((len(targets), 1, 3)) + draw.normal((len(targets), 1, 1)))
    return make_transform(targets[:, :3, :3] * stretch, targets[:, :3, 3])


def _sample_layout(
    draw: Draw, pool: MeshPool, targets: torch.Tensor, mesh_index: torch.Tensor, config: SceneConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses (N, I, 4, 4), which include each instance's scale, and meshes (N, I); instance 0 is the target."""
    count, extra = len(targets), config.distractors
    centre = targets[:, :3, 3]

    in_front = draw.uniform((count, extra, 1)) < config.occluder
    angle = draw.uniform((count, extra, 1), 0.0, 2 * math.pi)
    lateral = torch.where(
        in_front, draw.uniform((count, extra, 1), 0.25, 0.85), draw.uniform((count, extra, 1), 0.55, 1.6)
    )
    deeper = torch.where(
        in_front, -draw.uniform((count, extra, 1), 0.25, 1.1), draw.uniform((count, extra, 1), -0.5, 1.2)
    )
    # Offsets are measured along the ray to the target, so that occluders overlap its image wherever it stands.
    pressed = draw.uniform((count, 1)) < config.pressed
    lateral[:, :1, 0] = torch.where(pressed, draw.uniform((count, 1), 0.15, 0.6), lateral[:, :1, 0])
    deeper[:, :1, 0] = torch.where(pressed, -draw.uniform((count, 1), 0.5, 1.1), deeper[:, :1, 0])
    depth_factor = 1.0 + deeper / centre[:, None, 2:]
    offset = torch.cat([lateral * torch.cos(angle), lateral * torch.sin(angle), torch.zeros_like(lateral)], dim=2)
    position = centre[:, None] * depth_factor + offset * depth_factor
    hidden = draw.uniform((count, extra, 1)) < config.distractor_hidden
    hidden[:, :1, 0] &= ~pressed
    position[..., 2:] = torch.where(hidden, torch.full_like(deeper, _HIDDEN_DEPTH), position[..., 2:])
    scale = draw.uniform((count, extra, 1, 1), 0.4, 1.5)
    scale[:, :1] *= torch.where(pressed[..., None, None], _PRESSED_SCALE, 1.0)
    rotation = random_rotations(count * extra, draw.generator, draw.device).view(count, extra, 3, 3)
    distractors = make_transform(rotation * scale, position)

    table, wall = _sample_planes(draw, pool, targets, mesh_index, config)
    poses = torch.cat([_stretch(draw, targets, config)[:, None], distractors, table[:, None], wall[:, None]], dim=1)
    meshes = torch.cat(
        [
            mesh_index[:, None],
            _sample_distractors(draw, pool, pressed, extra, config),
            pool.objects + draw.index((count, 2), pool.planes),
        ],
        dim=1,
    )
    return poses, meshes


def _sample_distractors(
    draw: Draw, pool: MeshPool, pressed: torch.Tensor, extra: int, config: SceneConfig
) -> torch.Tensor:
    """Meshes (N, extra): objects, and hands among those that are pressed against the target."""
    meshes = draw.index((len(pressed), extra), pool.objects)
    if pool.occluders and extra:
        hand = pool.objects + pool.planes + draw.index((len(pressed), 1), pool.occluders)
        held = pressed & (draw.uniform((len(pressed), 1)) < config.hands)
        meshes[:, :1] = torch.where(held, hand, meshes[:, :1])
    return meshes


def _sample_planes(
    draw: Draw, pool: MeshPool, targets: torch.Tensor, mesh_index: torch.Tensor, config: SceneConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """A table under each target and a wall behind it: (N, 4, 4) each."""
    count = len(targets)
    centre = targets[:, :3, 3]
    up = torch.cat(
        [
            draw.uniform((count, 1), -0.35, 0.35),
            -draw.uniform((count, 1), 0.2, 1.0),
            -draw.uniform((count, 1), 0.1, 1.0),
        ],
        dim=1,
    )
    up = F.normalize(up, dim=1)
    surface = pool.points[mesh_index] @ targets[:, :3, :3].transpose(1, 2)
    support = -(surface @ up[:, :, None])[..., 0].amin(dim=1)
    gap = draw.uniform((count,), 0.0, 0.02)
    table = _plane_pose(draw, up, centre - up * (support + gap)[:, None], draw.uniform((count,), 4.0, 9.0))

    facing = F.normalize(
        torch.cat([draw.uniform((count, 2), -0.5, 0.5), -torch.ones((count, 1), device=draw.device)], dim=1), dim=1
    )
    behind = centre * (1.0 + draw.uniform((count, 1), 0.8, 6.0) / centre[:, 2:])
    wall = _plane_pose(draw, facing, behind, draw.uniform((count,), 8.0, 16.0))
    for pose, probability in ((table, config.table), (wall, config.wall)):
        absent = draw.uniform((count,)) >= probability
        pose[:, 2, 3] = torch.where(absent, torch.full_like(pose[:, 2, 3], 10 * _HIDDEN_DEPTH), pose[:, 2, 3])
    return table, wall


def _plane_pose(draw: Draw, normal: torch.Tensor, position: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    x = F.normalize(torch.linalg.cross(normal, draw.normal(tuple(normal.shape)), dim=1), dim=1)
    y = torch.linalg.cross(normal, x, dim=1)
    return make_transform(torch.stack([x, y, normal], dim=2) * scale[:, None, None], position)
