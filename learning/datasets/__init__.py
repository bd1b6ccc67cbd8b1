"""Synthetic training data: objects, their surfaces, and scenes of them."""
