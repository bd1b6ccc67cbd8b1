"""Frames as they come: from a camera, a recording or a file of robot messages."""
