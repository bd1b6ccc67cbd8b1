"""What people hand in as the object that is looked for."""

from __future__ import annotations

from pathlib import Path

import torch

from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import as_mesh
from pose6d.mesh.units import check_diameter
from pose6d.rendering.rendered_object import RenderedObject
from pose6d.search.interfaces import ObjectModel, check_part


def as_object(given: Mesh | str | Path | ObjectModel, device: torch.device) -> ObjectModel:
    """The object of a mesh in metres or of its file, with the device's renderer; any other model of one as it is.

    Raises:
        MeshError: the mesh cannot be used, or is in another unit.
        Pose6DError: a model that lacks something that is asked of it.
    """
    if not isinstance(given, Mesh | str | Path) and hasattr(given, "render"):
        check_part(given, ObjectModel)
        return given
    mesh = as_mesh(given)  # type: ignore[arg-type]  # refuses what is none
    check_diameter(mesh)
    return RenderedObject.from_mesh(mesh, device)
