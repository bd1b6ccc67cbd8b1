"""Records a scan with a RealSense camera, or imports a recording of it or of ROS, into the capture layout.

python -m mesh_creation record --out my_scan --seconds 40
python -m mesh_creation record --out my_scan --source old.bag
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mesh_creation.board.detection import detect_board
from mesh_creation.board.layout import Board, default_board, load_board, save_board
from mesh_creation.recording.coverage import Coverage
from pose6d.errors import DeviceError, OutputError, SceneError
from pose6d.geometry.transforms import rigid_transform
from pose6d.scenes.frame import Frame
from pose6d.scenes.images import list_images
from pose6d.scenes.timestamps import GROWING
from pose6d.streams import open_stream
from pose6d.streams.capture_writer import CaptureFolder, finish_capture
from pose6d.streams.interface import FrameStream
from pose6d.streams.realsense import open_camera

_STEADY = 0.01  # change of brightness over the last pictures below which the exposure has settled
_WARM_UP = (15, 150)  # frames, at least and at most
_HINT_EVERY = 5  # kept frames
_MIN_POINTS = 8  # of the board, for a pose
_MAX_SPEED = 0.35  # metres per second of the camera: motion blur of 3 pixels at 8 ms


@dataclass(frozen=True)
class RecordOptions:
    """Record with a RealSense camera, or import a file."""

    out: Path
    """the scan's folder, to be made"""
    source: Path | None = None
    """a recording to import instead of recording with a camera: a .bag, .db3 or .mcap file, or a folder"""
    board: Path | None = None
    """board.json of the board that lies under the object; left out: the A4 ring that `board` prints by default"""
    seconds: float = 40.0
    """how long to record; Ctrl-C ends it earlier and keeps everything"""
    keep_fps: float = 15.0
    """frames per second to keep; 0 keeps all"""
    countdown: int = 5
    """seconds before it starts"""
    width: int = 640
    """of the pictures; the camera must offer this size for colour and depth"""
    height: int = 480
    """of the pictures"""
    camera_fps: int = 30
    """frames per second at which the camera runs"""
    serial: str | None = None
    """of the camera, where several are connected"""
    overwrite: bool = False
    """replace an earlier recording of this folder, and with it all that was made from it"""


def main(options: RecordOptions) -> Path:
    """Record or import into the folder, or keep the recording that is there.

    Returns:
        The folder; it appears when the recording is complete.

    Raises:
        DeviceError: no camera, or it stopped.
        MissingDependencyError: pyrealsense2 is not installed.
        SceneError: the file to import cannot be used, or an option makes no sense.
        OutputError: the folder holds something else.
    """
    _check(options)
    if _is_finished(options):
        print(f"record: {options.out} is there already, kept (--overwrite records again)")
        return options.out
    board = load_board(options.board) if options.board else default_board()
    partial = options.out.with_name(f"{options.out.name}.partial")
    if partial.exists() and any(partial.iterdir()) and not (partial / "recording.json").is_file():
        raise OutputError(f"{partial} is in the way and was not made by `record`: move it away")
    if options.source is None and not options.overwrite and _complete_interrupted(partial, options):
        return options.out
    stream = (
        open_stream(options.source)
        if options.source
        else open_camera(options.width, options.height, options.camera_fps, options.serial)
    )
    with stream:
        record(stream, board, options)
    return options.out


