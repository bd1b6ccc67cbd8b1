"""Data sets: estimating their poses, and scoring them."""
