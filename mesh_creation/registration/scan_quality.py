"""How good a registration is: coverage of the sphere of views, residuals over time, and a picture of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

_SECTORS = 12
_RINGS = ((10, 30), (30, 50), (50, 75))  # degrees above the board
_SIDE = 420
_MARGIN = 40
_METHOD_COLORS = {"board": (30, 120, 60), "features": (30, 90, 200), "icp": (200, 110, 20)}
_REJECTED = (200, 40, 40)
_GREY = (150, 150, 150)
_INK = (40, 40, 40)


@dataclass(frozen=True)
class FrameRecord:
    """What became of one frame.

    Attributes:
        name: of the frame.
        method: "board", "features", "icp" or "rejected".
        reason: why it was rejected, else "".
        reprojection: rms pixels of the board's points, NaN without a board.
        points: how many board points fit.
        fitness: share of the object that fits the neighbours, NaN for frames placed by the board.
        sharpness: of the picture.
    """

    name: str
    method: str
    reason: str = ""
    reprojection: float = float("nan")
    points: int = 0
    fitness: float = float("nan")
    sharpness: float = 0.0


def view_directions(cameras: np.ndarray, center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth 0..360 and elevation in degrees (N,) of cameras (N, 4, 4) as seen from `center` (3,)."""
    ray = cameras[:, :3, 3] - center
    azimuth = np.degrees(np.arctan2(ray[:, 1], ray[:, 0])) % 360
    return azimuth, np.degrees(np.arcsin(ray[:, 2] / np.linalg.norm(ray, axis=1)))


def coverage(cameras: np.ndarray, center: np.ndarray) -> dict[str, Any]:
    """Which parts of the view sphere were filmed: the share of 36 fields, the lowest and highest view, and gaps."""
    azimuth, elevation = view_directions(cameras, center)
    seen = np.zeros((len(_RINGS), _SECTORS), bool)
    for number, (low, high) in enumerate(_RINGS):
        inside = (elevation >= low) & (elevation < high)
        seen[number, (azimuth[inside] // (360 / _SECTORS)).astype(int)] = True
    gaps = sorted(np.diff(np.sort(azimuth), append=np.sort(azimuth)[0] + 360))
    return {
        "share": float(seen.mean()),
        "rings": {f"{low}-{high} deg": float(row.mean()) for (low, high), row in zip(_RINGS, seen, strict=True)},
        "widest_gap_deg": float(gaps[-1]),
        "elevation_deg": [float(elevation.min()), float(elevation.max())],
    }


def coverage_warnings(values: dict[str, Any]) -> list[str]:
    """What to film better next time."""
    found = []
    if values["widest_gap_deg"] > 60:
        found.append(f"no view over {values['widest_gap_deg']:.0f} degrees around the object: film all sides")
    if values["elevation_deg"][1] < 45:
        found.append(f"the highest view is {values['elevation_deg'][1]:.0f} degrees: film the top too")
    if values["elevation_deg"][0] > 40:
        found.append(f"the lowest view is {values['elevation_deg'][0]:.0f} degrees: film the sides from lower too")
    return found


def quality_picture(
    records: Sequence[FrameRecord], cameras: Sequence[np.ndarray | None], center: np.ndarray
) -> np.ndarray:
    """(420, 1260, 3) uint8: views on the sphere from above, and the reprojection error over the frames."""
    picture = np.full((_SIDE, 3 * _SIDE, 3), 255, np.uint8)
    _draw_sphere(picture[:, :_SIDE], records, cameras, center)
    errors = np.array([record.reprojection for record in records])
    _draw_series(picture[:, _SIDE:], records, errors, "reprojection error, px", np.nanmax(errors, initial=0.5))
    counts = {method: sum(record.method == method for record in records) for method in (*_METHOD_COLORS, "rejected")}
    text = "   ".join(f"{method}: {count}" for method, count in counts.items())
    _write(picture, text, (_SIDE + _MARGIN, _SIDE - 6))
    return picture


def _draw_sphere(
    area: np.ndarray, records: Sequence[FrameRecord], cameras: Sequence[np.ndarray | None], center: np.ndarray
) -> None:
    """Views from above: the middle is straight over the object, the rim level with the board."""
    middle, radius = _SIDE // 2, _SIDE // 2 - _MARGIN
    for elevation in (0, 30, 60):
        cv2.circle(area, (middle, middle), round(radius * (1 - elevation / 90)), _GREY, 1, cv2.LINE_AA)
        _write(area, f"{elevation}", (middle + 3, middle - round(radius * (1 - elevation / 90)) + 12))
    _write(area, "views, from above (degrees over the board)", (10, 16))
    for record, pose in zip(records, cameras, strict=True):
        if pose is None:
            continue
        azimuth, elevation = (np.radians(v[0]) for v in view_directions(pose[None], center))
        length = radius * (1 - np.degrees(elevation) / 90)
        at = (round(middle + length * np.cos(azimuth)), round(middle - length * np.sin(azimuth)))
        cv2.circle(area, at, 3, _METHOD_COLORS[record.method], -1, cv2.LINE_AA)


def _draw_series(
    area: np.ndarray, records: Sequence[FrameRecord], values: np.ndarray, title: str, highest: float
) -> None:
    height, width = area.shape[0], area.shape[1]
    left, right, top, bottom = _MARGIN, width - 15, 30, height - _MARGIN
    cv2.rectangle(area, (left, top), (right, bottom), _GREY, 1)
    _write(area, title, (left, 18))
    _write(area, f"{highest:.2f}", (2, top + 10))
    _write(area, "0", (left - 14, bottom))
    for number, (record, value) in enumerate(zip(records, values, strict=True)):
        x = round(left + (right - left) * (number + 0.5) / len(records))
        if record.method == "rejected":
            cv2.line(area, (x, bottom), (x, bottom - 12), _REJECTED, 2)
        elif np.isfinite(value):
            y = round(bottom - (bottom - top) * min(value / highest, 1))
            cv2.circle(area, (x, y), 2, _METHOD_COLORS["board"], -1, cv2.LINE_AA)
        else:
            cv2.line(area, (x, bottom), (x, bottom - 12), _METHOD_COLORS[record.method], 2)


def _write(area: np.ndarray, text: str, at: tuple[int, int]) -> None:
    cv2.putText(area, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
