"""Which unit a mesh file is in: told by the user, or found by comparing its size with what the depth camera saw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from pose6d.errors import FrameError, MeshError
from pose6d.geometry.camera import backproject
from pose6d.geometry.depth import is_measured
from pose6d.mesh.coordinates import METRES_PER_UNIT, Unit
from pose6d.mesh.mesh import Mesh

UnitChoice = Literal["auto", "m", "cm", "mm"]

_DIAMETERS = (0.002, 5.0)  # metres; outside, a mesh is most likely in another unit
_NAMES: dict[Unit, str] = {"m": "metres", "cm": "centimetres", "mm": "millimetres"}
_FEWEST_POINTS = 30
# Diameter divided by the extent that is seen: 0.75 to 1 for ten scanned objects on a table, all in plain sight. Masks
# that spill over make it smaller, occlusion makes it larger.
_TYPICAL_RATIO = 1.2
_SMALLEST_RATIO, _LARGEST_RATIO = 0.35, 6.0
_SOUND_RATIOS = (0.6, 3.5)  # of an object that is seen well; outside, another reading may be the right one
_WRONG_UNIT = 10.0  # a stated unit that is off by more than this is refused
_MOST_OF_A_PICTURE = 0.5  # beyond this a mask comes first among what may be wrong
_FEW_FACES = 1000  # of which one has some area in almost every mesh
_LEAST_AREA = 1e-9  # squares of the diameter
_FAR_LARGER = 2.0  # diameters across that a mask shows; of an object that fills a picture up to 1.4
_SAMPLE = 16  # every so many rows and columns of a mask that covers most of a picture are looked at
_LARGE = 1.0  # metres; centimetres that give more are likely millimetres beside depth that is ten times too large

# Metres per unit of depth that recordings have, and from where on the cameras that use it see, in metres: RealSense
# D405 and data sets, Kinect recordings of TUM, RealSense L515, floats.
_DEPTH_UNITS = {0.0001: 0.05, 0.0002: 0.4, 0.00025: 0.2, 0.01: 0.2, 1.0: 0.05}
_ASSUMED_DEPTH_UNIT = 0.001
_FARTHEST = 10.0  # metres, at which a depth camera still sees an object
_SMALLEST = 0.005  # metres, of objects that it sees


def check_diameter(mesh: Mesh) -> None:
    """Refuse a mesh that is most likely in another unit than metres, or that nothing can be seen of.

    Raises:
        MeshError: it is smaller than 2 mm, or larger than 5 m, or all its faces are lines.
    """
    diameter, (low, high) = float(mesh.diameter), _DIAMETERS
    if not low <= diameter <= high:
        cure = (
            "is it in millimetres? load it with unit 'mm', or pass --mesh_unit mm"
            if diameter > high
            else "is its unit m?"
        )
        raise MeshError(f"mesh {mesh.name}: diameter is {diameter:.4g} m, expected {low} to {high} m; {cure}")
    if not (_has_area(mesh, slice(_FEW_FACES)) or _has_area(mesh, slice(_FEW_FACES, None))):
        raise MeshError(
            f"mesh {mesh.name} has no surface: each of its {len(mesh.faces)} faces is a line or a point; export it "
            "again"
        )


def _has_area(mesh: Mesh, part: slice) -> bool:
    """Whether one of some faces is more than a line."""
    a, b, c = mesh.vertices[mesh.faces[part]].astype(np.float64).transpose(1, 0, 2)
    twice_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return bool((twice_area > _LEAST_AREA * mesh.diameter**2).any())


@dataclass(frozen=True)
class _Reading:
    """One way to read mesh and depth.

    Attributes:
        unit: of the mesh.
        depth_unit: metres per unit of the recording's depth; None for depth as it was taken.
        diameter: of the object, metres.
        extent: what the masked depth shows of it, metres.
        distance: median of the masked depth, metres.
    """

    unit: Unit
    depth_unit: float | None
    diameter: float
    extent: float
    distance: float

    @property
    def ratio(self) -> float:
        return self.diameter / self.extent

    @property
    def fits(self) -> bool:
        return _SMALLEST_RATIO <= self.ratio <= _LARGEST_RATIO

    @property
    def sound(self) -> bool:
        return _SOUND_RATIOS[0] <= self.ratio <= _SOUND_RATIOS[1]

    @property
    def misfit(self) -> float:
        return abs(math.log(self.ratio / _TYPICAL_RATIO))

    def __str__(self) -> str:
        options = f"--mesh_unit {self.unit}" + (f" --depth_scale {self.depth_unit:g}" if self.depth_unit else "")
        return f"{options} if the object is {_length(self.diameter)} large and {_length(self.distance)} away"


def resolve_unit(
    mesh: Mesh,
    unit: UnitChoice,
    depth: np.ndarray | torch.Tensor,
    mask: np.ndarray | torch.Tensor,
    K: np.ndarray | torch.Tensor,
    *,
    depth_stated: bool = True,
) -> tuple[float, str]:
    """Find the factor that turns the mesh's coordinates into metres.

    A unit is guessed only where one alone is plausible. Depth that is ten times too large makes millimetres look like
    centimetres, so these are not guessed where nothing states the unit of depth, nor for large objects.

    Args:
        mesh: as loaded with unit "m", that is, with the numbers of the file.
        unit: what the user says, or "auto" to decide by size.
        depth: (H, W) metres; see `is_measured` for what is missing.
        mask: (H, W) true on the object.
        K: (3, 3) intrinsics.
        depth_stated: whether the unit of depth is known; False if it was taken to be 1 mm because nothing says.

    Returns:
        The factor for `Mesh.scaled`, and one sentence that says what was decided and why.

    Raises:
        MeshError: no unit fits what the camera saw, or several do; the stated one is off by more than a factor of ten;
            or depth is likely in another unit. The message says what to pass.
        FrameError: depth and mask differ in size, or "auto" has no depth under the mask to compare with.
    """
    if unit != "auto" and unit not in METRES_PER_UNIT:
        raise MeshError(f"mesh unit {unit!r} is unknown: wanted auto, {', '.join(METRES_PER_UNIT)}")
    if mesh.diameter <= 0:
        raise MeshError(f"mesh {mesh.name!r} has no size: all its vertices are one point; export it again")
    points = _masked_points(depth, mask, K)
    if len(points) < _FEWEST_POINTS:
        if unit == "auto":
            raise FrameError(
                f"the mask covers {len(points)} pixels with valid depth, too few to tell the mesh's unit: check that "
                "mask and depth belong together, or state the unit with --mesh_unit m, cm or mm"
            )
        return METRES_PER_UNIT[unit], f"The mesh is read in {_NAMES[unit]} as told; too little depth to check it."
    extent, distance = _robust_extent(points), float(np.median(points[:, 2]))
    readings = [_Reading(u, None, mesh.diameter * scale, extent, distance) for u, scale in METRES_PER_UNIT.items()]
    others = [] if depth_stated else _with_other_depth(readings)
    try:
        if unit == "auto":
            return _decide_unit(mesh, readings, others, depth_stated)
        told = next(reading for reading in readings if reading.unit == unit)
        return _check_unit(mesh, told, readings, [other for other in others if other.unit == unit])
    except MeshError as error:
        share = float((torch.as_tensor(mask) > 0).float().mean())
        if share <= _MOST_OF_A_PICTURE:
            raise
        raise MeshError(
            f"the mask covers {100 * share:.0f} % of the picture: is it inverted, or does it show more than the "
            f"object? If it is right: {error}"
        ) from error


def doubt_large_mask(mask: np.ndarray, depth: np.ndarray, K: np.ndarray, diameter: float) -> str:
    """What is odd about a mask that covers most of a picture, if it shows something far larger than the object; "" of
    other masks, such as that of an object which fills the picture. It takes no time that matters.

    Args:
        mask: (H, W) bool.
        depth: (H, W) metres; see `is_measured` for what is missing.
        K: (3, 3) intrinsics.
        diameter: of the object, metres.
    """
    share = np.count_nonzero(mask) / max(1, mask.size)
    if share <= _MOST_OF_A_PICTURE:
        return ""
    seen = depth[::_SAMPLE, ::_SAMPLE]
    rows, columns = np.nonzero(mask[::_SAMPLE, ::_SAMPLE] & is_measured(seen))
    if len(rows) < _FEWEST_POINTS:
        return ""
    z = seen[rows, columns].astype(np.float64)
    alike = np.abs(z - np.sort(z)[len(z) // 2]) < diameter  # no background beside what fills the picture
    rows, columns, z = rows[alike], columns[alike], z[alike]
    y = (_SAMPLE * rows - K[1, 2]) * z / K[1, 1]
    x = ((_SAMPLE * columns - K[0, 2]) * z - K[0, 1] * y) / K[0, 0]
    across = np.sort(np.stack([x, y]), axis=1)[:, [len(z) // 20, -1 - len(z) // 20]]
    extent = float(np.linalg.norm(across[:, 1] - across[:, 0])) / 0.9
    if extent < _FAR_LARGER * diameter:
        return ""
    return (
        f"the mask covers {100 * share:.0f} % of the picture, and what it shows is {_length(extent)} large, "
        f"{_times(extent / diameter)} the object's diameter of {_length(diameter)}: is it inverted, or does it show "
        "more than the object? It must be non-zero on the object alone"
    )


def _with_other_depth(readings: list[_Reading]) -> list[_Reading]:
    """The plausible readings in which depth is in another unit than it was taken to be in, best first."""
    others = [
        _Reading(r.unit, depth_unit, r.diameter, r.extent * factor, r.distance * factor)
        for depth_unit, nearest in _DEPTH_UNITS.items()
        for factor in [depth_unit / _ASSUMED_DEPTH_UNIT]
        for r in readings
        if nearest <= r.distance * factor <= _FARTHEST and _SMALLEST <= r.diameter <= _DIAMETERS[1]
    ]
    return sorted((other for other in others if other.sound), key=lambda other: other.misfit)


def _check_unit(mesh: Mesh, told: _Reading, readings: list[_Reading], others: list[_Reading]) -> tuple[float, str]:
    """What `resolve_unit` gives for a unit that the user states; `others` are in that unit."""
    stated = f"mesh diameter is {_length(told.diameter)}"
    seen = f"the masked depth shows {_length(told.extent)}"
    if others and told.ratio < _SMALLEST_RATIO:
        raise MeshError(
            f"{stated}, while {seen} ({mesh.name!r}, read in {_NAMES[told.unit]}): is depth in another unit than "
            f"millimetres? pass {' or '.join(map(str, others))}; or --depth_scale 0.001 if depth is in millimetres"
        )
    if not 1 / _WRONG_UNIT <= told.ratio <= _WRONG_UNIT:
        best = min((reading for reading in readings if reading.fits), key=lambda r: r.misfit, default=None)
        if best is None:
            raise MeshError(
                f"{stated}, while {seen} ({mesh.name!r}, read in {_NAMES[told.unit]}), and no other unit fits: is it "
                "the mesh of another object, is the mask on it, and is the depth in metres (see --depth_scale)?"
            )
        cure = f"is it in {_NAMES[best.unit]}? pass --mesh_unit {best.unit}"
        raise MeshError(f"{stated}: {cure} ({seen}; {mesh.name!r})")
    return METRES_PER_UNIT[told.unit], (
        f"The mesh is read in {_NAMES[told.unit]} as told: its diameter {_length(told.diameter)} is "
        f"{_times(told.ratio)} the {_length(told.extent)} that the masked depth shows."
    )


def _decide_unit(mesh: Mesh, readings: list[_Reading], others: list[_Reading], depth_stated: bool) -> tuple[float, str]:
    """What `resolve_unit` gives for "auto"."""
    fitting = sorted((reading for reading in readings if reading.fits), key=lambda reading: reading.misfit)
    if not fitting:
        sizes = ", ".join(f"{_length(reading.diameter)} if in {_NAMES[reading.unit]}" for reading in readings)
        likely = f" Is depth in another unit than millimetres? Pass {' or '.join(map(str, others))}." if others else ""
        raise MeshError(
            f"no unit explains the size of mesh {mesh.name!r}: its diameter is {sizes}, while the masked depth shows "
            f"{_length(readings[0].extent)}; is it the mesh of another object, is the mask on it, is the depth in "
            f"metres (see --depth_scale)?{likely} If all are right, state the unit with --mesh_unit m, cm or mm"
        )
    best = fitting[0]
    if best.unit == "cm":
        doubtful = not depth_stated or best.diameter >= _LARGE or best.ratio < _SOUND_RATIOS[0]
    else:
        doubtful = not depth_stated and not best.sound
    choices = fitting + (others if doubtful else [])
    if doubtful or len(choices) > 1:
        raise MeshError(
            f"the unit of mesh {mesh.name!r} cannot be told from its size: its diameter is {_length(best.diameter)} if "
            f"in {_NAMES[best.unit]}, while the masked depth shows {_length(best.extent)}. Pass "
            f"{', or '.join(map(str, choices))}. Depth in another unit than it is taken to be in needs --depth_scale, "
            "a mesh in inches must be scaled by 25.4 to millimetres, and the mask must show this object alone"
        )
    rest = " and ".join(f"{_times(r.ratio)} in {_NAMES[r.unit]}" for r in readings if r is not best)
    return METRES_PER_UNIT[best.unit], (
        f"The mesh is taken to be in {_NAMES[best.unit]}: its diameter is then {_length(best.diameter)}, "
        f"{_times(best.ratio)} the {_length(best.extent)} that the masked depth shows (it would be {rest})."
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
    valid = mask & torch.as_tensor(is_measured(depth.numpy()))
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
