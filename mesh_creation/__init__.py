"""A mesh of your own object from an RGB-D camera: film it on a board of markers, then register, fuse and label."""
