"""Finding how the object lay in a second recording, upside down: every turn is tried, colour decides between equals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import cv2
import numpy as np
import open3d as o3d
from scipy.spatial import cKDTree

from mesh_creation.registration.frame_alignment import Cloud
from pose6d.errors import SceneError
from pose6d.geometry.rotation_grids import rotation_hypotheses

_COARSE = 0.006  # metres between the points of the first search
_FINE = 0.002
_SEARCH_POINTS = 500  # points of the first search
_AXIS_TURNS = 6  # hypotheses from which turns about the object's own axes are tried
_REFINE_COUNT = 12  # hypotheses that are aligned exactly
_SHARED = 0.5  # share of the surface that both recordings surely show: not a cup's inside, nor what lay on the board
_CONTACT = 0.004  # metres
_COLOR_WEIGHT = 0.02  # metres per unit of colour (0..1): 10 % of difference counts like 2 mm
_STEPS = (0.004, 0.002, 0.001, 0.0005)  # metres
_RADIUS = 0.1  # metres from the middle at which a turn moves as far as a slide
_MAX_DISTANCE = 0.0025  # metres
_MIN_ANGLE = np.radians(25)


@dataclass(frozen=True)
class FlipAlignment:
    """How the second recording's frame lies in the first's.

    Attributes:
        transform: (4, 4) second board in first board.
        distance: metres, mean over the shared part of the surface.
        color: mean difference of colour there, 0..1.
        margin: by how many times the next best pose that is turned by more than 25 degrees fits worse; 1 where it fits
            as well, as with symmetric objects.
    """

    transform: np.ndarray
    distance: float
    color: float
    margin: float


def align_flipped(first: Cloud, second: Cloud, centers: tuple[np.ndarray, np.ndarray], source: str) -> FlipAlignment:
    """Align the surface of the second recording with that of the first.

    Args:
        first, second: points seen in each recording, in the frame of its board, with normals and colours.
        centers: (3,) centre of the solid in each.
        source: the scans, for messages.

    Raises:
        SceneError: no pose fits.
    """
    a, b = _thin(first, _COARSE), _thin(second, _COARSE)
    few = b.select(np.random.default_rng(0).permutation(len(b.points))[:_SEARCH_POINTS])
    tree = cKDTree(a.points)
    candidates = []
    for start in _start_poses(a, b, centers):
        transform = _trimmed_icp(few, a, tree, start, (0.025, 0.015, 0.010), steps=4)
        candidates.append((_compare(a, few, transform)[0], transform))
    candidates.sort(key=lambda item: item[0])
    # On a body of revolution only small details and colour tell the turns about its axis apart.
    for _, found in _drop_similar(candidates)[:_AXIS_TURNS]:
        for start in _turns_about_axes(found, a):
            transform = _trimmed_icp(few, a, tree, start, (0.012, 0.008), steps=3)
            candidates.append((_compare(a, few, transform)[0], transform))
    candidates.sort(key=lambda item: item[0])
    fine, other = _thin(first, _FINE), _thin(second, _FINE)
    tree = cKDTree(fine.points)
    scored = []
    for _, transform in _drop_similar(candidates)[:_REFINE_COUNT]:
        exact = _trimmed_icp(other, fine, tree, transform, (0.008, 0.006, 0.004, 0.003, 0.002), steps=10)
        scored.append((*_compare(fine, other, exact), exact))
    scored.sort(key=lambda item: item[0])
    if not scored or scored[0][1] > _MAX_DISTANCE:
        apart = f"{1000 * scored[0][1]:.1f} mm apart at best" if scored else "no pose at all"
        raise SceneError(
            f"{source}: the two recordings do not show the same object, or share too little of it ({apart}, wanted "
            f"{1000 * _MAX_DISTANCE:.1f}): both must show its sides, and the object must be rigid"
        )
    others = [item for item in scored[1:] if _angle(item[3], scored[0][3]) > _MIN_ANGLE]
    scored = sorted(
        (_pattern_search(fine, other, item[3]) for item in (scored[0], *others[:1])), key=lambda item: item[0]
    )
    best, rest = scored[0], [item[0] for item in scored[1:]]
    return FlipAlignment(best[3], best[1], best[2], min(rest, default=np.inf) / max(best[0], 1e-6))


def _start_poses(a: Cloud, b: Cloud, centers: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Second in first (4, 4): turns all over the sphere about the solids' centres, and what features suggest."""
    starts = []
    for R in rotation_hypotheses().numpy().astype(np.float64)[:, :3, :3]:
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = R, centers[0] - R @ centers[1]
        starts.append(T)
    return starts + _poses_by_features(a, b)


