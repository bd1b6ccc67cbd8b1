"""What every renderer takes and returns.

A renderer is built for a list of meshes and draws any number of instances of them in one call. Two cases cover
everything: one instance per image (hypotheses of one object), and many instances per image (a scene with occlusion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Shading:
    """colour = albedo * (ambient + headlight * max(0, normal towards the camera axis)), clipped to 0..1."""

    ambient: float = 0.8
    headlight: float = 0.5


ALBEDO = Shading(ambient=1.0, headlight=0.0)


@dataclass
class Rendering:
    """Images of N views, on the renderer's device.

    Attributes:
        color: (N, H, W, 3) float32, RGB in 0..1, 0 where nothing was hit.
        xyz: (N, H, W, 3) float32, metres, the point seen in camera axes (x right, y down, z forward), 0 where nothing.
        normal: (N, H, W, 3) float32 unit normals in camera axes, turned towards the camera, 0 where nothing.
            None unless asked for.
        instance: (N, H, W) int32, the index of the pose drawn at this pixel, -1 where nothing was hit.
    """

    color: torch.Tensor
    xyz: torch.Tensor
    normal: torch.Tensor | None
    instance: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """(N, H, W) bool, true where anything was hit."""
        return self.instance >= 0

    @property
    def depth(self) -> torch.Tensor:
        """(N, H, W) float32, metres along the camera axis, 0 where nothing was hit."""
        return self.xyz[..., 2]


class Renderer(Protocol):
    """One rendering backend, holding one or more meshes on one device.

    Attributes:
        recordable: whether `render` may become part of a CUDA graph.
    """

    device: torch.device
    recordable: bool

    def render(
        self,
        poses: torch.Tensor,
        K: torch.Tensor,
        size: tuple[int, int],
        *,
        mesh_index: torch.Tensor | None = None,
        image_index: torch.Tensor | None = None,
        shading: Shading = Shading(),
        normals: bool = False,
        near: float = 0.001,
    ) -> Rendering:
        """Draw instances of the meshes.

        Args:
            poses: (M, 4, 4) float32, mesh in camera, metres.
            K: (3, 3) or (N, 3, 3) float32 intrinsics of each image; integer pixel coordinates are pixel centres.
                A crop is the full camera's K multiplied from the left by the crop's 3x3 pixel transform.
            size: (height, width) of every image.
            mesh_index: (M,) int64, which mesh each pose draws; all draw mesh 0 if omitted.
            image_index: (M,) int64 ascending, which image each pose is drawn into, nearest surface first; image i holds
                pose i alone if omitted. N is the number of K where K is (N, 3, 3), else the highest index + 1.
            shading: light model of `color`; ALBEDO gives the unlit surface.
            normals: also return normals.
            near: metres; nothing nearer than this is drawn.
        """
        ...
