"""Quantised variants that PyTorch runs itself."""
