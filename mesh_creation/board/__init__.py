"""The printed board: layout, PDF, detection, and the pose of the camera from it."""
