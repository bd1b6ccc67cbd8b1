"""How the best hypotheses moved from step to step of the refinement, as a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pose6d.geometry.camera import crop_images
from pose6d.mesh.mesh import Mesh
from pose6d.rendering.interface import Renderer
from pose6d.report.contact_sheet import contact_sheet, object_windows
from pose6d.report.overlay import draw_contour, draw_text


class RefinementTrace:
    """Stands in for a refiner and keeps the poses after each of its steps.

    Args:
        refiner: whose `predict` refines poses (N, 4, 4) by a number of steps.
    """

    def __init__(self, refiner: Any) -> None:
        self.refiner = refiner
        self.steps: list[torch.Tensor] = []  # the start and each step, (N, 4, 4)

    def predict(
        self,
        renderer: Renderer,
        poses: torch.Tensor,
        observation: Any,
        K: torch.Tensor,
        diameter: float,
        iterations: int = 5,
        progress: Callable[[int], object] | None = None,
        one_window: bool = False,
    ) -> torch.Tensor:
        """Refine as the refiner would, one step per call."""
        self.steps = [poses]
        for step in range(iterations):
            poses = self.refiner.predict(
                renderer, poses, observation, K, diameter, 1, progress=progress, one_window=one_window and step == 0
            )
            self.steps.append(poses)
        return poses

    def paths(self, best: np.ndarray, center: np.ndarray, count: int) -> np.ndarray:
        """The ways that the best hypotheses took.

        Args:
            best: (N, 4, 4) final poses of the original mesh, best first.
            center: (3,) of the mesh, which lies at the origin in the refiner's poses.
            count: how many hypotheses.

        Returns:
            (count, steps + 1, 4, 4) poses of the original mesh.
        """
        mesh_in_centred = np.eye(4)
        mesh_in_centred[:3, 3] = -np.asarray(center, dtype=np.float64)
        steps = torch.stack(self.steps).double().cpu().numpy() @ mesh_in_centred  # (steps + 1, N, 4, 4)
        distances = np.abs(steps[-1][None] - np.asarray(best)[:count, None]).max(axis=(2, 3))
        return np.swapaxes(steps[:, distances.argmin(axis=1)], 0, 1)


def refinement_sheet(
    renderer: Renderer, rgb: np.ndarray, K: np.ndarray, paths: np.ndarray, mesh: Mesh, size: int = 160
) -> np.ndarray:
    """One row per hypothesis: its outline on the observed image at the start and after each step.

    Args:
        renderer: built for the mesh in whose frame the poses are.
        rgb: (H, W, 3) uint8.
        K: (3, 3) intrinsics.
        paths: (rows, steps + 1, 4, 4) object in camera, metres.
        mesh: in the frame of the poses.
        size: width and height of each crop, pixels.

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
        draw_text(picture, f"hypothesis {i // columns}" if i % columns == 0 else f"step {i % columns}")
        pictures.append(picture)
    return contact_sheet(pictures, columns)
