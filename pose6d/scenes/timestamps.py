"""When the frames of a recording were taken, as far as its files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pose6d.errors import SceneError
from pose6d.json_file import read_json
from pose6d.scenes.frame import Scene

DEFAULT_FPS = 30.0
GROWING = "frames.txt"
"""In a recording of the capture layout that was not finished: a line per frame, its seconds and its name."""


def recording_fps(scene: Scene, fps: float | None = None) -> float:
    """Frames per second of a recording: `fps` if given, else "fps" in its scene.json or recording.json, else 30.

    Raises:
        SceneError: the value is no positive number.
    """
    source = "--fps"
    if fps is None:
        fps = DEFAULT_FPS
        for path in (scene.path / "recording.json", scene.path / "scene.json"):  # the latter is written by people
            content = read_json(path) if path.is_file() else None
            if isinstance(content, dict) and "fps" in content:
                fps, source = content["fps"], str(path)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e5:
        raise SceneError(f"{source}: fps is {fps!r}, wanted the recording's frames per second, such as 30")
    return float(fps)


def frame_seconds(scene: Scene, fps: float | None = None) -> np.ndarray:
    """(N,) seconds of each frame since the first: the timestamps of recording.json, else index / `recording_fps`.

    Args:
        scene: the recording.
        fps: takes the place of what the files say.

    Raises:
        SceneError: the timestamps are no numbers, not one per frame, or jump backwards.
    """
    path, values = scene.path / "recording.json", None
    if fps is None:
        content = read_json(path) if path.is_file() else {}
        values = content.get("timestamps") if isinstance(content, dict) else None
        if values is None and (scene.path / GROWING).is_file():
            path = scene.path / GROWING
            values = [seconds for seconds, _ in read_growing(path)][: len(scene)]
    if values is None:
        return np.arange(len(scene)) / recording_fps(scene, fps)
    cure = "correct the timestamps or take them out, and frames come at the recording's rate"
    try:
        seconds = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SceneError(f"{path}: a timestamp is no number ({error}): {cure}") from error
    if seconds.shape != (len(scene),) or not np.isfinite(seconds).all():
        raise SceneError(
            f"{path} has {seconds.size} timestamps, wanted {len(scene)} numbers, one per frame; was a frame deleted? "
            f"{cure[0].upper()}{cure[1:]}"
        )
    back = np.flatnonzero(np.diff(seconds) < 0)
    if back.size:
        at = int(back[0]) + 1
        raise SceneError(
            f"{path}: the clock jumps back by {seconds[at - 1] - seconds[at]:.3f} s at frame {scene.names[at]}: {cure}"
        )
    return seconds - seconds[:1]


def read_growing(path: Path) -> list[tuple[float, str]]:
    """The seconds and names of the frames in frames.txt; a last line that is cut off does not count.

    Raises:
        SceneError: a line is none.
    """
    frames = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        seconds, _, name = line.rstrip("\n").partition(" ")
        try:
            frames.append((float(seconds), name))
        except ValueError as error:
            raise SceneError(
                f"{path}, line {number}: {line.strip()!r}, wanted seconds and a name. Without this file frames come "
                "at the recording's rate"
            ) from error
    return frames