def record(stream: FrameStream, board: Board, options: RecordOptions) -> None:
    """Write the frames of a stream into `options.out`; see `main`."""
    partial = options.out.with_name(f"{options.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    live = options.source is None
    camera_fps = stream.fps or options.camera_fps
    fps = min(options.keep_fps or camera_fps, camera_fps)
    source = stream.name if live else f"{stream.name}, {options.source}"
    facts = {"kind": "camera" if live else "import", "source": source, "fps": fps}
    capture = CaptureFolder(partial, stream.depth_unit, facts)
    save_board(board, partial / "board.json")
    hints = _Hints(board, show=live)
    try:
        frames = iter(stream)
        if live:
            warm_up(frames)
            _count_down(frames, options.countdown)
        for frame in _limit_rate(frames, fps, options.seconds if live else float("inf")):
            capture.add(frame)
            hints.update(frame, capture.frames)
    except KeyboardInterrupt:
        if not live:
            raise  # half an import is none
        print("\nrecord: stopped by hand")
    except DeviceError as error:
        if capture.frames:
            capture.finish()
            _move_into_place(partial, options)
            kept = f"{capture.frames} frames until then are in {options.out}"
            raise DeviceError(f"{error} The {kept}") from error
        raise
    if not capture.frames:
        shutil.rmtree(partial)
        raise SceneError(f"{source} gave no frame with colour and depth: nothing was recorded")
    capture.finish()
    _move_into_place(partial, options)
    print(f"\nrecord: {capture.frames} frames in {options.out}; {hints.summary()}")


def warm_up(frames: Iterator[Frame]) -> int:
    """Let frames pass until the automatic exposure has settled; how many it took."""
    recent: deque[float] = deque(maxlen=10)
    for count, frame in enumerate(islice(frames, _WARM_UP[1]), 1):
        recent.append(float(frame.rgb[::8, ::8].mean()) + 1)
        if count >= _WARM_UP[0] and max(recent) / min(recent) - 1 < _STEADY:
            return count
    return _WARM_UP[1]


class _Hints:
    """Tells the person with the camera what it sees of the board and where to go next."""

    def __init__(self, board: Board, show: bool) -> None:
        self.board, self.show = board, show
        self.coverage = Coverage()
        self.checked = self.placed = 0
        self._last: tuple[float, np.ndarray] | None = None

    def update(self, frame: Frame, count: int) -> None:
        if count % _HINT_EVERY:
            return
        found = detect_board(frame.rgb, self.board)
        self.checked += 1
        pose = _camera_in_board(self.board, found.corners, found.ids, frame.K)
        advice = "no markers: point the camera at the board"
        if pose is not None:
            self.placed += 1
            self.coverage.add(pose)
            advice = self._speed_warning(frame.seconds, pose) or self.coverage.advice() or "every side was seen"
        if self.show:
            line = f"{count:4d} frames  {len(found.marker_ids):2d} markers  {self.coverage.bars()}  {advice}"
            print(f"\r{line:<120}", end="", file=sys.stderr, flush=True)

    def summary(self) -> str:
        if not self.checked:
            return "too short to tell what of the board was seen"
        text = f"the board was found in {self.placed} of {self.checked} looked at"
        return f"{text}, {100 * self.coverage.share:.0f} % of the directions seen: {self.coverage.bars()}"

    def _speed_warning(self, seconds: float | None, pose: np.ndarray) -> str:
        if seconds is None:
            return ""
        last, self._last = self._last, (seconds, pose[:3, 3])
        if last is None or not 0 < seconds - last[0] < 2:
            return ""
        speed = np.linalg.norm(pose[:3, 3] - last[1]) / (seconds - last[0])
        return "slower, the picture blurs" if speed > _MAX_SPEED else ""


def _camera_in_board(board: Board, corners: np.ndarray, ids: np.ndarray, K: np.ndarray) -> np.ndarray | None:
    """(4, 4), None where too little of the board was found or its layout is not known. For hints only."""
    if len(ids) < _MIN_POINTS or not board.size[0]:
        return None
    found, rotation, translation = cv2.solvePnP(board.object_points(ids), corners, K, None)
    if not found:
        return None
    R = cv2.Rodrigues(rotation)[0]
    return rigid_transform(R.T, -R.T @ translation[:, 0])


def _limit_rate(frames: Iterator[Frame], fps: float, seconds: float) -> Iterator[Frame]:
    """Frames at no more than `fps`, by the camera's clock, for so many seconds."""
    first = due = None
    for count, frame in enumerate(frames):
        now = count / fps if frame.seconds is None else frame.seconds
        first = now if first is None else first
        if now - first > seconds:
            return
        # A quarter of a period early counts as due: the camera's clock is not exact.
        if due is None or now >= due - 0.25 / fps:
            due = now + 1 / fps if due is None else max(due + 1 / fps, now)
            yield frame


def _count_down(frames: Iterator[Frame], seconds: int) -> None:
    """Say the seconds while frames pass, so that none of them waits in the camera until it is old."""
    start = time.monotonic()
    said = None
    while (left := seconds - int(time.monotonic() - start)) > 0:
        if left != said:
            print(f"\rrecording in {left} s ", end="", file=sys.stderr, flush=True)
            said = left
        next(frames, None)


def _check(options: RecordOptions) -> None:
    if options.seconds <= 0 or options.keep_fps < 0 or options.countdown < 0:
        raise SceneError(
            f"seconds {options.seconds:g}, keep_fps {options.keep_fps:g}, countdown {options.countdown}: "
            "wanted a positive duration, and no negative numbers"
        )


def _is_finished(options: RecordOptions) -> bool:
    """Whether the folder holds a recording that is to be kept."""
    folder = options.out
    if not folder.exists() or not any(folder.iterdir()):
        return False
    if not (folder / "recording.json").is_file():
        raise OutputError(f"{folder} holds files that `record` did not write: choose another folder")
    return not options.overwrite


def _complete_interrupted(partial: Path, options: RecordOptions) -> bool:
    """Complete what an interrupted recording left behind; False where it left no frame."""
    names = [name for name in list_images(partial / "JPEGImages") if (partial / "depth" / f"{name}.png").is_file()]
    if not names or not (partial / "board.json").is_file() or not (partial / "intrinsics.json").is_file():
        return False
    for name in set(list_images(partial / "depth")) - set(names):
        (partial / "depth" / f"{name}.png").unlink()
    if (partial / GROWING).is_file():
        finish_capture(partial, len(names))
    _move_into_place(partial, options)
    print(f"record: {len(names)} frames of an interrupted recording are now {options.out}; --overwrite records again")
    return True


def _move_into_place(partial: Path, options: RecordOptions) -> None:
    if options.out.exists():
        shutil.rmtree(options.out)  # empty, or an earlier recording that is to be replaced
    partial.rename(options.out)
