"""Test scenes: the avocado scene is made here, a real recording can be fetched instead."""

import pose6d  # noqa: F401 - before PyTorch, whose threads it configures
