"""Transforms, cameras, depth, observations and grids of rotations."""
