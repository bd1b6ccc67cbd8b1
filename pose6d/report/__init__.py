"""What people look at: overlays of poses on frames, videos, contact sheets."""
