"""RefineNet and ScoreNetMultiPair, their shared blocks and their configuration."""
