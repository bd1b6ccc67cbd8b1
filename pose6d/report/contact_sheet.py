"""Many small pictures on one sheet: the best hypotheses beside what the camera saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pose6d.geometry.camera import crop_images, crop_transforms
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import Renderer
from pose6d.report.overlay import draw_contour, draw_text

_BACKGROUND = 40
_GAP = 4  # pixels
_SHOWN, _COLUMNS = 24, 4  # hypotheses


def contact_sheet(images: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Arrange images (H, W, 3) uint8 of one size row by row; empty places stay dark grey."""
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    sheet_size = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    sheet = np.full(sheet_size, _BACKGROUND, dtype=np.uint8)
    for i, image in enumerate(images):
        y, x = _GAP + i // columns * (height + _GAP), _GAP + i % columns * (width + _GAP)
        sheet[y : y + height, x : x + width] = image
    return sheet


def object_windows(poses: torch.Tensor, K: torch.Tensor, mesh: Mesh, ratio: float, size: int) -> torch.Tensor:
    """(N, 3, 3) crops around the middle of a mesh, which need not be the origin of its frame; see `crop_transforms`."""
    middle = torch.as_tensor(np.asarray(mesh.center), dtype=torch.float32, device=poses.device)
    centred = poses.clone()
    centred[:, :3, 3] += poses[:, :3, :3] @ middle
    return crop_transforms(centred, K, mesh.diameter, ratio, size)


def hypothesis_sheet(
    renderer: Renderer,
    rgb: np.ndarray,
    K: np.ndarray,
    poses: np.ndarray,
    scores: np.ndarray,
    mesh: Mesh,
    *,
    size: int = 160,
) -> np.ndarray:
    """The best hypotheses of a registration: each one's rendering beside the observed crop with its outline.

    Args:
        renderer: built for the mesh in whose frame the poses are.
        rgb: (H, W, 3) uint8.
        K: (3, 3) intrinsics.
        poses: (N, 4, 4) object in camera, best first.
        scores: (N,), in the order of the poses.
        mesh: in the frame of the poses.
        size: width and height of each crop, pixels.

    Returns:
        (h, w, 3) uint8.
    """
    best = torch.as_tensor(np.asarray(poses)[:_SHOWN], dtype=torch.float32, device=renderer.device)
    intrinsics = torch.as_tensor(np.asarray(K), dtype=torch.float32, device=renderer.device)
    image = torch.as_tensor(rgb, device=renderer.device).permute(2, 0, 1).float() / 255
    transforms = object_windows(best, intrinsics, mesh, 1.2, size)
    observed = crop_images(image, transforms, size).permute(0, 2, 3, 1)
    rendering = renderer.render(best, transforms @ intrinsics, (size, size))
    drawn, seen = ((x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy() for x in (rendering.color, observed))
    pairs = []
    for i, mask in enumerate(rendering.mask.cpu().numpy()):
        outlined = np.ascontiguousarray(seen[i])
        draw_contour(outlined, mask, thickness=1)
        pair = np.ascontiguousarray(np.concatenate([drawn[i], outlined], axis=1))
        draw_text(pair, f"{i}: {float(scores[i]):.2f}")
        pairs.append(pair)
    return contact_sheet(pairs, _COLUMNS)
