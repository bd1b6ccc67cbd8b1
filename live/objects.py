"""The objects that are followed: their meshes, symmetries and first masks, from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from live.options import LiveOptions
from live.recorded_objects import RecordedObjects
from pose6d.errors import MeshError, OptionError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.symmetry import mesh_symmetries, resolve_symmetry
from pose6d.mesh.units import METRES_PER_UNIT, UnitChoice, resolve_unit
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import read_mask
from pose6d.segmentation.hints import AutomaticHint, Hint, mask_from_hint, parse_hint

_PLAUSIBLE = 0.01, 2.0  # metres of diameter

_PLAIN_NAMES = ("mesh", "textured", "model", "object")  # that say nothing


@dataclass(frozen=True)
class FollowedObject:
    """One object.

    Attributes:
        name: of it.
        mesh: metres.
        symmetries: (S, 4, 4), or None.
        mask: (H, W) bool in the first frame; None where it is to be looked for.
    """

    name: str
    mesh: Mesh
    symmetries: np.ndarray | None
    mask: np.ndarray | None


def load_objects(options: LiveOptions, frame: Frame, recorded: RecordedObjects) -> list[FollowedObject]:
    """The objects that the options name.

    Args:
        options: of the command line.
        frame: the first one, with its own mask if it has one.
        recorded: what the recording says; taken where the options say nothing.

    Raises:
        OptionError: no object, names that are there twice or not at all, a mask in none of the forms.
        MeshError, SceneError: a file cannot be used.
        FrameError: a mask does not fit the frame.
    """
    files = _mesh_files(options, recorded)
    hints = _hints(options.mask, list(files))
    if options.symmetry is not None and len(files) > 1:
        raise OptionError("--symmetry is for one object: of several, put a symmetry.json beside each mesh")
    if options.object_id is not None and len(files) > 1:
        raise OptionError("--object_id is for one object: several get their masks by the names in --objects")
    found, sought = [], []
    for name, file in files.items():
        of_views = file.is_dir() or file.suffix == ".json"
        if of_views:
            from mesh_creation.reference_views import object_from_views as views  # needs what few runs need

            file = views.keep_object(file, making=views.ObjectOptions(device=options.device))
        mesh = load_mesh(file)
        hint = hints.get(name, hints.get(""))
        mask = _recorded_mask(name, len(files) == 1, frame, recorded) if hint is None else None
        if hint is None and mask is None:
            sought.append(name)
        if isinstance(hint, Path):
            mask = _mask_file(hint.expanduser())
            if mask.shape != frame.depth.shape:
                size = f"{mask.shape[1]}x{mask.shape[0]}, the frames are {frame.depth.shape[1]}x{frame.depth.shape[0]}"
                raise OptionError(f"--mask {hint} is {size}: give a mask of their size")
        scale, explanation = _unit(mesh, "m" if of_views else options.mesh_unit, frame, mask)
        mesh = mesh.scaled(scale)
        if hint is not None and not isinstance(hint, (AutomaticHint, Path)):
            mask = mask_from_hint(hint, frame.rgb, frame.depth, frame.K, mesh.diameter)
        if options.symmetry is not None:
            symmetries: Tensor | None = resolve_symmetry(options.symmetry, scale, None)
        else:
            symmetries = mesh_symmetries(file, scale)
        print(f"{name}: {file}: {len(mesh.faces)} faces, diameter {1000 * mesh.diameter:.1f} mm. {explanation}")
        found.append(FollowedObject(name, mesh, None if symmetries is None else symmetries.numpy(), mask))
    _name_unused_masks(sought, list(files), frame, recorded)
    return found


def _recorded_mask(name: str, alone: bool, frame: Frame, recorded: RecordedObjects) -> np.ndarray | None:
    """The recording's own mask of an object; None where it has none, or nobody says that it is of this one."""
    return frame.mask if alone and frame.mask is not None else recorded.masks.get(name)


def _name_unused_masks(sought: list[str], names: list[str], frame: Frame, recorded: RecordedObjects) -> None:
    """Say which objects are looked for although the recording has masks, and which of its masks are of none."""
    others = [name for name in recorded.names if name not in names]
    if not sought or not (recorded.names or frame.mask is not None):
        return
    has = f"masks of {', '.join(recorded.names)}" if recorded.names else "masks without the name of an object"
    unused = f"; not used: {', '.join(others)}" if others else ""
    print(
        f"{', '.join(sought)}: looked for, since the recording has {has}{unused}. Name the objects as it does "
        "(masks/NAME/), or pass --mask"
    )


def _mesh_files(options: LiveOptions, recorded: RecordedObjects) -> dict[str, Path]:
    given = [name for name in ("mesh_file", "reference_views", "objects") if getattr(options, name)]
    if len(given) > 1:
        raise OptionError(f"--{' and --'.join(given)}: name the objects by one of them")
    files: dict[str, Path] = {}
    for text in options.objects:
        name, is_named, file = text.partition("=")
        if not (is_named and name and file):
            raise OptionError(f"--objects {text}: wanted NAME=MESH, such as cup=meshes/cup.obj")
        if name in files:
            raise OptionError(f"--objects: {name} is there twice; give each object a name of its own")
        files[name] = Path(file).expanduser()  # which shells do not do behind a =
    if not files:
        named = options.mesh_file or options.reference_views
        mesh = named.expanduser() if named else recorded.mesh
        if mesh is None:
            several = f", and objects {', '.join(recorded.names)}: choose one by --object_id" if recorded.names else ""
            raise OptionError(
                "no object: pass --mesh_file, --reference_views, or --objects NAME=MESH ...; the source has no mesh/ "
                f"folder with one mesh{several}"
            )
        names = [mesh.stem, mesh.resolve().parent.name, mesh.resolve().parent.parent.name]
        files = {next((name for name in names if name not in _PLAIN_NAMES), "object"): mesh}
    return files


def _hints(texts: list[str], names: list[str]) -> dict[str, Hint]:
    """By name; "" for all that have none of their own."""
    hints = {}
    for text in texts:
        name, is_named, rest = text.partition("=")
        if not is_named:
            name, rest = "", text
        elif name not in names:
            raise OptionError(f"--mask {text}: no object is called {name}; there are {', '.join(names)}")
        if name in hints:
            raise OptionError(f"--mask: given twice for {name or 'all objects'}")
        hints[name] = parse_hint(rest)
    if "" in hints and len(names) > 1 and not isinstance(hints[""], AutomaticHint):
        raise OptionError(f"--mask {' '.join(texts)}: say of which object, {names[0]}=...")
    return hints


def _mask_file(path: Path) -> np.ndarray:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise OptionError(f"--mask {path} is {found}: give the file of a mask, auto, or numbers (docs/live.md)")
    return read_mask(path)


def _unit(mesh: Mesh, unit: UnitChoice, frame: Frame, mask: np.ndarray | None) -> tuple[float, str]:
    """The factor to metres, and why."""
    if mask is not None:
        return resolve_unit(mesh, unit, frame.depth, mask, frame.K)
    if unit != "auto":
        return METRES_PER_UNIT[unit], "Its unit is as told."
    low, high = _PLAUSIBLE
    for name in ("m", "mm"):
        if low <= mesh.diameter * METRES_PER_UNIT[name] <= high:
            return METRES_PER_UNIT[name], f"Read in {name}, by its size alone."
    raise MeshError(f"{mesh.name}: a diameter of {mesh.diameter:g} is neither metres nor millimetres: pass --mesh_unit")
