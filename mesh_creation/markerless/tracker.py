"""Following an unknown object through a video, from the mask of its first frame on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mesh_creation.markerless.bundle import adjust, overlapping_views
from mesh_creation.markerless.direct_alignment import relate
from mesh_creation.markerless.fit import (
    FOLLOWED,
    STAGES,
    SURELY,
    Fit,
    Stage,
    angle_between,
    descend,
    is_same,
    judge,
)
from mesh_creation.markerless.key_view import KeyView, nearest_views, view_distance, votes_of, whole_mask
from mesh_creation.markerless.picture import OBJECT, OTHER, Picture, Surface, cut_picture
from mesh_creation.markerless.pixel_labels import decide, labels_of_mask
from mesh_creation.markerless.relocalization import KnownSurface
from mesh_creation.markerless.surroundings import surroundings_are_static
from mesh_creation.registration.image_features import find_features, locate
from pose6d.errors import FrameError
from pose6d.geometry.transforms import rigid_transform
from pose6d.scenes.frame import Frame

_WINDOW = 2.4  # radii of the object
_SEARCHED_EVERY = 3  # frames
_PLACES, _LAID = 48, 6  # that a search looks at roughly, and closely
_RIVAL, _OTHERWISE = 0.9, 0.35  # share of the best value, and radians, from which another pose makes it doubtful
_CARRIED = 45  # frames in a row, that it moves as what holds it
_HELD, _HELD_SHARE, _HELD_FITTING = 2.0, 0.85, 0.5  # radii of what does; shares of its points that fit then
_PROBATION = 5  # frames after a search that must confirm it before the model grows again
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
        carried: too little of the object was seen to tell its pose: it is taken to have moved as what holds it.
    """

    name: str
    camera_in_object: np.ndarray | None = None
    mask: np.ndarray | None = None
    fit: float = 0.0
    view: int = 0
    in_view: np.ndarray | None = None
    carried: bool = False

    @property
    def object_in_camera(self) -> np.ndarray | None:
        """(4, 4); None where the object was not found."""
        return None if self.camera_in_object is None else np.linalg.inv(self.camera_in_object)


