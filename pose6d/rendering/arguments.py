"""Checks and conversions of a render call's arguments that every backend shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DrawCall:
    """A render call's arguments, checked, contiguous and on the renderer's device.

    Attributes:
        poses: (M, 4, 4) float32.
        K: (1, 3, 3) or (N, 3, 3) float32.
        mesh_index: (M,) int64, or None: all mesh 0.
        image_index: (M,) int64, or None: image i holds pose i.
        images: N.
        height, width: of every image.
    """

    poses: torch.Tensor
    K: torch.Tensor
    mesh_index: torch.Tensor | None
    image_index: torch.Tensor | None
    images: int
    height: int
    width: int


def prepare(
    poses: torch.Tensor,
    K: torch.Tensor,
    size: tuple[int, int],
    mesh_index: torch.Tensor | None,
    image_index: torch.Tensor | None,
    device: torch.device,
) -> DrawCall:
    """Check shapes and bring everything to the device.

    On CUDA this waits for the device only where K is (3, 3) and image_index is given, because N is then unknown.

    Raises:
        ValueError: a shape is not what the `Renderer` interface says.
    """
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ValueError(f"poses are {tuple(poses.shape)}, expected (M, 4, 4)")
    if K.ndim not in (2, 3) or K.shape[-2:] != (3, 3):
        raise ValueError(f"K is {tuple(K.shape)}, expected (3, 3) or (N, 3, 3)")
    height, width = (int(length) for length in size)
    if height <= 0 or width <= 0:
        raise ValueError(f"size is {(height, width)}, expected positive (height, width)")
    count = len(poses)
    for name, index in (("mesh_index", mesh_index), ("image_index", image_index)):
        if index is not None and index.shape != (count,):
            raise ValueError(f"{name} is {tuple(index.shape)}, expected ({count},), one entry for each pose")

    if K.ndim == 3:
        images = len(K)
        if image_index is None and images != count:
            raise ValueError(f"K holds {images} matrices for {count} poses: without image_index they must be as many")
    elif image_index is None:
        images = count
    else:
        images = int(image_index.max()) + 1 if count else 0

    return DrawCall(
        poses=poses.detach().to(device, torch.float32).contiguous(),
        K=K.detach().to(device, torch.float32).reshape(-1, 3, 3).contiguous(),
        mesh_index=None if mesh_index is None else mesh_index.to(device, torch.int64).contiguous(),
        image_index=None if image_index is None else image_index.to(device, torch.int64).contiguous(),
        images=images,
        height=height,
        width=width,
    )
