"""Poses of the frames on which no board was read: from their neighbours, by features and coloured ICP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial import cKDTree

from mesh_creation.registration.depth_cleaning import clean_depth
from mesh_creation.registration.frame_alignment import Alignment, Cloud, align, frame_cloud, merge
from mesh_creation.registration.image_features import FeaturePose, Features, find_features, locate
from mesh_creation.registration.keyframes import view_distances
from mesh_creation.registration.work_area import WorkArea
from pose6d.errors import FrameError
from pose6d.scenes.frame import Frame, Scene

_MIN_FITNESS = 0.6
_MANY_FEATURES = 30
_PAIRS = 8  # of frames, that are looked at for whether the surroundings move
_NEXT = 3  # frames in time, over which ICP can follow a hand
_MAX_RMSE = 0.004  # metres
_ABOVE_BOARD = 0.006  # metres; what is higher is the object, whose alignment alone fixes the turn about z
_CACHE_SIZE = 96  # frames whose clouds and features stay in memory


@dataclass(frozen=True)
class Placement:
    """Where a frame without a board was found.

    Attributes:
        pose: (4, 4) camera in board.
        method: "features" or "icp".
        fitness: share of the object's points that lie within 6 mm of the neighbours'.
        information: (6, 6) inverse covariance of a small motion of the camera in its axes.
    """

    pose: np.ndarray
    method: str
    fitness: float
    information: np.ndarray


class FrameCache:
    """Clouds and features of frames, in camera axes, read when they are first asked for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._frame = lru_cache(maxsize=4)(self._read)
        self.cloud: Callable[[int], Cloud] = lru_cache(maxsize=_CACHE_SIZE)(self._cloud)
        self.features: Callable[[int], Features] = lru_cache(maxsize=_CACHE_SIZE)(self._features)

    def _read(self, index: int) -> tuple[Frame, np.ndarray]:
        frame = self.scene[index]
        return frame, clean_depth(frame.depth, frame.K)[0]

    def _cloud(self, index: int) -> Cloud:
        frame, depth = self._frame(index)
        return frame_cloud(frame.rgb, depth, frame.K)

    def _features(self, index: int) -> Features:
        frame, depth = self._frame(index)
        return find_features(frame.rgb, depth, frame.K)

    def intrinsics(self, index: int) -> np.ndarray:
        """(3, 3) of a frame."""
        return self._frame(index)[0].K


def localize(
    cache: FrameCache,
    index: int,
    known: dict[int, np.ndarray],
    anchors: set[int],
    space: WorkArea,
    center: np.ndarray,
) -> Placement:
    """Find one frame by its neighbours: by features, and where too few are found by coloured ICP.

    Features are three times as exact where the object or the table has any pattern; ICP also works without.

    Args:
        cache: the scan's frames.
        index: the frame to find.
        known: camera in board (4, 4) of the frames found so far.
        anchors: those of them whose pose came from the board itself.
        space: what may be compared.
        center: (3,) what the cameras look at, board frame.

    Raises:
        FrameError: it fits nowhere; the message is the reason only.
    """
    in_time = sorted(known, key=lambda other: abs(other - index))
    near = list(dict.fromkeys(in_time[:3] + [other for other in in_time if other in anchors][:4]))
    located = _locate_by_features(cache, index, known, near, space)
    fitness = 0.0
    if located is not None and located.inliers >= _MANY_FEATURES:
        fitness = _object_fitness(cache, index, located.pose, near, known, space)
        if fitness >= _MIN_FITNESS:
            return Placement(located.pose, "features", fitness, located.information)
    best: Alignment | None = None
    guesses = [located.pose] if located is not None else []
    for guess in guesses + _poses_before_and_after(index, known):
        try:
            alignment = _align_by_icp(cache, index, guess, known, anchors, near, space, center)
        except FrameError:
            continue
        if best is None or alignment.fitness > best.fitness:
            best = alignment
    if best is None:
        raise FrameError("nothing in its neighbours matches it")
    fitness = _object_fitness(cache, index, best.transform, near, known, space)
    if min(best.fitness, fitness) < _MIN_FITNESS or best.rmse > _MAX_RMSE:
        raise FrameError(
            f"it does not fit its neighbours: {best.fitness:.0%} of it and {fitness:.0%} of the object within 6 mm, "
            f"wanted {_MIN_FITNESS:.0%}"
        )
    return Placement(best.transform, "icp", fitness, best.information)


