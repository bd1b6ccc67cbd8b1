"""Smaller and faster variants of the networks: what makes their files."""
