"""Recordings in a folder, of any layout that `open_scene` reads, as a stream at full speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType

from pose6d.scenes.frame import Frame, Scene
from pose6d.scenes.timestamps import frame_seconds, recording_fps


class RecordingStream:
    """The frames of a recording in their order: a `FrameStream`. `RealTimeStream` makes them come at their time.

    Args:
        scene: the recording.
        fps: frames per second, in place of what the recording says of its times.
        frames: indices of the frames to deliver; None for all.

    Raises:
        SceneError: see `frame_seconds`.
    """

    live = False

    def __init__(self, scene: Scene, fps: float | None = None, frames: Sequence[int] | None = None) -> None:
        self._scene, self._frames = scene, range(len(scene)) if frames is None else frames
        self._seconds = frame_seconds(scene, fps).tolist()
        length = self._seconds[-1]
        self.name, self.size = scene.path.name, scene.size
        self.fps: float | None = (len(scene) - 1) / length if length > 0 else recording_fps(scene, fps)
        self.depth_unit = scene.depth_unit
        self.notes = [scene.description, *scene.notes]

    def __enter__(self) -> RecordingStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held open."""

    def __iter__(self) -> Iterator[Frame]:
        """See `FrameStream`; after a FrameError the next frame follows."""
        return map(self._read, self._frames)

    def _read(self, index: int) -> Frame:
        return replace(self._scene[index], seconds=self._seconds[index])
