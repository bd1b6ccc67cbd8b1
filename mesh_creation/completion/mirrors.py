"""The mirror planes of an object, found from few views of it.

Thrun and Wegbreit, "Shape from Symmetry" (ICCV 2005): a symmetry is judged by where it puts the surface seen. Images of
points may lie on the surface seen, or behind it, but not in space that a ray has proved empty. Bohg et al., "Mind the
Gap: Robotic Grasping under Incomplete Observation" (ICRA 2011), do so for one view of things on a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations

import numpy as np

from mesh_creation.completion.seen_space import PlaneCosts, SeenSpace
from mesh_creation.completion.surface_samples import sample_surface
from mesh_creation.reference_views.view import ReferenceView
from pose6d.geometry.rotation_grids import icosphere
from pose6d.pieces import run_pieces

_SAMPLES = 500  # points that a plane is judged by
_FEWEST = 50
_TOLERANCE = (0.003, 0.02)  # metres, and share of the object's length, within which a point counts as on a surface
_OFFSETS = 31  # planes tried along each direction
_REACH = 0.5  # of the length seen along a direction: how far a plane may be from the middle of what is seen
_TURN = 5.0  # degrees between directions along the support plane
_UPRIGHT = 12.0  # degrees by which a second plane may miss the right angle to the first
_TOP = 95  # percentile of the heights that counts as the top: noise reaches higher
_TILT = 16.0  # degrees by which the top may slope
_ROUNDS, _TRIALS = 6, 60  # of the refinement, each round in a smaller neighbourhood
# Every so many points judge planes by at most so many views, first all, then so many of each direction, and last those
# that are left by all points and all views.
_EVERY, _VIEWS, _LIKELIEST = (9, 3, 1), (6, 6, None), (12, 6)
_FIRST, _TOGETHER = 32, 16  # planes that all are compared with, and those that are judged by one call then

# What a plane costs beside the contradictions of 0 to 1, fitted by eye to scanned and generated objects.
_BURIED, _MATCHED = 0.3, -0.1
# For what makes the object larger. Where one view is all there is, of an object in the air, a plane that faces the
# camera contradicts nothing from some depth on, and what this costs must not draw it nearer: the object would be flat.
_GROWTH, _GROWTH_ALONE = 0.25, 0.1
# A plane is believed with at most so much of these, and where a shift by a twentieth of the object costs at least
# `_LEAST_RISE`: else what is seen says nothing about where the plane lies.
_MOST_CONTRADICTED, _MOST_BURIED, _LEAST_RISE, _SHIFT = 0.03, 0.3, 0.03, 0.05


@dataclass(frozen=True)
class Mirror:
    """A plane that an object is believed to be symmetric about: normal . p = offset.

    Attributes:
        normal: (3,) unit vector, object frame.
        offset: metres along the normal.
        score: 0..1; 1 is a plane that contradicts nothing, 0 one of which the views do not say where it is.
    """

    normal: np.ndarray
    offset: float
    score: float

    @property
    def transform(self) -> np.ndarray:
        """(4, 4) the reflection, of determinant -1."""
        T = np.eye(4)
        T[:3, :3] -= 2 * np.outer(self.normal, self.normal)
        T[:3, 3] = 2 * self.offset * self.normal
        return T


def find_mirrors(
    views: Sequence[ReferenceView], points: np.ndarray, supports: Sequence[np.ndarray | None] | None = None
) -> list[Mirror]:
    """Find up to three mirror planes, about perpendicular to one another.

    The first is the one that costs least, the second the best about perpendicular to it, the third perpendicular to
    both. On a support plane the first two are upright, which any object may have, and the third is level, halfway
    between the plane and the object's top. Where several offsets contradict nothing, the most compact object is made.

    Args:
        views: at least one, the depth around the object included where there is any.
        points: (P, 3) the surface seen, without outliers, metres, object frame.
        supports: of `find_supports`; looked for if omitted.

    Returns:
        The planes that are believed, best first; [] where there is none, and where less than a few dozen points are
        seen.
    """
    samples, normals = sample_surface(views, points, _SAMPLES)
    if len(samples) < _FEWEST:
        return []
    search = _PlaneSearch(views, points, samples, normals, supports)
    up = search.space.up
    directions, offsets = search.likely_planes(_hemisphere() if up is None else _level_directions(up))
    first = search.best_plane(directions, offsets)
    upright = np.abs(directions @ first[0]) < np.sin(np.radians(_UPRIGHT))
    second = search.best_plane(directions[upright], offsets[upright])
    found = run_pieces(lambda plane: search.describe(*search.refine(*plane)), [first, second])
    if up is None:
        found.append(search.describe(*search.third_plane(found[0].normal, found[1].normal)))
    else:
        believed = [mirror for mirror in found if mirror.score > 0]
        found.append(search.describe(*_level_plane(views, points, search.space, reflect(samples, believed))))
    return sorted((mirror for mirror in found if mirror.score > 0), key=lambda mirror: -mirror.score)


def combined_mirrors(mirrors: Sequence[Mirror]) -> list[np.ndarray]:
    """(4, 4) transforms of all products of mirrors, each mirror once, the shortest products first."""
    return [
        reduce(np.matmul, [mirror.transform for mirror in chosen])
        for count in range(1, len(mirrors) + 1)
        for chosen in combinations(mirrors, count)
    ]


def reflect(points: np.ndarray, mirrors: Sequence[Mirror]) -> np.ndarray:
    """Points (P, 3) with their images across all combinations of mirrors (Q, 3)."""
    return np.concatenate([points, *(points @ T[:3, :3].T + T[:3, 3] for T in combined_mirrors(mirrors))])


class _PlaneSearch:
    """Judges planes by what they make of the surface seen."""

    def __init__(
        self,
        views: Sequence[ReferenceView],
        points: np.ndarray,
        samples: np.ndarray,
        normals: np.ndarray,
        supports: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self._points, self._normals = samples, normals
        self._size = float(np.linalg.norm(np.ptp(samples, axis=0)))
        self._tolerance = max(_TOLERANCE[0], _TOLERANCE[1] * self._size)
        self.space = SeenSpace(views, points, self._tolerance, supports)
        self._growth = _GROWTH_ALONE if len(views) == 1 and self.space.up is None else _GROWTH
        self._noise = [0.0] * len(_EVERY)
        nowhere = np.zeros((1, 1, 3)), np.zeros((1, 1)), np.zeros((1, 1))
        self._noise = [float(self._measure(*nowhere, level=level)[0, 0, 0]) for level in range(len(_EVERY))]

    def likely_planes(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normals (N, 3) and offsets (N,) of some planes along each unit vector (D, 3), the likeliest of all first."""
        low, high = self._extent(directions)
        reach = np.maximum(_REACH * (high - low), _SHIFT * self._size)
        offsets = (low + high)[:, None] / 2 + reach[:, None] * np.linspace(-1, 1, _OFFSETS)
        for level, kept in enumerate(_LIKELIEST):
            costs = self._costs(directions[:, None], offsets, keep=kept, level=level)
            order = costs.argsort(axis=1)[:, :kept]
            costs, offsets = (np.take_along_axis(values, order, 1) for values in (costs, offsets))
        order = costs.ravel().argsort()
        return directions.repeat(costs.shape[1], axis=0)[order], offsets.ravel()[order]

    def best_plane(self, normals: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, float]:
        """The one of planes (N, 3), (N,) that costs least, by all points and views; likely ones should come first."""
        first = self._costs(normals[None, :_FIRST], offsets[None, :_FIRST])[0]
        groups = np.arange(_FIRST, max(len(normals), _FIRST)).clip(max=len(normals) - 1)
        groups = np.resize(groups, (-(-len(groups) // _TOGETHER), _TOGETHER)) if len(groups) else np.zeros((0, 1), int)
        rest = self._costs(normals[groups], offsets[groups], limit=float(first.min()))
        best = int(np.concatenate([first, rest.ravel()]).argmin())
        best = best if best < len(first) else int(groups.ravel()[best - len(first)])
        return normals[best], float(offsets[best])

    def refine(self, normal: np.ndarray, offset: float) -> tuple[np.ndarray, float]:
        """The best of random planes near one, nearer from round to round."""
        rng = np.random.default_rng(0)
        angle, shift, middle = np.radians(_TURN), 0.02 * self._size, self._points.mean(axis=0)
        for _ in range(_ROUNDS):
            steps = rng.normal(0, 1, (_TRIALS, 3)) * [angle, angle, shift]
            steps[0] = 0
            normals = normal + steps[:, :2] @ _perpendicular(normal)
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            offsets = offset + (normals - normal) @ middle + steps[:, 2]
            best = int(self._costs(normals[None], offsets[None])[0].argmin())
            normal, offset = normals[best], float(offsets[best])
            angle, shift = 0.6 * angle, 0.6 * shift
        return normal, offset

    def third_plane(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, float]:
        """The best plane perpendicular to two others of unit normals (3,)."""
        normal = np.cross(first, second)
        normal /= np.linalg.norm(normal)
        return self.refine(*self.best_plane(*self.likely_planes(normal[None])))

    def describe(self, normal: np.ndarray, offset: float) -> Mirror:
        """A plane with its score."""
        shifted = offset + _SHIFT * self._size * np.array([0.0, -1.0, 1.0])
        contradicted, _, buried = self._measure(normal[None, None], shifted[:, None], np.zeros((3, 1)))[:, 0].T
        # Where the cost stays as it is when the plane is shifted, the views do not say where the plane is.
        rise = float(contradicted.max() - contradicted[0])
        score = max(0.0, 1 - float(contradicted[0]) / _MOST_CONTRADICTED) * max(
            0.0, 1 - float(buried[0]) / _MOST_BURIED
        )
        return Mirror(normal, offset, score if rise >= _LEAST_RISE else 0.0)

    def _costs(
        self,
        normals: np.ndarray,
        offsets: np.ndarray,
        *,
        keep: int = 1,
        level: int = -1,
        limit: float = np.inf,
    ) -> np.ndarray:
        """(G, N) what planes cost, infinite for those that are not among the `keep` best of their group.

        Args:
            normals: (G, N, 3), or (G, 1, 3) for planes along one direction.
            offsets: (G, N).
            keep: how many planes of each group are wanted.
            level: which of `_EVERY` and `_VIEWS` judge.
            limit: planes that cost more are not wanted.
        """
        low, high = (ends.reshape(normals.shape[:2]) for ends in self._extent(normals.reshape(-1, 3)))
        growth = self._growth * 2 * np.abs(offsets - (low + high) / 2) / self._size
        measured = self._measure(normals, offsets, growth, keep=keep, level=level, limit=limit)
        contradicted, matched, buried = np.moveaxis(measured, -1, 0)
        return contradicted + growth + _BURIED * buried + _MATCHED * matched

    def _measure(
        self,
        normals: np.ndarray,
        offsets: np.ndarray,
        added: np.ndarray,
        *,
        keep: int = 1,
        level: int = -1,
        limit: float = np.inf,
    ) -> np.ndarray:
        """(G, N, 3) of `SeenSpace.measure`; `added` (G, N) is what planes cost beside, the rest as of `_costs`."""
        surface = self._points[:: _EVERY[level]], self._normals[:: _EVERY[level]]
        planes = np.concatenate([np.broadcast_to(normals, (*offsets.shape, 3)), offsets[..., None]], axis=-1)
        costs = PlaneCosts(3 * self._tolerance, self._noise[level], _BURIED, _MATCHED)
        return self.space.measure(planes, added, surface, costs, keep, limit, _VIEWS[level])

    def _extent(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest (N,) of the points along unit vectors (N, 3), without outliers."""
        low, high = np.percentile(self._points @ directions.T, [1, 99], axis=0)
        return low, high


def _level_plane(
    views: Sequence[ReferenceView], points: np.ndarray, space: SeenSpace, samples: np.ndarray
) -> tuple[np.ndarray, float]:
    """Normal and offset of the plane halfway between the support and the top of an object.

    It is the top that the object would rest on, turned over: the tangent plane which is lowest above the middle. A
    bottle that tapers off lies on its side with its plane of symmetry tilted.

    Args:
        samples: (N, 3) the surface, as complete as it is known.
    """
    up, middle = space.up, samples.mean(axis=0)
    assert up is not None
    slopes = np.tan(np.radians(np.arange(-_TILT, _TILT + 0.5)))
    tops = np.stack([a.ravel() for a in np.meshgrid(slopes, slopes)], axis=1) @ _perpendicular(up) + up
    heights = np.percentile((samples - middle) @ tops.T, _TOP, axis=0)
    top = tops[heights.argmin()]
    # Each view measures against its own picture of the support: what is wrong with its depth or its pose moves both.
    above, below = [], []
    for view, support in zip(views, space.supports, strict=True):
        seen, _ = sample_surface([view], points, _SAMPLES)
        if support is not None and len(seen):
            above.append(np.percentile((seen - middle) @ top, _TOP))
            below.append(middle @ support[:3] + support[3])
    normal = top / np.linalg.norm(top) + up
    normal /= np.linalg.norm(normal)
    return normal, float(normal @ (middle + up * (np.mean(above) - np.mean(below)) / 2))


def _hemisphere() -> np.ndarray:
    """(321, 3) unit vectors about 8 degrees apart, one of each pair of opposite ones."""
    directions = icosphere(3)
    x, y, z = directions.T.round(6)
    return directions[(z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))]


def _level_directions(up: np.ndarray) -> np.ndarray:
    """(36, 3) unit vectors perpendicular to one, every 5 degrees."""
    angles = np.radians(np.arange(0.0, 180.0, _TURN))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) @ _perpendicular(up)


def _perpendicular(normal: np.ndarray) -> np.ndarray:
    """(2, 3) unit vectors that make a right-angled frame with one (3,)."""
    return np.linalg.svd(normal[None])[2][1:]
