"""Where `Mesh` was before `pose6d.mesh`; kept for programs that import it from here."""

from pose6d.mesh.mesh import Mesh, texture_colors

__all__ = ["Mesh", "texture_colors"]
