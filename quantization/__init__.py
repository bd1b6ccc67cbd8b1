"""Smaller and faster variants of the networks, and what each of them costs in accuracy."""
