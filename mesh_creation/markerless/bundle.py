"""All key views laid on one another at once: their poses from depth and grey values of every pair that overlaps.

Each pair gives the normal equations of its relative pose (`direct_alignment.relate`), and all of them together a sparse
system for all poses, as a pose graph whose edges are measured anew in every round. Pairs that look from one side at
different times close the loops. Pulli, "Multiview Registration for Large Data Sets" (3DIM 1999), is the idea for depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mesh_creation.markerless.direct_alignment import Equations, move, relate
from mesh_creation.markerless.key_view import KeyView, nearest_views

ROUNDS = ((1, 0.015), (1, 0.012), (0, 0.008), (0, 0.008))
"""level of the pyramid and metres of the gate, of each round"""
_NEIGHBOURS = 5
_FARTHEST = 0.9  # radians between views that are laid on one another
_LEAST_SHARE = 0.3  # of the points of a pair that lie on a surface of the other
_DAMPING = 1.0  # inverse square of radians and of centimetres, against what no pair tells


def overlapping_views(views: Sequence[KeyView], wanted: Sequence[int] | None = None) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of neighbours by direction and in time; only those of the `wanted` views."""
    pairs = set()
    for i in range(len(views)) if wanted is None else wanted:
        near = nearest_views(views, views[i].camera_in_object, _NEIGHBOURS + 1, _FARTHEST)
        near += [j for j in (i - 1, i + 1) if 0 <= j < len(views)]
        pairs |= {(min(i, j), max(i, j)) for j in near if j != i}
    return sorted(pairs)


def adjust(
    views: Sequence[KeyView],
    pairs: Sequence[tuple[int, int]],
    moving: Sequence[int],
    *,
    around: bool,
    rounds: Sequence[tuple[int, float]] = ROUNDS,
) -> None:
    """Adjust the poses of views, in place.

    Args:
        views: all of them.
        pairs: of views that overlap.
        moving: indices of the views whose poses may change; at least one other should be among the pairs.
        around: what lies around the object keeps its place to it, and is compared too.
        rounds: see `ROUNDS`.
    """
    place = {index: k for k, index in enumerate(moving)}
    gains: dict[tuple[int, int], tuple[float, float]] = {}
    directed = [pair for i, j in pairs if i in place or j in place for pair in ((i, j), (j, i))]
    for level, gate in rounds:
        size = 6 * len(moving)
        H, g = np.zeros((size, size)), np.zeros(size)
        for i, j in directed:
            equations = _relate_views(views[i], views[j], level, gate, gains.get((i, j)), around)
            compared = equations.fitting + equations.contradicting
            if equations.fitting < 60 or equations.fitting < _LEAST_SHARE * compared:
                continue
            gains[i, j] = equations.gain
            A = _adjoint(np.linalg.inv(views[j].camera_in_object))
            Hij, gij = A.T @ equations.H @ A, A.T @ equations.g
            for view, sign in ((i, 1.0), (j, -1.0)):
                if view in place:
                    rows = slice(6 * place[view], 6 * place[view] + 6)
                    H[rows, rows] += Hij
                    g[rows] += sign * gij
            if i in place and j in place:
                a, b = (slice(6 * place[view], 6 * place[view] + 6) for view in (i, j))
                H[a, b] -= Hij
                H[b, a] -= Hij
        H += np.diag(np.tile([_DAMPING * 1e4] * 3 + [_DAMPING * 1e6] * 3, len(moving)))
        step = np.linalg.solve(H, -g)
        for index, k in place.items():
            views[index].camera_in_object = move(views[index].camera_in_object, step[6 * k : 6 * k + 6])


def _relate_views(
    source: KeyView, target: KeyView, level: int, gate: float, gain: tuple[float, float] | None, around: bool
) -> Equations:
    pose = np.linalg.inv(target.camera_in_object) @ source.camera_in_object
    equations = relate(source.own, pose, target.picture, level, gate, gain)
    if around:
        more = relate(source.around, pose, target.picture, level, gate, gain)
        equations.H += more.H
        equations.g += more.g
    return equations


def _adjoint(T: np.ndarray) -> np.ndarray:
    """(6, 6) that takes small motions (rotation, translation) of a frame to those seen from the frame of `T` (4, 4)."""
    R, t = T[:3, :3], T[:3, 3]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    return np.block([[R, np.zeros((3, 3))], [cross @ R, R]])
