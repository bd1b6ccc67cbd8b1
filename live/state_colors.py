"""The colour of each state, wherever it is shown."""

from __future__ import annotations

from live.tracked_pose import TrackState

STATE_COLORS: dict[TrackState, tuple[int, int, int]] = {
    "tracking": (47, 178, 92),  # green
    "doubtful": (240, 160, 20),  # amber
    "lost": (226, 58, 58),  # red
}
