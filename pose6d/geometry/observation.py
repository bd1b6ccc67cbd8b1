"""One RGB-D frame as tensors: colours, and the points that the camera saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pose6d.cuda_kernels import available, blocks_for, check_inputs, load_kernels
from pose6d.geometry.camera import backproject


@dataclass(frozen=True)
class Observation:
    """What a camera saw: one frame for all hypotheses, or one image per hypothesis.

    Attributes:
        rgb: (3, H, W) or (N, 3, H, W) float32 in 0..1.
        xyz: the same shape, metres in camera axes, 0 where depth is missing.
        K: (3, 3) float32 intrinsics; (M, 3, 3), one for each hypothesis, where they are of several images.
    """

    rgb: Tensor
    xyz: Tensor
    K: Tensor


def observe(rgb: np.ndarray | Tensor, depth: np.ndarray | Tensor, K: np.ndarray | Tensor) -> Observation:
    """One frame as an Observation, on the device of `depth`.

    Args:
        rgb: (H, W, 3) uint8, or float in 0..1.
        depth: (H, W) metres, 0 = missing.
        K: (3, 3) intrinsics.
    """
    depth = torch.as_tensor(depth, dtype=torch.float32)
    rgb = torch.as_tensor(rgb, device=depth.device)
    K = torch.as_tensor(K, dtype=torch.float32, device=depth.device)
    if rgb.dtype != torch.uint8:
        color, xyz = rgb.float(), backproject(depth, K)
    elif depth.device.type == "cpu" or available(depth.device):
        color, xyz = _observe_at_once(rgb, depth, K)
    else:
        color, xyz = rgb.float() / 255.0, backproject(depth, K)
    return Observation(color.permute(2, 0, 1), xyz.permute(2, 0, 1), K)


def _observe_at_once(rgb: Tensor, depth: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and points (H, W, 3) of a frame, by one kernel or one compiled loop."""
    check_inputs(depth.device, rgb=(rgb, (*depth.shape, 3)), K=(K, (3, 3)))
    color, xyz = torch.empty((2, *depth.shape, 3), device=depth.device).unbind()
    if depth.device.type == "cpu":
        from pose6d.geometry import camera_loops  # imports numba, which a GPU does not need

        camera_loops.observe(*(x.contiguous().numpy() for x in (rgb, depth, K)), color.numpy(), xyz.numpy())
    elif depth.numel():
        (kernel,) = load_kernels(
            "pose6d.geometry", "observation.cu", ("observe",), depth.get_device(), ("--fmad=false",)
        )
        kernel(
            blocks_for(depth.numel()), *(rgb.contiguous(), depth.contiguous(), K.contiguous()), *depth.shape, color, xyz
        )
    return color, xyz
