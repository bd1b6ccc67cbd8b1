"""Export to ONNX in fp32, fp16 and int8, with parity checks against PyTorch."""
