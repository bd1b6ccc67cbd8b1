"""Confidence and state of followed objects over time, as HTML with SVG."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from live.state_colors import STATE_COLORS
from live.tracked_pose import TrackedPose, TrackState

SPAN = 30.0  # seconds that the chart shows
_MOST_SAMPLES = 4000  # of one object: more frames in 30 seconds than any camera delivers
_BINS = 200  # steps over the width of the chart; a phone shows no more
_WIDTH, _HEIGHT = 300, 40


@dataclass(frozen=True)
class _Sample:
    seconds: float
    state: TrackState
    confidence: float | None


TIME_AXIS = (
    "<div style='display:flex;justify-content:space-between;font-size:11px;opacity:.6'>"
    f"<span>{SPAN:.0f} s ago</span><span>now</span></div>"
)


class StateHistory:
    """What one object went through in the last `SPAN` seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._samples: deque[_Sample] = deque(maxlen=_MOST_SAMPLES)

    def add(self, seconds: float, pose: TrackedPose) -> None:
        """Note the state in a frame; `seconds` on any clock that only goes forward."""
        self._samples.append(_Sample(seconds, pose.state, pose.confidence))

    def html(self) -> str:
        """A line with name, state and confidence, and below it the chart, the newest frame at its right end."""
        samples = list(self._samples)
        if not samples:
            return f"<div style='padding:4px 0'><b>{escape(self.name)}</b> not seen yet</div>"
        last = samples[-1]
        confidence = "" if last.confidence is None else f"{100 * last.confidence:.0f} %"
        return (
            "<div style='display:flex;align-items:center;gap:8px;padding-top:6px'>"
            f"<b style='overflow-wrap:anywhere'>{escape(self.name)}</b>"
            f"<span style='background:{_css(last.state)};color:#fff;border-radius:9px;padding:0 9px;font-weight:600'>"
            f"{last.state}</span>"
            f"<span style='margin-left:auto;font-variant-numeric:tabular-nums'>{confidence}</span></div>"
            f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' preserveAspectRatio='none' role='img' "
            f"aria-label='confidence of {escape(self.name, quote=True)}, last {SPAN:.0f} s' "
            f"style='display:block;width:100%;height:{_HEIGHT}px;margin-top:4px;border-radius:4px;"
            f"background:rgba(128,128,128,.12)'>{''.join(_marks(samples))}</svg>"
        )


def _marks(samples: Sequence[_Sample]) -> Iterator[str]:
    """Bands in the colour of the state, and on them the line of confidence, which has gaps where none is known."""
    now = samples[-1].seconds
    step = SPAN / _BINS
    binned = {round((sample.seconds - now) / step): sample for sample in samples if now - sample.seconds <= SPAN}
    points = [(_WIDTH * (1 + place / _BINS), sample) for place, sample in sorted(binned.items())]
    runs = [list(run) for _, run in groupby(points, key=lambda point: point[1].state)]
    starts = [run[0][0] for run in runs] + [float(_WIDTH)]
    for run, left, right in zip(runs, starts, starts[1:], strict=False):
        color, width = _css(run[0][1].state), max(right - left, 1)
        yield f"<rect x='{left:.1f}' width='{width:.1f}' height='{_HEIGHT}' fill='{color}' opacity='.25'/>"
    for run, following in zip(runs, [*runs[1:], []], strict=True):
        color = _css(run[0][1].state)
        for known, line in groupby([*run, *following[:1]], key=lambda point: point[1].confidence is not None):
            if known:
                path = " ".join(f"{x:.1f},{2 + (_HEIGHT - 4) * (1 - (s.confidence or 0)):.1f}" for x, s in line)
                yield (
                    f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='2' "
                    "stroke-linejoin='round' vector-effect='non-scaling-stroke'/>"
                )


def _css(state: TrackState) -> str:
    return f"rgb{STATE_COLORS[state]}".replace(" ", "")
