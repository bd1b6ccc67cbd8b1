"""Matching of point pair features, in a process whose Python has opencv-contrib-python; nothing else of ours is needed.

Reads arrays from standard input and writes arrays to standard output: first the model (N, 6), points in metres with
normals, then for each frame (M, 6); the answer is (4 P, 4), P poses of the model in camera, likeliest first.
"""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import cv2
import numpy as np

_STEP = 0.05  # of the diameter: sampling, and distances that count as equal
_SCENE_STEP = 0.2  # of the scene's points that vote
_MOST = 20  # poses


def read_array(stream: BinaryIO, columns: int) -> np.ndarray | None:
    """(N, columns) float64 that `write_array` wrote; None at the end of the stream."""
    size = stream.read(8)
    if len(size) < 8:
        return None
    content = stream.read(int.from_bytes(size, "little"))
    return np.frombuffer(content, dtype=np.float64).reshape(-1, columns)


def write_array(stream: BinaryIO, array: np.ndarray) -> None:
    """Write it, with its size in front."""
    content = np.ascontiguousarray(array, dtype=np.float64).tobytes()
    stream.write(len(content).to_bytes(8, "little") + content)
    stream.flush()


def main(source: BinaryIO, sink: BinaryIO) -> None:
    ppf: Any = cv2.ppf_match_3d  # type: ignore[attr-defined]
    given = read_array(source, 6)
    if given is None:
        return
    model = given.astype(np.float32)
    detector = ppf.PPF3DDetector(_STEP, _STEP)
    detector.trainModel(model)
    write_array(sink, np.eye(4))
    while (given := read_array(source, 6)) is not None:
        found = detector.match(given.astype(np.float32), _SCENE_STEP, _STEP)[:_MOST]
        write_array(sink, np.concatenate([np.empty((0, 4)), *(pose.pose for pose in found)]))


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
