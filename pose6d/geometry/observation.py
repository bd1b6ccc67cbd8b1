"""One RGB-D frame as tensors: colours, and the points that the camera saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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
    color = rgb.float() / 255.0 if rgb.dtype == torch.uint8 else rgb.float()
    K = torch.as_tensor(K, dtype=torch.float32, device=depth.device)
    return Observation(color.permute(2, 0, 1), backproject(depth, K).permute(2, 0, 1), K)
