"""Scenes of objects, lit and rendered, and hypotheses in them."""
