"""Posed pictures of one object from everywhere people have them, checked and ready to make the object from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mesh_creation.reference_views.listed_view import ListedView, ViewListing
from mesh_creation.reference_views.pose_agreement import check_agreement
from mesh_creation.reference_views.pose_convention import GIVEN, find_convention
from mesh_creation.reference_views.pose_evidence import ViewSurface
from mesh_creation.reference_views.recordings import list_bop_scenes, list_recording
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.reference_views.view_check import check_count, check_view
from mesh_creation.reference_views.view_list import list_files
from mesh_creation.reference_views.view_selection import choose_views, farthest_views
from mesh_creation.registration.keyframes import sharpness
from pose6d.errors import SceneError, shorten
from pose6d.geometry.masks import mask_window

MOST_VIEWS = 32
"""views that are used unless told otherwise; the published method needs 4, and gains nothing beyond 12 to 16"""

_COMPARED = 12  # views that decide how poses are written


@dataclass(frozen=True)
class ViewOptions:
    """How views are found and which are used."""

    object_id: str | None = None
    """which object, where the views are of several: a BOP number, or the name of a folder in masks/"""
    mask_dir: Path | None = None
    """a folder of masks named like the pictures, instead of the layout's own"""
    depth_scale: float | None = None
    """metres per unit of depth; default: what the files say, else 0.001 (millimetres)"""
    cropped: bool = False
    """the pictures are cut out of larger ones: accept a principal point that looks like that of another resolution"""
    views_used: int = MOST_VIEWS
    """at most so many views, chosen to look from different sides; of neighbours the sharpest"""
    leave_out: tuple[str, ...] = ()
    """names (of the pictures, without their ending) of views not to use"""


def open_views(
    source: str | os.PathLike[str] | Sequence[ReferenceView],
    options: ViewOptions = ViewOptions(),
) -> tuple[list[ReferenceView], list[str]]:
    """Posed pictures of an object, checked one by one and against one another.

    Where the points of the views meet tells whether their poses are written the wrong way round (the object in the
    camera), in millimetres, or with OpenGL's axes; what is certain is corrected, and said in the notes.

    Args:
        source: a folder whose layout is told by its marker files (docs/reference_views.md): the published ref_views
            layout, any recording with poses and masks, BOP scenes; or a JSON file that lists files; or views.
        options: which object and views.

    Returns:
        The views, and notes for people on how they were read.

    Raises:
        SceneError: no layout matches, or the views contradict one another or have nothing in common.
        FrameError: a view cannot be used; the message names its file.
    """
    if options.views_used < 1:
        raise SceneError(f"views_used is {options.views_used}, wanted 1 or more")
    listing = list_views(source, options)
    listed, notes = _without(listing.views, options.leave_out), list(listing.notes)
    check_count(len(listed))
    poses = np.stack([view.camera_in_object for view in listed])

    # 1. How the poses are written, by a few views that differ.
    few = sorted(farthest_views(_directions(poses), min(_COMPARED, options.views_used)))
    views = {index: _read(listed[index], options) for index in few}
    evidence = {index: ViewSurface.of(view) for index, view in views.items()}
    convention, found = find_convention([evidence[index] for index in few], poses[few])
    if convention is None:
        check_agreement([listed[index].name for index in few], [evidence[index] for index in few], poses[few], found)
        raise SceneError(
            f"the poses of the views {shorten([listed[index].name for index in few])} do not make their depth meet "
            f"({found}): wanted the camera in the object's frame, 4x4, metres, OpenCV axes"
        )
    if convention != GIVEN:
        notes.append(f"the poses of the views are taken to be {convention}: {found}. Wanted: {GIVEN}, in metres")
        poses = convention.camera_in_object(poses)

    # 2. The views to use.
    chosen = choose_views(_directions(poses), options.views_used, lambda index: _object_sharpness(listed[index]))
    if len(chosen) < len(listed):
        notes.append(f"{len(chosen)} of {len(listed)} views are used, those that look from the most different sides")
    for index in tqdm(chosen, desc="reading views", unit="view"):
        if index not in views:
            views[index] = _read(listed[index], options)
            evidence[index] = ViewSurface.of(views[index])

    # 3. Whether they show one object that has not moved.
    check_agreement([listed[i].name for i in chosen], [evidence[i] for i in chosen], poses[chosen])
    return [replace(views[index], camera_in_object=poses[index]) for index in chosen], notes


def list_views(source: str | os.PathLike[str] | Sequence[ReferenceView], options: ViewOptions) -> ViewListing:
    """What a folder or a file holds; its pictures are not read. Arguments and errors as of `open_views`."""
    if not isinstance(source, (str, os.PathLike)):
        views = list(source) if isinstance(source, Iterable) else [source]
        if wrong := [view for view in views if not isinstance(view, ReferenceView)]:
            raise SceneError(f"views: {type(wrong[0]).__name__} is none; give ReferenceViews, or the path of a folder")
        return ViewListing([ListedView.of_view(view) for view in views], [])
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise SceneError(f"views {path}: wanted a folder, or a .json file that lists the files of each view")
        return list_files(path, options.depth_scale, options.cropped)
    if not path.is_dir():
        raise SceneError(f"views {path} do not exist: pass the folder of the views, or a .json file that lists them")
    if any(path.glob("*/scene_camera.json")) and not (path / "scene_camera.json").is_file():
        return list_bop_scenes(path, options.object_id, options.depth_scale, options.cropped)
    inside = sorted(marker.parent.name for marker in path.glob("*/cam_in_ob"))
    if inside:
        raise SceneError(f"{path} holds the views of several objects, pass one of them: {shorten(inside)}")
    return list_recording(path, options.object_id, options.mask_dir, options.depth_scale, options.cropped)


def _without(views: list[ListedView], left_out: Sequence[str]) -> list[ListedView]:
    names = {name: {name, Path(name).name, Path(name).stem} for name in (view.name for view in views)}
    strange = [out for out in left_out if not any(out in known for known in names.values())]
    if strange:
        raise SceneError(f"leave_out: no view is named {shorten(strange)}: the views are {shorten(list(names))}")
    return [view for view in views if not names[view.name] & set(left_out)]


def _read(listed: ListedView, options: ViewOptions) -> ReferenceView:
    view = listed.read()
    check_view(view, options.cropped)
    return view


def _object_sharpness(listed: ListedView) -> float:
    view = listed.read()
    return sharpness(view.rgb[mask_window(view.mask)]) if view.mask.any() else 0.0


def _directions(poses: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors that cameras (N, 4, 4) look along."""
    return poses[:, :3, 2] / np.linalg.norm(poses[:, :3, 2], axis=1, keepdims=True)
