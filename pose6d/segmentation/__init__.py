"""First masks of an object, without a network: regions of a depth image, and what a person points at."""
