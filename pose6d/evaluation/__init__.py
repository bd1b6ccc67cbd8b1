"""Pose errors, result folders and the reports of accuracy made from them."""
