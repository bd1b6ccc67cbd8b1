"""Motions that lay much of a shape onto itself, such as the turns of a mug that is round but for its handle."""

from __future__ import annotations

import numpy as np

from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.units import check_diameter

_SHARE = 0.5  # of the surface that must lie on the surface
_TOLERANCE = 0.03  # diameters, within which it does
_MOST = 256  # motions; of a ball there are more than can be listed
_POINTS = 300  # of the surface, that are moved
_DENSE = 10_000  # of the surface, that they are compared with
# Of the alignment: how many of the points, how many steps, and the tolerances within which what goes on must be then.
_ROUNDS = ((80, 0, 3.0), (80, 5, 1.5), (_POINTS, 8, 1.0))
_TURN = 5.0  # degrees between turns about a principal axis
_DISTINCT = 3.0  # degrees; of motions nearer to each other than this the first one counts


class PartialSymmetries:
    """Finds motions after which at least half of a surface lies on the surface.

    Turns from a grid over all rotations, and about the principal axes every 5 degrees, are aligned by iterated closest
    points of which the farthest are left out (Chetverikov et al., The Trimmed Iterative Closest Point Algorithm, ICPR
    2002). For partial symmetries see Mitra, Guibas and Pauly, Partial and Approximate Symmetry Detection for 3D
    Geometry, SIGGRAPH 2006.

    Args:
        mesh: looked at without its colours.
        axes: (3, 3) unit vectors in the mesh frame, as rows, to turn about.

    Attributes:
        motions: (S, 4, 4) float64 transforms of the mesh frame, the identity first, then those that differ most in
            rotation from all before.

    Raises:
        MeshError: the mesh has no size, or is in another unit than metres.
    """

    def __init__(self, mesh: Mesh, axes: np.ndarray) -> None:
        from scipy.spatial import cKDTree  # slow to import

        check_diameter(mesh)
        self._diameter = float(mesh.diameter)
        dense = mesh.sample_surface(_DENSE, seed=1).astype(np.float64)
        self._middle = dense.mean(axis=0)
        self._tree = cKDTree((dense - self._middle) / self._diameter)
        self._points = (mesh.sample_surface(_POINTS, seed=0) - self._middle) / self._diameter
        grid = rotation_hypotheses(inplane=12).numpy().astype(np.float64)
        turns = np.concatenate([np.eye(3)[None], *(_turns(axis) for axis in np.asarray(axes, np.float64)), grid])
        found = self._aligned(turns)
        found[0] = np.eye(4)
        self.motions = found[_most_different(found[:, :3, :3])]

    def nearest(self, rotations: np.ndarray) -> np.ndarray:
        """The partial symmetries (M, 4, 4) that rotations of the mesh frame (N, 3, 3) are near to; M is N or less."""
        return self._aligned(np.asarray(rotations, dtype=np.float64))

    def _aligned(self, R: np.ndarray) -> np.ndarray:
        t = np.zeros((len(R), 3))
        for count, steps, limit in _ROUNDS:
            R, t = self._align(self._points[:count], R, t, steps)
            near = self._farthest(self._points[:count], R, t) < limit * _TOLERANCE
            R, t = R[near], t[near]
        motions = np.tile(np.eye(4), (len(R), 1, 1))
        motions[:, :3, :3] = R
        motions[:, :3, 3] = self._diameter * t + self._middle - R @ self._middle
        return motions

    def _align(self, points: np.ndarray, R: np.ndarray, t: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (N, 3, 3) and shifts (N, 3) that lay the share of the points (P, 3) onto the surface."""
        for _ in range(steps if len(R) else 0):
            distance, index = self._tree.query(points @ R.mT + t[:, None])
            weight = (distance <= np.quantile(distance, _SHARE, axis=1, keepdims=True))[..., None]
            nearest, total = self._tree.data[index], weight.sum(axis=1)
            centre, middle = (weight * points).sum(axis=1) / total, (weight * nearest).sum(axis=1) / total
            U, _, V = np.linalg.svd((weight * (nearest - middle[:, None])).mT @ (points - centre[:, None]))
            U[..., -1] *= np.sign(np.linalg.det(U @ V))[:, None]
            R = U @ V
            t = middle - (R @ centre[..., None])[..., 0]
        return R, t

    def _farthest(self, points: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(N,) diameters within which the share of the moved points lies from the surface."""
        distance = self._tree.query(points @ R.mT + t[:, None])[0] if len(R) else np.zeros((0, 1))
        return np.quantile(distance, _SHARE, axis=1)


def _turns(axis: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations about a unit vector."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(np.radians(np.arange(_TURN, 360.0, _TURN))[:, None] * axis).as_matrix()


def _most_different(rotations: np.ndarray) -> np.ndarray:
    """Indices, each of the rotation farthest from all before (Gonzalez, 1985), as long as it is distinct from them."""
    flat = rotations.reshape(-1, 9)
    nearest = flat @ flat[0]  # the trace of A^T B, which is 1 + 2 cos(angle)
    kept = [0]
    while len(kept) < _MOST and nearest.min() < 1 + 2 * np.cos(np.radians(_DISTINCT)):
        kept.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, flat @ flat[kept[-1]])
    return np.array(kept)
