"""Poses, masks and boxes of a frame's objects, rendered from their meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mesh_creation.scan_folder import ScannedObject
from pose6d.geometry.masks import Box, mask_box
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import ALBEDO, make_renderer

_MIN_DEPTH = 0.02  # metres; nothing nearer is labelled
_MAX_SIDE = 4096  # pixels of a silhouette, beyond which the object is all but inside the camera


@dataclass(frozen=True)
class ObjectLabel:
    """One object in one frame.

    Attributes:
        item: which object.
        object_in_camera: (4, 4) float64.
        full: (H, W) bool, the silhouette inside the picture as if nothing hid it.
        visible: (H, W) bool, what of it no other object hides.
        full_pixels: of the silhouette, also of what lies outside the picture.
        full_box: around the whole silhouette; it may reach outside the picture.
        corners: (9, 2) float64 pixels: centre and corners of the box along the mesh's axes; z changes fastest, then y.
    """

    item: ScannedObject
    object_in_camera: np.ndarray
    full: np.ndarray
    visible: np.ndarray
    full_pixels: int
    full_box: Box
    corners: np.ndarray

    @property
    def visible_box(self) -> Box | None:
        """Around what is visible; None where nothing is."""
        return mask_box(self.visible)

    @property
    def visibility(self) -> float:
        """Share of the whole silhouette that is visible, 0..1."""
        return float(self.visible.sum()) / self.full_pixels


@dataclass(frozen=True)
class LabelledFrame:
    """A frame with the labels of the objects that its picture shows, or would show if nothing hid them.

    Attributes:
        number: its place in the recording, from 0.
        name: of its files.
        split: "train" or "test".
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres.
        K: (3, 3).
        labels: in the order of the objects.
    """

    number: int
    name: str
    split: str
    rgb: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    labels: list[ObjectLabel]

    @property
    def visible(self) -> list[tuple[ObjectLabel, Box]]:
        """The labels of which something is visible, each with the box around that."""
        return [(label, box) for label in self.labels if (box := label.visible_box) is not None]


def box_corners(mesh: Mesh) -> np.ndarray:
    """(9, 3) metres: centre, then corners of the box along the mesh's axes, x changing slowest, low before high."""
    low, high = mesh.bounds.astype(np.float64)
    corners = [[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    return np.concatenate([[(low + high) / 2], corners])


class MaskRenderer:
    """Draws objects where they stand and finds which of their pixels can be seen.

    Args:
        objects: all that stand on the board.
        occluder_gap: metres by which measured depth must be nearer than an object to count as something in front of it
            (a hand, a tool); 0 considers the objects only.
    """

    def __init__(self, objects: Sequence[ScannedObject], occluder_gap: float = 0.0) -> None:
        self.objects = list(objects)
        self.occluder_gap = occluder_gap
        self._renderer = make_renderer([item.mesh for item in self.objects], "cpu")
        # The vertices that faces use: the picture of a mesh lies between their projections.
        self._points = [i.mesh.vertices[np.unique(i.mesh.faces)].astype(np.float64) for i in self.objects]
        self._corners = [box_corners(item.mesh) for item in self.objects]

    def label(self, camera_in_board: np.ndarray, K: np.ndarray, depth: np.ndarray) -> list[ObjectLabel]:
        """Labels of the objects whose silhouette touches the picture.

        Args:
            camera_in_board: (4, 4).
            K: (3, 3).
            depth: (H, W) metres as measured; only `occluder_gap` uses its values.
        """
        size = depth.shape
        drawn = []
        for index, item in enumerate(self.objects):
            pose = np.linalg.inv(camera_in_board) @ item.object_in_board
            found = self._draw(index, pose, K, size)
            if found is not None:
                drawn.append((index, item, pose, *found))
        nearest = np.full(size, np.inf, np.float32)
        owner = np.full(size, -1)
        for index, _, _, seen, _, _ in drawn:
            closer = (seen > 0) & (seen < nearest)
            nearest[closer], owner[closer] = seen[closer], index
        if self.occluder_gap:
            owner[(depth > 0) & (depth < nearest - self.occluder_gap)] = -1
        return [
            ObjectLabel(item, pose, seen > 0, owner == index, pixels, box, _project(self._corners[index], pose, K))
            for index, item, pose, seen, pixels, box in drawn
        ]

    def _draw(
        self, index: int, pose: np.ndarray, K: np.ndarray, size: tuple[int, ...]
    ) -> tuple[np.ndarray, int, Box] | None:
        """Depth (H, W) inside the picture, silhouette pixels and box also outside; None where nothing is inside."""
        points = self._points[index] @ pose[:3, :3].T + pose[:3, 3]
        corners = self._corners[index] @ pose[:3, :3].T + pose[:3, 3]
        if min(points[:, 2].min(), corners[:, 2].min()) < _MIN_DEPTH:
            return None
        pixels = points @ K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        left, top = np.floor(pixels.min(axis=0)).astype(int) - 1
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 2
        height, width = size
        if right <= 0 or bottom <= 0 or left >= width or top >= height or max(right - left, bottom - top) > _MAX_SIDE:
            return None
        K_window = np.array(K, dtype=np.float64)
        K_window[:2, 2] -= [left, top]
        seen = self._renderer.render(
            torch.from_numpy(pose[None]).float(),
            torch.from_numpy(K_window).float(),
            (int(bottom - top), int(right - left)),
            mesh_index=torch.tensor([index]),
            shading=ALBEDO,
        )
        window = seen.depth[0].numpy()
        inside = np.zeros(size, np.float32)
        y0, y1, x0, x1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
        inside[y0:y1, x0:x1] = window[y0 - top : y1 - top, x0 - left : x1 - left]
        box = mask_box(window > 0)
        if box is None or not inside.any():
            return None
        return inside, int((window > 0).sum()), (box[0] + int(left), box[1] + int(top), box[2], box[3])


def _project(points: np.ndarray, pose: np.ndarray, K: np.ndarray) -> np.ndarray:
    pixels = (points @ pose[:3, :3].T + pose[:3, 3]) @ K.T
    return pixels[:, :2] / pixels[:, 2:]
