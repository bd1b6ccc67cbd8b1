"""Synthetic training data: procedural objects and textures, scenes, sensor noise."""
