"""Finding a board's points in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from mesh_creation.board.layout import Board, marker_dictionary
from mesh_creation.board.marker_corners import refine_corners


@dataclass(frozen=True)
class BoardDetection:
    """What of a board one picture shows.

    Attributes:
        corners: (N, 2) float64 pixels; integer coordinates are pixel centres.
        ids: (N,) int64, for `Board.object_points`.
        marker_ids: (M,) int64 markers of the board that were read, each once.
        duplicates: markers seen more than once; none of their corners is used, as nobody knows which is the board's.
        foreign: markers of the dictionary that are not on the board.
    """

    corners: np.ndarray
    ids: np.ndarray
    marker_ids: np.ndarray
    duplicates: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()


def detect_board(image: np.ndarray, board: Board) -> BoardDetection:
    """Find a board's points in a picture, to a fraction of a pixel.

    Args:
        image: (H, W, 3) uint8 RGB or (H, W) uint8 grey.
        board: which markers to look for; without a known layout the markers are found all the same.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    grey = np.ascontiguousarray(grey)
    quads, found, _ = _detector(board.dictionary).detectMarkers(grey)
    ids = np.zeros(0, np.int64) if found is None else np.asarray(found, np.int64).ravel()
    corners = np.array(quads, np.float64).reshape(-1, 4, 2)
    on_board = np.isin(ids, [place.id for place in board.marker_places]) | (
        board.kind == "markers" and not board.places
    )
    foreign = tuple(sorted({int(i) for i in ids[~on_board]}))
    ids, corners = ids[on_board], corners[on_board]
    values, counts = np.unique(ids, return_counts=True)
    duplicates = tuple(int(i) for i in values[counts > 1])
    once = ~np.isin(ids, duplicates)
    ids, corners = ids[once], corners[once]
    corners, valid = refine_corners(grey, corners, marker_dictionary(board.dictionary).markerSize + 2)
    if board.kind == "charuco":
        points, point_ids = _chessboard_corners(grey, board, corners, ids)
    else:
        points, point_ids = corners[valid], (ids[:, None] * 4 + np.arange(4))[valid]
    return BoardDetection(points, point_ids, np.sort(ids), duplicates, foreign)


@lru_cache
def _detector(dictionary: str) -> Any:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.cornerRefinementWinSize = 4
    parameters.cornerRefinementMinAccuracy = 0.01
    parameters.adaptiveThreshWinSizeStep = 5  # the default misses some markers of 25 pixels
    return cv2.aruco.ArucoDetector(marker_dictionary(dictionary), parameters)


@lru_cache
def _charuco_detector(board: Board) -> Any:
    pattern = cv2.aruco.CharucoBoard(
        (board.columns, board.rows), board.square, board.marker, marker_dictionary(board.dictionary)
    )
    return cv2.aruco.CharucoDetector(pattern)


def _chessboard_corners(
    grey: np.ndarray, board: Board, corners: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) pixels and (N,) numbers of the chessboard corners between the given markers."""
    points = numbers = None
    if len(ids):
        given = [quad[None].astype(np.float32) for quad in corners]
        points, numbers, _, _ = _charuco_detector(board).detectBoard(
            grey, markerCorners=given, markerIds=ids.astype(np.int32)[:, None]
        )
    if points is None or numbers is None:
        return np.zeros((0, 2)), np.zeros(0, np.int64)
    return np.asarray(points, np.float64).reshape(-1, 2), np.asarray(numbers, np.int64).ravel()