class MarkerlessTracker:
    """Follows a rigid object that nobody has a model of; the model grows while it goes.

    Each frame is laid on the key views that look from about the same side, by depth and grey values, from where the
    object would be if it went on as it moved. Where too little of it is seen for that, it is taken to move as what
    holds it, for a while. Where that fails as well, it is lost, and looked for by its image features, and, turned any
    way, in the regions of the frame that may be it. A frame that shows the object from a new side becomes a key view,
    and is adjusted together with its neighbours.

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
        self._surface = KnownSurface(self.views, self.radius)
        self._lost_for = self._carried_for = self._sure_in = 0
        self._last: KeyView | None = view

    def step(self, frame: Frame) -> TrackedFrame:
        """Find the object in the next frame."""
        carried_for = self._carried_for
        fit, picture = self._find(frame)
        carried = self._carried_for > carried_for
        self._carried_for = self._carried_for if carried else 0
        tracked = TrackedFrame(frame.name)
        self._lost_for = self._lost_for + 1 if fit is None else 0
        if fit is None:
            self._poses.append(None)
            self._last = None
            self._static_for, self.static = 0, False
        else:
            camera = np.linalg.inv(fit.pose)
            self._watch_surroundings(frame, camera)
            surface = Surface.of(picture)
            near = [self.views[i] for i in nearest_views(self.views, camera, 5, 1.2)]
            near += [self._last] if carried and self._last is not None else []
            votes, nearest = votes_of(near, picture, camera)
            if carried:  # sides that nobody has seen come from behind what covered them
                votes += self._surface.votes_by_color(picture, surface, camera)
            labels = decide(picture, surface, votes, nearest, self.radius)
            self._sure_in = max(self._sure_in - 1, 0)
            view = KeyView(len(self.frames), frame, picture, surface, labels, camera)
            enough = not carried or (labels == OBJECT).sum() > _LEAST_DEPTH
            if enough and not self._sure_in and self._is_new(picture, camera):
                camera = self._add_view(view)
            self._last = view
            closest = nearest_views(self.views, camera, 1, 10.0)[0]
            in_view = np.linalg.inv(self.views[closest].camera_in_object) @ camera
            mask = whole_mask(labels, picture, frame.depth.shape)
            tracked = TrackedFrame(frame.name, camera, mask, fit.share, closest, in_view, carried)
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

    def _find(self, frame: Frame) -> tuple[Fit | None, Picture]:
        """The best fit, or None, and the picture that it is in."""
        carried = self._carry(frame) if self._carried_for else None
        if carried is not None:
            fit = self._align(carried[1], carried[0].pose)
            if fit.is_good(SURELY) and fit.is_telling and is_same(fit.pose, carried[0].pose, self.radius):
                self._carried_for = 0
                return fit, carried[1]
            return carried
        starts = self._starts()
        found: list[tuple[Fit, Picture]] = []
        picture = cut_picture(frame, None, 0.0) if not starts else self._cut(frame, starts[0])
        for start in starts:
            found.append((self._align(picture, start), picture))
            if found[-1][0].is_good(SURELY) and found[-1][0].is_telling:
                return found[-1]
        carried = self._carry(frame) if not self._carried_for else None
        if carried is not None:
            return carried
        sure = [pair for pair in found if pair[0].is_good(SURELY)]
        if sure:
            return sure[0]
        doubtful = [pair for pair in found if pair[0].is_good(FOLLOWED) and not self._sure_in]
        for start in self._starts_by_features(cut_picture(frame, None, 0.0)):
            picture = self._cut(frame, start)
            fit = self._align(picture, start)
            if fit.is_good(SURELY):
                doubtful.append((fit, picture))
                break
        if doubtful:
            return max(doubtful, key=lambda pair: pair[0].value)
        return self._search(frame) or (None, picture)

    def _carry(self, frame: Frame) -> tuple[Fit, Picture] | None:
        """Let an object that is covered move as what holds it does; None where that moved otherwise."""
        last = self._last
        if last is None or self._carried_for >= _CARRIED:
            return None
        last.choose_points(self.radius)
        held = last.points_near(_HELD * self.radius)
        start = np.linalg.inv(last.camera_in_object)
        picture = self._cut(frame, start)
        near = [self.views[i] for i in nearest_views(self.views, last.camera_in_object, self.options.views, 1.0)]
        sets = [(held, last.camera_in_object), *((view.own, view.camera_in_object) for view in near)]
        pose = descend(picture, start, sets, STAGES)
        fit = Fit(pose, relate(held, pose @ last.camera_in_object, picture, 0), len(held.points))
        if fit.share < _HELD_SHARE or fit.own.fitting < _HELD_FITTING * fit.points or not fit.is_good(SURELY):
            return None
        self._carried_for += 1
        return fit, picture

    def _search(self, frame: Frame) -> tuple[Fit, Picture] | None:
        """Look everywhere for an object that was lost; None where no pose leaves every other one behind."""
        if self._lost_for % _SEARCHED_EVERY:
            return None
        laid = []
        for place in self._surface.find(frame, _PLACES):
            picture = self._cut(frame, place)
            laid.append((self._align(picture, place, STAGES[:1]), picture))
        laid.sort(key=lambda pair: -pair[0].value)
        fits: list[tuple[Fit, Picture]] = []
        for rough, _ in laid[:_LAID]:
            picture = self._cut(frame, rough.pose)
            fit = self._align(picture, rough.pose)
            if fit.is_found() and self._surface.has_its_colors(fit.pose):
                fits.append((fit, picture))
        best = max(fits, key=lambda pair: pair[0].value, default=None)
        if best is None or any(
            fit.value > _RIVAL * best[0].value and angle_between(fit.pose, best[0].pose) > _OTHERWISE for fit, _ in fits
        ):
            return None
        self._sure_in = _PROBATION
        return best

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

    def _align(self, picture: Picture, start: np.ndarray, stages: Sequence[Stage] = STAGES) -> Fit:
        near = nearest_views(self.views, np.linalg.inv(start), self.options.views, 1.0)
        views = [self.views[i] for i in dict.fromkeys([*near, len(self.views) - 1])]
        sets = [(view.own, view.camera_in_object) for view in views]
        if self.static:
            sets += [(view.around, view.camera_in_object) for view in views]
        pose = descend(picture, start, sets, stages)
        return judge(picture, pose, views[:2], *stages[-1][:2])

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
