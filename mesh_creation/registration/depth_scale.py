"""Does the depth camera measure the same distance as the markers, whose size is known?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mesh_creation.board.camera_pose import BoardPose, depth_at
from pose6d.errors import SceneError

_MAX_ERROR = 0.03  # share by which depth and markers may disagree
_WARN_ERROR = 0.01
_MIN_FRAMES = 3
_KNOWN_SCALES = (0.001, 0.0001, 0.00025, 0.0002, 0.01, 1.0)


@dataclass(frozen=True)
class DepthScale:
    """Measured depth over the distance that the board's pose predicts.

    Attributes:
        ratio: median over the frames; 1 where both agree. NaN where it could not be measured.
        spread: median deviation of single frames from it.
        frames: how many frames could tell.
    """

    ratio: float
    spread: float
    frames: int


def measure_depth_scale(frames: Sequence[float]) -> DepthScale:
    """Combine what single frames say (see `depth_ratio`; NaN where one says nothing)."""
    ratios = np.array([ratio for ratio in frames if np.isfinite(ratio)])
    if len(ratios) < _MIN_FRAMES:
        return DepthScale(float("nan"), float("nan"), len(ratios))
    ratio = float(np.median(ratios))
    return DepthScale(ratio, float(np.median(np.abs(ratios - ratio))), len(ratios))


def depth_ratio(pose: BoardPose, depth: np.ndarray) -> float:
    """Median of measured over predicted depth at a frame's board points; NaN where fewer than 6 have a depth."""
    board_in_camera = np.linalg.inv(pose.camera_in_board)
    predicted = (pose.points @ board_in_camera[:3, :3].T + board_in_camera[:3, 3])[:, 2]
    measured = depth_at(depth, pose.pixels)
    known = measured > 0
    return float(np.median(measured[known] / predicted[known])) if known.sum() >= 6 else float("nan")


def check_depth_scale(scale: DepthScale, stated: float, source: str) -> list[str]:
    """Refuse a scan whose depth has another scale than its markers.

    Args:
        scale: as measured.
        stated: metres per depth unit that the recording states.
        source: the scan, for messages.

    Returns:
        Warnings.

    Raises:
        SceneError: they differ by more than 3 %; the message says which scale would fit.
    """
    if not np.isfinite(scale.ratio):
        return [f"the depth scale could not be checked: only {scale.frames} frame(s) have depth on the markers"]
    off = scale.ratio - 1
    if abs(off) <= _MAX_ERROR:
        if abs(off) <= _WARN_ERROR:
            return []
        return [f"depth is {abs(off):.1%} {'larger' if off > 0 else 'smaller'} than the markers say: check the print"]
    fitting = stated / scale.ratio
    known = min(_KNOWN_SCALES, key=lambda value: abs(np.log(value / fitting)))
    if abs(fitting / known - 1) < 0.02 and abs(known / stated - 1) > 0.02:
        fitting = known
    message = (
        f"{source}: the depth camera measures {scale.ratio:.4g} times the distance that the markers show (median of "
        f"{scale.frames} frames, +-{scale.spread:.1%}). Either depth_scale in intrinsics.json is wrong: it is "
        f"{stated:g}, and {fitting:.4g} would fit; or the board was printed at {scale.ratio:.4g} times its size: "
        "measure its ruler"
    )
    likely = "the print" if 0.85 < scale.ratio < 1.15 else "depth_scale"
    raise SceneError(f"{message}. More likely here: {likely}")
