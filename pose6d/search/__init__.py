"""The search for a pose: hypotheses, which of them to follow, and what tells the best from the others."""
