"""The camera's picture as the viewer shows it: small, with each object's outline, box and axes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from live.state_colors import STATE_COLORS
from live.tracked_pose import TrackedPose
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.cpu import CpuRenderer  # not in a thread: two that import numba at once fail
from pose6d.report.overlay import OrientedBox, PoseOverlay
from pose6d.scenes.frame import Frame

_WIDTH = 640  # pixels, at most
_DARK = (24, 24, 24)


class PictureMaker:
    """Draws poses over pictures on the CPU, so that a GPU is left to the tracker."""

    def __init__(self) -> None:
        self._overlays: dict[str, PoseOverlay] = {}

    def add(self, name: str, mesh: Mesh) -> OrientedBox:
        """Get ready to draw an object, which takes seconds where its renderer was never compiled; any thread may do it.

        Args:
            name: of the object in its poses.
            mesh: metres, in the frame of its poses.

        Returns:
            The box that is drawn around it.
        """
        overlay = PoseOverlay(mesh, CpuRenderer([mesh], "cpu"))
        ahead = np.eye(4)
        ahead[2, 3] = 2 * mesh.diameter
        overlay.draw(np.zeros((32, 32, 3), np.uint8), ahead, np.array([[32.0, 0, 16], [0, 32, 16], [0, 0, 1]]))
        self._overlays[name] = overlay
        return overlay.box

    def draw(self, frame: Frame, poses: Sequence[TrackedPose]) -> np.ndarray:
        """(h, w, 3) uint8, at most 640 wide; objects without a pose, or that were not added, are not drawn."""
        height, width = frame.rgb.shape[:2]
        scale = min(1.0, _WIDTH / width)
        K = np.array(frame.K, dtype=np.float64)
        image = frame.rgb
        if scale < 1:
            image = cv2.resize(image, (_WIDTH, max(1, round(scale * height))), interpolation=cv2.INTER_AREA)
            K[:2, 2] += 0.5  # integer coordinates are centres of pixels
            K[:2] *= scale
            K[:2, 2] -= 0.5
        for pose in poses:
            if pose.pose is not None and pose.name in self._overlays:
                color = STATE_COLORS[pose.state]
                image = self._overlays[pose.name].draw(image, pose.pose, K, colors=(color, color))
        return image


def fit_to_screen(picture: np.ndarray, aspect: float, hint: str = "") -> np.ndarray:
    """The picture (h, w, 3) on a dark canvas with the `aspect`, width by height, of the screen.

    It lies at the top, since a phone's lower half is covered by the panel, and in the middle from left to right. The
    hint is written below it, where there is room.
    """
    height, width = picture.shape[:2]
    canvas_width, canvas_height = _canvas_size((width, height), aspect)
    canvas = np.full((round(canvas_height), round(canvas_width), 3), _DARK, dtype=np.uint8)
    left = (canvas.shape[1] - width) // 2
    canvas[:height, left : left + width] = picture
    if hint:
        scale = width / 500
        (text_width, text_height), _ = cv2.getTextSize(hint, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
        place = ((canvas.shape[1] - text_width) // 2, min(height + 2 * text_height, canvas.shape[0] - text_height // 2))
        cv2.putText(canvas, hint, place, cv2.FONT_HERSHEY_DUPLEX, scale, _DARK, 8, cv2.LINE_AA)
        cv2.putText(canvas, hint, place, cv2.FONT_HERSHEY_DUPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas


def screen_to_pixel(place: tuple[float, float], size: tuple[int, int], aspect: float) -> tuple[int, int]:
    """The pixel of a place on a screen that shows a picture as `fit_to_screen` puts it there.

    Args:
        place: x and y on the screen, 0..1 from its upper left.
        size: (width, height) of the picture whose pixel is wanted.
        aspect: of the screen, width by height.

    Returns:
        (x, y), the nearest pixel of the picture if the place lies beside it.
    """
    (x, y), (width, height) = place, size
    canvas_width, canvas_height = _canvas_size(size, aspect)
    column = np.floor(x * canvas_width - (canvas_width - width) / 2)
    row = np.floor(y * canvas_height)
    return int(np.clip(column, 0, width - 1)), int(np.clip(row, 0, height - 1))


def _canvas_size(size: tuple[int, int], aspect: float) -> tuple[float, float]:
    width, height = size
    return max(width, height * aspect), max(height, width / aspect)
