"""VSD: how much of the visible surface an estimated pose explains.

It compares depth images, so that every pose that looks the same from this camera is right: symmetries, and also those
that only hold because the telling part is hidden, need no list.
"""

from __future__ import annotations

import numpy as np
import torch

from pose6d.rendering.interface import Renderer

DELTA = 0.015  # metres; a surface this far behind the measured one still counts as visible (BOP Challenge 2019)
_FEWEST_PIXELS = 20
TAUS = np.arange(0.05, 0.51, 0.05)  # fractions of the diameter


def vsd(
    estimated_depth: np.ndarray,
    true_depth: np.ndarray,
    scene_depth: np.ndarray,
    K: np.ndarray,
    diameter: float,
    taus: np.ndarray = TAUS,
    delta: float = DELTA,
) -> np.ndarray:
    """VSD of one estimate for several tolerances, with the step cost and the visibility rule of BOP Challenge 2019.

    Of the pixels where the object is visible in either pose, the share where it is visible in one only, or where both
    distances to the camera differ by tau diameters or more. A pixel without measured depth hides nothing. Hodan et al.,
    On Evaluation of 6D Object Pose Estimation, ECCVW 2016, section 3.2; BOP Challenge 2020, ECCVW 2020, section 2.2.

    Args:
        estimated_depth: (H, W) the object alone in the estimated pose, 0 where it is not.
        true_depth: (H, W) the object alone in the true pose.
        scene_depth: (H, W) as measured, 0 = missing.
        K: (3, 3) intrinsics.
        diameter: of the object, in the unit of the depth.
        taus: (T,) fractions of the diameter.
        delta: in the unit of the depth.

    Returns:
        (T,) errors from 0 to 1; 1 where the object is visible in neither pose.
    """
    ray = _ray_length(K, *scene_depth.shape)
    scene, estimate, truth = (np.asarray(d, np.float64) * ray for d in (scene_depth, estimated_depth, true_depth))
    visible_truth = _visible(truth, scene, delta)
    visible_estimate = _visible(estimate, scene, delta) | (visible_truth & (estimate > 0))
    both = visible_truth & visible_estimate
    pixels = int((visible_truth | visible_estimate).sum())
    if pixels == 0:
        return np.ones(len(taus))
    apart = np.abs(truth[both] - estimate[both]) / diameter
    wrong = (apart >= np.asarray(taus)[:, None]).sum(axis=1)
    return (wrong + pixels - len(apart)) / pixels


def shows_object(true_depth: np.ndarray, scene_depth: np.ndarray, diameter: float) -> bool:
    """Whether a depth image shows anything near an object where the ground truth has it.

    At least a tenth of the object's pixels with measured depth must be within a diameter; few measured pixels say
    nothing, and pass. Arguments as for `vsd`.
    """
    both = (true_depth > 0) & (scene_depth > 0)
    near = np.abs(true_depth - scene_depth)[both] < diameter
    return len(near) < _FEWEST_PIXELS or bool(near.mean() >= 0.1)


def render_depth(
    renderer: Renderer, poses: np.ndarray, K: np.ndarray, size: tuple[int, int], mesh_index: int = 0
) -> np.ndarray:
    """Depth images (N, H, W) of the renderer's mesh `mesh_index` alone in each of the poses (N, 4, 4), metres."""
    drawn = renderer.render(
        torch.as_tensor(np.asarray(poses), dtype=torch.float32),
        torch.as_tensor(np.asarray(K), dtype=torch.float32),
        size,
        mesh_index=torch.full((len(poses),), mesh_index, dtype=torch.int64),
    )
    return drawn.depth.cpu().numpy()


def _ray_length(K: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) distance to the camera of a point at depth 1 behind each pixel."""
    v, u = np.mgrid[:height, :width]
    pixels = np.stack([u, v, np.ones_like(u)], axis=-1).astype(np.float64)
    return np.linalg.norm(pixels @ np.linalg.inv(np.asarray(K, dtype=np.float64)).T, axis=-1)


def _visible(surface: np.ndarray, scene: np.ndarray, delta: float) -> np.ndarray:
    """Where the surface (distance, 0 = none) is not behind the scene by more than delta."""
    return (surface > 0) & ((scene == 0) | (surface - scene <= delta))
