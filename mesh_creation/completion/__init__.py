"""What few views do not show of an object: taken from across its planes of symmetry, and marked as guessed."""
