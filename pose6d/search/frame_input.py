"""What people hand in of a frame, checked, and cut to what matters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from torch import Tensor

from pose6d.errors import FrameError, as_whole_number
from pose6d.geometry.camera import check_intrinsics
from pose6d.geometry.depth import check_depth
from pose6d.geometry.masks import mask_window
from pose6d.mesh.units import doubt_large_mask

REACH = 1.3
"""diameters around the last middle of the object that tracking can see"""
NEAR = 0.75
"""diameters around poses that no network moves that count"""
_NEAREST = 0.5  # of the object's depth, that it may come to until the next frame


def mask_middle(mask: np.ndarray) -> np.ndarray:
    """(2,) float32 (u, v), the middle of the bounding box of a mask (H, W) bool that is not empty, pixels."""
    rows, columns = mask_window(mask)
    return np.array([columns.start + columns.stop - 1, rows.start + rows.stop - 1], dtype=np.float32) / 2


def check_translation(translation: Tensor, mask: np.ndarray) -> None:
    """Refuse a frame of which `initial_translation` could make nothing.

    Raises:
        FrameError: no depth under the mask.
    """
    if not translation.isfinite().all():
        raise FrameError(
            f"depth: none under the mask of {int(mask.sum())} pixels is left after filtering; it is too sparse there"
        )


def as_array(given: Any, name: str, masked: float | None = None) -> np.ndarray:
    """The array that something is or holds: a tensor on any device, a PIL image, nested lists, a masked array.

    Args:
        given: that.
        name: of it in messages.
        masked: what stands for the values of a masked array that are masked; where None there must not be any.

    Raises:
        FrameError: it is none of these, or has masked values.
    """
    if isinstance(given, np.ma.MaskedArray):
        count = int(np.ma.count_masked(given))
        if count and masked is None:
            raise FrameError(
                f"{name}: {count} values are masked, and all are needed: fill them ({name}.filled(value)), or leave "
                "the frame out"
            )
        return np.asarray(given.filled(masked) if count else given.data)
    try:
        return np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise FrameError(f"{name} is no array of numbers ({error}); a numpy array is needed") from error


def check_frame(
    K: np.ndarray, rgb: np.ndarray, depth: np.ndarray, iteration: int, cropped: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images and K as contiguous arrays of the types that the rest expects, which PyTorch may share; cheap enough
    for every tracked frame.

    Args:
        K, rgb, depth, iteration: see `FoundationPose.register`.
        cropped: see `check_intrinsics`.

    Raises:
        OptionError: iteration is no number of steps.
        SceneError: K does not fit the image.
        FrameError: the images are none, or differ in size.
    """
    rgb, depth = as_array(rgb, "rgb"), as_array(depth, "depth", masked=0)
    as_whole_number(iteration, "iteration", least=1, kind="whole number of refinement steps")
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise FrameError(f"rgb: shape {rgb.shape} of {rgb.dtype}; (H, W, 3) of uint8 is needed, red first")
    if depth.ndim != 2:
        raise FrameError(f"depth: shape {depth.shape}; (H, W) is needed")
    if not np.issubdtype(depth.dtype, np.floating):
        raise FrameError(f"depth: values of {depth.dtype}; metres as floats are needed (millimetres: divide by 1000)")
    if rgb.shape[:2] != depth.shape:
        raise FrameError(
            f"rgb is {rgb.shape[1]}x{rgb.shape[0]} and depth {depth.shape[1]}x{depth.shape[0]} pixels: they must have "
            "the same size; is the depth aligned to the colour camera?"
        )
    K = check_intrinsics(K, *depth.shape, cropped=cropped)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which is missing
        return np.require(rgb, np.uint8, ("C", "W")), np.require(depth, np.float32, ("C", "W")), K


def check_depth_roughly(depth: np.ndarray) -> None:
    """`check_depth` on every eighth row and column, and on all of them where these are refused: a tracked frame has no
    time for sorting all of its depth."""
    try:
        check_depth(np.ascontiguousarray(depth[::8, ::8]))
    except FrameError:
        check_depth(depth)


def cut_around(
    rgb: np.ndarray,
    depth: np.ndarray,
    K: np.ndarray,
    poses: np.ndarray,
    diameters: np.ndarray,
    around: float = REACH,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part of a frame where objects can be that were at these poses one frame ago.

    Args:
        rgb: (H, W, 3).
        depth: (H, W) metres.
        K: (3, 3) intrinsics of both.
        poses: (N, 4, 4) centred meshes in camera.
        diameters: (N,) metres.
        around: of these, how far it goes around the middle of an object.

    Returns:
        Views of the images, and the part's intrinsics; all of the frame if nothing of the objects can be in it.
    """
    height, width = depth.shape
    x, y, z = poses[:, :3, 3].astype(np.float64).T
    z = np.maximum(z, 1e-3)
    u, v = (K[0, 0] * x + K[0, 1] * y) / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    reach = around * diameters / np.maximum(z - diameters / 2, _NEAREST * z)
    across, down = (abs(K[0, 0]) + abs(K[0, 1])) * reach, abs(K[1, 1]) * reach
    edges = [(u - across).min(), (u + across).max() + 1, (v - down).min(), (v + down).max() + 1]
    left, right = np.clip(np.floor(edges[:2]), 0, width).astype(int)
    top, bottom = np.clip(np.floor(edges[2:]), 0, height).astype(int)
    if left >= right or top >= bottom:
        return rgb, depth, K
    K = np.array(K, dtype=np.float64)
    K[:2, 2] -= left, top
    return rgb[top:bottom, left:right], depth[top:bottom, left:right], K


def check_mask(mask: np.ndarray, depth: np.ndarray, K: np.ndarray, diameter: float) -> np.ndarray:
    """The mask as bool (H, W), after checking that it covers usable depth.

    Args:
        mask, depth, K: see `FoundationPose.register`.
        diameter: of the object, metres.

    Raises:
        FrameError: it is no mask, or there is no depth under it.

    Warns:
        UserWarning: it covers most of the picture, and what it shows is far larger than the object.
    """
    if mask is None:
        raise FrameError("ob_mask: no mask was given; non-zero on the object, the size of the images, is needed")
    mask = as_array(mask, "ob_mask", masked=0)
    if mask.ndim != 2:
        raise FrameError(f"ob_mask: shape {mask.shape}; (H, W) is needed")
    mask = mask != 0
    check_depth(depth, mask)
    if doubt := doubt_large_mask(mask, depth, K, diameter):
        warnings.warn(f"ob_mask: {doubt}", stacklevel=3)  # at the line that calls register
    return mask


def check_result(poses: np.ndarray, what: str) -> None:
    """Refuse poses (..., 4, 4) that cannot be returned.

    Raises:
        FrameError: they are not finite.
    """
    if not np.isfinite(poses).all():
        raise FrameError(f"{what} gave a pose that is not finite; are the weights sound, and is the object in view?")
