"""A view that others are laid on: its points, what they are of, and the pose of its camera in the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mesh_creation.markerless.picture import OBJECT, UNKNOWN, Picture, Surface, SurfacePoints, choose_points
from mesh_creation.markerless.pixel_labels import carry_over
from mesh_creation.registration.image_features import Features, find_features
from mesh_creation.registration.keyframes import view_distances
from pose6d.scenes.frame import Frame

_FARTHEST = 2.5  # metres, of other things
_VOTING = 2.5  # radii from the object's middle, within which pixels vote
_CENTER = np.zeros(3)  # of the object, in its own frame


@dataclass
class KeyView:
    """One of the views that the model consists of.

    Attributes:
        number: of its frame.
        frame: as it was taken.
        picture, surface: the window around the object.
        labels: (H, W) int8 of the window's pixels.
        camera_in_object: (4, 4).
        own: points of the object.
        around: points of all else in the window.
        votes: all points (P, 3) float32 near the object, camera axes, and what they are (P,) float32: positive for the
            object, negative for other things, and the more the more frontally they are seen.
    """

    number: int
    frame: Frame
    picture: Picture
    surface: Surface
    labels: np.ndarray
    camera_in_object: np.ndarray
    own: SurfacePoints = field(init=False)
    around: SurfacePoints = field(init=False)
    votes: tuple[np.ndarray, np.ndarray] = field(init=False)
    _features: Features | None = None

    def choose_points(self, radius: float) -> None:
        """Choose the points anew, for new labels; `radius` in metres, of the object."""
        rng = np.random.default_rng(self.number)
        near = self.surface.depth < _FARTHEST
        self.own = choose_points(self.picture, self.surface, self.labels == OBJECT, rng)
        self.around = choose_points(self.picture, self.surface, (self.labels != OBJECT) & near, rng)
        x, y, z = np.linalg.inv(self.camera_in_object)[:3, 3]
        points = self.surface.points
        off = np.square(points[..., 0] - x) + np.square(points[..., 1] - y) + np.square(points[..., 2] - z)
        voting = (self.surface.depth > 0) & (self.labels != UNKNOWN) & (off < (_VOTING * radius) ** 2)
        points = points[voting]
        cosine = -np.einsum("pi,pi->p", points, self.surface.normals[voting])
        cosine /= np.sqrt(np.einsum("pi,pi->p", points, points))
        self.votes = points, self.labels[voting] * np.maximum(cosine, 0)

    def points_near(self, radius: float) -> SurfacePoints:
        """Points of all that lies within metres of the object's middle, as what holds it does."""
        off = self.surface.points - np.linalg.inv(self.camera_in_object)[:3, 3]
        near = np.einsum("hwi,hwi->hw", off, off) < radius**2
        return choose_points(self.picture, self.surface, near, np.random.default_rng(self.number))

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool of the whole frame, true on the object."""
        return whole_mask(self.labels, self.picture, self.frame.depth.shape)

    def features(self) -> Features:
        """Image points of the window."""
        if self._features is None:
            self._features = find_features(self.picture.rgb, self.picture.depth, self.picture.K)
        return self._features

    def known_features(self, labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) of the object's frame that lie on pixels of these labels, and their descriptors (N, 128)."""
        features = self.features()
        if not len(features.pixels):
            return np.zeros((0, 3)), features.descriptors
        height, width = self.labels.shape
        column, row = np.round(features.pixels).astype(int).T
        on = np.isin(self.labels[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)], list(labels))
        on &= np.isfinite(features.points).all(axis=1)
        T = self.camera_in_object
        return features.points[on] @ T[:3, :3].T + T[:3, 3], features.descriptors[on]


def whole_mask(labels: np.ndarray, picture: Picture, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool of a whole frame of this size, from labels of its window."""
    mask = np.zeros(size, bool)
    top, left = picture.corner
    mask[top : top + labels.shape[0], left : left + labels.shape[1]] = labels == OBJECT
    return mask


def nearest_views(views: Sequence[KeyView], camera_in_object: np.ndarray, most: int, farthest: float) -> list[int]:
    """Indices of views that look from about the same side, nearest first; `farthest` in radians."""
    distance = view_distances(camera_in_object[None], np.stack([v.camera_in_object for v in views]), _CENTER)[0]
    return [int(i) for i in np.argsort(distance)[:most] if distance[i] <= farthest]


def view_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Radians by which two cameras (4, 4) in the object differ in direction and distance."""
    return float(view_distances(a[None], b[None], _CENTER)[0, 0])


def votes_of(views: Sequence[KeyView], picture: Picture, camera_in_object: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What views say of the pixels of a picture: votes (H, W), positive for the object; and the depth (H, W) in metres
    of the nearest point of the object, 0 where there is none."""
    votes, nearest = (np.zeros(picture.depth.shape, np.float32) for _ in range(2))
    object_in_camera = np.linalg.inv(camera_in_object)
    for view in views:
        points, weights = view.votes
        T = (object_in_camera @ view.camera_in_object).astype(np.float32)
        carry_over(points @ T[:3, :3].T + T[:3, 3], weights, picture, votes, nearest)
    return votes, nearest
