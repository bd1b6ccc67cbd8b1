"""Where meshes were read before `pose6d.mesh`; kept for programs that import it from here."""

from pose6d.mesh.mesh_files import as_mesh, load_mesh, save_mesh

__all__ = ["as_mesh", "load_mesh", "save_mesh"]