def _poses_by_features(a: Cloud, b: Cloud) -> list[np.ndarray]:
    """RANSAC on FPFH features (Rusu, Blodow and Beetz, 2009), twice."""
    method: Any = o3d.pipelines.registration  # its type information wants arguments that have defaults
    clouds = [cloud.open3d() for cloud in (b, a)]
    search = o3d.geometry.KDTreeSearchParamHybrid(radius=5 * _COARSE, max_nn=100)
    features = [method.compute_fpfh_feature(cloud, search) for cloud in clouds]
    found = []
    quiet = o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error)  # few matches are nothing unusual
    for seed in range(2):
        o3d.utility.random.seed(seed)
        with quiet:
            result = method.registration_ransac_based_on_feature_matching(
                clouds[0],
                clouds[1],
                features[0],
                features[1],
                True,
                1.5 * _COARSE,
                method.TransformationEstimationPointToPoint(False),
                3,
                [method.CorrespondenceCheckerBasedOnEdgeLength(0.9)],
                method.RANSACConvergenceCriteria(5_000, 0.999),
            )
        found.append(np.asarray(result.transformation))
    return found


def _trimmed_icp(
    source: Cloud, target: Cloud, tree: cKDTree, start: np.ndarray, max_distances: Sequence[float], steps: int = 5
) -> np.ndarray:
    """Point-to-plane ICP (Chen and Medioni, 1992) that pairs only points that face the same way.

    Without that, the outside of a cup in one recording is pulled to its inside in the other.

    Args:
        source, target: the clouds.
        tree: of the target's points.
        start: (4, 4) source in target.
        max_distances: metres within which partners are searched, one after the other.
        steps: iterations with each.
    """
    transform = start
    for max_distance in np.repeat(max_distances, steps):
        moved = source.transform(transform)
        distance, nearest = tree.query(moved.points, distance_upper_bound=max_distance)
        paired = np.isfinite(distance)
        nearest = np.where(paired, nearest, 0)
        paired &= (moved.normals * target.normals[nearest]).sum(axis=1) > 0.5
        if paired.sum() < 50:
            return transform
        p, q, n = moved.points[paired], target.points[nearest[paired]], target.normals[nearest[paired]]
        weight = np.square(1 - np.square(distance[paired] / max_distance))  # Tukey's
        middle = p.mean(axis=0)
        J = np.concatenate([np.cross(p - middle, n), n], axis=1)
        residual = ((q - p) * n).sum(axis=1)
        # A little damping: on a body of revolution the turn is not determined.
        H = (J * weight[:, None]).T @ J + np.diag([1e-6] * 3 + [1e-2] * 3) * paired.sum()
        motion = np.linalg.solve(H, (J * weight[:, None]).T @ residual)
        transform = _motion_about(middle, motion) @ transform
    return transform


