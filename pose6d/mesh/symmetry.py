"""Symmetries of an object: the rigid transforms that leave it looking the same.

They are given as a text ("continuous z; 180 x"), a JSON file, or an entry of a BOP models_info.json, and become a list
of transforms in the frame of the original mesh. If S is one of them, the poses T and T @ S show the same picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from pose6d.errors import MeshError
from pose6d.geometry.pose_check import ANNOTATED, check_rigid
from pose6d.geometry.transforms import make_transform
from pose6d.json_file import read_json
from pose6d.mesh.coordinates import METRES_PER_UNIT

_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
_FORMS = '"continuous z", "180 x", "90 0 0 1 at 0.01 0 0", "sphere" or "none", several separated by ";"'

# The largest finite rotation group that is not one of turns about one axis has 60 elements; twice 360 one-degree turns
# is the most that any sensible text makes. More means that the given symmetries contradict each other.
_MOST_ELEMENTS = 720

_FARTHEST = 1e6  # metres from the mesh's origin

# Two axes of revolution make a ball. Its rotations are sampled this coarsely, since their number grows with the cube.
_BALL_STEP_DEGREES = 30.0

_Vector = Sequence[float] | np.ndarray
Axis = tuple[_Vector, _Vector]  # direction, and a point on the axis in metres


def symmetry_transforms(
    discrete: Sequence[np.ndarray] = (), continuous: Sequence[Axis] = (), step_degrees: float = 5.0
) -> torch.Tensor:
    """List the transforms of an object with discrete symmetries and axes of revolution.

    As in the BOP toolkit, each discrete transform (and the identity) is combined with each turn about each axis. Two
    axes that are not parallel make the object a ball about their common point: all rotations are sampled every
    30 degrees.

    Args:
        discrete: 4x4 transforms, metres, in the frame of the original mesh.
        continuous: (axis, offset) pairs: the direction and a point on the axis of revolution, metres.
        step_degrees: between sampled turns about an axis; the nearest value that divides 360 is used.

    Returns:
        (S, 4, 4) float32, without duplicates, the identity first.

    Raises:
        MeshError: a transform is not rigid or an axis has no direction.
    """
    finite = [np.eye(4), *(_check_rigid(T) for T in discrete)]
    steps = max(1, round(360 / step_degrees))
    axes = [(_unit(axis), np.asarray(offset, dtype=np.float64).reshape(3)) for axis, offset in continuous]
    turns = [_rotation_about(axis, offset, 2 * math.pi * k / steps) for axis, offset in axes for k in range(steps)]
    tilted = [a for a in axes[1:] if np.linalg.norm(np.cross(axes[0][0], a[0])) > 1e-3]
    if tilted:
        turns = _ball(axes[0][0], tilted[0][0], axes[0][1])
    combined = [turn @ T for T in finite for turn in turns] or finite
    if not np.abs(combined).max() < _FARTHEST:
        raise MeshError(
            f"symmetry: a point on an axis, or a translation, is not a number or beyond {_FARTHEST:g} m: wanted places "
            "near the mesh, in its file's unit"
        )
    return torch.from_numpy(_distinct([np.eye(4), *combined]).astype(np.float32))


def parse_symmetry(text: str, unit_scale: float = 1.0) -> torch.Tensor:
    """Read symmetries written as words.

    Items are separated by ";". An item is `continuous AXIS` (a surface of revolution), `ANGLE AXIS` (looks the same
    after turning by so many degrees, and then by any multiple), `sphere`, or `none`. AXIS is x, y, z or three numbers.
    `at X Y Z` behind an item gives a point on the axis, else it runs through the mesh's origin. What the items imply
    together is added: "180 x; 180 y" includes the half turn about z.

    Args:
        text: for example "continuous z; 180 x".
        unit_scale: metres per unit of the `at` coordinates (those of the mesh file).

    Returns:
        (S, 4, 4) float32, metres, the identity first.

    Raises:
        MeshError: the text is not of this form.
    """
    if not isinstance(text, str):  # from JSON
        raise MeshError(f"symmetries are {text!r}, wanted a text: {_FORMS}")
    generators: list[np.ndarray] = []
    continuous: list[Axis] = []
    for item in (part.strip().lower() for part in text.split(";")):
        head, _, point = item.partition(" at ")
        words = head.split()
        offset = _numbers(point.split(), item) * unit_scale if point else np.zeros(3)
        if words == ["none"]:
            continue
        if words == ["sphere"]:
            continuous += [(_AXES["x"], offset), (_AXES["z"], offset)]
        elif len(words) >= 2 and words[0] == "continuous":
            continuous.append((_axis(words[1:], item), offset))
        elif len(words) >= 2:
            generators.append(_rotation_about(_axis(words[1:], item), offset, 2 * math.pi / _fold(words[0], item)))
        else:
            raise MeshError(f"symmetry {item!r} is not understood: write {_FORMS}")
    return symmetry_transforms(_generate_group(generators, text)[1:], continuous)


def bop_symmetry(entry: Mapping, unit_scale: float = 0.001, step_degrees: float = 5.0) -> torch.Tensor:
    """Symmetries of one object of a BOP models_info.json.

    Args:
        entry: the object's dictionary; `symmetries_discrete` holds row-major 4x4 matrices as lists of 16 numbers,
            `symmetries_continuous` dictionaries with `axis` and `offset`. Both may be missing.
        unit_scale: metres per unit of the file; BOP is in millimetres.
        step_degrees: as in `symmetry_transforms`.

    Returns:
        (S, 4, 4) float32, metres, the identity first.

    Raises:
        MeshError: the entry is not of this form.
    """
    try:
        discrete = [np.array(T, dtype=np.float64).reshape(4, 4) for T in entry.get("symmetries_discrete", ())]
        continuous = [
            (
                np.array(s["axis"], dtype=np.float64).reshape(3),
                np.array(s.get("offset", (0, 0, 0)), dtype=np.float64).reshape(3) * unit_scale,
            )
            for s in entry.get("symmetries_continuous", ())
        ]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise MeshError(
            "models_info entry: symmetries_discrete must be lists of 16 numbers and symmetries_continuous "
            f'dictionaries {{"axis": [x, y, z], "offset": [x, y, z]}}; reading them failed with: {error!r}'
        ) from error
    for T in discrete:
        T[:3, 3] *= unit_scale
    return symmetry_transforms(discrete, continuous, step_degrees)


def load_symmetry(path: str | Path, object_id: int | str | None = None, unit_scale: float = 1.0) -> torch.Tensor:
    """Read symmetries from a JSON file.

    Three forms are understood: `{"symmetries": "continuous z; 180 x", "unit": "mm"}` (text as in `parse_symmetry`),
    one BOP entry with `symmetries_discrete` or `symmetries_continuous`, and a whole BOP models_info.json, of which
    `object_id` picks the object. "unit" is m, cm or mm; without it, BOP forms are in mm and text in `unit_scale`.

    Args:
        path: the JSON file.
        object_id: key of the object in a models_info.json.
        unit_scale: metres per unit of the mesh file, for text without a "unit".

    Returns:
        (S, 4, 4) float32, metres, the identity first.

    Raises:
        MeshError: the file is missing, no JSON, of another form, or lacks the object.
    """
    path = Path(path)
    content = read_json(path, MeshError)
    keys = {"symmetries", "symmetries_discrete", "symmetries_continuous"}
    if object_id is not None and isinstance(content, dict) and not content.keys() & keys:
        if str(object_id) not in content:
            raise MeshError(
                f"{path}: no object {object_id}; it holds {', '.join(content) or 'nothing'}. Add it, or state the "
                'symmetries by hand ("none" where there are none)'
            )
        content = content[str(object_id)]
    elif isinstance(content, dict) and not content.keys() & keys:
        raise MeshError(
            f'{path}: neither "symmetries" nor "symmetries_discrete" or "symmetries_continuous" found; '
            "a models_info.json needs the object's id"
        )
    if not isinstance(content, dict):
        raise MeshError(f'{path}: an object such as {{"symmetries": "continuous z"}} is needed')
    unit = content.get("unit")
    if unit is not None and unit not in list(METRES_PER_UNIT):
        raise MeshError(f"{path}: unit {unit!r} is unknown: use m, cm or mm")
    try:
        if "symmetries" in content:
            return parse_symmetry(content["symmetries"], METRES_PER_UNIT[unit] if unit else unit_scale)
        return bop_symmetry(content, METRES_PER_UNIT[unit or "mm"])
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from error


def resolve_symmetry(value: str | Path, unit_scale: float = 1.0, object_id: int | str | None = None) -> torch.Tensor:
    """Symmetries from what a user typed: the path of a JSON file, or a text as in `parse_symmetry`.

    A text that ends in .json is a path; the arguments and the result are those of `load_symmetry`.
    """
    if isinstance(value, Path) or value.lower().endswith(".json"):
        return load_symmetry(value, object_id, unit_scale)
    return parse_symmetry(value, unit_scale)


def symmetry_beside(mesh_file: Path) -> tuple[Path, str | None] | None:
    """The file that states a mesh's symmetries, and the object's key in it; None where there is none.

    It lies beside the mesh, or beside what a link to the mesh leads to: models_info.json, in which obj_000005.ply has
    the key "5", or symmetry.json.
    """
    for file in (mesh_file, mesh_file.resolve()):
        number = re.fullmatch(r"obj_(\d+)", file.stem)
        if number and (file.parent / "models_info.json").is_file():
            return file.parent / "models_info.json", str(int(number[1]))
        if (file.parent / "symmetry.json").is_file():
            return file.parent / "symmetry.json", None
    return None


def mesh_symmetries(mesh_file: Path, unit_scale: float) -> torch.Tensor | None:
    """The symmetries (S, 4, 4) that a file beside the mesh states; None without such a file, or without symmetry.

    Args:
        mesh_file: see `symmetry_beside`.
        unit_scale: metres per unit of the mesh file.

    Raises:
        MeshError: the file is not of the right form.
    """
    beside = symmetry_beside(mesh_file)
    found = None if beside is None else load_symmetry(*beside, unit_scale)
    return None if found is None or len(found) == 1 else found


def centred_symmetries(symmetries: np.ndarray | torch.Tensor, center: np.ndarray) -> torch.Tensor:
    """The same symmetries of a mesh that is moved by -center.

    Args:
        symmetries: (S, 4, 4) of the original mesh, metres.
        center: (3,) metres.

    Returns:
        (S, 4, 4) float32 on the CPU.

    Raises:
        MeshError: another shape, or values that are not finite, or no rotations.
    """
    try:
        symmetries = torch.as_tensor(symmetries, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MeshError(
            f"symmetries are of type {type(symmetries).__name__}; (S, 4, 4) transforms are needed: "
            'pose6d.mesh.symmetry.resolve_symmetry("180 x") makes them of text'
        ) from error
    if symmetries.ndim != 3 or symmetries.shape[1:] != (4, 4) or not len(symmetries):
        raise MeshError(f"symmetries: shape {tuple(symmetries.shape)}; (S, 4, 4) transforms are needed")
    if not symmetries.isfinite().all():
        raise MeshError("symmetries hold values that are not finite; (S, 4, 4) transforms are needed")
    for index, symmetry in enumerate(symmetries.double().cpu().numpy()):
        try:
            check_rigid(symmetry, ANNOTATED)
        except ValueError as error:
            raise MeshError(f"symmetries[{index}] leaves no object as it is: {error}") from error
    eye, shift = torch.eye(3), torch.as_tensor(np.asarray(center), dtype=torch.float32)
    return make_transform(eye, -shift) @ symmetries.cpu() @ make_transform(eye, shift)


def _rotation_about(axis: np.ndarray, offset: np.ndarray, angle: float) -> np.ndarray:
    """4x4 turn by `angle` radians about the line through `offset` along the unit vector `axis`."""
    x, y, z = axis
    W = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    T = np.eye(4)
    T[:3, :3] += math.sin(angle) * W + (1 - math.cos(angle)) * W @ W
    T[:3, 3] = offset - T[:3, :3] @ offset
    return T


def _ball(first: np.ndarray, second: np.ndarray, center: np.ndarray) -> list[np.ndarray]:
    """Turns about `first`, then a direction across it, then `first` again: every rotation about a point."""
    across = _unit(second - first * (first @ second))
    steps = round(360 / _BALL_STEP_DEGREES)
    angles = [2 * math.pi * k / steps for k in range(steps)]
    around = [_rotation_about(first, center, a) for a in angles]
    tilt = [_rotation_about(across, center, a) for a in angles[: steps // 2 + 1]]
    return [a @ b @ c for a in around for b in tilt for c in around]


def _generate_group(generators: Sequence[np.ndarray], text: str) -> list[np.ndarray]:
    """All products of the generators, the identity first."""
    group = [np.eye(4)]
    for element in group:  # grows while it is walked
        for generator in generators:
            product = generator @ element
            if np.abs(np.stack(group) - product).max(axis=(1, 2)).min() > 1e-6:
                group.append(product)
        if len(group) > _MOST_ELEMENTS:
            raise MeshError(
                f"symmetry {text!r}: these turns have no finite number of combinations; do the axes meet in one point, "
                "and are the angles between them those of a regular body?"
            )
    return group


def _distinct(transforms: Sequence[np.ndarray]) -> np.ndarray:
    """(S, 4, 4) in order of first appearance, without those that differ by less than 1e-5."""
    stacked = np.stack(transforms)
    keys = np.round(stacked.reshape(len(stacked), 16), 5) + 0.0  # + 0.0 turns -0.0 into 0.0
    return stacked[np.sort(np.unique(keys, axis=0, return_index=True)[1])]


def _check_rigid(T: np.ndarray) -> np.ndarray:
    T = np.asarray(T, dtype=np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all():
        raise MeshError(f"symmetry transform: a finite 4x4 matrix is needed, found shape {T.shape}: {T.tolist()}")
    R = T[:3, :3]
    if not np.allclose(R @ R.T, np.eye(3), atol=1e-2) or np.linalg.det(R) < 0 or not np.allclose(T[3], [0, 0, 0, 1]):
        raise MeshError(
            f"symmetry transform: {T.tolist()} is no rotation with a translation; a mirror image does not count"
        )
    return T


def _unit(axis: _Vector) -> np.ndarray:
    vector = np.asarray(axis, dtype=np.float64)
    length = np.linalg.norm(vector)
    if vector.shape != (3,) or not np.isfinite(length) or length < 1e-9:
        raise MeshError(f"symmetry axis {np.asarray(axis).tolist()}: three numbers, not all 0, are needed")
    return vector / length


def _axis(words: Sequence[str], item: str) -> np.ndarray:
    if len(words) == 1 and words[0] in _AXES:
        return np.array(_AXES[words[0]])
    return _unit(_numbers(words, item))


def _fold(word: str, item: str) -> int:
    """How many turns by this angle make a full one."""
    try:
        fold = 360 / float(word)
    except (ValueError, ZeroDivisionError):
        fold = math.nan
    if not math.isfinite(fold):
        raise MeshError(f"symmetry {item!r} is not understood: write {_FORMS}")
    if not 2 <= round(fold) <= 360 or abs(fold - round(fold)) > 0.01:
        raise MeshError(
            f"symmetry {item!r}: {word} degrees does not divide a full turn; use 360/n, such as 180, 120, 90"
        )
    return round(fold)


def _numbers(words: Sequence[str], item: str) -> np.ndarray:
    try:
        values = np.array([float(word.strip(",()[]")) for word in words])
    except ValueError:
        values = np.empty(0)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise MeshError(f"symmetry {item!r} is not understood: write {_FORMS}")
    return values
