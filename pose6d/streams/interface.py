"""What every source of frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from pose6d.scenes.frame import Frame


class FrameStream(Protocol):
    """Frames in the order in which they were taken; a context manager, and iterated over once.

    Attributes:
        name: of the camera or the recording, for people.
        size: (height, width) of the pictures.
        fps: frames per second that it delivers, as far as it says so; else None.
        live: whether frames are lost unless they are taken when they come.
        depth_unit: metres per step in which it counts depth, such as 0.001, so that recording it loses nothing.
        notes: what people should know, such as that depth was aligned to colour.
    """

    name: str
    size: tuple[int, int]
    fps: float | None
    live: bool
    depth_unit: float
    notes: list[str]

    def __enter__(self) -> FrameStream: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames with `seconds`, in metres, depth aligned to colour, without lens distortion.

        Raises:
            DeviceError: the camera sends nothing any more.
            SceneError: the recording is damaged; FrameError: one frame cannot be used, and the stream goes on after it.
        """
        ...
