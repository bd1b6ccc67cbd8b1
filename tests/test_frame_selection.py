"""Which frames "30", "10:40" or "-2:" mean."""

from __future__ import annotations

import pytest

from pose6d.errors import SceneError
from pose6d.scenes.selection import select_frames


def test_frames_are_selected_as_in_python() -> None:
    assert select_frames(":", 4) == [0, 1, 2, 3]
    assert select_frames("3", 10) == [0, 1, 2]
    assert select_frames("30", 10) == list(range(10))
    assert select_frames("2:8:3", 10) == [2, 5]
    assert select_frames("-2:", 10) == [8, 9]
    for text in ("", "a", "1:2:3:4", "::-1", "0", "-3", "1.5", "::0"):
        with pytest.raises(SceneError, match="is not understood"):
            select_frames(text, 10)
    with pytest.raises(SceneError, match="selects none"):
        select_frames("20:", 10)
