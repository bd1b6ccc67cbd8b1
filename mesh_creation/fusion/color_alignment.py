"""Pictures laid on each other by their colours, so that a texture blended of them is as sharp as they are.

Zhou and Koltun, "Color Map Optimization for 3D Reconstruction with Consumer Depth Cameras" (2014): the surface stays,
and each camera moves until its picture agrees with what the pictures say together. Here with what the *others* say: a
picture that dominates what it is compared with would never move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from mesh_creation.fusion.view_blending import TextureView, ViewBlender, surface_points
from pose6d.mesh.mesh import Mesh
from pose6d.pieces import run_pieces

_POINTS = 5000  # that colours are compared at
_BLURS = (2.0,) * 4 + (1.0,) * 4  # pixels, of the pictures in each round
_EFFECTIVE = 0.02  # independent measurements in a point's colour: neighbours are alike
_LEAST_NOISE = 4.0  # grey levels
_TURN = np.radians(0.3)  # by which poses may be off
_SHIFT = np.array([0.0015, 0.0015, 0.0005])  # metres; depth has told how far away things are
_FEWEST = 100  # points that a picture shares with the others
_WIDE = 8.0  # times the blur: what is wider than that is light, and not print
_RIM = 3  # pixels along the edge of a mask that may show background
_BETTER = 0.95  # times the difference of colours


@dataclass
class PointsSeen:
    """What one picture shows of points on the surface.

    Attributes:
        rgb: (H, W, 3) uint8, the picture.
        mask: (H, W) bool, where the object is.
        K: (3, 3) intrinsics.
        camera_in_object: (4, 4) its pose, metres.
        index: (N,) which of the points it sees.
        weight: (N,) trust in what it shows of them.
    """

    rgb: np.ndarray
    mask: np.ndarray
    K: np.ndarray
    camera_in_object: np.ndarray
    index: np.ndarray
    weight: np.ndarray


def aligned_views(mesh: Mesh, views: Sequence[TextureView]) -> list[TextureView]:
    """Pictures of a surface, each with the pose under which it agrees best with the others: see `align_pictures`."""
    points, normals = surface_points(mesh, _POINTS)
    seen = [
        PointsSeen(view.rgb, _mask(view), view.K, view.camera_in_object, index, weight)
        for view, (index, _, weight) in zip(views, ViewBlender(mesh, views).samples(points, normals), strict=True)
    ]
    poses = align_pictures(points, seen)
    return [replace(view, camera_in_object=pose) for view, pose in zip(views, poses, strict=True)]


def _mask(view: TextureView) -> np.ndarray:
    return np.ones(view.rgb.shape[:2], bool) if view.mask is None else view.mask


def align_pictures(points: np.ndarray, pictures: Sequence[PointsSeen]) -> list[np.ndarray]:
    """Poses under which the pictures agree best.

    Gauss-Newton steps on the differences of colours, each picture against the mean of the others, softened at first.
    What varies slowly is taken out: it is light, which moves with the camera, and exposure. The given poses hold what
    colours do not tell. If the pictures do not agree clearly better in the end, they stay.

    Args:
        points: (P, 3) on the surface, metres, object frame.
        pictures: which of them each picture sees.

    Returns:
        For each picture (4, 4), camera in object: what all move in common is taken out.
    """
    given = [picture.camera_in_object for picture in pictures]
    soft = {blur: run_pieces(partial(_Soft, points=points, blur=blur), pictures) for blur in sorted(set(_BLURS))}
    sharpest = soft[min(_BLURS)]
    before = _disagreement(_compare(sharpest, given, len(points)))
    poses = list(given)
    for blur in _BLURS:
        compared = _compare(soft[blur], poses, len(points))
        poses = [one.step(pose, *what) for one, pose, what in zip(soft[blur], poses, compared, strict=True)]
    poses = _without_common(given, poses, points.mean(axis=0))
    return poses if _disagreement(_compare(sharpest, poses, len(points))) < _BETTER * before else given


class _Soft:
    """A softened picture without what varies slowly, with its slopes, and the points that it sees."""

    def __init__(self, picture: PointsSeen, points: np.ndarray, blur: float) -> None:
        self.index, self.weight = picture.index, picture.weight
        self._K, self._given = picture.K, np.linalg.inv(picture.camera_in_object)
        self._points, self._middle = points[picture.index], points.mean(axis=0)
        to_edge = cv2.distanceTransform(np.pad(picture.mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        inside = (to_edge > _RIM).astype(np.float32)[..., None]
        rgb = picture.rgb.astype(np.float32)
        self._rgb = (_mean(rgb, inside, blur) - _mean(rgb, inside, _WIDE * blur)) * inside
        self._inside = inside
        self._slopes = [cv2.Sobel(self._rgb, cv2.CV_32F, *way, ksize=1, scale=0.5) for way in ((1, 0), (0, 1))]

    def colors(self, pose: np.ndarray) -> np.ndarray:
        """(N, 3) of the points, from a pose (4, 4)."""
        return _look_up(self._rgb, *self._project(pose)[1:])

    def step(self, pose: np.ndarray, color: np.ndarray, wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The pose (4, 4) after a step from `color` (N, 3) towards the colours wanted, of weights (N,)."""
        if (weight > 0).sum() < _FEWEST:
            return pose
        at, u, v = self._project(pose)
        residual = color - wanted
        noise = max(1.48 * float(np.median(np.abs(residual[weight > 0]))), _LEAST_NOISE)
        # Highlights, shadows, and what lies beside the object.
        robust = 1 / (1 + np.square(residual / (2 * noise)).mean(axis=1)) ** 2
        weight = weight * (_look_up(self._inside, u, v) > 0.99)[:, 0]
        if not weight.any():
            return pose
        trust = weight / weight.max() * robust * _EFFECTIVE / noise**2
        T = np.linalg.inv(pose)
        center = T[:3, :3] @ self._middle + T[:3, 3]
        # How the colours change as the point moves along the camera's axes.
        across, down = (
            _look_up(slope, u, v) * f / at[:, 2:] for slope, f in zip(self._slopes, np.diag(self._K), strict=False)
        )
        away = -(across * at[:, :1] + down * at[:, 1:2]) / at[:, 2:]
        move = np.stack([across, down, away], axis=-1)
        jacobian = np.concatenate([np.cross((at - center)[:, None], move), move], axis=-1)
        weighted = (jacobian * trust[:, None, None]).reshape(-1, 6).T
        prior = 1 / np.concatenate([[_TURN] * 3, _SHIFT]) ** 2
        so_far = _difference(T, self._given, self._middle)
        slope = weighted @ residual.reshape(-1) + prior * so_far
        return np.linalg.inv(
            _moved(T, -np.linalg.solve(weighted @ jacobian.reshape(-1, 6) + np.diag(prior), slope), center)
        )

    def _project(self, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (N, 3) in camera axes, their columns and rows (N,)."""
        T = np.linalg.inv(pose)
        at = self._points @ T[:3, :3].T + T[:3, 3]
        return at, *(self._K[i, i] * at[:, i] / at[:, 2] + self._K[i, 2] for i in range(2))


Compared = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def _mean(image: np.ndarray, inside: np.ndarray, blur: float) -> np.ndarray:
    """(H, W, 3) Gaussian means of an image over the pixels of a mask (H, W, 1) of 0 and 1."""
    total = cv2.GaussianBlur(image * inside, (0, 0), blur)
    return total / np.maximum(cv2.GaussianBlur(inside, (0, 0), blur), 1e-3)[..., None]


def _compare(pictures: Sequence[_Soft], poses: Sequence[np.ndarray], count: int) -> Compared:
    """For each picture, its points' colours (N, 3), those that the others show, and the trust in both (N,)."""
    colors = [one.colors(pose) for one, pose in zip(pictures, poses, strict=True)]
    total, weights = _sum_up(colors, pictures, count)
    found = []
    for color, one in zip(colors, pictures, strict=True):
        rest = weights[one.index] - one.weight
        mean = (total[one.index] - color * one.weight[:, None]) / np.maximum(rest, 1e-3)[:, None]
        found.append((color, mean, np.where(rest > 1e-3, np.minimum(one.weight, rest), 0)))
    return found


def _sum_up(colors: Sequence[np.ndarray], pictures: Sequence[_Soft], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sum of the colours (P, 3), and of the weights (P,), of all points."""
    total, weights = np.zeros((count, 3)), np.zeros(count)
    for color, one in zip(colors, pictures, strict=True):
        total[one.index] += color * one.weight[:, None]
        weights[one.index] += one.weight
    return total, weights


def _disagreement(compared: Compared) -> float:
    """Grey levels by which pictures differ from what the others show, in the mean; 0 where they share nothing."""
    sums = [(weight @ np.abs(color - wanted).mean(axis=1), weight.sum()) for color, wanted, weight in compared]
    difference, weight = np.sum(sums, axis=0)
    return float(difference / max(weight, 1e-9))


def _look_up(image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(N, C) values of an image at columns and rows (N,); of the border outside. N is at most 32766."""
    column, row = (values.astype(np.float32)[:, None] for values in (u, v))
    found = cv2.remap(image, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(len(u), -1).astype(np.float64)


def _moved(T: np.ndarray, step: np.ndarray, center: np.ndarray) -> np.ndarray:
    """The object's pose (4, 4) in the camera, turned about a centre and moved by a step (6,)."""
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec(step[:3]).as_matrix()
    moved[:3, 3] = center + step[3:] - moved[:3, :3] @ center
    return moved @ T


def _difference(pose: np.ndarray, start: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """(6,) the turn and the shift of the middle, camera axes, from one pose of the object (4, 4) to another."""
    turn = Rotation.from_matrix(pose[:3, :3] @ start[:3, :3].T).as_rotvec()
    return np.concatenate([turn, (pose[:3, :3] - start[:3, :3]) @ middle + pose[:3, 3] - start[:3, 3]])


def _without_common(given: Sequence[np.ndarray], poses: Sequence[np.ndarray], middle: np.ndarray) -> list[np.ndarray]:
    """The poses without what they have moved in common: the object's frame is the one that was given."""
    moved = np.stack([pose @ np.linalg.inv(old) for pose, old in zip(poses, given, strict=True)])
    common = np.eye(4)
    common[:3, :3] = Rotation.from_matrix(moved[:, :3, :3]).mean().as_matrix()
    common[:3, 3] = (moved[:, :3, :3] @ middle + moved[:, :3, 3]).mean(axis=0) - common[:3, :3] @ middle
    return [np.linalg.inv(common) @ pose for pose in poses]
