"""Meshes of objects: readers, units, symmetries, the diameter."""

from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import as_mesh, load_mesh, save_mesh

__all__ = ["Mesh", "as_mesh", "load_mesh", "save_mesh"]
