"""Cameras that published numbers were measured with: they stay as they are, to the bit."""
