"""An object straight from reference views: made once, kept beside them, and used again while they are the same."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from mesh_creation.fusion.mesh_folder import is_finished
from mesh_creation.reference_views.open_views import ViewOptions, open_views
from mesh_creation.reference_views.view import ReferenceView
from pose6d.errors import MissingDependencyError
from pose6d.json_file import read_json
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes.frame import MADE_OBJECT

try:
    from mesh_creation.object_field.make_object import ObjectOptions, make_object
    from mesh_creation.reference_views.from_views import FromViewsOptions, object_inputs, write_object
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] == "open3d":
        raise MissingDependencyError("an object from views needs open3d: pip install 'pose6d[scan]'") from error
    raise


def object_from_views(
    views: str | os.PathLike[str] | Sequence[ReferenceView],
    which: ViewOptions = ViewOptions(),  # noqa: B008 - frozen
    making: ObjectOptions = ObjectOptions(),  # noqa: B008 - frozen
) -> Mesh:
    """A textured mesh of an object that is known by pictures alone, for `FoundationPose(object_from_views(...))`.

    Args:
        views: the folder of the views or a .json file that lists them (docs/reference_views.md), for which the object
            is kept (see `keep_object`); or posed views, for which it is made every time.
        which: which object and views.
        making: how the mesh is made.

    Returns:
        The mesh in metres, in the frame of the views' poses.

    Raises:
        SceneError, FrameError: the views cannot be used; the message names the view's file and the cure.
    """
    if isinstance(views, (str, os.PathLike)):
        return load_mesh(keep_object(views, which, making))
    checked, notes = open_views(views, which)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return make_object(checked, making).mesh


def keep_object(
    source: str | os.PathLike[str],
    which: ViewOptions = ViewOptions(),  # noqa: B008 - frozen
    making: ObjectOptions = ObjectOptions(),  # noqa: B008 - frozen
) -> Path:
    """The file of the mesh of views, which is made unless it has been made of the same views with the same options.

    It is kept in made_object/ in the folder of the views (<list>.made_object/ beside a list), or, where that cannot be
    written, in pose6d/made_objects of the user's cache ($XDG_CACHE_HOME, else ~/.cache).

    Args:
        source, which, making: as of `object_from_views`.

    Returns:
        object.obj in that folder.
    """
    views, notes = open_views(source, which)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    folder = _place(Path(source).expanduser(), which.object_id)
    if is_finished(folder) and read_json(folder / "metadata.json").get("inputs") == object_inputs(views, making):
        print(f"object: {folder} was made of these views")
    else:
        options = FromViewsOptions(Path(source), folder, overwrite=True, held_out=0, which=which, making=making)
        write_object(views, options, notes)
    return folder / "object.obj"


def _place(source: Path, object_id: str | None) -> Path:
    name = MADE_OBJECT if object_id is None else f"{MADE_OBJECT}_{object_id}"
    folder = source / name if source.is_dir() else source.with_name(f"{source.stem}.{name}")
    if os.access(folder.parent, os.W_OK):
        return folder
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    known = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path(cache) / "pose6d" / "made_objects" / f"{source.stem}_{known}"
