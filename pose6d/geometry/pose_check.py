"""What makes a matrix no pose of an object in front of a camera: one check for estimates and for ground truth."""

from __future__ import annotations

from typing import Literal

import numpy as np

ROUNDED = 1e-3  # largest entry of R^T R - I that rounding in a file explains
ANNOTATED = 1e-2  # the same for ground truth, which people write with few digits

_NEAREST, _FARTHEST = 0.01, 100.0  # metres; outside, a distance is most likely in another unit
_NAMES = {"m": "metres", "mm": "millimetres"}
_PER_METRE = {"m": 1.0, "mm": 1000.0}

PoseUnit = Literal["m", "mm"]


def check_rigid(pose: np.ndarray, tolerance: float = ROUNDED) -> None:
    """Raise ValueError, which says what is wrong, unless (4, 4) `pose` is a rotation with a translation."""
    pose = np.asarray(pose, dtype=np.float64)
    for name, values in (("R", pose[:3, :3]), ("t", pose[:3, 3])):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds {values[~np.isfinite(values)][0]}, wanted finite numbers")
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise ValueError(f"the last row is {' '.join(f'{x:g}' for x in pose[3])}, wanted 0 0 0 1: is it transposed?")
    check_rotation(pose[:3, :3], tolerance)


def check_rotation(R: np.ndarray, tolerance: float = ROUNDED) -> None:
    """Raise ValueError, which says what is wrong, unless (3, 3) `R`, finite, is a rotation."""
    off = float(np.abs(R.T @ R - np.eye(3)).max())
    if off > tolerance:
        size = np.sqrt(np.trace(R.T @ R) / 3)
        scaled = size > 0 and np.abs(R.T @ R / size**2 - np.eye(3)).max() <= tolerance
        cure = f": it is scaled by {size:.4g}, wanted 1" if scaled else ""
        raise ValueError(f"R is no rotation: R^T R differs from the identity by {off:.2g}{cure}")
    if np.linalg.det(R) < 0:
        raise ValueError("R is no rotation but a reflection (determinant -1): is an axis flipped?")


def check_distance(t: np.ndarray, unit: PoseUnit = "m", what: str = "t") -> None:
    """Raise ValueError, which names the likely unit, unless a point is as far away as a depth camera can see it.

    Args:
        t: (3,) in the camera's frame, metres.
        unit: of the file that it comes from, for the message.
        what: which point it is.
    """
    distance = float(np.linalg.norm(t))
    if distance < _NEAREST:
        other = "metres" if unit == "mm" else "kilometres"
        raise ValueError(f"{what} is {1000 * distance:.3g} mm from the camera: is it in {other}? wanted {_NAMES[unit]}")
    if distance > _FARTHEST:
        other = "micrometres" if unit == "mm" else "millimetres"
        raise ValueError(f"{what} is {distance:.3g} m from the camera: is it in {other}? wanted {_NAMES[unit]}")


def check_in_front(t: np.ndarray, unit: PoseUnit = "m", what: str = "t") -> None:
    """As `check_distance`; and the point (3,), metres, must lie in front of the camera."""
    check_distance(t, unit, what)
    if t[2] <= 0:
        z = t[2] * _PER_METRE[unit]
        raise ValueError(f"{what} has z = {z:.4g}, behind the camera: z points forward (OpenCV axes)")
