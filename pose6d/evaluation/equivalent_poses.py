"""Poses that no picture tells from the truth: symmetries of what one frame shows of an object.

A cube of which one face is marked has many equally right poses where the mark is out of sight, and one where it is
seen. Per-image sets of right poses are those of BOP-Distrib (Meden et al., BOP-Distrib: Revisiting 6D Pose Estimation
Benchmarks for Better Evaluation under Visual Ambiguities, arXiv 2408.17297).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pose6d.geometry.camera import crop_coverage, crop_images, crop_transforms
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.partial_symmetries import PartialSymmetries
from pose6d.rendering.interface import ALBEDO
from pose6d.rendering.rendered_object import RenderedObject

DEPTH_TOLERANCE = 0.02  # diameters; about twice what depth cameras and scanned meshes are off
# Of full scale. On six scans, looked at: at 0.04 the faint print of a brick is overlooked, at 0.03 the reflections in
# its texture tell the turns of a round bowl apart.
COLOR_TOLERANCE = 0.035
_MOST = 10.0  # tolerances that a pixel counts at most, so that one pixel of a hundred may look quite different
_BRIGHTNESS = 1.25  # by which the light may be brighter or darker, as nobody knows it
_IN_FRONT = 0.05  # diameters; what is nearer than a surface by more than this hides it
_WINDOW = 1.3  # diameters
_PIXELS = 160  # that the window has at most
_COARSE = 3  # the first look has so many times fewer pixels to a side
_COARSE_LIMIT = 4.0  # tolerances; what is farther off then is not looked at again
_PIXELS_AT_ONCE = 200_000


@dataclass(frozen=True)
class EquivalentSet:
    """The poses that look like the truth in one frame.

    Attributes:
        poses: (S, 4, 4) float64 object in camera, metres, the truth first.
        texture: standard deviation of the albedo over what can be seen, 0 (plain) to about 0.4.
    """

    poses: np.ndarray
    texture: float


class EquivalentPoses:
    """Finds the set of each frame; what depends on the object alone is done once.

    Candidates are the truth moved by the partial symmetries of the shape, by half and quarter turns about its
    principal axes, and by known symmetries. A candidate looks like the truth if depth and albedo of both, drawn without
    noise, differ by less than a tolerance: the root mean square over the pixels where either is seen and nothing hides
    it. Edges may be one pixel off, and brightness as a whole a quarter.

    Args:
        mesh: the object as it is in the frames, metres.
        symmetries: (S, 4, 4) transforms of the mesh frame that are known to leave its look unchanged, or None.
        device: draws the poses.

    Raises:
        MeshError, DeviceError: unusable mesh or device.
    """

    def __init__(self, mesh: Mesh, symmetries: np.ndarray | None = None, device: str | torch.device = "auto") -> None:
        self._object = RenderedObject.from_mesh(mesh, device)
        self._diameter = float(mesh.diameter)
        axes = self._object.principal_axes().numpy()
        self._partial = PartialSymmetries(mesh, axes)
        middle = mesh.sample_surface(10_000).mean(axis=0, dtype=np.float64)
        self._motions = np.concatenate(
            [self._partial.motions, *([] if symmetries is None else [symmetries]), _quarter_turns(axes, middle)]
        )
        self._centred = np.eye(4)
        self._centred[:3, 3] = self._object.center

    def find(
        self, truth: np.ndarray, K: np.ndarray, depth: np.ndarray, mask: np.ndarray, answers: np.ndarray | None = None
    ) -> EquivalentSet:
        """The poses that look like the truth in a frame.

        Args:
            truth: (4, 4) object in camera, metres.
            K: (3, 3) intrinsics.
            depth: (H, W) as measured, metres, 0 = missing; what lies in front of a surface hides it.
            mask: (H, W) bool, where the object is seen.
            answers: (A, 4, 4) poses whose nearest partial symmetries are candidates, too: of a ball there are more
                than can be listed.
        """
        motions = self._motions
        if answers is not None:
            turned = np.linalg.inv(truth)[:3, :3] @ np.asarray(answers, dtype=np.float64)[:, :3, :3]
            motions = np.concatenate([motions, self._partial.nearest(turned)])
        poses = np.asarray(truth, dtype=np.float64) @ motions
        across = float(K[0, 0]) * _WINDOW * self._diameter / max(float((poses[0] @ self._centred)[2, 3]), 1e-3)
        size = int(np.clip(across, 16 * _COARSE, _PIXELS))
        for pixels, limit in ((size // _COARSE, _COARSE_LIMIT), (size, 1.0)):
            difference, texture = self.compare(poses, K, depth, mask, pixels)
            difference[0] = 0.0
            poses = poses[difference < limit]
        return EquivalentSet(poses, texture)

    def compare(
        self, poses: np.ndarray, K: np.ndarray, depth: np.ndarray, mask: np.ndarray, size: int = _PIXELS
    ) -> tuple[np.ndarray, float]:
        """How different poses look from the first one.

        Args:
            poses: (N, 4, 4) object in camera, the truth first.
            K, depth, mask: see `find`.
            size: of the square window around the object that is looked at, pixels.

        Returns:
            (N,) differences in tolerances, the larger one of depth and colour; and `EquivalentSet.texture`.
        """
        device = self._object.renderer.device
        centred = torch.as_tensor(poses @ self._centred, dtype=torch.float32, device=device)
        intrinsics = torch.as_tensor(np.asarray(K), dtype=torch.float32, device=device)
        window = crop_transforms(centred[:1], intrinsics, self._diameter, _WINDOW, size)
        crop_K = (window @ intrinsics)[0]
        maps = torch.stack([torch.as_tensor(np.asarray(m, dtype=np.float32), device=device) for m in (depth, mask)])
        measured, seen = crop_images(maps, window, size, mode="nearest")[0]
        true_depth, true_color = self._draw(centred[:1], crop_K, size)
        shown = (seen > 0.5) & (true_depth > 0)
        hidden = ((true_depth > 0) & ~shown) | ~crop_coverage(window, size, *mask.shape)
        differences = []
        for part in centred.split(max(1, _PIXELS_AT_ONCE // size**2)):
            drawn, color = self._draw(part, crop_K, size)
            behind = (measured > 0) & (measured < drawn - _IN_FRONT * self._diameter) & (seen < 0.5)
            visible = (drawn > 0) & ~hidden & ~behind
            differences.append(_difference(true_depth, true_color, shown, drawn, color, visible, self._diameter))
        albedo = true_color[0][:, shown[0]]
        texture = float(albedo.var(dim=1, correction=0).mean().sqrt()) if shown.any() else 0.0
        return torch.cat(differences).cpu().numpy(), texture

    def _draw(self, poses: Tensor, K: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Depth (N, H, W) and albedo (N, 3, H, W)."""
        view = self._object.render(poses, K, (size, size), shading=ALBEDO)
        return view.depth, view.color.permute(0, 3, 1, 2)


