"""The conditions that are scored, one suite each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from learning.datasets.scene_batches import SceneConfig
from learning.datasets.sensor_noise import SensorNoise

IMAGE_SIZE = (480, 640)
INTRINSICS = (610.0, 610.0, 320.0, 240.0)  # fx, fy, cx, cy of a common RGB-D camera at 640x480

_NOISE = SensorNoise(
    depth_fine=0.015,
    depth_correlated=0.02,
    depth_bias=0.012,
    depth_step=0.02,
    holes=0.5,
    edge_loss=0.9,
    dark_loss=0.7,
    pixel_loss=0.08,
    color_noise=0.05,
    strength=1.0,
)
_CLUTTERED = SceneConfig(
    image_size=IMAGE_SIZE,
    pixels_per_diameter=(60.0, 160.0),
    centre_jitter=120.0,
    intrinsics=INTRINSICS,
    distractors=3,
    distractor_hidden=0.3,
    occluder=0.5,
    table=0.85,
    wall=0.85,
    noise=_NOISE,
)


@dataclass(frozen=True)
class Suite:
    """One row of the scoreboard.

    Attributes:
        name: what `--suites` calls it.
        condition: what sets it apart, for people.
        task: register in a frame; follow through a sequence; register where the object is absent, of which only the
            confidence is scored; or register in real frames.
        config: what the scenes look like.
        visible: lowest and highest share of the silhouette that may be seen; scenes outside are drawn again.
        objects: the given ones, the same in grey, or the built-in symmetric ones.
        reconstructed: the estimator gets a mesh as from a scan.
    """

    name: str
    condition: str
    task: Literal["register", "track", "absent", "real"] = "register"
    config: SceneConfig = _CLUTTERED
    visible: tuple[float, float] = (0.3, 1.0)
    objects: Literal["given", "grey", "symmetric"] = "given"
    reconstructed: bool = False

    def seed(self, seed: int, index: int) -> np.random.SeedSequence:
        """Where everything random of one scene comes from, whoever makes it."""
        return np.random.SeedSequence([seed, zlib.crc32(self.name.encode()), index])


_EASY = replace(
    _CLUTTERED,
    pixels_per_diameter=(110.0, 180.0),
    centre_jitter=60.0,
    distractors=2,
    occluder=0.0,
    noise=replace(_NOISE, strength=0.4),
)
_OCCLUDED = replace(_CLUTTERED, pixels_per_diameter=(80.0, 160.0), distractor_hidden=0.1, occluder=0.9)
_NOISY_DEPTH = replace(
    _CLUTTERED,
    noise=replace(
        _NOISE,
        depth_fine=0.04,
        depth_correlated=0.05,
        depth_bias=0.03,
        depth_step=0.06,
        holes=1.0,
        dark_loss=1.0,
        pixel_loss=0.3,
    ),
)
_FAST = replace(_CLUTTERED, pixels_per_diameter=(90.0, 130.0), centre_jitter=60.0, noise=replace(_NOISE, strength=0.6))

SUITES = {
    suite.name: suite
    for suite in (
        Suite("easy", "near, hardly occluded, little noise", config=_EASY, visible=(0.9, 1.0)),
        Suite("cluttered", "three distractors, half of them in front, at least 30 % visible"),
        Suite("occluded", "30 to 60 % visible", config=_OCCLUDED, visible=(0.3, 0.6)),
        Suite("textureless", "cluttered, every object grey, and so is the given mesh", objects="grey"),
        Suite(
            "symmetric", "cluttered, bodies of known symmetry; the closest symmetric pose counts", objects="symmetric"
        ),
        Suite("noisy_depth", "cluttered, two to four times the depth noise, holes everywhere", config=_NOISY_DEPTH),
        Suite(
            "reconstructed_mesh",
            "cluttered, but the given mesh is coarse, noisy, discoloured and 1 % too large or small",
            reconstructed=True,
        ),
        Suite("tracking", "up to 0.3 diameters and 30 degrees between frames", task="track", config=_FAST),
        Suite("absent", "the object is not under the mask; only confidence counts", task="absent"),
        Suite("real", "real frames of --real-folder", task="real"),
    )
}
