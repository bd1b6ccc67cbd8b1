"""Meshes of objects: readers, units, symmetries, the diameter."""
