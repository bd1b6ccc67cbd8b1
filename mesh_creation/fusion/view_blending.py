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
_SHARPENING = 5.0  # power of the weights: the best view dominates, and seams stay soft
_BALANCED = 4000  # points that exposures are compared at
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
        sharpening: power of the weights. The higher, the more the best view dominates: right for poses that are a
            little off, while views that lie on each other exactly are less noisy together.
    """

    def __init__(self, mesh: Mesh, views: Sequence[TextureView], sharpening: float = _SHARPENING) -> None:
        self._sharpening = sharpening
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
        surface = _Surface(points, normals)
        total = np.zeros((len(points), 3), np.float32)
        weights = np.zeros(len(points), np.float32)
        best = np.zeros(len(points), np.float32)
        for view, gain in zip(self._views, self._gains.astype(np.float32), strict=True):
            index, color, weight = _sample_view(view, surface)
            best[index] = np.maximum(best[index], weight)
            weight = weight**self._sharpening
            total[index] += weight[:, None] * color * gain
            weights[index] += weight
        known = weights > 0
        colors = np.where(known[:, None], total / np.maximum(weights, 1e-30)[:, None], 0)
        return np.clip(colors, 0, 255).astype(np.float32), np.where(known, best, 0).astype(np.float32)

    def samples(self, points: np.ndarray, normals: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each view which of the points (P, 3) it sees (N,), their colours in it (N, 3), and weights (N,)."""
        surface = _Surface(points, normals)
        return [_sample_view(view, surface) for view in self._views]

    def _balance(self, mesh: Mesh) -> None:
        """Set each view's gain per channel so that its colours agree with what all views together say."""
        points, normals = surface_points(mesh, _BALANCED)
        samples = self.samples(points, normals)
        for _ in range(2):
            mean, trust = self.colors(points, normals)
            for number, (index, color, weight) in enumerate(samples):
                usable = (weight > 0.3) & (trust[index] > 0.3) & (color.min(axis=1) > 12) & (color.max(axis=1) < 245)
                if usable.sum() < 50:
                    continue
                ratio = mean[index][usable] / (color[usable] * self._gains[number])
                self._gains[number] *= np.clip(np.median(ratio, axis=0), 0.8, 1.25)
            self._gains /= np.median(self._gains, axis=0)


def surface_points(mesh: Mesh, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 3) spread evenly over a surface, and their unit normals (count, 3)."""
    rng = np.random.default_rng(0)
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(area), count, p=area / area.sum())
    share = rng.dirichlet([1, 1, 1], count)
    normals = np.einsum("ij,ijk->ik", share, mesh.normals.astype(np.float64)[mesh.faces[face]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return np.einsum("ij,ijk->ik", share, corners[face]), normals


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


class _Surface:
    """Points (P, 3) with unit normals (P, 3), and what is computed of them for all views once."""

    def __init__(self, points: np.ndarray, normals: np.ndarray) -> None:
        self.middle = points.mean(axis=0) if len(points) else np.zeros(3)
        self._points = (points - self.middle).astype(np.float32)
        self._normals = normals.astype(np.float32)
        self._heights = np.einsum("ij,ij->i", self._points, self._normals)
        self._squares = np.einsum("ij,ij->i", self._points, self._points)

    def facing(self, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Which points are turned towards a camera (3,): index (N,), points (N, 3), cosine (N,), distance (N,)."""
        camera = (camera - self.middle).astype(np.float32)
        distance = np.sqrt(np.maximum(self._squares - 2 * (self._points @ camera) + camera @ camera, 1e-12))
        cosine = (self._normals @ camera - self._heights) / distance
        index = np.flatnonzero(cosine > _MIN_COSINE)
        return index, self._points[index], cosine[index], distance[index]


def _sample_view(seen: _WeightedView, surface: _Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points a view sees, their colours in it (N, 3) and weights (N,) of about 0..1."""
    view = seen.view
    height, width = seen.depth.shape
    index, points, cosine, distance = surface.facing(view.camera_in_object[:3, 3])
    u, v, z = _project(points, surface.middle, view)
    inside = (z > 0.05) & (u > 1) & (u < width - 2) & (v > 1) & (v < height - 2)
    index, cosine, distance, u, v, z = (values[inside] for values in (index, cosine, distance, u, v, z))
    column, row = np.rint(u).astype(np.int32), np.rint(v).astype(np.int32)
    drawn = seen.depth[row, column]
    visible = (drawn > 0) & (z < drawn + _OCCLUDED / cosine) & (seen.trust[row, column] > 0)
    index, cosine, distance, u, v = (values[visible] for values in (index, cosine, distance, u, v))
    color = _bilinear(view.rgb, u[None], v[None])
    trust = _bilinear(seen.trust, u[None], v[None])[:, 0]
    return index, color, trust * cosine * np.float32(seen.sharpness * 0.4) / distance


def _project(points: np.ndarray, middle: np.ndarray, view: TextureView) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and depth (N,) float32 at which a view sees points (N, 3) about a middle (3,)."""
    object_in_camera = np.linalg.inv(view.camera_in_object)
    R, t = object_in_camera[:3, :3], object_in_camera[:3, :3] @ middle + object_in_camera[:3, 3]
    across, down, z = (view.K @ R).astype(np.float32) @ points.T + (view.K @ t).astype(np.float32)[:, None]
    deep = np.maximum(z, np.float32(1e-6))
    return across / deep, down / deep, z


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
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, channels), np.float32)
