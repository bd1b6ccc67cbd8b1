"""H.264 video that every browser plays (yuv420p, index at the front), written frame by frame."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from pose6d.closing import Closing
from pose6d.errors import OutputError
from pose6d.whole_file import whole_file


class VideoWriter(Closing):
    """Writes an mp4 as a context manager; the file appears under its name only once it is complete.

    Frames of odd width or height get their last column or row doubled, because yuv420p needs even sizes. A video
    without frames is not written.

    Args:
        path: the .mp4 to write.
        fps: frames per second at which it plays.
    """

    def __init__(self, path: Path, fps: float = 15.0) -> None:
        self.path = path
        self.fps = fps
        self._partial = path
        self._whole = ExitStack()
        self._shape: tuple[int, ...] | None = None
        self._stream: Generator[None, bytes, None] | None = None

    def write(self, image: np.ndarray) -> None:
        """Append one image (H, W, 3) uint8 RGB; all must have the size of the first."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"video frame of {image.dtype} {image.shape}, wanted uint8 (H, W, 3)")
        if self._shape is None:
            self._shape = image.shape
        elif image.shape != self._shape:
            raise ValueError(f"video frame of {image.shape[:2]} in a video of {self._shape[:2]}")
        height, width = image.shape[:2]
        even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            if self._stream is None:
                self._stream = self._open(even.shape[1], even.shape[0])
            self._stream.send(np.ascontiguousarray(even).tobytes())
        except (OSError, RuntimeError) as error:
            raise OutputError(f"{self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Finish the file; safe to call twice."""
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            with self._whole:
                stream.close()
                if not self._partial.is_file() or self._partial.stat().st_size == 0:
                    raise OSError("ffmpeg wrote nothing; its message is above")
        except RuntimeError as error:
            raise OutputError(f"{self.path} cannot be written: {error}") from error

    def _open(self, width: int, height: int) -> Generator[None, bytes, None]:
        self._partial = self._whole.enter_context(whole_file(self.path))
        stream: Generator[None, bytes, None] = imageio_ffmpeg.write_frames(
            str(self._partial),
            (width, height),
            fps=self.fps,
            codec="libx264",
            pix_fmt_in="rgb24",
            pix_fmt_out="yuv420p",
            quality=None,
            macro_block_size=2,
            # The index goes to the front, so that playing starts before the whole file has arrived.
            output_params=["-crf", "20", "-preset", "veryfast", "-movflags", "+faststart", "-f", "mp4"],
        )
        stream.send(None)  # type: ignore[arg-type]  # starts the generator, as its documentation asks
        return stream


def shrink_video(path: Path, most_bytes: int) -> bytes:
    """The bytes of an mp4, compressed again if they are more than `most_bytes`; b"" if that does not suffice.

    Raises:
        OutputError: the file cannot be read or compressed.
    """
    try:
        if path.stat().st_size <= most_bytes:
            return path.read_bytes()
        _, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
        rate = int(0.8 * 8 * most_bytes / max(float(seconds), 0.1))  # bits per second; the rest is for its overshoot
        for width in (640, 320):
            data = _compress(path, rate, width)
            if len(data) <= most_bytes:
                return data
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        message = getattr(error, "stderr", "") or error
        raise OutputError(f"{path} cannot be made smaller for the report: {message}") from error
    return b""


def _compress(path: Path, bits_per_second: int, width: int) -> bytes:
    """The bytes of the mp4 at about this rate, at most `width` pixels wide."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.mp4"
        rate = str(bits_per_second)
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path), "-c:v", "libx264"]
        command += ["-preset", "veryfast", "-b:v", rate, "-maxrate", rate, "-bufsize", rate, "-pix_fmt", "yuv420p"]
        command += ["-vf", f"scale=min({width}\\,iw):-2", "-movflags", "+faststart", str(small)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return small.read_bytes()
