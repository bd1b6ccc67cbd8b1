"""Recording what a stream delivers into the capture layout, from which it can be replayed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import Any

import numpy as np

from pose6d.closing import Closing
from pose6d.errors import FrameError, OutputError, with_cure
from pose6d.json_file import read_json, write_json
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import depth_in_units, write_picture
from pose6d.scenes.timestamps import DEFAULT_FPS, GROWING, read_growing

_WAITING = 30  # frames of a second: 640x480 needs 50 MB


class CaptureFolder:
    """A recording in the capture layout that grows: after each frame it is whole, so that a kill loses nothing.

    JPEGImages/<n>.jpg, depth/<n>.png in units of `depth_unit`, masks/<n>.png of frames that have one, intrinsics.json;
    frames.txt while it grows, and recording.json with what that says when it is finished.

    Args:
        folder: to be made; or empty.
        depth_unit: metres per unit of depth; 65534 of them are the farthest that is kept.
        facts: for recording.json, such as source and fps.

    Attributes:
        frames: how many there are.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """

    def __init__(self, folder: Path, depth_unit: float, facts: Mapping[str, Any]) -> None:
        self.folder, self.frames = folder, 0
        self._depth_unit, self._facts = depth_unit, {name: fact for name, fact in facts.items() if fact is not None}
        self._form: tuple[tuple[int, ...], np.ndarray] | None = None
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(f"{folder} is there already: record into a new folder, or move it away")
        try:
            for name in ("JPEGImages", "depth"):
                (folder / name).mkdir(parents=True)
            (folder / GROWING).touch()
        except OSError as error:
            raise OutputError(f"{folder} cannot be recorded into: {with_cure(error)}") from error
        write_json(folder / "recording.json", self._facts)

    def add(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            FrameError: its size or intrinsics are others than those of the first, for which the layout has no place.
            OutputError: it cannot be written.
        """
        self._check(frame)
        seconds = frame.seconds if frame.seconds is not None else self.frames / self._facts.get("fps", DEFAULT_FPS)
        try:
            with (self.folder / GROWING).open("a", encoding="utf-8") as lines:
                lines.write(f"{seconds!r} {frame.name}\n")
        except OSError as error:
            raise OutputError(f"{self.folder / GROWING} cannot be written: {with_cure(error)}") from error
        depth, mask = (self.folder / name / f"{self.frames}.png" for name in ("depth", "masks"))
        try:  # colour last: it makes the frame
            if frame.mask is not None:
                write_picture(mask, frame.mask.astype(np.uint8) * 255)
            write_picture(depth, depth_in_units(frame.depth, self._depth_unit))
            write_picture(self.folder / "JPEGImages" / f"{self.frames}.jpg", frame.rgb)
        except OutputError:  # a full disk: a part of a frame is none
            for path in (depth, mask):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self.frames += 1

    def finish(self) -> None:
        """Write recording.json; without it the recording is read just as well, by frames.txt."""
        finish_capture(self.folder, self.frames)

    def _check(self, frame: Frame) -> None:
        frame.check_sizes()
        if self._form is None:
            height, width = frame.rgb.shape[:2]
            K = frame.K
            lens = {"fx": K[0, 0], "fy": K[1, 1], "ppx": K[0, 2], "ppy": K[1, 2], "width": width, "height": height}
            write_json(self.folder / "intrinsics.json", lens | {"depth_scale": self._depth_unit})
            self._form = frame.rgb.shape, frame.K.copy()
        shape, K = self._form
        if frame.rgb.shape != shape or not np.array_equal(frame.K, K):
            raise FrameError(
                f"frame {frame.name} is {frame.rgb.shape[1]}x{frame.rgb.shape[0]} with K {frame.K.tolist()}, but "
                f"{self.folder} records {shape[1]}x{shape[0]} with {K.tolist()}: record it into another folder"
            )


def finish_capture(folder: Path, frames: int) -> None:
    """Turn frames.txt of a `CaptureFolder` into timestamps and names in recording.json.

    Args:
        folder: the recording.
        frames: how many it has; what was begun after them does not count.

    Raises:
        SceneError: a file of it is damaged.
        OutputError: it cannot be written.
    """
    listed = read_growing(folder / GROWING)[:frames]
    timestamps = [round(seconds - listed[0][0], 6) for seconds, _ in listed]
    content = read_json(folder / "recording.json") if (folder / "recording.json").is_file() else {}
    names = [name for _, name in listed]
    write_json(folder / "recording.json", content | {"timestamps": timestamps, "names": names})
    (folder / GROWING).unlink()


class CaptureWriter(Closing):
    """Records frames in a thread, beside a loop that must not wait; a context manager.

    Args:
        folder: see `CaptureFolder`.
        depth_unit: of the stream.
        facts: for recording.json, such as source and fps.

    Attributes:
        dropped: how many frames were not recorded because the disk was too slow, or had another size than the first.
    """

    def __init__(self, folder: Path, depth_unit: float, facts: Mapping[str, Any]) -> None:
        self._capture = CaptureFolder(folder, depth_unit, facts)
        self.dropped = 0
        self._waiting: Queue[Frame | None] = Queue(_WAITING)
        self._error: Exception | None = None
        self._thread = Thread(target=self._write, name=f"recording {folder.name}", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """How many frames are on disk."""
        return self._capture.frames

    def add(self, frame: Frame) -> None:
        """Hand a frame over, whose arrays must not change afterwards; it is dropped where too many wait.

        Raises:
            OutputError: an earlier frame could not be written, and no other will be.
        """
        if self._error is not None:
            raise self._error
        try:
            self._waiting.put_nowait(frame)
        except Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, and finish the recording.

        Raises:
            OutputError: a frame could not be written; those before it are kept.
        """
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
            self._capture.finish()
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        """What the thread does. After an error it goes on taking frames, so that nobody waits for it."""
        while (frame := self._waiting.get()) is not None:
            try:
                if self._error is None:
                    self._capture.add(frame)
            except FrameError:
                self.dropped += 1
            except Exception as error:
                self._error = error
