"""From which directions an object has been seen, and where to go next."""

from __future__ import annotations

import numpy as np

AZIMUTHS = 16
RINGS = (("low", 5.0, 30.0), ("middle", 30.0, 55.0), ("high", 55.0, 91.0))
"""Name, lowest and highest elevation in degrees."""


class Coverage:
    """Counts views by direction: 16 around the object, in three rings; the highest ring is one cap of 4."""

    def __init__(self) -> None:
        self.seen = np.zeros((len(RINGS), AZIMUTHS), dtype=int)
        self._last: tuple[float, float] | None = None

    def add(self, camera_in_board: np.ndarray) -> None:
        """Count a view from a camera (4, 4); one from below the board does not count."""
        x, y, z = camera_in_board[:3, 3]
        azimuth = float(np.degrees(np.arctan2(y, x))) % 360
        elevation = float(np.degrees(np.arctan2(z, np.hypot(x, y))))
        self._last = azimuth, elevation
        for ring, (_, low, high) in enumerate(RINGS):
            if low <= elevation < high:
                self.seen[ring, self._sector(ring, azimuth)] += 1

    @property
    def share(self) -> float:
        """Share of the directions of the low and middle ring and the cap that were seen, 0..1."""
        return float((self.seen > 0).mean())

    def bars(self) -> str:
        """One text of 16 letters per ring: # where the object was seen from."""
        lines = ["".join("#" if count else "." for count in ring) for ring in self.seen]
        return " ".join(f"{name} [{line}]" for (name, _, _), line in zip(RINGS, lines, strict=True))

    def advice(self) -> str:
        """What to do next, in a few words; empty when every direction was seen."""
        missing = np.argwhere(self.seen == 0)
        if not len(missing):
            return ""
        if self._last is None:
            return "point the camera at the board"
        azimuth, elevation = self._last
        middles = np.array([(RINGS[ring][1] + RINGS[ring][2]) / 2 for ring, _ in missing])
        around = ((missing[:, 1] + 0.5) * 360 / AZIMUTHS - azimuth + 180) % 360 - 180
        nearest = int(np.argmin(np.abs(around) + 1.5 * np.abs(middles - elevation)))
        words = []
        if abs(middles[nearest] - elevation) > 13:
            words.append("higher" if middles[nearest] > elevation else "lower")
        if abs(around[nearest]) > 12:  # seen from above the azimuth grows counter-clockwise: to the camera's right
            words.append("to the right" if around[nearest] > 0 else "to the left")
        return "go " + " and ".join(words) if words else "stay around here"

    def _sector(self, ring: int, azimuth: float) -> slice:
        sector = int(azimuth / 360 * AZIMUTHS)
        if RINGS[ring][0] == "high":  # near the pole 16 directions would be all but one
            first = sector // 4 * 4
            return slice(first, first + 4)
        return slice(sector, sector + 1)
