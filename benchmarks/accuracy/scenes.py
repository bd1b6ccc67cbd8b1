"""Single frames of the suites: what the camera saw, and the truth in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.accuracy.suites import IMAGE_SIZE, Suite
from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.scenes.scene_batches import SceneBatch, SceneConfig, sample_scenes
from learning.datasets.surfaces.textures import make_textures
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import ALBEDO, Rendering, Shading

_BACKGROUNDS = 40
_BACKGROUND_SEED = 1_000_007
_PROBE = 4  # how much smaller the picture is that tells whether a scene shows enough of the object
_PROBE_MARGIN = 0.03  # by which visibility in the small picture may be off
_MOST_ATTEMPTS = 400
_MOST_BLOBS = 50


@dataclass(frozen=True)
class ScenePool:
    """The meshes that scenes are made of, and what leads from units of an object's diameter back to metres.

    Attributes:
        meshes: objects of diameter 1 and backgrounds.
        diameters: of each object, metres.
        centers: (objects, 3) metres, of each object's box in its own frame.
    """

    meshes: MeshPool
    diameters: tuple[float, ...]
    centers: np.ndarray

    @classmethod
    def from_meshes(cls, meshes: Sequence[Mesh]) -> ScenePool:
        pool = MeshPool(meshes, make_textures(_BACKGROUNDS, seed=_BACKGROUND_SEED), torch.device("cpu"))
        return cls(pool, tuple(mesh.diameter for mesh in meshes), np.stack([mesh.center for mesh in meshes]))

    def in_metres(self, pose: np.ndarray, index: int) -> np.ndarray:
        """(4, 4) float64 pose of the original mesh from one of the centred mesh of unit diameter."""
        pose = np.array(pose, dtype=np.float64)
        pose[:3, 3] = pose[:3, 3] * self.diameters[index] - pose[:3, :3] @ self.centers[index].astype(np.float64)
        return pose

    def draw(self, K: torch.Tensor, poses: torch.Tensor, meshes: torch.Tensor, shading: Shading = ALBEDO) -> Rendering:
        """One picture of all meshes (I,) at their poses (I, 4, 4), in diameters."""
        one = torch.zeros(len(meshes), dtype=torch.int64)
        return self.meshes.renderer.render(poses, K, IMAGE_SIZE, mesh_index=meshes, image_index=one, shading=shading)


@dataclass(frozen=True)
class View:
    """One frame as the estimator gets it.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres, 0 = missing.
        K: (3, 3) float32.
        truth: (4, 4) float64 object in camera, metres; None where the object is absent or its pose unknown.
    """

    rgb: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    truth: np.ndarray | None


@dataclass(frozen=True)
class EvaluationScene:
    """One task for the estimator: find the object in the first view, and follow it through the others if there are any.

    Attributes:
        object_index: of the object to be found.
        views: one, or the frames of a sequence.
        mask: (H, W) bool of the first view.
        visible: the part of the silhouette that can be seen, 0 where the object is absent.
    """

    object_index: int
    views: tuple[View, ...]
    mask: np.ndarray
    visible: float


def make_scene(pool: ScenePool, suite: Suite, seed: int, index: int) -> EvaluationScene:
    """Scene number `index` of a suite, to rounding the same on every machine and in every process."""
    seeds = suite.seed(seed, index)
    choices = np.random.default_rng(seeds.spawn(1)[0])
    wanted = index % pool.meshes.objects
    shown = wanted
    on_other_object = suite.task == "absent" and pool.meshes.objects > 1 and index // pool.meshes.objects % 2 == 0
    if suite.task == "absent" and pool.meshes.objects > 1:
        shown = (wanted + 1 + int(choices.integers(pool.meshes.objects - 1))) % pool.meshes.objects
    for state in seeds.generate_state(_MOST_ATTEMPTS, np.uint64):
        scene = _attempt(pool, suite, int(state >> 1), shown)
        if scene is None:
            continue
        mask = scene.mask[0].numpy()
        if suite.task == "absent" and not on_other_object:
            elsewhere = _blob(choices, mask, scene.depth[0].numpy())
            if elsewhere is None:
                continue
            mask = elsewhere
        view = View(
            (scene.rgb[0].permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy(),
            (scene.depth[0] * pool.diameters[shown]).numpy(),
            scene.K[0].numpy(),
            None if suite.task == "absent" else pool.in_metres(scene.poses[0].numpy(), shown),
        )
        visible = 0.0 if suite.task == "absent" else float(scene.visible[0])
        return EvaluationScene(wanted, (view,), mask, visible)
    raise RuntimeError(f"suite {suite.name}, scene {index}: {_MOST_ATTEMPTS} draws and none fits its conditions")


def _attempt(pool: ScenePool, suite: Suite, seed: int, shown: int) -> SceneBatch | None:
    """The scene of one seed, None where too much or too little of the object can be seen."""
    low, high = suite.visible
    target = torch.tensor([shown])
    # The layout is drawn before anything that depends on the size of the picture, so a small one shows the same.
    probe = sample_scenes(pool.meshes, 1, torch.Generator().manual_seed(seed), _smaller(suite.config), target)
    if not low - _PROBE_MARGIN <= float(probe.visible[0]) <= high + _PROBE_MARGIN:
        return None
    scene = sample_scenes(pool.meshes, 1, torch.Generator().manual_seed(seed), suite.config, target)
    if suite.noise is not None:
        generator = torch.Generator().manual_seed(seed + 1)
        scene.rgb, scene.depth = suite.noise.capture(scene.rgb, scene.depth, generator)
    usable = (scene.mask & (scene.depth > 0)).any()
    return scene if low <= float(scene.visible[0]) <= high and usable else None


def _smaller(config: SceneConfig) -> SceneConfig:
    """The same views in a picture of fewer pixels; integer pixel coordinates are pixel centres in both."""
    assert config.intrinsics is not None
    height, width = config.image_size
    fx, fy, cx, cy = config.intrinsics
    low, high = config.pixels_per_diameter
    return replace(
        config,
        image_size=(height // _PROBE, width // _PROBE),
        pixels_per_diameter=(low / _PROBE, high / _PROBE),
        centre_jitter=config.centre_jitter / _PROBE,
        intrinsics=(fx / _PROBE, fy / _PROBE, (cx + 0.5) / _PROBE - 0.5, (cy + 0.5) / _PROBE - 0.5),
    )


def _blob(choices: np.random.Generator, target: np.ndarray, depth: np.ndarray) -> np.ndarray | None:
    """(H, W) bool, an ellipse beside the target that mostly has depth; None where there is no room."""
    height, width = depth.shape
    rows, columns = np.ogrid[:height, :width]
    for _ in range(_MOST_BLOBS):
        u, v = choices.uniform(60, width - 60), choices.uniform(60, height - 60)
        a, b = choices.uniform(20, 60, 2)
        mask = ((columns - u) / a) ** 2 + ((rows - v) / b) ** 2 < 1
        if not (mask & target).any() and (depth[mask] > 0).mean() > 0.6:
            return mask
    return None
