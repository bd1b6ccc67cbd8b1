"""How surfaces look: textures, materials, marks, users' images, and what is wrong with the colours of meshes."""
