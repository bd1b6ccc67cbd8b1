"""The networks, what they are fed, and how they are trained and run."""

import pose6d  # noqa: F401 - before PyTorch, whose threads it configures
