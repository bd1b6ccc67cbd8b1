"""Filming an object on the board."""
