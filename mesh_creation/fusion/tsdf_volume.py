"""A truncated signed distance volume around the object, filled from depth images of known cameras.

Curless and Levoy, "A Volumetric Method for Building Complex Models from Range Images" (1996): every voxel keeps the
weighted mean of its signed distance to the measured surfaces, and rays that pass through it prove it empty. The grid
is dense because the proof of emptiness is needed away from the surface too, which block-sparse volumes do not keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mesh_creation.fusion.volume_loops import add_depth
from pose6d.pieces import even_slices, run_pieces

_MAX_VOXELS = 8_000_000
_SLAB_VOXELS = 200_000  # that a thread takes at once


@dataclass
class TsdfVolume:
    """Signed distances on a grid with axes along the frame that it lies in.

    Attributes:
        origin: (3,) metres, the centre of voxel (0, 0, 0).
        voxel: metres.
        truncation: metres, distances are kept up to this.
        total: (X, Y, Z) float32, weighted sum of distance / truncation, positive outside.
        weight: (X, Y, Z) float32, sum of weights; about the number of good views of the voxel.
    """

    origin: np.ndarray
    voxel: float
    truncation: float
    total: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def around(cls, low: np.ndarray, high: np.ndarray, voxel: float, device: str | torch.device = "cpu") -> TsdfVolume:
        """An empty volume from corner `low` (3,) to `high` (3,); the voxel grows where memory would not do."""
        extent = np.asarray(high, np.float64) - np.asarray(low, np.float64)
        voxel = max(voxel, float(np.cbrt(extent.prod() / _MAX_VOXELS)))
        shape = tuple(int(n) for n in np.ceil(extent / voxel).astype(int) + 1)
        empty = torch.zeros(shape, device=device)
        return cls(np.asarray(low, np.float64), voxel, max(3 * voxel, 0.003), empty, empty.clone())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        x, y, z = self.total.shape
        return x, y, z

    def axis(self, which: int) -> np.ndarray:
        """Coordinates of the voxels' centres along one axis, metres."""
        return self.origin[which] + self.voxel * np.arange(self.shape[which])

    def integrate(
        self,
        depth: np.ndarray,
        cosine: np.ndarray,
        support: np.ndarray,
        K: np.ndarray,
        camera_in_volume: np.ndarray,
        clearance: float,
    ) -> None:
        """Add one depth image.

        Args:
            depth: (H, W) metres, 0 where unknown.
            cosine: (H, W) cosine of incidence at each pixel (see `clean_depth`).
            support: (H, W) bool, pixels that show the table or board: they prove the space before them empty, and add
                no surface.
            K: (3, 3) intrinsics.
            camera_in_volume: (4, 4) pose of the camera in the volume's frame.
            clearance: metres before a support pixel from which on space counts as empty.
        """
        # One more pixel than the image has, of depth 0: for voxels that the camera does not see.
        images = np.zeros((depth.size + 1, 2), np.float32)
        images[:-1, 0], images[:-1, 1] = depth.ravel(), np.where(support, -cosine, cosine).ravel()
        axes = projected_axes(self, K, camera_in_volume)
        if self.total.device.type == "cpu":
            metres = np.float32(clearance), np.float32(self.truncation)
            total, weight = self.total.numpy(), self.weight.numpy()

            def add(part: slice) -> None:
                add_depth(total[part], weight[part], axes[0][:, part], *axes[1:], images, depth.shape, *metres)

            run_pieces(add, slabs(self))
        else:
            pixels = torch.from_numpy(images).to(self.total.device)
            self._add(project_grid(axes, self.total.device), pixels, depth.shape, clearance)

    def _add(self, rows: list[torch.Tensor], pixels: torch.Tensor, size: tuple[int, ...], clearance: float) -> None:
        """`add_depth` of all voxels by PyTorch, from pixels (H * W + 1, 2) of which the last has no depth."""
        height, width = size
        z = rows[2]
        column, row = (rows[0] / z).round_(), (rows[1] / z).round_()
        seen = (z > 0.01) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        index = torch.where(seen, row.mul_(width).add_(column), float(height * width)).int()
        measured, slope = pixels.index_select(0, index.flatten()).view(*z.shape, 2).unbind(-1)
        table = slope < 0
        slope = slope.abs()
        distance = (measured - z) * slope
        used = (measured > 0) & (distance > torch.where(table, clearance, -self.truncation))
        value = torch.where(table, 1.0, (distance / self.truncation).clamp_(max=1.0))
        weight = (value + 1).mul_(2).clamp_(max=1.0).mul_(slope).mul_((0.5 / z).square_()).mul_(used)
        self.weight += weight
        self.total += weight.mul_(value)

    def distances(self, least_weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Distance / truncation (X, Y, Z) float32, -1 where unknown, and where it is known (X, Y, Z) bool."""
        known = self.weight >= least_weight
        values = torch.where(known, self.total / self.weight.clamp(min=1e-9), -1.0)
        return values.cpu().numpy(), known.cpu().numpy()

    def arrays(self) -> dict[str, np.ndarray]:
        """All there is, for a file."""
        return {
            "origin": self.origin,
            "voxel": np.array(self.voxel),
            "truncation": np.array(self.truncation),
            "total": self.total.cpu().numpy(),
            "weight": self.weight.cpu().numpy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TsdfVolume:
        """The volume that `arrays` was taken of."""
        return cls(
            arrays["origin"],
            float(arrays["voxel"]),
            float(arrays["truncation"]),
            torch.from_numpy(arrays["total"]),
            torch.from_numpy(arrays["weight"]),
        )


def projected_axes(volume: TsdfVolume, K: np.ndarray, camera_in_volume: np.ndarray) -> list[np.ndarray]:
    """What each axis adds to the homogeneous pixel coordinates of a voxel, whose last is the depth.

    Returns:
        (3, X), (3, Y) and (3, Z) float32.
    """
    volume_in_camera = np.linalg.inv(camera_in_volume)
    M, offset = K @ volume_in_camera[:3, :3], K @ volume_in_camera[:3, 3]
    parts = [M[:, i : i + 1] * volume.axis(i) for i in range(3)]
    parts[0] = parts[0] + offset[:, None]
    return [np.ascontiguousarray(part, np.float32) for part in parts]


def project_grid(axes: Sequence[np.ndarray], device: torch.device) -> list[torch.Tensor]:
    """Homogeneous pixel coordinates of a grid, three times (X, Y, Z), of `projected_axes`; the last is the depth."""
    x, y, z = (torch.from_numpy(axis).to(device) for axis in axes)
    return [x[r][:, None, None] + y[r][None, :, None] + z[r][None, None, :] for r in range(3)]


def slabs(volume: TsdfVolume) -> list[slice]:
    """Parts of the x axis, to be shared among threads."""
    x, y, z = volume.shape
    return even_slices(x, max(1, _SLAB_VOXELS // (y * z)))
