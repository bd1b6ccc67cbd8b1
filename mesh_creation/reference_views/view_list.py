"""Views from a list of files: a JSON file that names the pictures and the pose of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mesh_creation.reference_views.listed_view import ListedView, ViewListing
from pose6d.errors import FrameError, SceneError, shorten
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.pose_check import ANNOTATED, check_rigid
from pose6d.json_file import read_json
from pose6d.scenes.camera_file import CameraFile, camera_of, read_camera
from pose6d.scenes.folder import read_matrix
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import read_color, read_cut_out, read_depth, read_mask
from pose6d.scenes.lens import make_undistortion

_CAMERAS = ("K", "camera")
_POSES = ("camera_in_object", "object_in_camera")
_SHARED = ("views", "depth_scale", *_CAMERAS)
_KEYS = ("color", "depth", "mask", "depth_scale", *_CAMERAS, *_POSES)
_FORM = (
    '{"K": 3x3 numbers, "views": [{"color": file, "depth": file, "mask": file, "camera_in_object": 4x4 numbers in '
    "metres}, ...]}"
)


def list_files(path: Path, depth_scale: float | None = None, cropped: bool = False) -> ViewListing:
    """The views that a JSON file lists; its paths are relative to the file.

    {"K": ..., "depth_scale": 0.001, "views": [{"color": ..., "depth": ..., "mask": ..., "camera_in_object": ...}]}.
    A view may have a K and a depth_scale of its own, "camera" (a file that `read_camera` knows) in place of K, and
    "object_in_camera" in place of "camera_in_object"; a pose is 4x4 numbers or the file of them. Without "mask", the
    alpha channel of the colour picture cuts the object out.

    Args:
        path: the file.
        depth_scale: metres per unit of depth, instead of what the list says (0.001 where it says nothing).
        cropped: see `open_scene`.

    Raises:
        SceneError: the file is none of this form; the message names the view and the key.
    """
    values = read_json(path)
    views = values.get("views") if isinstance(values, dict) else None
    if not isinstance(views, list) or not views or not all(isinstance(view, dict) for view in views):
        raise SceneError(f"{path} lists no views: wanted {_FORM}")
    _check_keys(values, _SHARED, str(path))
    shared = {key: value for key, value in values.items() if key != "views"}
    listed = []
    for number, view in enumerate(views, 1):
        source = f"{path}, view {number}"
        _check_keys(view, _KEYS, source)
        own = any(key in view for key in _CAMERAS)
        merged = {key: value for key, value in shared.items() if not (own and key in _CAMERAS)} | view
        listed.append(_list_view(merged, path.parent, source, depth_scale, cropped))
    return ViewListing(listed, [])


def _list_view(view: dict[str, Any], folder: Path, source: str, depth_scale: float | None, cropped: bool) -> ListedView:
    color, depth = _file(view, "color", folder, source), _file(view, "depth", folder, source)
    mask = _file(view, "mask", folder, source) if "mask" in view else None
    camera, pose = _camera(view, folder, source), _pose(view, folder, source)
    scale = depth_scale if depth_scale is not None else view.get("depth_scale", 0.001)
    if not isinstance(scale, (int, float)) or not 0 < scale < 1e3:
        raise SceneError(f"{source}: depth_scale is {scale}, wanted metres per depth unit, such as 0.001")

    def read() -> Frame:
        cut_out = read_cut_out(color) if mask is None else read_mask(mask)
        frame = Frame(color.stem, read_color(color), read_depth(depth, scale), camera.K.copy(), cut_out)
        frame.check_sizes()
        size = height, width = frame.rgb.shape[:2]
        camera.check_size(size)
        check_intrinsics(camera.K, height, width, source=str(camera.path), cropped=cropped)
        if camera.lens is not None:
            undistortion = make_undistortion(camera.lens, camera.K, size, str(camera.path))
            frame.rgb, frame.depth = undistortion.smooth(frame.rgb), undistortion.exact(frame.depth)
            frame.mask = None if frame.mask is None else undistortion.exact(frame.mask)
        return frame

    return ListedView.of_frame(str(color), pose, read)


def _check_keys(values: dict[str, Any], known: tuple[str, ...], source: str) -> None:
    strange = [key for key in values if key not in known]
    if strange:
        raise SceneError(f"{source} has {shorten(strange)}, which is not known: wanted {', '.join(known)}")


def _file(view: dict[str, Any], key: str, folder: Path, source: str) -> Path:
    if not isinstance(view.get(key), str):
        found = f"is {view[key]!r}" if key in view else "is missing"
        raise SceneError(f"{source}: {key!r} {found}, wanted the path of a file, relative to {folder}")
    return folder / view[key]


def _one_of(view: dict[str, Any], keys: tuple[str, ...], source: str) -> str:
    found = [key for key in keys if key in view]
    if len(found) != 1:
        raise SceneError(f"{source} has {' and '.join(found) or 'none'} of {', '.join(keys)}: wanted one of them")
    return found[0]


def _camera(view: dict[str, Any], folder: Path, source: str) -> CameraFile:
    key = _one_of(view, _CAMERAS, source)
    if key == "camera" or isinstance(view[key], str):
        return read_camera(_file(view, key, folder, source))
    return camera_of({"K": view[key]}, Path(f"{source}: K"))


def _pose(view: dict[str, Any], folder: Path, source: str) -> np.ndarray:
    """(4, 4) camera in object."""
    key = _one_of(view, _POSES, source)
    place = f"{source}: {key}"
    if isinstance(view[key], str):
        file = _file(view, key, folder, source)
        pose, place = read_matrix(file, (4, 4), f"{key}, 4x4 in metres"), str(file)
    else:
        try:
            pose = np.array(view[key], dtype=np.float64).reshape(4, 4)
        except (TypeError, ValueError) as error:
            raise SceneError(f"{place} is {str(view[key])[:60]}, wanted 4x4 numbers in metres, or a file") from error
    try:
        check_rigid(pose, ANNOTATED)
    except ValueError as error:
        raise FrameError(f"{place} is no pose: {error}. Correct it, or take the view out") from error
    return pose if key == "camera_in_object" else np.linalg.inv(pose)
