"""Which unit a mesh file is in: told by the user, or found by comparing its size with what the depth camera saw."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch

from pose6d.errors import FrameError, MeshError
from pose6d.geometry.camera import backproject
from pose6d.geometry.mesh import METRES_PER_UNIT, Mesh, Unit

UnitChoice = Literal["auto", "m", "cm", "mm"]

_DIAMETERS = (0.002, 5.0)  # metres; outside, a mesh is most likely in another unit
_NAMES: dict[Unit, str] = {"m": "metres", "cm": "centimetres", "mm": "millimetres"}
_FEWEST_POINTS = 30
# Diameter divided by the extent that is seen: 0.75 to 1 for ten scanned objects on a table, all in plain sight. Masks
# that spill over make it smaller, occlusion makes it larger.
_TYPICAL_RATIO = 1.2
_SMALLEST_RATIO, _LARGEST_RATIO = 0.35, 6.0
_WRONG_UNIT = 10.0  # a stated unit that is off by more than this is refused


def check_diameter(mesh: Mesh) -> None:
    """Refuse a mesh that is most likely in another unit than metres.

    Raises:
        MeshError: it is smaller than 2 mm, or larger than 5 m.
    """
    diameter, (low, high) = float(mesh.diameter), _DIAMETERS
    if not low <= diameter <= high:
        cure = (
            "is it in millimetres? load it with unit 'mm', or pass --mesh_unit mm"
            if diameter > high
            else "is its unit m?"
        )
        raise MeshError(f"mesh {mesh.name}: diameter is {diameter:.4g} m, expected {low} to {high} m; {cure}")


def resolve_unit(
    mesh: Mesh,
    unit: UnitChoice,
    depth: np.ndarray | torch.Tensor,
    mask: np.ndarray | torch.Tensor,
    K: np.ndarray | torch.Tensor,
) -> tuple[float, str]:
    """Find the factor that turns the mesh's coordinates into metres.

    Args:
        mesh: as loaded with unit "m", that is, with the numbers of the file.
        unit: what the user says, or "auto" to decide by size.
        depth: (H, W) metres, 0 where missing.
        mask: (H, W) true on the object.
        K: (3, 3) intrinsics.

    Returns:
        The factor for `Mesh.scaled`, and one sentence that says what was decided and why.

    Raises:
        MeshError: no unit fits what the camera saw, or the stated one is off by more than a factor of ten.
        FrameError: depth and mask differ in size, or "auto" has no depth under the mask to compare with.
    """
    if unit != "auto" and unit not in METRES_PER_UNIT:
        raise MeshError(f"mesh unit {unit!r} is unknown: wanted auto, {', '.join(METRES_PER_UNIT)}")
    diameter = mesh.diameter
    if diameter <= 0:
        raise MeshError(f"mesh {mesh.name!r} has no size: all its vertices are one point; export it again")
    points = _masked_points(depth, mask, K)
    if len(points) < _FEWEST_POINTS:
        if unit == "auto":
            raise FrameError(
                f"the mask covers {len(points)} pixels with valid depth, too few to tell the mesh's unit: check that "
                "mask and depth belong together, or state the unit with --mesh_unit m, cm or mm"
            )
        return METRES_PER_UNIT[unit], f"The mesh is read in {_NAMES[unit]} as told; too little depth to check it."
    extent = _robust_extent(points)
    ratios = {name: diameter * scale / extent for name, scale in METRES_PER_UNIT.items()}
    fitting = [name for name, ratio in ratios.items() if _SMALLEST_RATIO <= ratio <= _LARGEST_RATIO]
    best = min(fitting, key=lambda name: abs(math.log(ratios[name] / _TYPICAL_RATIO)), default=None)
    if unit == "auto":
        return _decided(mesh, best, ratios, diameter, extent)
    if not 1 / _WRONG_UNIT <= ratios[unit] <= _WRONG_UNIT:
        stated = f"mesh diameter is {_length(diameter * METRES_PER_UNIT[unit])}"
        seen = f"the masked depth shows {_length(extent)}"
        if best is None:
            raise MeshError(
                f"{stated}, while {seen} ({mesh.name!r}, read in {_NAMES[unit]}), and no other unit fits: is it the "
                "mesh of another object, is the mask on it, and is the depth in metres?"
            )
        raise MeshError(f"{stated}: is it in {_NAMES[best]}? pass --mesh_unit {best} ({seen}; {mesh.name!r})")
    return METRES_PER_UNIT[unit], (
        f"The mesh is read in {_NAMES[unit]} as told: its diameter {_length(diameter * METRES_PER_UNIT[unit])} is "
        f"{_times(ratios[unit])} the {_length(extent)} that the masked depth shows."
    )


def _decided(
    mesh: Mesh, best: Unit | None, ratios: dict[Unit, float], diameter: float, extent: float
) -> tuple[float, str]:
    if best is None:
        sizes = ", ".join(f"{_length(diameter * METRES_PER_UNIT[name])} if in {_NAMES[name]}" for name in ratios)
        raise MeshError(
            f"no unit explains the size of mesh {mesh.name!r}: its diameter is {sizes}, while the masked depth shows "
            f"{_length(extent)}; is it the mesh of another object, is the mask on it, is the depth in metres? "
            "If all are right, state the unit with --mesh_unit m, cm or mm"
        )
    others = " and ".join(f"{_times(ratio)} in {_NAMES[name]}" for name, ratio in ratios.items() if name != best)
    return METRES_PER_UNIT[best], (
        f"The mesh is taken to be in {_NAMES[best]}: its diameter is then {_length(diameter * METRES_PER_UNIT[best])}, "
        f"{_times(ratios[best])} the {_length(extent)} that the masked depth shows (it would be {others})."
    )


def _masked_points(
    depth: np.ndarray | torch.Tensor, mask: np.ndarray | torch.Tensor, K: np.ndarray | torch.Tensor
) -> np.ndarray:
    """(P, 3) float64 points of the valid depth under the mask, camera axes, metres."""
    depth, mask = torch.as_tensor(depth).cpu().float(), torch.as_tensor(mask).cpu() > 0
    if depth.shape != mask.shape:
        raise FrameError(
            f"mask is {tuple(mask.shape)} and depth is {tuple(depth.shape)} (height, width): they must be of one size"
        )
    valid = mask & torch.isfinite(depth) & (depth > 0)
    xyz = backproject(torch.where(valid, depth, torch.zeros_like(depth)), torch.as_tensor(K).cpu().float())
    return xyz[valid].double().numpy()


def _robust_extent(points: np.ndarray) -> float:
    """Metres: the diagonal of the box that holds the points without the outer 5 percent on each side of each axis.

    Depth farther from the median than the object is wide (background under a mask that spills over) is left out.
    """
    depth = points[:, 2]
    width = max(_spread(points[:, 0]), _spread(points[:, 1]))
    near = points[np.abs(depth - np.median(depth)) <= max(width, 1e-6)]
    return max(float(np.linalg.norm([_spread(near[:, axis]) for axis in range(3)])), 1e-6)


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, [5, 95])
    return float(high - low) / 0.9


def _length(metres: float) -> str:
    return f"{metres:.3g} m" if metres >= 1 else f"{metres * 1000:.3g} mm"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.2g} times"
