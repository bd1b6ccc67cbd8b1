"""What a run over a recording leaves: its folder, poses, errors, video and page."""
