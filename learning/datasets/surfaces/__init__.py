"""How surfaces look: textures, materials, and what is wrong with the colours of meshes."""
