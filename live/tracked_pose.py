"""What is known of a followed object in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

TrackState = Literal["tracking", "doubtful", "lost"]
"""tracking: the pose is to be relied on; doubtful: it may be wrong or the object hidden; lost: being looked for"""


@dataclass(frozen=True)
class TrackedPose:
    """One object in one frame.

    Attributes:
        name: of the object.
        state: how far the pose is to be relied on.
        pose: (4, 4) float32, original mesh in camera (OpenCV axes), metres; None while the object is lost.
        confidence: 0..1, that the pose is right; None where nothing was judged.
    """

    name: str
    state: TrackState
    pose: np.ndarray | None
    confidence: float | None
