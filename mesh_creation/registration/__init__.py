"""Where the camera was at every frame of a scan."""
