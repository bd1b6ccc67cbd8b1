"""Key views with poses and masks from a video of an object without markers, of which the first mask is given.

    python -m mesh_creation from_video --scene video --out views

The folder that comes out has the capture layout: pictures, depth and masks of the key views, and transforms.npy with
their cameras in the object; trajectory.json has the camera of every frame of the video.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mesh_creation.markerless.bundle import adjust, overlapping_views
from mesh_creation.markerless.mask_revision import revise_masks
from mesh_creation.markerless.tracker import MarkerlessTracker, TrackedFrame, TrackerOptions
from mesh_creation.reference_views.view import ReferenceView
from pose6d.errors import FrameError, OutputError, SceneError
from pose6d.json_file import read_json, write_json
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame, Scene
from pose6d.streams.capture_writer import CaptureFolder

_MADE_BY = "mesh_creation from_video"
_LEAST_FOUND = 0.3  # of the frames


@dataclass(frozen=True)
class FromVideoOptions:
    """Follow an object through a video without markers, and keep the views that a mesh can be made from."""

    scene: Path
    """the recording; the first frame needs a mask, there or in --mask"""
    out: Path
    """the folder to make"""
    mask: Path | None = None
    """a picture of the first frame's size, bright on the object"""
    every: int = 1
    """use each n-th frame"""
    tracker: TrackerOptions = field(default_factory=TrackerOptions)
    """how the object is followed"""


@dataclass
class FollowedVideo:
    """What comes of a video.

    Attributes:
        views: the key views.
        frames: of each frame of the video, the pose and mask, None where the object was not found. All poses are in
            one frame, with the axes of the first camera and its origin in the middle of what that saw.
    """

    views: list[ReferenceView]
    frames: list[TrackedFrame]


def follow_video(
    frames: Iterable[Frame],
    mask: np.ndarray | None = None,
    options: TrackerOptions = TrackerOptions(),  # noqa: B008 - frozen
    *,
    source: str = "the video",
    progress: bool = True,
) -> FollowedVideo:
    """Poses and masks of all frames, the key views adjusted together at the end.

    Args:
        frames: in the order of time; a `Scene` is such a thing.
        mask: (H, W) bool, of the object in the first frame; None for that frame's own.
        options: how the object is followed.
        source: what messages call the video.
        progress: show a progress bar.

    Raises:
        FrameError: there is no first frame, or its mask is missing, empty, of another size or without depth.
        SceneError: the object was lost, and most of the video is without a pose.
    """
    tracker: MarkerlessTracker | None = None
    bar = tqdm(frames, desc="following", unit="frame", disable=not progress)
    for frame in bar:
        if tracker is None:
            tracker = MarkerlessTracker(frame, mask, options)
            continue
        found = tracker.step(frame).camera_in_object is not None
        bar.set_postfix_str(f"{len(tracker.views)} views" + ("" if found else ", lost"))
    if tracker is None:
        raise FrameError(f"{source} has no frames")
    _check_found(tracker, source)
    adjust_all(tracker)
    for followed, camera in zip(tracker.frames, tracker.trajectory(), strict=True):
        followed.camera_in_object = camera
    for view in tracker.views:
        tracker.frames[view.number].mask = view.mask
    return FollowedVideo(reference_views(tracker), tracker.frames)


def adjust_all(tracker: MarkerlessTracker) -> None:
    """Adjust the key views of a tracker to one another, decide their masks anew, and adjust them again; in place."""
    views = tracker.views
    moving, around = range(1, len(views)), tracker.mostly_static
    adjust(views, overlapping_views(views), moving, around=around)
    revise_masks(views, tracker.radius)
    for view in views:
        view.choose_points(tracker.radius)
    adjust(views, overlapping_views(views), moving, around=around)


def reference_views(tracker: MarkerlessTracker) -> list[ReferenceView]:
    """The key views of a tracker, as a mesh is made from them."""
    return [
        ReferenceView(v.frame.name, v.frame.rgb, v.frame.depth, v.mask, v.frame.K, v.camera_in_object)
        for v in tracker.views
    ]


def main(options: FromVideoOptions) -> Path:
    """Make the folder of views, or keep the one that is finished; returns it."""
    if options.every < 1:
        raise SceneError(f"every is {options.every}, wanted 1 or more: the step between the frames that are used")
    settings = _settings(options)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        if _read_settings(options.out) != settings:
            raise OutputError(
                f"{options.out} is not empty and holds no views of this video with these settings: choose another "
                "folder"
            )
        print(f"{options.out} is finished, skipped")
        return options.out
    scene = open_scene(options.scene)
    mask = None if options.mask is None else scene.read_mask(options.mask)
    numbers = range(0, len(scene), options.every)
    followed = follow_video(_Selected(scene, numbers), mask, options.tracker, source=str(options.scene))
    partial = options.out.with_name(f"{options.out.name}.partial")
    if partial.exists():
        if _read_settings(partial) is None:
            raise OutputError(f"{partial} is in the way and was not made by from_video: move it away")
        shutil.rmtree(partial)
    _write(followed, partial, scene.depth_unit, settings)
    if options.out.exists():
        options.out.rmdir()
    partial.rename(options.out)
    found = sum(frame.camera_in_object is not None for frame in followed.frames)
    total = len(followed.frames)
    print(f"{options.out}: {len(followed.views)} views; the object was found in {found} of {total} frames")
    return options.out


class _Selected:
    """Some frames of a scene, read one by one."""

    def __init__(self, scene: Scene, numbers: range) -> None:
        self._scene, self._numbers = scene, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Any:
        return (self._scene[number] for number in self._numbers)


def _check_found(tracker: MarkerlessTracker, source: str) -> None:
    found = [frame.camera_in_object is not None for frame in tracker.frames]
    if sum(found) >= _LEAST_FOUND * len(found):
        return
    lost = tracker.frames[found.index(False)].name
    raise SceneError(
        f"{source}: the object was lost at frame {lost} and found in {sum(found)} of {len(found)} frames. Move more "
        "slowly, keep it in the picture and within the camera's depth, cover less of it, and give it light; a thing "
        "that is plain and round tells nobody how it turns"
    )


def _write(followed: FollowedVideo, folder: Path, depth_unit: float, settings: dict[str, Any]) -> None:
    capture = CaptureFolder(folder, depth_unit, settings)
    for view in followed.views:
        capture.add(Frame(view.name, view.rgb, view.depth, view.K, view.mask))
    capture.finish()
    np.save(folder / "transforms.npy", np.stack([view.camera_in_object for view in followed.views]))
    cameras = {
        frame.name: None if frame.camera_in_object is None else frame.camera_in_object.round(7).tolist()
        for frame in followed.frames
    }
    write_json(folder / "trajectory.json", {"camera_in_object": cameras})


def _settings(options: FromVideoOptions) -> dict[str, Any]:
    mask = None if options.mask is None else str(options.mask.resolve())
    return {
        "kind": "markerless",
        "made_by": _MADE_BY,
        "source": str(options.scene.resolve()),
        "mask": mask,
        "every": options.every,
        "tracker": asdict(options.tracker),
    }


def _read_settings(folder: Path) -> dict[str, Any] | None:
    file = folder / "recording.json"
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict) or content.get("made_by") != _MADE_BY:
        return None
    return {name: content.get(name) for name in ("kind", "made_by", "source", "mask", "every", "tracker")}
