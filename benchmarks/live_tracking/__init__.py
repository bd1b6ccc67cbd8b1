"""How well objects are followed before a camera: lost, hidden and found again."""
