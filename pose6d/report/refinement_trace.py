"""How the best hypotheses moved from step to step of the refinement, as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pose6d.geometry.camera import crop_images
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import Renderer
from pose6d.report.contact_sheet import contact_sheet, object_windows
from pose6d.report.overlay import draw_contour, draw_text


class RefinementTrace:
    """Watches a registration and keeps where each of the hypotheses that are left has been."""

    def __init__(self) -> None:
        self.names: list[str] = []  # of the steps that changed poses
        self.paths: list[torch.Tensor] = []  # after each of these, (N, 4, 4) original mesh in camera

    def __call__(self, step: str, poses: torch.Tensor, parents: torch.Tensor) -> None:
        """`pose6d.search.interfaces.Watch`; a search that begins anew drops the old one."""
        if step == "start":
            self.names, self.paths = [], []
        self.paths = [path[parents] for path in self.paths]
        if not self.paths or not torch.equal(self.paths[-1], poses):
            self.names.append(step)
            self.paths.append(poses)

    def best(self, count: int) -> np.ndarray:
        """(count, steps + 1, 4, 4) the ways of the first hypotheses, original mesh in camera."""
        return torch.stack([path[:count] for path in self.paths], dim=1).double().cpu().numpy()


def refinement_sheet(
    renderer: Renderer,
    rgb: np.ndarray,
    K: np.ndarray,
    paths: np.ndarray,
    names: Sequence[str],
    mesh: Mesh,
    size: int = 160,
) -> np.ndarray:
    """One row per hypothesis: its outline on the observed image at the start and after each step.

    Args:
        renderer, rgb, K, mesh, size: as of `contact_sheet.hypothesis_sheet`.
        paths: (rows, steps + 1, 4, 4) object in camera, metres.
        names: of the steps, the start included.

    Returns:
        (h, w, 3) uint8.
    """
    rows, columns = paths.shape[:2]
    poses = torch.as_tensor(paths.reshape(-1, 4, 4), dtype=torch.float32, device=renderer.device)
    intrinsics = torch.as_tensor(np.asarray(K), dtype=torch.float32, device=renderer.device)
    image = torch.as_tensor(rgb, device=renderer.device).permute(2, 0, 1).float()
    # All crops of a row look through the window of its last pose, so that the outline is seen to move.
    last = poses.view(rows, columns, 4, 4)[:, -1:].expand(-1, columns, -1, -1).reshape(-1, 4, 4)
    transforms = object_windows(last, intrinsics, mesh, 1.5, size)
    crops = crop_images(image, transforms, size).permute(0, 2, 3, 1).round().to(torch.uint8).cpu().numpy()
    masks = renderer.render(poses, transforms @ intrinsics, (size, size)).mask.cpu().numpy()
    pictures = []
    for i, (crop, mask) in enumerate(zip(crops, masks, strict=True)):
        picture = np.ascontiguousarray(crop)
        draw_contour(picture, mask, thickness=1)
        draw_text(picture, f"hypothesis {i // columns}" if i % columns == 0 else f"{i % columns} {names[i % columns]}")
        pictures.append(picture)
    return contact_sheet(pictures, columns)
