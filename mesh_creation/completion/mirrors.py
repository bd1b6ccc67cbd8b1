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

from mesh_creation.completion.seen_space import SeenSpace, Verdict
from mesh_creation.completion.surface_samples import sample_surface
from mesh_creation.reference_views.view import ReferenceView
from pose6d.geometry.rotation_grids import icosphere

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
_BATCH = 400  # planes judged at once
_COARSE, _COARSE_VIEWS = 3, 6  # every so many points, and at most so many views, judge planes first
_LIKELIEST = 6  # offsets along each direction, which all points and views judge then

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


def find_mirrors(views: Sequence[ReferenceView], points: np.ndarray) -> list[Mirror]:
    """Find up to three mirror planes, about perpendicular to one another.

    The first is the one that costs least, the second the best about perpendicular to it, the third perpendicular to
    both. On a support plane the first two are upright, which any object may have, and the third is level, halfway
    between the plane and the object's top. Where several offsets contradict nothing, the most compact object is made.

    Args:
        views: at least one, the depth around the object included where there is any.
        points: (P, 3) the surface seen, without outliers, metres, object frame.

    Returns:
        The planes that are believed, best first; [] where there is none, and where less than a few dozen points are
        seen.
    """
    samples, normals = sample_surface(views, points, _SAMPLES)
    if len(samples) < _FEWEST:
        return []
    search = _PlaneSearch(views, points, samples, normals)
    up = search.space.up
    directions = _hemisphere() if up is None else _level_directions(up)
    costs, offsets = search.best_offsets(directions)
    first = int(costs.argmin())
    upright = np.abs(directions @ directions[first]) < np.sin(np.radians(_UPRIGHT))
    second = int(np.where(upright, costs, np.inf).argmin())
    found = [search.describe(*search.refine(directions[i], offsets[i])) for i in (first, second)]
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
        self, views: Sequence[ReferenceView], points: np.ndarray, samples: np.ndarray, normals: np.ndarray
    ) -> None:
        self._points, self._normals = samples, normals
        self._size = float(np.linalg.norm(np.ptp(samples, axis=0)))
        self._tolerance = max(_TOLERANCE[0], _TOLERANCE[1] * self._size)
        self.space = SeenSpace(views, points, self._tolerance)
        self._growth = _GROWTH_ALONE if len(views) == 1 and self.space.up is None else _GROWTH
        self._noise = [
            self._contradicted(self._judge(samples[::every], normals[::every], every > 1).contradiction)
            for every in (1, _COARSE)
        ]

    def best_offsets(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cost (N,) and offset (N,) of the best plane along each of the unit vectors (N, 3)."""
        low, high = self._extent(directions)
        reach = np.maximum(_REACH * (high - low), _SHIFT * self._size)
        offsets = (low + high)[:, None] / 2 + reach[:, None] * np.linspace(-1, 1, _OFFSETS)
        costs = self._cost(np.repeat(directions, _OFFSETS, axis=0), offsets.ravel(), coarse=True)
        likeliest = costs.reshape(offsets.shape).argsort(axis=1)[:, :_LIKELIEST]
        offsets = np.take_along_axis(offsets, likeliest, 1)
        costs = self._cost(np.repeat(directions, _LIKELIEST, axis=0), offsets.ravel()).reshape(offsets.shape)
        best = costs.argmin(axis=1)[:, None]
        return np.take_along_axis(costs, best, 1)[:, 0], np.take_along_axis(offsets, best, 1)[:, 0]

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
            best = int(self._cost(normals, offsets).argmin())
            normal, offset = normals[best], float(offsets[best])
            angle, shift = 0.6 * angle, 0.6 * shift
        return normal, offset

    def third_plane(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, float]:
        """The best plane perpendicular to two others of unit normals (3,)."""
        normal = np.cross(first, second)
        normal /= np.linalg.norm(normal)
        return self.refine(normal, float(self.best_offsets(normal[None])[1][0]))

    def describe(self, normal: np.ndarray, offset: float) -> Mirror:
        """A plane with its score."""
        shifted = offset + _SHIFT * self._size * np.array([0.0, -1.0, 1.0])
        contradicted, _, buried = self._measure(np.tile(normal, (3, 1)), shifted)
        # Where the cost stays as it is when the plane is shifted, the views do not say where the plane is.
        rise = float(contradicted.max() - contradicted[0])
        score = max(0.0, 1 - float(contradicted[0]) / _MOST_CONTRADICTED) * max(
            0.0, 1 - float(buried[0]) / _MOST_BURIED
        )
        return Mirror(normal, offset, score if rise >= _LEAST_RISE else 0.0)

    def _cost(self, normals: np.ndarray, offsets: np.ndarray, *, coarse: bool = False) -> np.ndarray:
        """(N,) what each of the planes costs."""
        low, high = self._extent(normals)
        growth = 2 * np.abs(offsets - (low + high) / 2) / self._size
        parts = [slice(i, i + _BATCH) for i in range(0, len(normals), _BATCH)]
        measured = [self._measure(normals[part], offsets[part], coarse=coarse) for part in parts]
        contradicted, matched, buried = (np.concatenate(values) for values in zip(*measured, strict=True))
        return contradicted + self._growth * growth + _BURIED * buried + _MATCHED * matched

    def _measure(
        self, normals: np.ndarray, offsets: np.ndarray, *, coarse: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of N planes, (N,) each.

        Returns:
            contradicted: mean squared distance of the mirrored surface into space that is proved empty, of the most
                that counts, beyond what noise does without a mirror.
            matched: share of the surface seen whose image lies on the surface seen.
            buried: share whose image is turned towards a camera, and hidden from it by the object.
        """
        every = _COARSE if coarse else 1
        points, facing = self._points[::every], self._normals[::every]
        away = normals @ points.T - offsets[:, None]
        images = points - 2 * away[..., None] * normals[:, None]
        turned = facing - 2 * (normals @ facing.T)[..., None] * normals[:, None]
        verdict = self._judge(images, turned, coarse)
        contradicted = np.maximum(self._contradicted(verdict.contradiction) - self._noise[int(coarse)], 0)
        return contradicted, verdict.matched.mean(axis=-1), verdict.buried.mean(axis=-1)

    def _judge(self, points: np.ndarray, normals: np.ndarray, coarse: bool) -> Verdict:
        return self.space.judge(points, normals, _COARSE_VIEWS if coarse else None)

    def _contradicted(self, depth: np.ndarray) -> np.ndarray:
        """Mean over the last axis of the squared depth in empty space, of which three tolerances are the most."""
        return ((depth / (3 * self._tolerance)).clip(max=1) ** 2).mean(axis=-1)

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
