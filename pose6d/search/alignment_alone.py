"""Following an object without any network, in frames in which it goes on as it moved.

Where constant velocity leads to is then so near to the truth that the alignment of texture and depth does the rest, as
exactly as after a network's step, in a fraction of its time. What the frame shows of the pose is compared with what it
showed when the networks last followed the object; where it is less, they do, in the same frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pose6d.geometry.motion import Motion, is_far
from pose6d.search.evidence import fitting_share

INTERVALS = {"cpu": 12, "cuda": 4}
"""frames from one that the networks follow an object in to the next, by the kind of device"""
ROUNDS = 3
"""of the alignment, all but the last one coarse"""

_STILL = 2.0, 0.02  # degrees and diameters between frames up to which an object counts as standing still
_FAR = 3.0, 0.04  # degrees and diameters from the predicted pose from which on the alignment may have gone astray
_LESS_TEXTURE, _LESS_FIT, _MORE_SPREAD = 0.1, 0.06, 0.1  # than when the networks last followed it
_LEAST_VISIBLE = 0.5  # share of the silhouette
_LEAST_FIT, _LEAST_CONFIDENCE = 0.8, 0.5  # of a pose that is worth following by the alignment
_WOBBLE = 0.3  # by which its texture may fall short of the usual one: light and blur change it
_LEARNING = 0.1  # share of a new frame in what is usual


class NetworkVerdict(NamedTuple):
    """What the networks' last frame said of the pose of an object, and whether it still holds.

    Attributes:
        pose: (4, 4).
        confidence: of the scorer; None where it has none, or was not asked.
        seen: the evidence by name (`pose6d.search.evidence`).
        diameter: of the object, metres.
        usual: correlation of its texture in the networks' frames so far, this one included.
        frames: since then.
    """

    pose: np.ndarray
    confidence: float | None
    seen: Mapping[str, float]
    diameter: float
    usual: float = 0.0
    frames: int = 0

    @property
    def sound(self) -> bool:
        """Whether the pose looks right by itself: what is not hidden is where it should be, and has its texture."""
        return (
            bool(fitting_share(self.seen) >= _LEAST_FIT)
            and self.seen["visible"] * self.seen["inside"] >= _LEAST_VISIBLE
            and self.seen["texture"] > self.usual - _WOBBLE
            and (self.confidence is None or self.confidence >= _LEAST_CONFIDENCE)
        )

    def start(self, pose: np.ndarray, motion: Motion, seconds: float | None = None) -> np.ndarray:
        """Where the alignment starts from in a frame, (4, 4).

        Of an object that stands still that is where the networks saw it: from its last pose on it would creep to where
        the alignment by itself wants it, and jump back with the next frame of the networks.

        Args:
            pose: (4, 4) the last one.
            motion: of the object.
            seconds: when the frame was taken.
        """
        still = _STILL[0], _STILL[1] * self.diameter
        if motion.moves(*still):
            predicted = motion.predict(seconds)
            return pose if predicted is None else predicted
        return pose if is_far(self.pose, pose, motion.center, *still) else self.pose

    def holds(self, start: np.ndarray, pose: np.ndarray, center: np.ndarray, seen: Mapping[str, float]) -> bool:
        """Whether a frame shows as much of the object at an aligned pose as the networks' frame did at theirs.

        Args:
            start, pose: (4, 4) before and after the alignment.
            center: (3,) metres, the middle of the object in the mesh frame.
            seen: the evidence of the pose by name.
        """
        return (
            not is_far(start, pose, center, _FAR[0], _FAR[1] * self.diameter)
            and seen["visible"] * seen["inside"] >= _LEAST_VISIBLE
            and seen["texture"] > self.seen["texture"] - _LESS_TEXTURE
            and fitting_share(seen) > fitting_share(self.seen) - _LESS_FIT
            and seen["spread"] < self.seen["spread"] + _MORE_SPREAD
        )


def usual_texture(seen: Mapping[str, float], before: NetworkVerdict | None) -> float:
    """How well the texture of an object correlates as a rule.

    Args:
        seen: the evidence of its pose by name, of the networks' last frame.
        before: of their frame before; None without any.
    """
    return seen["texture"] if before is None else before.usual + _LEARNING * (seen["texture"] - before.usual)
