"""Picking frames of a recording by what a user typed."""

from __future__ import annotations

from pose6d.errors import SceneError


def select_frames(text: str, count: int) -> list[int]:
    """Turn "30" (the first 30) or "start:stop:step" (as in Python, step > 0) into indices of `count` frames.

    Raises:
        SceneError: the text is of neither form, or selects nothing.
    """
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
        if len(parts) == 1 and parts[0] is not None and parts[0] > 0:
            parts = [None, parts[0]]
        chosen = list(range(count))[slice(*parts)] if 2 <= len(parts) <= 3 else None
        if parts[2:] and parts[2] is not None and parts[2] < 0:
            chosen = None
    except ValueError:
        chosen = None
    if chosen is None:
        raise SceneError(f'frames {text!r} is not understood: write "30" for the first 30, or "start:stop:step"')
    if not chosen:
        raise SceneError(f"frames {text!r} selects none of the scene's {count} frame(s)")
    return chosen