def _difference(
    true_depth: Tensor, true_color: Tensor, shown: Tensor, depth: Tensor, color: Tensor, visible: Tensor,
    diameter: float,
) -> Tensor:  # fmt: skip
    """(N,) differences in tolerances of N drawings (N, H, W) from the true one (1, H, W)."""
    both = (shown & visible)[:, None]
    overlap, own = (true_color * color * both).sum((1, 2, 3)), (color * color * both).sum((1, 2, 3))
    brightness = (overlap / own.clamp(min=1e-6)).clamp(1 / _BRIGHTNESS, _BRIGHTNESS).view(-1, 1, 1, 1)
    truth = torch.cat([true_depth[:, None] / (DEPTH_TOLERANCE * diameter), true_color / COLOR_TOLERANCE], dim=1)
    other = torch.cat([depth[:, None] / (DEPTH_TOLERANCE * diameter), color * brightness / COLOR_TOLERANCE], dim=1)
    truth = truth.expand(len(other), -1, -1, -1)
    count = (shown.sum((1, 2)) + visible.sum((1, 2))).clamp(min=1)
    squares = sum(
        (_nearest_difference(a, b).square() * there[:, None]).sum((2, 3))
        for a, b, there in ((truth, other, shown), (other, truth, visible))
    )
    return (squares / count[:, None]).sqrt().amax(dim=1)


def _nearest_difference(a: Tensor, b: Tensor) -> Tensor:
    """(N, 2, H, W) depth and colour of `a` (N, 4, H, W) against the pixel of `b` within one pixel that fits best."""
    height, width = a.shape[-2:]
    padded = F.pad(b, (1, 1, 1, 1))
    best = torch.full_like(a[:, :2], _MOST)
    for i in range(3):
        for j in range(3):
            shifted = padded[..., i : i + height, j : j + width]
            apart = (a - shifted).abs()
            apart = torch.stack([apart[:, 0], apart[:, 1:].square().mean(1).sqrt()], dim=1)
            best = torch.minimum(best, torch.where(shifted[:, :1] > 0, apart, _MOST))
    return best


def _quarter_turns(axes: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """(9, 4, 4) half and quarter turns about axes (3, 3) through a point (3,)."""
    from scipy.spatial.transform import Rotation

    turns = np.tile(np.eye(4), (9, 1, 1))
    vectors = np.radians([90.0, 180.0, 270.0])[:, None, None] * np.asarray(axes, dtype=np.float64)
    turns[:, :3, :3] = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    turns[:, :3, 3] = middle - turns[:, :3, :3] @ middle
    return turns
