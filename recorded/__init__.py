"""Following an object through a recording: find it in the first frame, track it through the others, report."""
