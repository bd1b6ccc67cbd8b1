"""What runs the networks: their inputs, and PyTorch, ONNX Runtime and int8 behind one interface."""
