"""Classical point-to-plane ICP from 252 starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.rivals.point_clouds import frame_cloud, model_cloud, open3d
from pose6d.geometry.rotation_grids import rotation_hypotheses
from pose6d.mesh.mesh import Mesh

_SPACING = 0.03  # diameters between points
_FAR, _NEAR = 0.2, 0.06  # diameters between points that correspond, first and last
_STEPS, _LAST_STEPS, _LAST = 15, 30, 20  # iterations from all starts, and those of the best few
_BEHIND = 0.25  # diameters from the middle of what is seen to the object's centre


class IcpFromViews:
    """The points under the mask are laid onto the mesh (Chen and Medioni 1992) from the rotations that the networks
    start from."""

    poses: np.ndarray | None = None

    def __init__(self, mesh: Mesh):
        self._model, self._diameter, self._center = model_cloud(mesh, _SPACING), float(mesh.diameter), mesh.center
        self._rotations = rotation_hypotheses().numpy().astype(np.float64)

    def register(
        self, K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, ob_mask: np.ndarray, iteration: int = 5
    ) -> np.ndarray:
        """(4, 4) original mesh in camera; arguments as of `FoundationPose.register`, of which neither colours nor the
        number of steps count."""
        seen = frame_cloud(K, depth, ob_mask, self._diameter, _SPACING)
        middle = np.median(np.asarray(seen.points), axis=0)
        middle = middle * (1 + _BEHIND * self._diameter / np.linalg.norm(middle))
        starts = np.tile(np.eye(4), (len(self._rotations), 1, 1))  # camera in object
        starts[:, :3, :3] = self._rotations.transpose(0, 2, 1)
        starts[:, :3, 3] = self._center - starts[:, :3, :3] @ middle
        return lay_onto(seen, self._model, starts, self._diameter)


def lay_onto(seen: Any, model: Any, starts: np.ndarray, diameter: float) -> np.ndarray:
    """(4, 4) model in camera that fits best: most points near the model, then the least distance.

    Args:
        seen, model: Open3D's point clouds.
        starts: (N, 4, 4) camera in model, metres.
        diameter: of the model, metres.
    """
    found = [_fit(seen, model, start, _FAR * diameter, _STEPS) for start in starts]
    found.sort(key=_rank)
    last = [_fit(seen, model, result.transformation, _NEAR * diameter, _LAST_STEPS) for result in found[:_LAST]]
    return np.linalg.inv(min(last, key=_rank).transformation)


def _rank(result: Any) -> tuple[float, float]:
    return -result.fitness, result.inlier_rmse


def _fit(seen: Any, model: Any, start: np.ndarray, distance: float, steps: int) -> Any:
    registration = open3d().pipelines.registration
    to_plane = registration.TransformationEstimationPointToPlane()
    criteria = registration.ICPConvergenceCriteria(max_iteration=steps)
    return registration.registration_icp(seen, model, distance, start, to_plane, criteria)
