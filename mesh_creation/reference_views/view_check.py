"""Views that nothing can be made from are refused one by one, before they are compared with one another."""

from __future__ import annotations

import numpy as np

from mesh_creation.reference_views.view import ReferenceView
from pose6d.errors import FrameError, SceneError
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.depth import check_depth, is_measured
from pose6d.geometry.pose_check import ANNOTATED, check_rigid

_FEWEST = 30  # pixels of measured depth on the object, from which on a view says anything of its shape
_FULL = 0.95  # share of the picture that no mask of an object covers


def check_view(view: ReferenceView, cropped: bool = False) -> None:
    """Refuse a view that cannot be used.

    Args:
        view: with its pose as it was given.
        cropped: its picture is cut out of a larger one (see `check_intrinsics`).

    Raises:
        FrameError: pictures of other sizes or kinds, an empty mask or one of the whole picture, no depth under it, a
            pose that is none. The message begins with the view's name.
        SceneError: intrinsics that are none, or of another resolution.
    """
    source = f"view {view.name}"
    if view.rgb.ndim != 3 or view.rgb.shape[2] != 3 or view.rgb.dtype != np.uint8:
        raise FrameError(f"{source}: rgb is {view.rgb.dtype} of shape {view.rgb.shape}, wanted uint8 (H, W, 3)")
    if any(np.ma.is_masked(image) for image in (view.rgb, view.depth, view.mask)):
        raise FrameError(f"{source}: a picture has masked values: fill them, depth and mask with 0 (depth.filled(0))")
    size = height, width = view.rgb.shape[:2]
    for what, image in (("depth", view.depth), ("mask", view.mask)):
        if image.shape != size:
            raise FrameError(
                f"{source}: {what} of shape {image.shape} and colour of {size}: {what} must be aligned to colour and "
                "have its size"
            )
    check_intrinsics(view.K, height, width, source=source, cropped=cropped)
    check_depth(view.depth, view.mask, source)
    count = int(np.count_nonzero(is_measured(view.depth) & view.mask))
    if count < _FEWEST:
        raise FrameError(
            f"{source}: {count} pixels of depth on the object, wanted {_FEWEST} or more: take the picture from nearer, "
            "or leave the view out"
        )
    if view.mask.mean() > _FULL:
        raise FrameError(
            f"{source}: the mask covers {view.mask.mean():.0%} of the picture: wanted the object alone; is it 0 on the "
            "object and not 0 beside it? Invert it"
        )
    pose = np.asarray(view.camera_in_object)
    try:
        if pose.shape != (4, 4):
            raise ValueError(f"its shape is {pose.shape}")
        check_rigid(pose, ANNOTATED)
    except ValueError as error:
        raise FrameError(f"{source}: its pose is none: {error}; wanted a 4x4 camera in object, metres") from error


def check_count(count: int) -> None:
    """Raise SceneError unless there is a view at all."""
    if count < 1:
        raise SceneError("no views: an object is made from 1 or more pictures with depth, a mask and a pose each")
