"""The table of the results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from benchmarks.live_tracking.scores import FrameScore, SequenceScore
from pose6d.evaluation.pose_errors import rotation_error

HEADER = [
    "sequences",
    "number",
    "right, %",
    "wrong or hidden, of `tracking`, %",
    "hidden called `tracking`",
    "found again; frames: median, most",
    "degrees, mm across: median; most degrees",
    "ms: median, 99 %, most",
]


def summary(scores: Sequence[SequenceScore], frames: Sequence[Sequence[FrameScore]]) -> list[str]:
    """One row of the table."""
    seen, tracking = sum(s.seen for s in scores), sum(s.tracking for s in scores)
    left = [s for s in scores if s.hidden]
    found = [s.found_after for s in left if s.found_after is not None]
    known = [f for own in frames for f in own[1:] if f.degrees is not None and f.state == "tracking"]
    errors = ""
    if known:
        turn, lateral = (np.array([getattr(f, name) for f in known]) for name in ("degrees", "lateral"))
        errors = f"{np.median(turn):.2f}, {1000 * np.median(lateral):.2f}; {turn.max():.1f}"
    seconds = [f.seconds for own in frames for f in own[1:]]
    return [
        str(len(scores)),
        f"{100 * sum(s.right for s in scores) / seen:.1f}" if seen and any(s.known for s in scores) else "",
        f"{100 * sum(s.wrong_tracking for s in scores) / tracking:.2f}" if tracking else "",
        f"{sum(s.hidden_tracking for s in scores)} of {sum(s.hidden for s in scores)}",
        f"{len(found)} of {len(left)}" + (f"; {np.median(found):.0f}, {max(found)}" if found else ""),
        errors,
        ", ".join(f"{1000 * value:.1f}" for value in np.quantile(seconds, [0.5, 0.99, 1.0])),
    ]


def jitter(frames: Sequence[FrameScore]) -> str:
    """How far a pose that should stand still moves from frame to frame, mean."""
    degrees, metres = [], []
    for before, after in pairwise(frames):
        if before.pose is not None and after.pose is not None:
            a, b = np.array(before.pose), np.array(after.pose)
            degrees.append(float(np.degrees(rotation_error(a, b))))
            metres.append(float(np.linalg.norm(a[:3, 3] - b[:3, 3])))
    return f"{np.mean(degrees):.2f} degrees, {1000 * np.mean(metres):.2f} mm" if degrees else "never followed"
