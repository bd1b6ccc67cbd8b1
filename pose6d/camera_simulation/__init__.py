"""What an RGB-D camera makes of perfect pictures.

`simulated_camera.SimulatedCamera` is the camera: its strengths are fields, its presets stand below it. The cameras in
`frozen` are those that published scores were measured with.
"""
