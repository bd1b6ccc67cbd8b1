"""The camera's path: frames without a board join it, and all keyframes are made to agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from mesh_creation.board.camera_pose import BoardPose
from mesh_creation.registration.frame_alignment import align
from mesh_creation.registration.frame_localization import FrameCache, localize, surroundings_are_static
from mesh_creation.registration.keyframes import overlapping_pairs, view_distances
from mesh_creation.registration.pose_graph import Edge, optimize
from mesh_creation.registration.work_area import WorkArea
from pose6d.errors import FrameError

_OVERLAP = np.radians(30)
_PAIRS = 3  # per keyframe
_SCALES = (0.006, 0.003)
_MIN_FITNESS = 0.5
_ROOM = 0.25  # metres around the sheet in which the table is used where it keeps its place


@dataclass
class Trajectory:
    """Camera in board (4, 4) by frame, None where a frame has no pose.

    Attributes:
        poses: by frame.
        methods: "board", "features", "icp" or "rejected", by frame.
        fitness: share of the object that fits the neighbours, by frame; NaN where the board gave the pose.
        information: (N, 6, 6) inverse covariances of small motions of the cameras.
        reasons: why a frame has no pose, else "".
    """

    poses: list[np.ndarray | None]
    methods: list[str]
    fitness: np.ndarray
    information: np.ndarray
    reasons: list[str]


def join_frames(
    cache: FrameCache,
    board_poses: Sequence[BoardPose | None],
    waiting: Sequence[int],
    reasons: Sequence[str],
    sheet: WorkArea,
    center: np.ndarray,
) -> Trajectory:
    """Find the frames that are `waiting` from those of known pose, the nearest in time first.

    Args:
        cache: the scan's frames.
        board_poses: what the board says, by frame, None where nothing.
        waiting: frames without.
        reasons: why they have none, by frame of the scan.
        sheet: the space over the board; beyond it the room is used only where it keeps its place to the board.
        center: (3,) what the cameras look at, board frame.
    """
    anchors = {i: pose.camera_in_board for i, pose in enumerate(board_poses) if pose is not None}
    known = dict(anchors)
    methods = ["rejected" if pose is None else "board" for pose in board_poses]
    fitness = np.full(len(board_poses), np.nan)
    information = np.stack([np.zeros((6, 6)) if pose is None else pose.information for pose in board_poses])
    why = list(reasons)
    space = sheet
    if waiting and surroundings_are_static(cache, anchors, sheet):
        space = WorkArea(sheet.half_width + _ROOM, sheet.half_height + _ROOM, low=-0.03)
    left = list(waiting)
    for _ in tqdm(waiting, desc="placing frames without board", unit="frame", disable=not waiting):
        found = np.array(sorted(known))
        index = min(left, key=lambda i: int(np.abs(found - i).min()))
        left.remove(index)
        try:
            placed = localize(cache, index, known, set(anchors), space, center)
        except FrameError as error:
            why[index] = f"{why[index]}; {error}" if why[index] else str(error)
            continue
        known[index], methods[index], fitness[index] = placed.pose, placed.method, placed.fitness
        information[index], why[index] = placed.information, ""
    return Trajectory([known.get(i) for i in range(len(board_poses))], methods, fitness, information, why)


def refine(
    cache: FrameCache,
    path: Trajectory,
    keyframes: Sequence[int],
    sheet: WorkArea,
    center: np.ndarray,
) -> tuple[list[np.ndarray | None], dict[str, Any]]:
    """Optimise keyframes over the board's poses and the alignment of overlapping pairs, and take the others along.

    Args:
        cache: the scan's frames.
        path: of all frames.
        keyframes: frames that enter the graph.
        sheet: the space that is compared.
        center: (3,) what the cameras look at, board frame.

    Returns:
        Camera in board by frame, as in `Trajectory`; numbers of edges, and by how much poses moved.
    """
    start = {i: pose for i in keyframes if (pose := path.poses[i]) is not None}
    frames = sorted(start)
    # What the board says holds; frames placed by their neighbours may be wrong.
    edges = [Edge(i, -1, start[i], path.information[i], loop=path.methods[i] != "board") for i in frames]
    pairs = [
        (frames[a], frames[b])
        for a, b in overlapping_pairs(np.stack([start[i] for i in frames]), center, _OVERLAP, _PAIRS)
    ]
    residuals, failed = [], 0
    for a, b in tqdm(pairs, desc="aligning keyframes", unit="pair"):
        guess = np.linalg.inv(start[b]) @ start[a]
        try:
            source, target = (cache.cloud(i) for i in (a, b))
            source = source.select(sheet.contains(source.points @ start[a][:3, :3].T + start[a][:3, 3]))
            target = target.select(sheet.contains(target.points @ start[b][:3, :3].T + start[b][:3, 3]))
            found = align(source, target, guess, _SCALES)
        except FrameError:
            failed += 1
            continue
        if found.fitness < _MIN_FITNESS:
            failed += 1
            continue
        residuals.append(found.rmse)
        edges.append(Edge(a, b, found.transform, found.information))
    optimized = optimize(start, edges)
    shifts = [_shift(start[i], optimized.camera_in_board[i], center) for i in frames]
    return (
        _carry_along(path, start, optimized.camera_in_board, center),
        {
            "keyframes": len(frames),
            "pairs": len(pairs),
            "pairs_failed": failed,
            "loops_kept": len(optimized.kept),
            "loops_dropped": len(optimized.dropped),
            "pair_rmse_m": float(np.median(residuals)) if residuals else float("nan"),
            "moved_median_m": float(np.median(shifts)),
            "moved_most_m": float(np.max(shifts)),
        },
    )


def _carry_along(
    path: Trajectory,
    before: dict[int, np.ndarray],
    after: dict[int, np.ndarray],
    center: np.ndarray,
) -> list[np.ndarray | None]:
    """Poses of all frames: keyframes as optimised, frames placed by neighbours moved like their nearest keyframe."""
    placed = [i for i in before if path.methods[i] != "board"]
    result: list[np.ndarray | None] = []
    for index, pose in enumerate(path.poses):
        if index in after:
            pose = after[index]
        elif pose is not None and path.methods[index] != "board" and placed:
            distance = view_distances(pose[None], np.stack([before[i] for i in placed]), center)[0]
            nearest = placed[int(np.argmin(distance))]
            if distance.min() < _OVERLAP / 2:
                pose = after[nearest] @ np.linalg.inv(before[nearest]) @ pose
        result.append(pose)
    return result


def _shift(before: np.ndarray, after: np.ndarray, center: np.ndarray) -> float:
    """By how many metres `center` moves as the camera sees it."""
    at = np.append(center, 1.0)
    return float(np.linalg.norm((np.linalg.inv(after) @ at - np.linalg.inv(before) @ at)[:3]))
