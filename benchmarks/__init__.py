import pose6d  # noqa: F401 - before PyTorch, whose threads it configures
