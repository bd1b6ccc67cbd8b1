"""Following an unknown object through a video, from the mask of its first frame on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mesh_creation.markerless.bundle import adjust, overlapping_views
from mesh_creation.markerless.direct_alignment import Equations, move, relate
from mesh_creation.markerless.key_view import KeyView, nearest_views, view_distance, votes_of, whole_mask
from mesh_creation.markerless.picture import OBJECT, OTHER, Picture, Surface, cut_picture
from mesh_creation.markerless.pixel_labels import decide, labels_of_mask
from mesh_creation.markerless.surroundings import surroundings_are_static
from mesh_creation.registration.image_features import find_features, locate
from pose6d.errors import FrameError
from pose6d.geometry.transforms import rigid_transform
from pose6d.scenes.frame import Frame

_STAGES = ((2, 0.03, 8), (1, 0.015, 7), (0, 0.008, 6))  # level, gate in metres, most steps
_DAMPING = 30.0  # inverse radians and, times ten, inverse metres, of a step
_SETTLED = 2e-4  # radians and metres, of a step at the finest level
_WINDOW = 2.4  # radii of the object
_SURELY, _FOLLOWED = 0.55, 0.3  # correlation of grey values that leaves no doubt, and where nothing better is found
_OTHER_SIDE = 0.7  # radians, of the views that tell whether the surroundings stand still
_SURE = 3  # frames
_LEAST_DEPTH = 200  # pixels of the object with depth, in the first frame


@dataclass(frozen=True)
class TrackerOptions:
    """How an unknown object is followed."""

    step: float = 12.0
    """degrees between key views"""
    views: int = 4
    """key views that a frame is laid on"""
    most_views: int = 150
    """key views at most; from then on the model grows no more"""


@dataclass
class TrackedFrame:
    """What is known of a frame.

    Attributes:
        name: of the frame.
        camera_in_object: (4, 4) in the frame of the object, which has the axes of the first camera and its origin in
            the middle of what that saw; None where the object was not found.
        mask: (H, W) bool, true on the object; None where it was not found.
        fit: share of the object's points that should be seen and lie on a measured surface.
        view: index of the nearest key view.
        in_view: (4, 4) the camera in that of the key view, by which later corrections of the key view are passed on.
    """

    name: str
    camera_in_object: np.ndarray | None = None
    mask: np.ndarray | None = None
    fit: float = 0.0
    view: int = 0
    in_view: np.ndarray | None = None

    @property
    def object_in_camera(self) -> np.ndarray | None:
        """(4, 4); None where the object was not found."""
        return None if self.camera_in_object is None else np.linalg.inv(self.camera_in_object)


@dataclass
class _Fit:
    """A pose of the object in the camera (4, 4), and how well it fits."""

    pose: np.ndarray
    own: Equations

    @property
    def share(self) -> float:
        return self.own.fitting / max(self.own.fitting + self.own.contradicting, 1.0)

    @property
    def value(self) -> float:
        return (self.own.fitting - 2 * self.own.contradicting) * max(self.own.correlation, 0.1)

    def is_good(self, correlation: float) -> bool:
        """Whether the object is there, with at least this correlation of grey values."""
        own = self.own
        visible = own.fitting / max(own.fitting + own.contradicting + own.hidden, 1.0)
        return own.fitting > 100 and self.share > 0.75 and visible > 0.2 and own.correlation > correlation


class MarkerlessTracker:
    """Follows a rigid object that nobody has a model of; the model grows while it goes.

    Each frame is laid on the key views that look from about the same side, by depth and grey values, from where the
    object would be if it went on as it moved; where that fails, from image features. A frame that shows the object from
    a new side becomes a key view, and is adjusted together with its neighbours.

    Args:
        first: the first frame; its mask, or `mask`, is of the object.
        mask: (H, W) bool in place of the frame's own.
        options: how.

    Attributes:
        views: the key views so far.
        frames: what is known of each frame so far; the poses are those of when it was seen (see `trajectory`).
        radius: metres, of a ball around the object's middle.
        static: whether what lies around the object has kept its place to it: then it is compared too.

    Raises:
        FrameError: the mask is missing, empty or of another size, or there is no depth in it.
    """

    def __init__(self, first: Frame, mask: np.ndarray | None = None, options: TrackerOptions = TrackerOptions()):
        self.options = options
        mask = _check_mask(first, mask)
        points = _masked_points(first, mask)
        low, high = np.percentile(points, [3, 97], axis=0)
        camera_in_object = np.eye(4)
        camera_in_object[:3, 3] = -(low + high) / 2
        self.radius = max(0.6 * float(np.linalg.norm(high - low)), 0.02)
        picture = cut_picture(first, (low + high) / 2, _WINDOW * self.radius)
        surface = Surface.of(picture)
        (top, left), (height, width) = picture.corner, picture.depth.shape
        given = labels_of_mask(mask[top : top + height, left : left + width], picture)
        labels = decide(picture, surface, given.astype(np.float32), np.zeros_like(picture.depth), self.radius)
        view = KeyView(0, first, picture, surface, labels, camera_in_object)
        view.choose_points(self.radius)
        self.views = [view]
        self.frames = [TrackedFrame(first.name, camera_in_object, view.mask, 1.0, 0, np.eye(4))]
        self.static = False
        self._static_for = self._static_frames = 0
        self._poses: list[np.ndarray | None] = [np.linalg.inv(camera_in_object)]
        self._sharpness: list[float] = []

    def step(self, frame: Frame) -> TrackedFrame:
        """Find the object in the next frame."""
        fit, picture = self._find(frame)
        tracked = TrackedFrame(frame.name)
        if fit is None:
            self._poses.append(None)
            self._static_for, self.static = 0, False
        else:
            camera = np.linalg.inv(fit.pose)
            self._watch_surroundings(frame, camera)
            surface = Surface.of(picture)
            near = [self.views[i] for i in nearest_views(self.views, camera, 5, 1.2)]
            votes, nearest = votes_of(near, picture, camera)
            labels = decide(picture, surface, votes, nearest, self.radius)
            if self._is_new(picture, camera):
                camera = self._add_view(KeyView(len(self.frames), frame, picture, surface, labels, camera))
            closest = nearest_views(self.views, camera, 1, 10.0)[0]
            in_view = np.linalg.inv(self.views[closest].camera_in_object) @ camera
            mask = whole_mask(labels, picture, frame.depth.shape)
            tracked = TrackedFrame(frame.name, camera, mask, fit.share, closest, in_view)
            self._poses.append(np.linalg.inv(camera))
        self.frames.append(tracked)
        return tracked

    @property
    def mostly_static(self) -> bool:
        """Whether what lies around the object has kept its place to it in most frames."""
        return self._static_frames > len(self.frames) / 2

    def trajectory(self) -> list[np.ndarray | None]:
        """Camera in object (4, 4) of every frame, with what was learnt of the key views since it was seen."""
        return [
            None if frame.in_view is None else self.views[frame.view].camera_in_object @ frame.in_view
            for frame in self.frames
        ]

    def _find(self, frame: Frame) -> tuple[_Fit | None, Picture]:
        """The best fit, or None, and the picture that it is in."""
        starts = self._starts()
        found: list[tuple[_Fit, Picture]] = []
        picture = cut_picture(frame, None, 0.0) if not starts else self._cut(frame, starts[0])
        for start in starts:
            found.append((self._align(picture, start), picture))
            if found[-1][0].is_good(_SURELY):
                return found[-1]
        doubtful = [pair for pair in found if pair[0].is_good(_FOLLOWED)]
        for start in self._starts_by_features(cut_picture(frame, None, 0.0)):
            picture = self._cut(frame, start)
            fit = self._align(picture, start)
            if fit.is_good(_SURELY):
                doubtful.append((fit, picture))
                break
        return max(doubtful, key=lambda pair: pair[0].value, default=(None, picture))

    def _cut(self, frame: Frame, pose: np.ndarray) -> Picture:
        return cut_picture(frame, pose[:3, 3], _WINDOW * self.radius)

    def _starts(self) -> list[np.ndarray]:
        """Object in camera (4, 4) if it goes on as it moved, and if it stays; what was last known, after a gap."""
        known = [pose for pose in self._poses[-8:] if pose is not None]
        if not known:
            return []
        last = known[-1]
        if len(self._poses) < 2 or self._poses[-1] is None or self._poses[-2] is None:
            return [last]
        before = self._poses[-2]
        turned = last[:3, :3] @ before[:3, :3].T @ last[:3, :3]
        return [rigid_transform(turned, 2 * last[:3, 3] - before[:3, 3]), last]

    def _starts_by_features(self, picture: Picture) -> list[np.ndarray]:
        """Object in camera (4, 4), by image features that key views have as well, likeliest first."""
        features = find_features(picture.rgb, picture.depth, picture.K)
        known = [pose for pose in self._poses if pose is not None]
        order = nearest_views(self.views, np.linalg.inv(known[-1]), len(self.views), 10.0)
        groups = [order[i : i + 4] for i in range(0, len(order), 4)]
        labels = (OBJECT, OTHER) if self.static else (OBJECT,)
        found = []
        for group in groups:
            parts = [self.views[i].known_features(labels) for i in group]
            points, descriptors = (np.concatenate(part) for part in zip(*parts, strict=True))
            place = locate(features, points, descriptors, picture.K)
            if place is not None:
                found.append((place.inliers, np.linalg.inv(place.pose)))
        return [pose for _, pose in sorted(found, key=lambda pair: -pair[0])[:3]]

    def _align(self, picture: Picture, start: np.ndarray) -> _Fit:
        near = nearest_views(self.views, np.linalg.inv(start), self.options.views, 1.0)
        views = [self.views[i] for i in dict.fromkeys([*near, len(self.views) - 1])]
        sets = [(view.own, view.camera_in_object) for view in views]
        if self.static:
            sets += [(view.around, view.camera_in_object) for view in views]
        pose = start
        for level, gate, steps in _STAGES:
            gains: list[tuple[float, float] | None] = [None] * len(sets)
            for _ in range(steps):
                total = Equations.empty()
                for k, (points, camera) in enumerate(sets):
                    equations = relate(points, pose @ camera, picture, level, gate, gains[k])
                    gains[k] = equations.gain
                    total += equations
                x = _solve(total, pose)
                pose = move(pose, x)
                if np.abs(x).max() < _SETTLED * 2**level:
                    break
        own = Equations.empty()
        for view in views[:2]:
            own += relate(view.own, pose @ view.camera_in_object, picture, 0)
        return _Fit(pose, own)

    def _watch_surroundings(self, frame: Frame, camera: np.ndarray) -> None:
        """Compare the surroundings too, once they have kept their place to an object that is seen from another side."""
        near = nearest_views(self.views, camera, 6, _OTHER_SIDE)
        static = surroundings_are_static(self.views[near[-1]], frame, camera) if near else None
        if static is not None:
            self._static_for = self._static_for + 1 if static else 0
            self.static = self._static_for >= _SURE
        self._static_frames += self.static

    def _is_new(self, picture: Picture, camera: np.ndarray) -> bool:
        """Whether this is to become a key view: it looks from a new side, and is sharp."""
        grey = picture.grey[0]
        self._sharpness = [*self._sharpness[-7:], float(np.square(grey[..., 1:]).mean())]
        closest = nearest_views(self.views, camera, 1, 10.0)[0]
        distance = np.degrees(view_distance(self.views[closest].camera_in_object, camera))
        sharp = self._sharpness[-1] > 0.8 * np.median(self._sharpness)
        step = self.options.step
        return len(self.views) < self.options.most_views and bool(distance > (step if sharp else 1.5 * step))

    def _add_view(self, view: KeyView) -> np.ndarray:
        """Add a key view, adjusted with its neighbours; its camera in the object (4, 4)."""
        view.choose_points(self.radius)
        self.views.append(view)
        new = len(self.views) - 1
        pairs = overlapping_views(self.views, [new])
        moving = sorted({i for pair in pairs for i in pair} - {0})
        if any(new - i > 8 for pair in pairs for i in pair):  # old sides come back
            pairs, moving = overlapping_views(self.views), list(range(1, len(self.views)))
        else:
            pairs = overlapping_views(self.views, moving)
        adjust(self.views, pairs, moving, around=self.static, rounds=((0, 0.01), (0, 0.008)))
        return view.camera_in_object


def _solve(equations: Equations, pose: np.ndarray) -> np.ndarray:
    """(6,) motion of the object; damped about its middle."""
    x, y, z = pose[:3, 3]
    J = np.eye(6)
    J[3:, :3] = -np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    damping = J.T @ np.diag([_DAMPING**2] * 3 + [(10 * _DAMPING) ** 2] * 3) @ J
    return np.linalg.solve(equations.H + damping, -equations.g)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0]))


def _check_mask(frame: Frame, mask: np.ndarray | None) -> np.ndarray:
    mask = frame.mask if mask is None else mask
    if mask is None:
        raise FrameError(f"frame {frame.name}: it has no mask; the first frame needs one of the object")
    if mask.shape != frame.depth.shape:
        raise FrameError(
            f"frame {frame.name}: the mask is {mask.shape[1]}x{mask.shape[0]}, the frame is "
            f"{frame.depth.shape[1]}x{frame.depth.shape[0]}: the mask must have the size of the frame"
        )
    if not mask.any():
        raise FrameError(f"frame {frame.name}: the mask is empty: mark the object in it")
    return mask.astype(bool)


def _masked_points(frame: Frame, mask: np.ndarray) -> np.ndarray:
    """(P, 3) metres, camera axes, of the masked pixels with depth."""
    rows, columns = np.nonzero(mask & (frame.depth > 0))
    if len(rows) < _LEAST_DEPTH:
        raise FrameError(
            f"frame {frame.name}: {len(rows)} of {int(mask.sum())} pixels of the mask have depth, wanted at least "
            f"{_LEAST_DEPTH}: begin with a frame in which the object is near and has depth (dark, shiny and clear "
            "things have none)"
        )
    z = frame.depth[rows, columns].astype(np.float64)
    middle = np.median(z)
    size = max(np.ptp(rows), np.ptp(columns)) * middle / frame.K[0, 0]
    near = np.abs(z - middle) < max(size, 0.03)
    pixels = np.stack([columns, rows, np.ones(len(rows))], axis=1)[near]
    return pixels @ np.linalg.inv(frame.K).T * z[near, None]
