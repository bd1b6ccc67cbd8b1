"""From registered frames to a textured mesh."""
