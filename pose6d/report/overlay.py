"""A pose drawn over the colour image: the object's box, its axes and the outline of its silhouette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import Renderer

GREEN, RED, BLUE, ORANGE = (60, 220, 60), (235, 50, 50), (60, 110, 255), (255, 160, 30)
CYAN = (70, 220, 240)  # other poses that are likely
MAGENTA = (255, 70, 200)  # ground truth: unlike every colour of the prediction, for all kinds of colour vision
_DARK = (15, 15, 15)

_NEAR = 0.01  # metres; lines are cut here, where projection would blow up
_SHIFT = 4  # OpenCV draws at 1/16 pixel
_FARTHEST = 20_000  # pixels; beyond any image, and 16 times it still fits OpenCV's coordinates

# Corner i has coordinate +1 along axis a where bit a of i is set; an edge joins corners that differ in one bit.
_CORNERS = np.array([[1.0 if i >> a & 1 else -1.0 for a in range(3)] for i in range(8)])
_EDGES = [(i, i | 1 << a) for i in range(8) for a in range(3) if not i >> a & 1]


@dataclass(frozen=True)
class OrientedBox:
    """A box around the object: `box_in_object` (4, 4), its centre and axes, and `extents` (3,), its sides in metres."""

    box_in_object: np.ndarray
    extents: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """(8, 3) corners in the object's frame."""
        return _CORNERS * self.extents / 2 @ self.box_in_object[:3, :3].T + self.box_in_object[:3, 3]

    @property
    def edges(self) -> np.ndarray:
        """(12, 2, 3) the ends of its edges, in the object's frame."""
        return self.corners[np.array(_EDGES)]


def oriented_box(mesh: Mesh) -> OrientedBox:
    """The smallest box around a mesh; along the mesh's own axes unless a turned one has 10 % less surface."""
    import trimesh  # slow to import

    low, high = mesh.bounds.astype(np.float64)
    aligned = np.eye(4)
    aligned[:3, 3] = (low + high) / 2
    straight = OrientedBox(aligned, high - low)
    try:
        object_in_box, extents = trimesh.bounds.oriented_bounds(mesh.vertices.astype(np.float64))
    except Exception:  # scipy's hull refuses flat point sets with several exception types
        return straight
    if _area(extents) > 0.9 * _area(high - low):  # not volume: that of a flat mesh is 0
        return straight
    return OrientedBox(np.linalg.inv(object_in_box), np.asarray(extents))


def _area(extents: np.ndarray) -> float:
    x, y, z = extents
    return float(x * y + y * z + z * x)


def draw_box(
    image: np.ndarray,
    object_in_camera: np.ndarray,
    K: np.ndarray,
    box: OrientedBox,
    color: tuple[int, int, int] = GREEN,
    thickness: int = 2,
) -> None:
    """Draw the box's edges into `image` (H, W, 3) uint8; the three at its farthest corner, seen through it, thin."""
    corners = box.corners @ object_in_camera[:3, :3].T + object_in_camera[:3, 3]
    farthest = int(np.linalg.norm(corners, axis=1).argmax())
    for behind in (True, False):
        for a, b in _EDGES:
            if (farthest in (a, b)) == behind:
                _draw_segment(image, corners[a], corners[b], K, color, 1 if behind else thickness)


def draw_axes(
    image: np.ndarray,
    frame_in_camera: np.ndarray,
    K: np.ndarray,
    length: float,
    thickness: int = 3,
    colors: tuple[tuple[int, int, int], ...] = (RED, GREEN, BLUE),
) -> None:
    """Draw the x, y and z axes of a frame in red, green and blue, `length` metres long, the farthest tip first."""
    origin = frame_in_camera[:3, 3]
    tips = origin + length * frame_in_camera[:3, :3].T
    for axis in np.argsort(-tips[:, 2]):
        _draw_segment(image, origin, tips[axis], K, colors[axis], thickness)


