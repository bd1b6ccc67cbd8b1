"""Other ways to find an object in a frame, on the same frames as ours: `python -m benchmarks.rivals`."""
