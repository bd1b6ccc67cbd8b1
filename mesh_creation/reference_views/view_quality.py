"""How well a made object shows what a picture of it shows: colour and depth, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mesh_creation.reference_views.view import ReferenceView
from pose6d.geometry.masks import mask_iou
from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.mesh import Mesh
from pose6d.rendering import ALBEDO, Renderer, make_renderer
from pose6d.report.overlay import draw_text

_PANEL = 280  # pixels, height of a panel
_MARGIN = 0.15  # of the object's box, around it
_EDGE = 2  # pixels
_LEAST_INNER = 0.3  # share of the object's pixels that are left without their edge
_SCALE = 0.005  # metres of depth error that have the strongest colour


@dataclass(frozen=True)
class ViewQuality:
    """How a rendering of the object compares with a picture.

    Attributes:
        name: of the view.
        psnr: dB, peak signal-to-noise ratio of colour over the pixels of the object in both, without their edge, where
            masks and pictures show background as well; 0 where there are none.
        depth_error: metres, mean absolute difference of depth there.
        depth_error_median: metres, its median.
        overlap: intersection of mask and rendered silhouette over their union.
        picture: (H, W, 3) uint8: photograph, rendering, and difference of depth beside each other.
    """

    name: str
    psnr: float
    depth_error: float
    depth_error_median: float
    overlap: float
    picture: np.ndarray

    @property
    def numbers(self) -> dict[str, Any]:
        """All but the picture."""
        return {
            "name": self.name,
            "psnr": self.psnr,
            "depth_error": self.depth_error,
            "depth_error_median": self.depth_error_median,
            "overlap": self.overlap,
        }


def judge_views(mesh: Mesh, views: Sequence[ReferenceView], camera_in_object: np.ndarray) -> list[ViewQuality]:
    """Render the mesh beside each view.

    Args:
        mesh: of the object, metres.
        views: pictures of it.
        camera_in_object: (N, 4, 4) their poses in the mesh's frame.
    """
    renderer = make_renderer(mesh, "cpu")
    return [_judge(renderer, view, pose) for view, pose in zip(views, camera_in_object, strict=True)]


def mean_motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rigid motion (4, 4) that takes poses (N, 4, 4) closest to others: after = motion @ before."""
    motions = after @ np.linalg.inv(before)
    R = Rotation.from_matrix(motions[:, :3, :3]).mean().as_matrix()
    return rigid_transform(R, (after[:, :3, 3] - before[:, :3, 3] @ R.T).mean(axis=0))


def stack_pictures(qualities: Sequence[ViewQuality]) -> np.ndarray:
    """The pictures of several views below one another."""
    width = max(quality.picture.shape[1] for quality in qualities)
    rows = [np.pad(q.picture, ((0, 0), (0, width - q.picture.shape[1]), (0, 0))) for q in qualities]
    return np.concatenate(rows)


def _judge(renderer: Renderer, view: ReferenceView, camera_in_object: np.ndarray) -> ViewQuality:
    pose = torch.from_numpy(np.linalg.inv(camera_in_object)[None]).float()
    size = (view.depth.shape[0], view.depth.shape[1])
    drawn = renderer.render(pose, torch.from_numpy(np.asarray(view.K)).float(), size, shading=ALBEDO)
    color, depth, shown = 255 * drawn.color[0].numpy(), drawn.depth[0].numpy(), drawn.mask[0].numpy()
    both = shown & view.mask
    inner = cv2.erode(both.astype(np.uint8), np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8)) > 0
    if inner.sum() < _LEAST_INNER * both.sum():  # a thin object has nothing but edges
        inner = both
    measured = inner & (view.depth > 0)
    error = np.where(measured, depth - view.depth, 0)
    square = float(np.square(color[inner] - view.rgb[inner]).mean()) if inner.any() else np.inf
    off = np.abs(error[measured]) if measured.any() else np.array([np.inf])
    return ViewQuality(
        name=view.name,
        psnr=float(10 * np.log10(255**2 / max(square, 1e-3))) if inner.any() else 0.0,
        depth_error=float(off.mean()),
        depth_error_median=float(np.median(off)),
        overlap=mask_iou(shown, view.mask),
        picture=_picture(view, color, shown, error, measured),
    )


def _picture(
    view: ReferenceView, color: np.ndarray, shown: np.ndarray, error: np.ndarray, measured: np.ndarray
) -> np.ndarray:
    rows, columns = (np.flatnonzero((shown | view.mask).any(axis=axis)) for axis in (1, 0))
    margin = int(_MARGIN * max(np.ptp(rows), np.ptp(columns))) + 2
    window = (
        slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
        slice(max(columns[0] - margin, 0), columns[-1] + margin + 1),
    )
    rendering = np.where(shown[..., None], np.clip(np.rint(color), 0, 255), 40).astype(np.uint8)
    level = np.clip(128 + 127 * error / _SCALE, 0, 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    difference = np.where(measured[..., None], colors, 200).astype(np.uint8)
    texts = ("photograph", "rendering", f"depth, +-{1000 * _SCALE:.0f} mm")
    panels = []
    for image, text in zip((view.rgb, rendering, difference), texts, strict=True):
        cut = image[window]
        factor = _PANEL / cut.shape[0]
        panel = cv2.resize(cut, (max(round(factor * cut.shape[1]), 150), _PANEL), interpolation=cv2.INTER_AREA)
        draw_text(panel, text)
        panels.append(panel)
    return np.concatenate(panels, axis=1)
