"""Transforms, cameras, depth, meshes, symmetries and viewpoints."""
