"""Simulated recordings, with ground truth."""