def _pattern_search(first: Cloud, second: Cloud, transform: np.ndarray) -> tuple[float, float, float, np.ndarray]:
    """The pose near `transform` with the best score, after `_compare`'s values: a pattern search in six directions.

    ICP lets the walls of a cup slide along themselves, as neither recording shows both its ends; colour does not.
    """
    best = (*_compare(first, second, transform), transform)
    for step in _STEPS:
        better = True
        while better:
            better = False
            for axis, sign in product((3, 4, 5, 0, 1, 2), (-1, 1)):
                motion = np.eye(6)[axis] * sign * step / (_RADIUS if axis < 3 else 1)
                moved = _motion_about(first.points.mean(axis=0), motion) @ best[3]
                tried = (*_compare(first, second, moved), moved)
                if tried[0] < best[0]:
                    best, better = tried, True
    return best


def _turns_about_axes(transform: np.ndarray, target: Cloud) -> list[np.ndarray]:
    """`transform` followed by turns in steps of 15 degrees about the principal axes of the target."""
    middle = target.points.mean(axis=0)
    axes = np.linalg.svd(target.points - middle, full_matrices=False)[2]
    angles = np.radians(np.arange(15, 360, 15))
    return [_motion_about(middle, [*(axis * angle), 0, 0, 0]) @ transform for axis in axes for angle in angles]


def _motion_about(middle: np.ndarray, motion: Sequence[float] | np.ndarray) -> np.ndarray:
    """(4, 4) turn about `middle` (3,) by the rotation vector motion[:3], then shift by motion[3:] metres."""
    T = np.eye(4)
    T[:3, :3] = cv2.Rodrigues(np.array(motion[:3]))[0]
    T[:3, 3] = middle + motion[3:] - T[:3, :3] @ middle
    return T


def _compare(first: Cloud, second: Cloud, transform: np.ndarray) -> tuple[float, float, float]:
    """How well the two fit.

    Returns:
        The score, less is better; mean distance over the best-fitting share of both surfaces, metres, where points
        that face elsewhere do not count; and the difference of colour (0..1) on what coincides, after evening out
        exposure. The score also has the mean over everything, up to 10 mm a point: a handle is a small share.
    """
    moved = second.transform(transform)
    forth, partner = _distances(moved, first)
    back, _ = _distances(first, moved)
    near = np.flatnonzero(forth < _CONTACT)
    color = 1.0
    if len(near) > 50:
        own, other = moved.colors[near], first.colors[partner[near]]
        gain = np.clip(np.median(other, axis=0) / np.maximum(np.median(own, axis=0), 1e-3), 0.7, 1.4)
        color = float(np.abs(own * gain - other).mean())
    shared = (_best_mean(forth) + _best_mean(back)) / 2
    everything = float(np.minimum(forth, 0.01).mean() + np.minimum(back, 0.01).mean()) / 2
    return shared + everything + _COLOR_WEIGHT * color, shared, color


def _distances(source: Cloud, target: Cloud) -> tuple[np.ndarray, np.ndarray]:
    """Distance (P,) of each source point to the target, at least 20 mm where it faces elsewhere, and its partner."""
    distance, nearest = cKDTree(target.points).query(source.points)
    facing = (source.normals * target.normals[nearest]).sum(axis=1) > 0.3
    return np.where(facing, distance, np.maximum(distance, 0.02)), nearest


def _best_mean(distance: np.ndarray) -> float:
    return float(np.sort(distance)[: max(1, int(_SHARED * len(distance)))].mean())


def _drop_similar(candidates: list[tuple[float, np.ndarray]]) -> list[tuple[float, np.ndarray]]:
    kept: list[tuple[float, np.ndarray]] = []
    for score, transform in candidates:
        if all(
            _angle(transform, other) > 0.1 or np.linalg.norm(transform[:3, 3] - other[:3, 3]) > 0.01
            for _, other in kept
        ):
            kept.append((score, transform))
    return kept


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(a[:3, :3].T @ b[:3, :3]) - 1) / 2, -1, 1)))


def _thin(cloud: Cloud, voxel: float) -> Cloud:
    small = cloud.open3d().voxel_down_sample(voxel)
    normals = np.asarray(small.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return Cloud(np.asarray(small.points), normals, np.asarray(small.colors))