def surroundings_are_static(cache: FrameCache, known: dict[int, np.ndarray], board: WorkArea) -> bool:
    """Whether what lies around the board keeps its place to it (hand-held camera) or not (turntable).

    Features outside the board are matched between frames of known pose: where they keep their place, most matches
    agree in the board's frame.
    """
    frames = sorted(known)
    agreeing = seen = 0
    for start in np.linspace(0, max(len(frames) - 6, 0), _PAIRS).astype(int):
        a, b = frames[start], frames[min(start + 5, len(frames) - 1)]
        first, second = (_features_outside(cache.features(i), known[i], board) for i in (a, b))
        if min(len(first[0]), len(second[0])) < 10:
            continue
        nearest = _match_mutually(first[1], second[1])
        apart = np.linalg.norm(first[0][nearest[:, 0]] - second[0][nearest[:, 1]], axis=1)
        agreeing += int((apart < 0.015).sum())
        seen += len(nearest)
    return seen >= 40 and agreeing > 0.4 * seen


def _locate_by_features(
    cache: FrameCache, index: int, known: dict[int, np.ndarray], near: list[int], space: WorkArea
) -> FeaturePose | None:
    points, descriptors = [], []
    for other in near:
        features = cache.features(other)
        in_board = features.points @ known[other][:3, :3].T + known[other][:3, 3]
        inside = space.contains(in_board)
        points.append(in_board[inside])
        descriptors.append(features.descriptors[inside])
    if not points:
        return None
    return locate(cache.features(index), np.concatenate(points), np.concatenate(descriptors), cache.intrinsics(index))


def _poses_before_and_after(index: int, known: dict[int, np.ndarray]) -> list[np.ndarray]:
    """Poses of the frames just before and after."""
    before = max((i for i in known if i < index), default=None)
    after = min((i for i in known if i > index), default=None)
    return [known[i] for i in (before, after) if i is not None and abs(i - index) <= _NEXT]


def _align_by_icp(
    cache: FrameCache,
    index: int,
    guess: np.ndarray,
    known: dict[int, np.ndarray],
    anchors: set[int],
    near: list[int],
    space: WorkArea,
    center: np.ndarray,
) -> Alignment:
    # Frames whose pose came from the board do not drift: those that look from about the same side are the reference.
    others = sorted(anchors) or sorted(known)
    distance = view_distances(guess[None], np.stack([known[i] for i in others]), center)[0]
    chosen = [others[i] for i in np.argsort(distance)[:4] if distance[i] < 0.8]
    chosen = list(dict.fromkeys(chosen + near[:2]))
    target = merge([_in_board(cache.cloud(i), known[i], space) for i in chosen])
    source = cache.cloud(index)
    source = source.select(space.contains(source.points @ guess[:3, :3].T + guess[:3, 3]))
    return align(source, target, guess)


def _in_board(cloud: Cloud, pose: np.ndarray, space: WorkArea) -> Cloud:
    cloud = cloud.transform(pose)
    return cloud.select(space.contains(cloud.points))


def _object_fitness(
    cache: FrameCache, index: int, pose: np.ndarray, near: list[int], known: dict[int, np.ndarray], space: WorkArea
) -> float:
    """Share of the frame's points above the board that lie within 6 mm of a neighbour's."""
    clouds = [_in_board(cache.cloud(index), pose, space)] + [
        _in_board(cache.cloud(i), known[i], space) for i in near[:4]
    ]
    own, *others = (cloud.points[cloud.points[:, 2] > _ABOVE_BOARD] for cloud in clouds)
    rest = np.concatenate(others) if others else np.zeros((0, 3))
    if len(own) < 50 or len(rest) < 50:
        return 0.0
    return float((cKDTree(rest).query(own[::3])[0] < 0.006).mean())


def _features_outside(features: Features, pose: np.ndarray, board: WorkArea) -> tuple[np.ndarray, np.ndarray]:
    points = features.points @ pose[:3, :3].T + pose[:3, 3]
    outside = np.isfinite(points).all(axis=1) & ~board.contains(points)
    return points[outside], features.descriptors[outside]


def _match_mutually(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M, 2) pairs of descriptors that are each other's nearest."""
    matches = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(a, b)
    return np.array([(m.queryIdx, m.trainIdx) for m in matches if m.distance < 250], int).reshape(-1, 2)
