"""Smaller and faster variants of the networks, and what each of them costs in accuracy."""

import pose6d  # noqa: F401 - before PyTorch, whose threads it configures
