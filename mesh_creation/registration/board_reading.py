"""The board in all frames of a scan: detections, the pose of each frame, and what speaks against them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mesh_creation.board.camera_pose import BoardPose, estimate_board_pose
from mesh_creation.board.detection import BoardDetection, detect_board
from mesh_creation.board.layout import Board
from mesh_creation.registration.depth_scale import depth_ratio
from mesh_creation.registration.keyframes import sharpness
from mesh_creation.step_files import StepFolder
from pose6d.errors import FrameError, SceneError, shorten
from pose6d.scenes.frame import Scene

_MIN_FRAMES = 8


@dataclass
class BoardReading:
    """What the single frames of a scan say.

    Attributes:
        poses: by frame, None where the board was not read.
        reasons: why not, by frame, else "".
        ratios: measured over predicted depth by frame, NaN where unknown.
        sharpness: by frame.
        duplicates: how many frames show a marker number twice, by number.
        foreign: how many frames show a number that is not on the board, by number.
    """

    poses: list[BoardPose | None]
    reasons: list[str]
    ratios: list[float]
    sharpness: list[float]
    duplicates: Counter[int]
    foreign: Counter[int]

    @property
    def warnings(self) -> list[str]:
        """What is odd about the markers."""
        found = []
        if self.duplicates:
            numbers = ", ".join(map(str, sorted(self.duplicates)))
            found.append(
                f"marker number(s) {numbers} are seen twice in {max(self.duplicates.values())} frame(s) and were not "
                "used there: take away other prints of the board"
            )
        if self.foreign and max(self.foreign.values()) > 0.2 * len(self.poses):
            numbers = shorten([str(number) for number in sorted(self.foreign)])
            found.append(f"markers {numbers} are not on the board of board.json: is it the right file?")
        return found


def read_board(scene: Scene, board: Board, wanted: list[int], steps: StepFolder) -> BoardReading:
    """Find the board in the `wanted` frames and the camera's pose at each; finished work is taken from `steps`.

    Frames that cannot be read are not fatal: they get a reason.
    """
    found = steps.load_or_make("detections", lambda: _detect(scene, board, wanted))
    count = len(scene)
    reading = BoardReading(
        [None] * count, ["not asked for"] * count, [np.nan] * count, [0.0] * count, Counter(), Counter()
    )
    for number, index in enumerate(wanted):
        reading.sharpness[index] = float(found["sharpness"][number])
        reading.reasons[index] = str(found["reason"][number])
        mine = found["frame"] == index
        reading.duplicates.update(found["duplicate"][found["duplicate_frame"] == index].tolist())
        reading.foreign.update(found["stranger"][found["stranger_frame"] == index].tolist())
        if not np.isfinite(found["pose"][number]).all():
            continue
        reading.poses[index] = BoardPose(
            camera_in_board=found["pose"][number],
            rms=float(found["rms"][number]),
            used=int(mine.sum()),
            seen=int(found["seen"][number]),
            information=found["information"][number],
            points=found["points"][mine],
            pixels=found["pixels"][mine],
        )
        reading.ratios[index] = float(found["ratio"][number])
    return reading


def _detect(scene: Scene, board: Board, wanted: list[int]) -> dict[str, Any]:
    def read(index: int) -> tuple[BoardPose | None, str, float, float, BoardDetection | None]:
        try:
            frame = scene[index]
        except FrameError as error:
            return None, f"cannot be read: {error}", np.nan, 0.0, None
        detection = detect_board(frame.rgb, board)
        sharp = sharpness(frame.rgb)
        try:
            pose = estimate_board_pose(detection, board, frame.K, frame.depth)
        except FrameError as error:
            return None, str(error), np.nan, sharp, detection
        return pose, "", depth_ratio(pose, frame.depth), sharp, detection

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        readings = list(tqdm(pool.map(read, wanted), total=len(wanted), desc="finding the board", unit="frame"))
    empty = np.full((4, 4), np.nan)
    found = [(index, pose) for index, (pose, *_) in zip(wanted, readings, strict=True) if pose is not None]
    seen = [
        (index, detection) for index, (*_, detection) in zip(wanted, readings, strict=True) if detection is not None
    ]
    return {
        "pose": np.stack([empty if pose is None else pose.camera_in_board for pose, *_ in readings]),
        "rms": np.array([np.nan if pose is None else pose.rms for pose, *_ in readings]),
        "seen": np.array([0 if pose is None else pose.seen for pose, *_ in readings]),
        "information": np.stack([np.zeros((6, 6)) if pose is None else pose.information for pose, *_ in readings]),
        "reason": np.array([reason for _, reason, *_ in readings]),
        "ratio": np.array([ratio for _, _, ratio, *_ in readings]),
        "sharpness": np.array([sharp for *_, sharp, _ in readings]),
        "frame": np.concatenate([np.full(pose.used, index) for index, pose in found] or [np.zeros(0, int)]),
        "points": np.concatenate([pose.points for _, pose in found] or [np.zeros((0, 3))]),
        "pixels": np.concatenate([pose.pixels for _, pose in found] or [np.zeros((0, 2))]),
        "duplicate": np.array([marker for _, d in seen for marker in d.duplicates], int),
        "duplicate_frame": np.array([index for index, d in seen for _ in d.duplicates], int),
        "stranger": np.array([marker for _, d in seen for marker in d.foreign], int),
        "stranger_frame": np.array([index for index, d in seen for _ in d.foreign], int),
    }


def check_enough(reading: BoardReading, wanted: Sequence[int], source: str, board: Board) -> None:
    """Refuse a scan in which the board is hardly ever read.

    Raises:
        SceneError: fewer than 8 frames show it; the message says what was found instead.
    """
    read = sum(pose is not None for pose in reading.poses)
    if read >= _MIN_FRAMES:
        return
    reasons = Counter(reading.reasons[index] for index in wanted if reading.reasons[index])
    common = "; ".join(f"{count} frame(s): {reason}" for reason, count in reasons.most_common(2))
    text = f"{source}: the board is read in {read} of {len(wanted)} frames, wanted {_MIN_FRAMES} or more"
    if reading.foreign:
        text += f"; markers {shorten([str(i) for i in sorted(reading.foreign)])} are seen that are not on it"
    if reading.duplicates:
        text += f"; markers {shorten([str(i) for i in sorted(reading.duplicates)])} are seen twice: take one print away"
    raise SceneError(
        f"{text} ({common}). board.json says {board.kind} of {board.dictionary}: is that the board on the table, is it "
        "in view, sharp and well lit?"
    )
