"""Colours of a surface, blended from the pictures that see it sharpest and most frontally."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pose6d.mesh.mesh import Mesh
from pose6d.rendering import ALBEDO, make_renderer

_FEATHER = 8.0  # pixels from a silhouette over which a view loses its say: there, small pose errors show background
_OCCLUDED = 0.003  # metres behind the nearest surface from which on a point is hidden
_OCCLUDER_GAP = 0.015  # metres off the surface that the depth camera may report before it sees something else
_SHARPENING = 5.0  # the best view dominates, and seams stay soft
_SHARPNESS = 0.3, 1.5  # least and most weight by sharpness
_MIN_COSINE = 0.25


@dataclass
class TextureView:
    """A picture of the object.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) metres as measured, 0 where unknown.
        K: (3, 3) intrinsics.
        camera_in_object: (4, 4) pose of the camera in the mesh's frame, metres.
        sharpness: of the picture, to be compared with that of the other views.
        mask: (H, W) bool, where the object is, as far as it is known: beside it, the picture says nothing.
    """

    rgb: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    camera_in_object: np.ndarray
    sharpness: float = 1.0
    mask: np.ndarray | None = None


@dataclass
class _WeightedView:
    """A view with what it can say about each pixel: the depth of the surface, and a trust of 0..1."""

    view: TextureView
    depth: np.ndarray
    trust: np.ndarray
    sharpness: float = 1.0  # relative to the other views


class ViewBlender:
    """Colours points on a mesh from pictures of it.

    Args:
        mesh: the surface, which hides parts of itself.
        views: pictures of it.
    """

    def __init__(self, mesh: Mesh, views: Sequence[TextureView]) -> None:
        renderer = make_renderer(mesh, "cpu")
        self._views = []
        for view in views:
            pose = torch.from_numpy(np.linalg.inv(view.camera_in_object)).float()[None]
            drawn = renderer.render(pose, torch.from_numpy(view.K).float(), view.depth.shape[:2], shading=ALBEDO)
            self._views.append(_weight_pixels(view, drawn.depth[0].numpy()))
        middle = max(float(np.median([view.sharpness for view in views])), 1e-9)
        for weighted in self._views:
            weighted.sharpness = float(np.clip(weighted.view.sharpness / middle, *_SHARPNESS))
        self._gains = np.ones((len(self._views), 3))
        self._balance(mesh)

    def colors(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Blend the views at points (P, 3) with unit normals (P, 3).

        Returns:
            Colours (P, 3) float32 in 0..255 and the trust in them (P,) float32, 0 where no view sees the point.
        """
        total = np.zeros((len(points), 3))
        weights = np.zeros(len(points))
        best = np.zeros(len(points))
        for view, gain in zip(self._views, self._gains, strict=True):
            index, color, weight = _sample_view(view, points, normals)
            best[index] = np.maximum(best[index], weight)
            weight = weight**_SHARPENING
            total[index] += weight[:, None] * color * gain
            weights[index] += weight
        known = weights > 0
        colors = np.where(known[:, None], total / np.maximum(weights, 1e-30)[:, None], 0)
        return np.clip(colors, 0, 255).astype(np.float32), np.where(known, best, 0).astype(np.float32)

    def _balance(self, mesh: Mesh) -> None:
        """Set each view's gain per channel so that its colours agree with what all views together say."""
        chosen = np.random.default_rng(0).permutation(len(mesh.vertices))[:4000]
        points, normals = mesh.vertices[chosen].astype(np.float64), mesh.normals[chosen].astype(np.float64)
        for _ in range(2):
            mean, trust = self.colors(points, normals)
            for number, view in enumerate(self._views):
                index, color, weight = _sample_view(view, points, normals)
                usable = (weight > 0.3) & (trust[index] > 0.3) & (color.min(axis=1) > 12) & (color.max(axis=1) < 245)
                if usable.sum() < 50:
                    continue
                ratio = mean[index][usable] / (color[usable] * self._gains[number])
                self._gains[number] *= np.clip(np.median(ratio, axis=0), 0.8, 1.25)
            self._gains /= np.median(self._gains, axis=0)


def _weight_pixels(view: TextureView, surface: np.ndarray) -> _WeightedView:
    mask = (surface > 0) if view.mask is None else (surface > 0) & view.mask
    inner = np.zeros(np.array(mask.shape) + 2, np.uint8)
    inner[1:-1, 1:-1] = mask & ~_rims(surface)
    distance = cv2.distanceTransform(inner, cv2.DIST_L2, 3)[1:-1, 1:-1]
    covered = (view.depth > 0) & (np.abs(view.depth - surface) > _OCCLUDER_GAP)
    covered = cv2.dilate(covered.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    trust = np.clip(distance / _FEATHER, 0, 1) * ~covered
    return _WeightedView(view, surface, trust.astype(np.float32))


def _rims(surface: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels beside a jump in depth, where one part of the object hides another."""
    kernel = np.ones((3, 3), np.uint8)
    lowest = cv2.erode(np.where(surface > 0, surface, np.float32(1e6)), kernel)
    return (surface > 0) & (cv2.dilate(surface, kernel) - lowest > 0.015)


def _sample_view(
    seen: _WeightedView, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points a view sees, their colours in it (N, 3) and weights (N,) of about 0..1."""
    view = seen.view
    height, width = seen.depth.shape
    object_in_camera = np.linalg.inv(view.camera_in_object)
    in_camera = points @ object_in_camera[:3, :3].T + object_in_camera[:3, 3]
    distance = np.linalg.norm(in_camera, axis=1)
    cosine = -(in_camera * (normals @ object_in_camera[:3, :3].T)).sum(axis=1) / np.maximum(distance, 1e-9)
    z = np.maximum(in_camera[:, 2], 1e-6)
    u = view.K[0, 0] * in_camera[:, 0] / z + view.K[0, 2]
    v = view.K[1, 1] * in_camera[:, 1] / z + view.K[1, 2]
    inside = (in_camera[:, 2] > 0.05) & (u > 1) & (u < width - 2) & (v > 1) & (v < height - 2)
    index = np.flatnonzero(inside & (cosine > _MIN_COSINE))
    column, row = np.round(u[index]).astype(int), np.round(v[index]).astype(int)
    surface = seen.depth[row, column]
    visible = (surface > 0) & (z[index] < surface + _OCCLUDED / cosine[index]) & (seen.trust[row, column] > 0)
    index, column, row = index[visible], column[visible], row[visible]
    at = (u[index].astype(np.float32)[None], v[index].astype(np.float32)[None])
    color = _bilinear(view.rgb, *at)
    trust = _bilinear(seen.trust, *at)[:, 0]
    weight = trust * cosine[index] * seen.sharpness * (0.4 / distance[index])
    return index, color, weight


def _bilinear(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(N, C) bilinear values of an image at columns and rows (1, N)."""
    # OpenCV's remap takes at most 32766 columns at once.
    step = 32_000
    parts = [
        cv2.remap(image, u[:, i : i + step], v[:, i : i + step], cv2.INTER_LINEAR).reshape(
            min(step, u.shape[1] - i), -1
        )
        for i in range(0, u.shape[1], step)
    ]
    channels = image.shape[2] if image.ndim == 3 else 1
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros((0, channels))
