"""The simulated RGB-D camera: what it does to clean images, on batches, on any device; presets at the end.

Lengths are in the unit of the depth map: diameters of the target in training scenes. Every scene draws its own strength
of every effect, and a share of the scenes is nearly clean, another awful. Effects whose default is 0 draw nothing where
they are 0, so that cameras from before them keep their pictures. Nothing here waits for the device.

The depth map is the truth of where things are: where colour and depth do not fit each other, it is colour that moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pose6d.camera_simulation.color_effects import blur_kernels, color_matrix, compress, convolve, vignette
from pose6d.camera_simulation.depth_effects import (
    dilate,
    displace,
    fatten,
    inverse_depth,
    mix_edges,
    patchy_loss,
    quantise,
    stereo_overlap,
)
from pose6d.random_draws import Draw

_FARTHEST_SHIFT = 5.0  # pixels between unregistered colour and depth, along x and y
_WIDEST_EDGE = 4  # pixels by which a ragged edge wanders at most


@dataclass(frozen=True)
class SimulatedCamera:
    """How strong each effect may be in ordinary scenes; awful ones may have twice that.

    Depth errors are those at the target's depth, when it is 5 diameters away; they grow with the square of the depth
    within a scene, and in proportion to the target's distance between scenes.
    """

    clean_share: float = 0.25
    """share of scenes with an eighth of the strength"""
    awful_share: float = 0.1
    """share of scenes with twice the strength"""

    depth_fine: float = 0.015
    """largest standard deviation of independent noise"""
    depth_correlated: float = 0.025
    """largest standard deviation of noise that varies over 5 to 40 pixels"""
    depth_warp: float = 0.02
    """largest standard deviation of an offset that varies slowly over the image"""
    depth_bias: float = 0.012
    """largest standard deviation of a constant offset"""
    depth_step: float = 0.03
    """largest quantisation step"""
    depth_scale: float = 0.0
    """largest share by which all depth is too large or too small"""
    fattening: float = 0.5
    """probability that nearer surfaces grow by 1 or 2 pixels"""
    ragged: float = 0.0
    """probability that depth edges wander by some pixels, as those of the first Kinect do"""
    shadows: float = 0.6
    """probability that depth is missing beside nearer surfaces, where one of two cameras cannot see"""
    border: float = 0.08
    """probability of a band without depth along the left or right border"""
    flying: float = 0.5
    """largest probability that a pixel at a depth edge lies between the surfaces"""
    edge_loss: float = 0.9
    """largest probability that a pixel at a depth edge is missing"""
    dark_loss: float = 0.8
    """largest probability that a dark pixel is missing"""
    bright_loss: float = 0.9
    """largest probability that a pixel in a saturated highlight is missing"""
    pixel_loss: float = 0.05
    """largest probability that any pixel is missing"""
    holes: float = 0.35
    """probability that a scene has blob-shaped holes"""

    exposure: float = 0.35
    """largest change of the gain"""
    brightness: float = 0.05
    """largest offset"""
    white_balance: float = 0.12
    """largest change of a channel's gain"""
    gamma: float = 0.35
    """largest |logarithm| of the exponent"""
    saturation: float = 0.5
    """largest change of the saturation"""
    contrast: float = 0.25
    """largest change of the contrast"""
    vignetting: float = 0.4
    """largest loss of light in the corners"""
    rolling: float = 0.1
    """probability of brightness that changes or flickers from the top to the bottom row"""
    misaligned: float = 0.35
    """probability that colour is shifted against depth, by up to 2 pixels"""
    unregistered: float = 0.0
    """probability that colour is shifted against depth by up to 5 pixels on top, as if nobody had registered them"""
    motion_blur: float = 0.2
    """probability of motion blur, of up to 9 pixels"""
    defocus: float = 2.0
    """largest radius of defocus in pixels"""
    color_noise: float = 0.05
    """largest standard deviation of colour noise"""
    compression: float = 0.3
    """probability of JPEG artefacts"""

    strength: float = 1.0
    """multiplies everything; 0 is a perfect camera"""

    def capture(
        self, rgb: Tensor, depth: Tensor, generator: torch.Generator, target_depth: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Colour and depth of the same views as the camera reports them; see `expose` and `measure_depth`."""
        measured = self.measure_depth(depth, rgb, generator, target_depth)
        return self.expose(rgb, generator), measured

    def expose(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        """Misaligned, blurred, exposed, tinted, vignetted, noisy and compressed (N, 3, H, W) float32 in 0..1."""
        count, _, height, width = rgb.shape
        draw = Draw(rgb.device, generator)
        levels = _Levels(draw, count, self)
        if self.unregistered > 0:
            shift = levels.happens(self.unregistered) * draw.uniform(
                (count, 2, 1, 1), -_FARTHEST_SHIFT, _FARTHEST_SHIFT
            )
            rgb = displace(rgb, shift.round())
        out = convolve(rgb, _blur(draw, levels))

        balance = ((1.0 + levels.around(self.exposure)) * (1.0 + levels.around(self.white_balance, 3))).flatten(1)
        matrix = color_matrix(balance, (1.0 + levels.around(self.saturation)).flatten())
        out = (matrix @ out.flatten(2)).view(rgb.shape)
        out *= vignette((height, width), levels.up_to(self.vignetting)) * _rolling_gain(draw, levels, height)
        # x ** gamma: exp and log are several times faster than pow on a CPU.
        out = torch.exp(torch.exp(levels.around(self.gamma)) * torch.log(out.clamp(1e-6, 1.0)))
        contrast = 1.0 + levels.around(self.contrast)
        out = out * contrast + (0.5 * (1.0 - contrast) + levels.around(self.brightness))

        sigma = levels.up_to(self.color_noise)
        photons = draw.uniform(levels.shape)  # 0: noise of the electronics alone, 1: shot noise alone
        sigma = sigma * (1.0 - photons + photons * 1.4 * out.clamp(0.0, 1.0).mean(1, keepdim=True).sqrt())
        out += sigma * draw.normal(tuple(out.shape))
        compressed = compress(out, (0.03 + levels.up_to(0.15)).flatten())
        out = torch.lerp(out, compressed, levels.happens(self.compression))
        out = torch.lerp(out, torch.round(out * 255.0) / 255.0, torch.full_like(sigma[:1, :1, :1, :1], self.strength))
        return out.clamp(0, 1)

    def measure_depth(
        self, depth: Tensor, rgb: Tensor, generator: torch.Generator, target_depth: Tensor | None = None
    ) -> Tensor:
        """Noise, quantisation and missing pixels of a stereo or structured-light camera.

        Args:
            depth: (N, H, W) float32, 0 = missing.
            rgb: (N, 3, H, W) float32 in 0..1, the same views; dark and saturated surfaces lose depth.
            target_depth: (N,) float32, the depth at which errors are as the fields say; each map's mean if omitted.

        Returns:
            (N, H, W) float32, 0 = missing. Pixels missing in `depth` stay so.
        """
        count, height, width = depth.shape
        clean = depth[:, None]
        draw = Draw(depth.device, generator)
        levels = _Levels(draw, count, self)
        if target_depth is None:
            target_depth = depth.sum((1, 2)) / (depth > 0).sum((1, 2)).clamp(min=1)
        target = target_depth.view(-1, 1, 1, 1).clamp(min=0.1)
        patches = draw.smooth(count, 1, (height, width), max(height // 5, 2), 0.8)
        patches += draw.smooth(count, 1, (height, width), max(height // 16, 2), 0.6)

        pixels = levels.happens(self.fattening) * draw.uniform(levels.shape, 0.6, 2.2) * (1.0 + 0.4 * patches)
        inverse = fatten(inverse_depth(clean), pixels)
        if self.ragged > 0:
            inverse = displace(inverse, _edge_offsets(draw, levels, (height, width)))
        lost = _unseen(draw, levels, inverse, target, patches) | (clean <= 0) | (inverse <= 0)

        nearest, farthest = dilate(inverse), -dilate(-inverse)
        threshold = draw.uniform(levels.shape, 0.06, 0.15)
        edge = (nearest - farthest > threshold * inverse * inverse).float()
        chance = edge * levels.up_to(self.flying)
        inverse = mix_edges(nearest, farthest, inverse, chance, draw.uniform(tuple(clean.shape)))

        field = torch.lerp(patches, draw.normal(tuple(clean.shape)), draw.uniform(levels.shape, 0.0, 0.7))
        lost |= patchy_loss(field, _loss_chance(draw, levels, rgb, edge))
        lost |= draw.uniform(tuple(clean.shape)) < levels.up_to(self.pixel_loss)
        blobs = draw.smooth(count, 1, (height, width), 14) + 0.3 * patches > draw.uniform(levels.shape, 1.5, 2.6)
        lost |= blobs & (levels.happens(self.holes) > 0)

        if self.depth_scale > 0:
            sign = 2.0 * draw.happens(levels.shape, 0.5) - 1.0
            inverse = inverse / (1.0 + sign * levels.up_to(self.depth_scale))
        far = (target / 5.0).clamp(0.4, 2.5) / target**2  # from a depth error at the target to one of inverse depth
        inverse = inverse + far * _depth_error(draw, levels, (height, width))
        inverse = quantise(inverse, far * levels.up_to(self.depth_step) + 1e-6)
        return ((~lost) / inverse.clamp(min=1e-2))[:, 0]


class _Levels:
    """Each scene's strengths, all of shape (N, 1, 1, 1)."""

    def __init__(self, draw: Draw, count: int, noise: SimulatedCamera):
        self.draw, self.noise, self.shape = draw, noise, (count, 1, 1, 1)
        kind = draw.uniform(self.shape)
        ordinary, awful = kind >= noise.clean_share, kind >= 1.0 - noise.awful_share
        self.severity = (0.125 + 0.875 * ordinary + 1.0 * awful) * noise.strength

    def up_to(self, limit: float) -> Tensor:
        """Mostly small: a third of the limit on average in ordinary scenes."""
        return limit * self.severity * self.draw.uniform(self.shape) ** 2

    def around(self, limit: float, channels: int = 1) -> Tensor:
        """Of either sign; clean scenes have it too, since exposure and colour are no fault of the camera's."""
        shape = (self.shape[0], channels, 1, 1)
        return limit * self.noise.strength * self.draw.uniform(shape, -1.0, 1.0)

    def happens(self, probability: float) -> Tensor:
        """1.0 or 0.0."""
        return self.draw.happens(self.shape, probability * self.severity)


def _blur(draw: Draw, levels: _Levels) -> Tensor:
    noise, count = levels.noise, levels.shape[0]
    shift = levels.happens(noise.misaligned)[..., 0, 0] * draw.uniform((count, 2), -2.0, 2.0)
    motion = levels.happens(noise.motion_blur) * draw.uniform(levels.shape, 1.0, 9.0)
    angle = draw.uniform((count,), 0.0, 2.0 * math.pi)
    return blur_kernels(shift, motion.flatten(), angle, 1.0 + levels.up_to(noise.defocus).flatten())


def _rolling_gain(draw: Draw, levels: _Levels, height: int) -> Tensor:
    """(N, 1, H, 1) gains of a rolling shutter under changing or flickering light."""
    y = torch.linspace(0.0, 1.0, height, device=draw.device).view(1, 1, -1, 1)
    happens = levels.happens(levels.noise.rolling)
    slope = draw.uniform(levels.shape, -0.5, 0.5) * (y - 0.5)
    waves = draw.uniform(levels.shape, 1.0, 12.0) * y + draw.uniform(levels.shape)
    bands = draw.uniform(levels.shape, -0.1, 0.2).clamp(min=0) * torch.sin(2.0 * math.pi * waves)
    return 1.0 + happens * (slope + bands)


def _unseen(draw: Draw, levels: _Levels, inverse: Tensor, target: Tensor, patches: Tensor) -> Tensor:
    """Where the second camera of a stereo pair sees nothing: beside nearer surfaces and beyond its own image."""
    noise, width = levels.noise, inverse.shape[-1]
    right = draw.happens(levels.shape, 0.5)
    # Focal length times baseline; a baseline of 5 to 10 cm is a third to a half of a hand-sized object.
    disparity = target * draw.uniform(levels.shape, 0.03, 0.25) * width
    tolerance = 1.0 + 0.6 * patches + 1e6 * (1.0 - levels.happens(noise.shadows))
    unseen = stereo_overlap(inverse, disparity, right) > tolerance.clamp(min=0.5)
    columns = torch.arange(width, device=draw.device, dtype=torch.float32)
    inwards = torch.lerp(columns.expand(*levels.shape[:3], -1), (width - 1.0 - columns), right)
    band = levels.happens(noise.border) * draw.uniform(levels.shape, 0.02, 0.3) * width
    return unseen | (inwards < band * (1.0 + 0.05 * patches))


def _edge_offsets(draw: Draw, levels: _Levels, size: tuple[int, int]) -> Tensor:
    """(N, 2, H, W) whole pixels, x and y, by which edges wander, in steps along them."""
    count = levels.shape[0]
    strength = levels.happens(levels.noise.ragged) * draw.uniform(levels.shape, 0.5, 1.8)
    wander = draw.smooth(count, 2, size, max(min(size) // 5, 2), strength)
    return wander.round().clamp(-_WIDEST_EDGE, _WIDEST_EDGE)


def _loss_chance(draw: Draw, levels: _Levels, rgb: Tensor, edge: Tensor) -> Tensor:
    noise = levels.noise
    bright = rgb.sum(1, keepdim=True)
    dark = (bright < 3.0 * draw.uniform(levels.shape, 0.05, 0.15)) * levels.up_to(noise.dark_loss)
    saturated = (bright > 2.9) * levels.up_to(noise.bright_loss)
    return torch.maximum(torch.maximum(dark, saturated), edge * levels.up_to(noise.edge_loss))


def _depth_error(draw: Draw, levels: _Levels, size: tuple[int, int]) -> Tensor:
    """(N, 1, H, W) errors at the target's depth."""
    noise, count = levels.noise, levels.shape[0]
    error = levels.up_to(noise.depth_fine) * draw.normal((count, 1, *size))
    for cells in (6, 16, 40):
        error += draw.smooth(count, 1, size, cells, 0.6 * levels.up_to(noise.depth_correlated))
    error += draw.smooth(count, 1, size, 3, levels.up_to(noise.depth_warp))
    return error + levels.up_to(noise.depth_bias) * draw.normal(levels.shape)


TRAINING = SimulatedCamera(unregistered=0.25, depth_scale=0.02, ragged=0.2)
"""what the networks are trained with"""
PERFECT = SimulatedCamera(strength=0.0)
NOISY_DEPTH = SimulatedCamera(
    clean_share=0.0,
    awful_share=0.3,
    depth_fine=0.03,
    depth_correlated=0.05,
    depth_warp=0.04,
    depth_bias=0.02,
    depth_step=0.06,
    fattening=1.0,
    shadows=1.0,
    border=0.15,
    flying=0.7,
    edge_loss=0.9,
    dark_loss=0.9,
    bright_loss=0.9,
    pixel_loss=0.15,
    holes=0.7,
)
"""of the suite of that name"""
