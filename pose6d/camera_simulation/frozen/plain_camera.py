"""The camera of the first published scores.

`SimulatedCamera` is meant to become better. Scores from before and after can be
compared, and the use of each of its effects can be measured, only with a camera that stays the same.
Depth noise is given in the length unit of the depth map (diameters of the target).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pose6d.camera_simulation.depth_effects import dilate, quantise
from pose6d.random_draws import Draw


@dataclass(frozen=True)
class PlainCamera:
    """How strong each effect may be; each scene draws its own strength below these."""

    depth_fine: float = 0.015
    """standard deviation of independent noise"""
    depth_correlated: float = 0.02
    """standard deviation of noise that varies over tens of pixels"""
    depth_bias: float = 0.012
    """standard deviation of a constant offset"""
    depth_step: float = 0.02
    """largest quantisation step"""
    holes: float = 0.5
    """probability that a scene has blob-shaped holes"""
    edge_loss: float = 0.9
    """largest probability that a pixel at a depth edge is missing"""
    dark_loss: float = 0.7
    """largest probability that a dark pixel is missing"""
    pixel_loss: float = 0.08
    """largest probability that any pixel is missing"""
    color_noise: float = 0.05
    """largest standard deviation of colour noise"""
    strength: float = 1.0
    """multiplies everything; 0 is a perfect camera"""

    def capture(self, rgb: Tensor, depth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Colour and depth of the same views as the camera reports them; see `expose` and `measure_depth`."""
        measured = self.measure_depth(depth, rgb, generator)
        return self.expose(rgb, generator), measured

    def expose(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        """White balance, exposure, gamma, saturation, blur and noise of (N, 3, H, W) float32 in 0..1."""
        s, draw, shape = self.strength, Draw(rgb.device, generator), (len(rgb), 1, 1, 1)
        gain = draw.uniform(shape, 1 - 0.35 * s, 1 + 0.35 * s)
        gain = gain * draw.uniform((len(rgb), 3, 1, 1), 1 - 0.12 * s, 1 + 0.12 * s)
        out = (rgb * gain + draw.uniform(shape, -0.06 * s, 0.06 * s)).clamp(0, 1)
        out = (out + 1e-4) ** torch.exp(draw.uniform(shape, -0.35 * s, 0.35 * s))
        grey = out.mean(1, keepdim=True)
        out = grey + (out - grey) * draw.uniform(shape, 1 - 0.6 * s, 1 + 0.4 * s)
        for width in (3, 5):
            blurred = F.avg_pool2d(out, width, stride=1, padding=width // 2, count_include_pad=False)
            out = out + (blurred - out) * (draw.uniform(shape, -1.0, 1.0).clamp(min=0) * s)
        sigma = self.color_noise * s * draw.uniform(shape) ** 2
        return (out + sigma * draw.normal(tuple(out.shape))).clamp(0, 1)

    def measure_depth(self, depth: Tensor, rgb: Tensor, generator: torch.Generator) -> Tensor:
        """Noise, quantisation and missing pixels of a stereo or structured-light camera.

        Args:
            depth: (N, H, W) float32, 0 = missing.
            rgb: (N, 3, H, W) float32 in 0..1, the same views; dark surfaces lose depth.

        Returns:
            (N, H, W) float32, 0 = missing.
        """
        s, draw, shape = self.strength, Draw(depth.device, generator), (len(depth), 1, 1, 1)
        clean = depth[:, None]

        def up_to(limit: float) -> Tensor:
            return limit * s * draw.uniform(shape) ** 2

        def smooth(cells: int) -> Tensor:
            """(N, 1, H, W) normal noise that varies over 1 / cells of the image."""
            coarse = draw.normal((len(depth), 1, cells, cells))
            return F.interpolate(coarse, size=depth.shape[1:], mode="bicubic", align_corners=False)

        out = clean + up_to(self.depth_fine) * draw.normal(tuple(clean.shape))
        for cells in (12, 40):
            out = out + 0.7 * up_to(self.depth_correlated) * smooth(cells)
        out = out + self.depth_bias * s * draw.normal(shape) * draw.uniform(shape)
        out = quantise(out, up_to(self.depth_step) + 1e-4)

        edge = dilate(clean) + dilate(-clean) > 0.08  # nearest and farthest around each pixel
        chance = edge.float() * self.edge_loss * s * draw.uniform(shape)
        dark = (rgb.mean(1, keepdim=True) < 0.12).float()
        chance = torch.maximum(chance, dark * up_to(self.dark_loss))
        chance = torch.maximum(chance, up_to(self.pixel_loss))
        lost = draw.uniform(tuple(clean.shape)) < chance
        has_holes = draw.uniform(shape) < self.holes * s
        blobs = smooth(14) > draw.uniform(shape, 1.5, 2.6)
        lost = lost | (blobs & has_holes) | (clean <= 0) | (out <= 0)
        return torch.where(lost, 0.0, out)[:, 0]
