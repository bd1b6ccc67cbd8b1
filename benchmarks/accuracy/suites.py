"""The conditions that are scored, one suite each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from learning.datasets.scenes.lighting import Lighting
from learning.datasets.scenes.scene_batches import SceneConfig
from pose6d.camera_simulation.frozen.plain_camera import PlainCamera
from pose6d.camera_simulation.simulated_camera import NOISY_DEPTH, PERFECT

Task = Literal["register", "track", "absent", "real"]
IMAGE_SIZE = (480, 640)
INTRINSICS = (610.0, 610.0, 320.0, 240.0)  # fx, fy, cx, cy of a common RGB-D camera at 640x480

_PLAIN = PlainCamera()
# As for the first published scores: one key light and some light from all around.
_LIGHT = Lighting(
    lights=(1.0, 0.0, 0.0),
    tint=0.15,
    ambient=(0.25, 0.9),
    exposure=(0.5, 1.1),
    hemisphere=0.0,
    shadows=0.0,
    occlusion=0.0,
    shiny=0.55,
    shine=0.5,
    albedo_gain=0.0,
    albedo_tint=0.0,
    background=0.0,
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
    light=_LIGHT,
    pressed=0.0,
    hands=0.0,
    shape_error=0.0,
    intrinsics_error=0.0,
    noise=PERFECT,
)


@dataclass(frozen=True)
class Suite:
    """One row of the scoreboard.

    Attributes:
        name: what `--suites` calls it.
        condition: what sets it apart, for people.
        task: register in a frame; follow through a sequence; register where the object is absent, of which only the
            confidence is scored; or register in real frames.
        config: what the scenes look like; its own camera is perfect where `noise` is given.
        noise: of the plain camera; None where `config.noise` simulates one with more faults.
        visible: lowest and highest share of the silhouette that may be seen; scenes outside are drawn again.
        objects: the given ones, the same in grey, or the built-in symmetric ones.
        reconstructed: the estimator gets a mesh as from a scan.
    """

    name: str
    condition: str
    task: Task = "register"
    config: SceneConfig = _CLUTTERED
    noise: PlainCamera | None = _PLAIN
    visible: tuple[float, float] = (0.3, 1.0)
    objects: Literal["given", "grey", "symmetric"] = "given"
    reconstructed: bool = False

    def seed(self, seed: int, index: int) -> np.random.SeedSequence:
        """Where everything random of one scene comes from, whoever makes it."""
        return np.random.SeedSequence([seed, zlib.crc32(self.name.encode()), index])


_EASY = replace(_CLUTTERED, pixels_per_diameter=(110.0, 180.0), centre_jitter=60.0, distractors=2, occluder=0.0)
_OCCLUDED = replace(_CLUTTERED, pixels_per_diameter=(80.0, 160.0), distractor_hidden=0.1, occluder=0.9)
_CUT = replace(_CLUTTERED, cut=1.0)
_NOISY_DEPTH = replace(_CLUTTERED, noise=NOISY_DEPTH)
_FAST = replace(_CLUTTERED, pixels_per_diameter=(90.0, 130.0))

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "easy",
            "near, hardly occluded, little noise",
            config=_EASY,
            noise=PlainCamera(strength=0.4),
            visible=(0.9, 1.0),
        ),
        Suite("cluttered", "three distractors, half of them in front, at least 30 % visible"),
        Suite("occluded", "30 to 60 % visible", config=_OCCLUDED, visible=(0.3, 0.6)),
        Suite("cut", "cluttered, and the picture's border cuts off a tenth to two thirds", config=_CUT),
        Suite(
            "textureless",
            "cluttered, every object grey, and so is the given mesh; the closest pose of the same shape counts",
            objects="grey",
        ),
        Suite(
            "symmetric", "cluttered, bodies of known symmetry; the closest symmetric pose counts", objects="symmetric"
        ),
        Suite(
            "noisy_depth",
            "cluttered, twice the depth noise, stereo shadows, flying pixels, fattened edges, many holes",
            config=_NOISY_DEPTH,
            noise=None,
        ),
        Suite(
            "reconstructed_mesh",
            "cluttered, but the given mesh is coarse, noisy, discoloured and 1 % too large or small",
            reconstructed=True,
        ),
        Suite(
            "tracking",
            "up to 0.3 diameters and 30 degrees between frames",
            task="track",
            config=_FAST,
            noise=PlainCamera(strength=0.6),
        ),
        Suite("absent", "the object is not under the mask; only confidence counts", task="absent"),
        Suite("real", "real frames of --real-folder", task="real"),
    )
}