def draw_contour(image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = ORANGE, thickness: int = 2) -> None:
    """Draw the outline of `mask` (H, W) bool into `image`, on a dark line that keeps it visible on any colour."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if thickness > 1:  # in a small picture it would hide the object
        cv2.polylines(image, outlines, True, _DARK, thickness + 2, cv2.LINE_AA)
    cv2.polylines(image, outlines, True, color, thickness, cv2.LINE_AA)


def draw_text(image: np.ndarray, text: str) -> None:
    """Write white text on a darkened strip in the upper left corner."""
    scale = max(0.4, image.shape[0] / 1000)
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    strip = image[: height + below + 6, : width + 10]
    strip[:] = strip // 3
    cv2.putText(image, text, (5, height + 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def silhouette(
    renderer: Renderer,
    object_in_camera: np.ndarray,
    K: np.ndarray,
    size: tuple[int, int],
    box: OrientedBox | None = None,
) -> np.ndarray:
    """Where the renderer draws the object, nothing else in the way.

    Args:
        renderer: built for the object's mesh.
        object_in_camera: (4, 4), metres.
        K: (3, 3) intrinsics.
        size: (height, width) of the image.
        box: around the object; given, only the part of the image that it covers is rendered.

    Returns:
        (height, width) bool.
    """
    left, top, right, bottom = _window(object_in_camera, K, size, box)
    mask = np.zeros(size, dtype=bool)
    if right <= left or bottom <= top:
        return mask
    window_K = np.array(K, dtype=np.float64)
    window_K[:2, 2] -= [left, top]
    poses = torch.as_tensor(np.asarray(object_in_camera)[None], dtype=torch.float32, device=renderer.device)
    intrinsics = torch.as_tensor(window_K, dtype=torch.float32, device=renderer.device)
    drawn = renderer.render(poses, intrinsics, (bottom - top, right - left)).mask[0]
    mask[top:bottom, left:right] = drawn.cpu().numpy()
    return mask


def _window(
    object_in_camera: np.ndarray, K: np.ndarray, size: tuple[int, int], box: OrientedBox | None
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the pixels that a box can cover; all of them if it reaches behind the camera."""
    height, width = size
    if box is None:
        return 0, 0, width, height
    corners = box.corners @ object_in_camera[:3, :3].T + object_in_camera[:3, 3]
    if corners[:, 2].min() < _NEAR:
        return 0, 0, width, height
    pixels = corners @ np.asarray(K).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    left, top = np.clip(np.floor(pixels.min(axis=0)), 0, [width, height]).astype(int)
    right, bottom = np.clip(np.ceil(pixels.max(axis=0)) + 1, 0, [width, height]).astype(int)
    return int(left), int(top), int(right), int(bottom)


class PoseOverlay:
    """Draws one object's poses: box, axes and silhouette.

    Args:
        mesh: the object, metres, in the frame of its poses.
        renderer: built for that mesh.
    """

    def __init__(self, mesh: Mesh, renderer: Renderer) -> None:
        self.renderer = renderer
        self._mesh = mesh
        self._axis_length = 0.5 * float(mesh.diameter)

    @cached_property  # takes a tenth of a second, which the first pose need not wait for
    def box(self) -> OrientedBox:
        return oriented_box(self._mesh)

    @cached_property
    def _axes_in_object(self) -> np.ndarray:
        """The mesh's own axes, moved to the box's centre: a mesh's origin may lie far outside the picture."""
        axes = np.eye(4)
        axes[:3, 3] = self.box.box_in_object[:3, 3]
        return axes

    def draw(
        self,
        rgb: np.ndarray,
        object_in_camera: np.ndarray,
        K: np.ndarray,
        text: str = "",
        truth: np.ndarray | None = None,
        others: Sequence[np.ndarray] = (),
        colors: tuple[tuple[int, int, int], tuple[int, int, int]] = (GREEN, ORANGE),
    ) -> np.ndarray:
        """Return a copy of `rgb` (H, W, 3) uint8 with the pose drawn on it.

        Args:
            rgb: the frame.
            object_in_camera: (4, 4), metres; one that is not finite is not drawn.
            K: (3, 3) intrinsics.
            text: written into the upper left corner.
            truth: (4, 4) ground truth; its box and axes, a little longer, are drawn in magenta below the pose's.
            others: (4, 4) each, other poses that are likely; their boxes and axes are drawn thin, in cyan.
            colors: of the box and of the outline.
        """
        image = np.ascontiguousarray(rgb).copy()
        if truth is not None:
            draw_box(image, truth, K, self.box, MAGENTA, thickness=4)
            axes = np.asarray(truth) @ self._axes_in_object
            draw_axes(image, axes, K, 1.25 * self._axis_length, 4, colors=(MAGENTA,) * 3)
        pose = np.asarray(object_in_camera, dtype=np.float64)
        if np.isfinite(pose).all():
            draw_contour(image, silhouette(self.renderer, pose, K, image.shape[:2], self.box), colors[1])
            draw_box(image, pose, K, self.box, colors[0])
            draw_axes(image, pose @ self._axes_in_object, K, self._axis_length)
        for other in others:
            draw_box(image, np.asarray(other, dtype=np.float64), K, self.box, CYAN, thickness=1)
            draw_axes(image, other @ self._axes_in_object, K, 0.8 * self._axis_length, 1, colors=(CYAN,) * 3)
        if text:
            draw_text(image, text)
        return image


def _draw_segment(
    image: np.ndarray, a: np.ndarray, b: np.ndarray, K: np.ndarray, color: tuple[int, int, int], thickness: int
) -> None:
    """Draw a line between two points (3,) in camera axes, cut at the near plane."""
    if a[2] > b[2]:
        a, b = b, a
    if b[2] <= _NEAR:
        return
    if a[2] < _NEAR:
        a = a + (b - a) * (_NEAR - a[2]) / (b[2] - a[2])
    ends = []
    for point in (a, b):
        u, v, w = K @ point
        ends.append(np.clip(np.array([u / w, v / w]), -_FARTHEST, _FARTHEST))
    pixels = [tuple(round(float(x) * (1 << _SHIFT)) for x in end) for end in ends]
    cv2.line(image, pixels[0], pixels[1], color, thickness, cv2.LINE_AA, _SHIFT)
