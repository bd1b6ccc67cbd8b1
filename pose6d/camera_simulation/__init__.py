"""What an RGB-D camera makes of perfect pictures: effects on colour and depth, and the cameras made of them.

All cameras have `expose` (colour), `measure_depth` and `capture` (both). `SensorNoise` (training) and `PlainNoise` (the
suites of the first published scores) work on batches with PyTorch, and every scene draws its own strengths;
`StereoCamera` (simulated recordings) and `AvocadoCamera` (the demo's scene) on single frames with OpenCV, in metres.
What is published depends on the last three: they stay as they are, to the bit.
"""
