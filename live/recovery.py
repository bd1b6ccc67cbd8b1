"""Where to start from when an object is in doubt, and where to look for it when it is lost."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from pose6d.geometry.motion import is_far, place_at
from pose6d.geometry.transforms import so3_exp
from pose6d.scenes.frame import Frame
from pose6d.search.distinct_poses import select_distinct

_NEARBY = 30.0  # degrees by which starts in doubt are turned about the axes of the camera
_SAME_START = 5.0, 0.05  # degrees and diameters: starts nearer than that are refined to the same pose
_BEHIND = 0.25  # diameters by which the middle of an object lies behind the surface that is seen
MOST_PLACES = 4
"""that one round of a search looks at"""
_MOST_TRIED = 32  # places that a search remembers
_SAME_PLACE = 0.2  # diameters
_KEPT = 1  # poses of a search that the next round goes on with
_WORTH_KEEPING = -4.0  # log odds
_DISTINCT = 15.0  # degrees between poses that are worth refining further


def turned_about(pose: np.ndarray, rotation: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The pose (4, 4) turned by a rotation (3, 3) of the camera's axes about the middle of the object (3,)."""
    return place_at(rotation @ pose[:3, :3], pose[:3, :3] @ center + pose[:3, 3], center)


def starts_in_doubt(
    poses: Sequence[np.ndarray], center: np.ndarray, diameter: float, count: int, share: int = 0
) -> np.ndarray:
    """Where to start from in one frame of doubt.

    Args:
        poses: (4, 4) each, likeliest first; those that are nearly the same count once.
        center: (3,) metres, the middle of the object in the mesh frame.
        diameter: metres.
        count: of starts, at most.
        share: how many frames the doubt has lasted. The turns of the poses to all sides are shared out: each frame has
            others, until all have had their turn.

    Returns:
        (N, 4, 4): the poses themselves, then some of their turns.
    """
    known: list[np.ndarray] = []
    for pose in poses:
        if all(is_far(other, pose, center, _SAME_START[0], _SAME_START[1] * diameter) for other in known):
            known.append(pose)
    axes = torch.eye(3).repeat_interleave(2, 0) * torch.tensor([1.0, -1.0]).repeat(3)[:, None]
    turned = [
        turned_about(pose, turn, center) for pose in known for turn in so3_exp(axes * np.radians(_NEARBY)).numpy()
    ]
    known = known[:count]
    room = min(count - len(known), len(turned))
    rows = (share * room + np.arange(room)) % len(turned)
    return np.stack([*known, *(turned[row] for row in rows)]).astype(np.float32)


class PossiblePlace(NamedTuple):
    """Where an object may be.

    Attributes:
        mask: (H, W) bool, the region that it would fill.
        front: (3,) metres, camera axes: the middle of the region at its median depth.
        middle: (3,) metres, where the middle of the object would be, behind that.
    """

    mask: np.ndarray
    front: np.ndarray
    middle: np.ndarray


def region_places(regions: Sequence[np.ndarray], frame: Frame, diameter: float) -> list[PossiblePlace]:
    """The places of regions (H, W) bool; those without depth are left out."""
    places = []
    for region in regions:
        rows, columns = np.nonzero(region & (frame.depth > 0))
        if len(rows) == 0:
            continue
        depth = float(np.median(frame.depth[rows, columns]))
        u, v = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
        K = frame.K
        y = (v - K[1, 2]) / K[1, 1]
        ray = np.array([(u - K[0, 2] - K[0, 1] * y) / K[0, 0], y, 1.0])
        places.append(PossiblePlace(region, ray * depth, ray * (depth + _BEHIND * diameter)))
    return places


@dataclass
class SearchProgress:
    """How far the search for one lost object has got.

    Attributes:
        pieces: the work that is left, a piece for each frame; None before it begins.
        kept: (K, 4, 4) the best poses so far.
        tried: places (3,) in metres that were looked at, and how often, latest last.
    """

    pieces: Generator[None, tuple[Frame, bool], None] | None = None
    kept: list[np.ndarray] = field(default_factory=list)
    tried: list[tuple[np.ndarray, int]] = field(default_factory=list)

    def restart(self) -> None:
        """Begin again: the object has just been lost."""
        self.pieces, self.kept, self.tried = None, [], []

    def choose(self, middles: Sequence[np.ndarray], diameter: float) -> list[tuple[int, int]]:
        """Which places to look at now, by their middles (3,), given likeliest first: where nothing has been tried yet,
        or least often.

        What stands around is soon known, so that what comes into the picture has its turn at once.

        Returns:
            The index of each, and how often it has been tried.
        """
        counts = [self._times_tried(middle, diameter) for middle in middles]
        chosen = sorted(range(len(middles)), key=counts.__getitem__)[:MOST_PLACES]
        for row in chosen:
            self.tried = [known for known in self.tried if not _near(known[0], middles[row], diameter)]
            self.tried.append((middles[row], counts[row] + 1))
        self.tried = self.tried[-_MOST_TRIED:]
        return [(row, counts[row]) for row in chosen]

    def _times_tried(self, place: np.ndarray, diameter: float) -> int:
        return max((count for known, count in self.tried if _near(known, place, diameter)), default=0)

    def keep(self, poses: np.ndarray, odds: np.ndarray) -> None:
        """Go on with the best of the poses (N, 4, 4), if they are worth it."""
        best = np.argsort(-odds, kind="stable")[:_KEPT]
        self.kept = [poses[row] for row in best if odds[row] > _WORTH_KEEPING]


def _near(place: np.ndarray, other: np.ndarray, diameter: float) -> bool:
    return bool(np.linalg.norm(place - other) < _SAME_PLACE * diameter)


def best_distinct(poses: np.ndarray, value: np.ndarray, count: int, center: np.ndarray, diameter: float) -> np.ndarray:
    """Indices of the poses (N, 4, 4) of the highest value (N,), at most so many, those first that differ."""
    centred = torch.from_numpy(np.array(poses, dtype=np.float32))
    centred[:, :3, 3] += (centred[:, :3, :3] @ torch.as_tensor(center, dtype=torch.float32)[:, None])[..., 0]
    return select_distinct(centred, torch.from_numpy(value), count, diameter, _DISTINCT).numpy()
