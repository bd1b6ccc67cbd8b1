"""Finding the turns under which a bare shape looks the same, for where nobody has named them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.geometry.transforms import rotation_angle, so3_exp
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.units import check_diameter

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

_TOLERANCE = 0.03  # diameters
_POINTS = 1500  # of the surface
_FEW = 300  # of them, to align turns with
_PROMISING = 0.08  # diameters, mean distance of the few points from the surface before that
_STEPS = 20  # of the alignment
_SAME = 20.0  # degrees; turns nearer to each other are one, and the best of them counts
_ROUND = (7.0, 41.0, 67.0, 131.0)  # degrees; what looks the same after these is a surface of revolution
_TURN = 5.0  # degrees between the turns of such a one


def shape_symmetries(mesh: Mesh) -> np.ndarray:
    """All turns, with the shift that goes with each, that leave a mesh's surface where it was.

    As in the BOP Challenge 2020 (Hodan et al., section 2.3), no point of the surface may be farther from the turned
    surface than 0.03 diameters, which is stricter; but a hundredth of the surface may, as scans have faults.
    Turns from a grid over all rotations are aligned first, point to point (Besl and McKay, "A method for registration
    of 3-D shapes", 1992).

    Args:
        mesh: looked at without its colours.

    Returns:
        (S, 4, 4) float64 transforms of the mesh frame, the identity first; those about the axis of a surface of
        revolution every 5 degrees.

    Raises:
        MeshError: the mesh has no size, or is in another unit than metres.
    """
    from scipy.spatial import cKDTree  # slow to import

    check_diameter(mesh)
    points = mesh.sample_surface(_POINTS, seed=0).astype(np.float64)
    dense = mesh.sample_surface(10 * _POINTS, seed=1).astype(np.float64)
    middle = dense.mean(axis=0)
    tree = cKDTree((dense - middle) / mesh.diameter)
    points = (points - middle) / mesh.diameter
    R = rotation_hypotheses(inplane=12).numpy().astype(np.float64)
    R, t = _align(tree, points[:_FEW], R[_distances(tree, points[:_FEW], R).mean(axis=1) < _PROMISING])
    furthest = _furthest(tree, points, R, t)
    order = np.argsort(furthest)
    order = order[furthest[order] < _TOLERANCE]
    turns = _distinct(np.concatenate([np.eye(3)[None], R[order]]), _SAME)
    for axis in _axes(turns):
        wanted = _about(axis, np.array(_ROUND))
        R, t = _align(tree, points[:_FEW], wanted)
        if _degrees(wanted, R).max() < _SAME / 2 and np.median(_furthest(tree, points, R, t)) < _TOLERANCE:
            about = _about(axis, np.arange(0.0, 360.0, _TURN))
            turns = _distinct((about[:, None] @ turns).reshape(-1, 3, 3), 0.8 * _TURN)
    R, t = _align(tree, points[:_FEW], turns, turning=False)
    symmetries = np.tile(np.eye(4), (len(R), 1, 1))
    symmetries[:, :3, :3] = R
    symmetries[:, :3, 3] = mesh.diameter * t + middle - R @ middle
    symmetries[0] = np.eye(4)
    return symmetries


def _distances(tree: cKDTree, points: np.ndarray, R: np.ndarray, t: np.ndarray | float = 0.0) -> np.ndarray:
    """(N, P) from points (P, 3), after each of N motions, to the nearest of a tree."""
    return tree.query(points @ R.mT + (t[:, None] if isinstance(t, np.ndarray) else t))[0]


def _furthest(tree: cKDTree, points: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(N,) the largest of these distances, but for a hundredth of the points."""
    return np.quantile(_distances(tree, points, R, t), 0.99, axis=1)


def _align(tree: cKDTree, points: np.ndarray, R: np.ndarray, turning: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (N, 3, 3), near those given unless they must stay, and shifts (N, 3) that lay points onto a tree's."""
    t = np.zeros((len(R), 3))
    centre = points.mean(axis=0)
    for _ in range(_STEPS if len(R) else 0):
        nearest = tree.data[tree.query(points @ R.mT + t[:, None])[1]]
        middles = nearest.mean(axis=1)
        if turning:
            U, _, V = np.linalg.svd((nearest - middles[:, None]).mT @ (points - centre))
            U[..., -1] *= np.sign(np.linalg.det(U @ V))[:, None]
            R = U @ V
        t = middles - R @ centre
    return R, t


def _distinct(turns: np.ndarray, degrees: float) -> np.ndarray:
    """The rotations (N, 3, 3) that are not near an earlier one."""
    kept = turns[:1]
    for R in turns[1:]:
        if _degrees(kept, R).min() >= degrees:
            kept = np.concatenate([kept, R[None]])
    return kept


def _axes(turns: np.ndarray) -> list[np.ndarray]:
    """Unit vectors (3,) about which rotations turn; each once."""
    axes: list[np.ndarray] = []
    for R in turns[1:]:
        values, vectors = np.linalg.eig(R)
        axis = vectors[:, np.abs(values - 1).argmin()].real
        if all(abs(axis @ other) < np.cos(np.radians(_SAME)) for other in axes):
            axes.append(axis / np.linalg.norm(axis))
    return axes


def _about(axis: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations by so many degrees (N,)."""
    return so3_exp(torch.from_numpy(np.radians(degrees)[:, None] * axis)).numpy()


def _degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between rotations (..., 3, 3)."""
    return np.degrees(rotation_angle(torch.from_numpy(a), torch.from_numpy(b)).numpy())
